//! What is compared: who serves, under which load, and what is read off.
//!
//! A new scenario is one entry in [`SCENARIOS`].

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The tokio floor with so many threads.
    Floor(usize),
    /// valvulad.
    Daemon(Daemon),
}

/// How valvulad is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daemon {
    /// Its worker threads.
    pub workers: usize,
    /// Its chain of modules.
    pub chain: &'static [&'static str],
    /// Rows in `bwl_global`, none of which matches.
    pub rules: u32,
}

/// What is read off a load's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Requests a second; more is better.
    Rate,
    /// Median latency; less is better.
    P50,
    /// The latency that one request in a hundred passes; less is better.
    P99,
    /// KiB of memory for each idle connection; less is better. Has no ratio.
    IdleMemory,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// As `--scenario` names it.
    pub name: &'static str,
    /// As the table describes it.
    pub title: &'static str,
    /// What the ratio is over.
    pub base: Subject,
    /// What is measured.
    pub subject: Subject,
    /// Flags of the load generator.
    pub load: &'static [&'static str],
    /// What is read off.
    pub measure: Measure,
    /// What has to be reached, and what is aimed at.
    pub goal: Option<(f64, f64)>,
    /// Is run when none is named.
    pub is_default: bool,
}

impl Scenario {
    /// Whether server and generator each get a core of their own: only a server of one thread fits on one.
    pub fn is_pinned(&self) -> bool {
        let threads = |subject| match subject {
            Subject::Floor(threads) => threads,
            Subject::Daemon(daemon) => daemon.workers,
        };
        threads(self.base) == 1 && threads(self.subject) == 1
    }
}

const FLOOR: Subject = Subject::Floor(1);
const TEST: Daemon = Daemon { workers: 1, chain: &["test"], rules: 0 };
const BWL: Daemon = Daemon { workers: 1, chain: &["bwl"], rules: 100_000 };
/// The full chain: 100,000 rules, `same-domain`, relaxed counting, and nobody on a plan.
const FULL: Daemon = Daemon { workers: 1, chain: &["bwl", "slm", "mquota", "ticket"], rules: 100_000 };

const fn scenario(name: &'static str, title: &'static str, subject: Daemon, load: &'static [&'static str]) -> Scenario {
    Scenario {
        name,
        title,
        base: FLOOR,
        subject: Subject::Daemon(subject),
        load,
        measure: Measure::Rate,
        goal: None,
        is_default: false,
    }
}

/// All scenarios, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        goal: Some((0.70, 0.85)),
        is_default: true,
        ..scenario("test", "chain of mod-test, 64 connections, 1 worker", TEST, &["--conns", "64"])
    },
    Scenario {
        measure: Measure::P50,
        is_default: true,
        ..scenario("test-latency", "chain of mod-test, 1 connection: p50", TEST, &["--conns", "1"])
    },
    Scenario {
        is_default: true,
        ..scenario("bwl", "bwl with 100,000 rules, 64 connections, 1 worker", BWL, &["--conns", "64"])
    },
    Scenario {
        measure: Measure::P50,
        is_default: true,
        ..scenario("bwl-latency", "bwl with 100,000 rules, 1 connection: p50", BWL, &["--conns", "1"])
    },
    Scenario {
        goal: Some((0.55, 0.75)),
        is_default: true,
        ..scenario("full", "full chain, 64 connections, 1 worker", FULL, &["--conns", "64"])
    },
    Scenario {
        goal: Some((0.45, 0.65)),
        ..scenario("full-1000", "full chain, 1000 connections, 1 worker", FULL, &["--conns", "1000"])
    },
    Scenario {
        base: Subject::Floor(2),
        goal: Some((0.55, 0.70)),
        ..scenario(
            "full-workers",
            "full chain, 256 connections, 2 workers over 2 threads",
            Daemon { workers: 2, ..FULL },
            &["--conns", "256"],
        )
    },
    Scenario {
        measure: Measure::P50,
        goal: Some((1.5, 1.2)),
        is_default: true,
        ..scenario("full-latency", "full chain, 1 connection: p50", FULL, &["--conns", "1"])
    },
    Scenario {
        measure: Measure::P99,
        goal: Some((2.0, 1.3)),
        ..scenario(
            "full-open",
            "full chain, open loop 10,000/s, 100 connections: p99",
            FULL,
            &["--conns", "100", "--rate", "10000"],
        )
    },
    Scenario {
        base: Subject::Daemon(Daemon { rules: 10, ..FULL }),
        goal: Some((0.97, 0.99)),
        ..scenario(
            "rules",
            "full chain with 1,000,000 rules over 10 rules, 64 connections",
            Daemon { rules: 1_000_000, ..FULL },
            &["--conns", "64"],
        )
    },
    Scenario {
        goal: Some((0.65, 0.85)),
        ..scenario(
            "reconnect",
            "mod-test, a new connection for each request, 16 connections",
            TEST,
            &["--conns", "16", "--reconnect-every", "1"],
        )
    },
    Scenario {
        measure: Measure::IdleMemory,
        goal: Some((4.0, 2.5)),
        ..scenario(
            "idle",
            "memory of an idle connection, 10,000 connections",
            TEST,
            &["--idle-warm", "--conns", "10000", "--secs", "0"],
        )
    },
];

#[cfg(test)]
mod tests {
    use structopt::StructOpt;

    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own_and_flags_that_the_generator_knows() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        for scenario in SCENARIOS {
            crate::load::Options::from_iter_safe([&["policyload"], scenario.load].concat()).expect(scenario.name);
        }
    }
}
