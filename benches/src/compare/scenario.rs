//! What is compared: who serves, under which load, and what is read off.
//!
//! A new scenario is one entry in [`SCENARIOS`].

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The tokio floor with so many threads.
    Floor(usize),
    /// A server that does one transaction on the database for each request.
    Transactions(Store, Work),
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
    /// mquota answers after the commit.
    pub strict: bool,
    /// SQLite's commits survive the loss of power.
    pub full_sync: bool,
    /// Each sender has a ticket with a plan of its own.
    pub plans: bool,
    /// Where counters and rules are.
    pub store: Store,
}

/// A database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A file of its own.
    Sqlite,
    /// A private MariaDB with its own durability.
    MariaDb,
    /// A private PostgreSQL with its own durability.
    Postgres,
}

/// What a transaction for each request does, as `transactions --work` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// What mod-mquota does: it looks at the account's and the domain's minute, hour and day, holds them, decides, adds
    /// and commits.
    Counters,
    /// The same with one number of the account.
    Number,
    /// It adds to that number with one statement, and decides nothing.
    Add,
}

impl Work {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Number => "number",
            Self::Add => "add",
        }
    }
}

/// What goes on besides while the subject is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A closed loop of so many connections at another listener.
    Flood(u32),
    /// One row of `bwl_global` changes ten times a second.
    RuleChanges,
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
    /// What the server's CPU did for a request; less is better.
    Cpu,
    /// Time from the start to the first answer, over `sqlite3` writing the same rules as CSV. Less is better.
    Loading,
    /// MiB of memory after the start, more than the base has. Has no ratio.
    Memory,
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
    /// What goes on besides.
    pub beside: Beside,
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
    /// Whether server and generator each get a core of their own: only a server of one thread fits on one. A daemon
    /// that answers after a commit has a second thread at work, the database's.
    pub fn is_pinned(&self) -> bool {
        let threads = |subject| match subject {
            Subject::Floor(threads) => threads,
            Subject::Daemon(daemon) => daemon.workers + usize::from(daemon.strict || daemon.plans),
            Subject::Transactions(..) => 1,
        };
        threads(self.base) == 1 && threads(self.subject) == 1
    }
}

const FLOOR: Subject = Subject::Floor(1);
const TEST: Daemon = Daemon {
    workers: 1,
    chain: &["test"],
    rules: 0,
    strict: false,
    full_sync: false,
    plans: false,
    store: Store::Sqlite,
};
const BWL: Daemon = Daemon { chain: &["bwl"], rules: 100_000, ..TEST };
const STRICT: Daemon = Daemon { chain: &["mquota"], strict: true, ..TEST };
/// The full chain: 100,000 rules, `same-domain`, relaxed counting, and nobody on a plan.
const FULL: Daemon = Daemon { chain: &["bwl", "slm", "mquota", "ticket"], rules: 100_000, ..TEST };
const MANY_RULES: Daemon = Daemon { chain: &["bwl"], rules: 1_000_000, ..TEST };

const fn scenario(name: &'static str, title: &'static str, subject: Daemon, load: &'static [&'static str]) -> Scenario {
    Scenario {
        name,
        title,
        base: FLOOR,
        subject: Subject::Daemon(subject),
        beside: Beside::Nothing,
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
        measure: Measure::Cpu,
        goal: Some((2.5, 1.6)),
        ..scenario("full-cpu", "full chain, 64 connections: CPU a request", FULL, &["--conns", "64"])
    },
    Scenario {
        goal: Some((0.25, 0.45)),
        ..scenario("strict", "mquota strict, SQLite, synchronous NORMAL, 64 connections", STRICT, &["--conns", "64"])
    },
    Scenario {
        goal: Some((0.15, 0.30)),
        ..scenario(
            "strict-full",
            "mquota strict, SQLite, synchronous FULL, 64 connections",
            Daemon { full_sync: true, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Transactions(Store::MariaDb, Work::Counters),
        goal: Some((10.0, 20.0)),
        ..scenario(
            "strict-mariadb",
            "mquota strict, MariaDB, 64 connections, over a transaction for each request that counts the same",
            Daemon { store: Store::MariaDb, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Transactions(Store::MariaDb, Work::Number),
        ..scenario(
            "strict-mariadb-number",
            "the same over a transaction for each request that counts one number of the account",
            Daemon { store: Store::MariaDb, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Transactions(Store::MariaDb, Work::Add),
        ..scenario(
            "strict-mariadb-add",
            "the same over one statement for each request, which decides nothing",
            Daemon { store: Store::MariaDb, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Transactions(Store::Postgres, Work::Counters),
        goal: Some((10.0, 20.0)),
        ..scenario(
            "strict-postgres",
            "mquota strict, PostgreSQL, 64 connections, over a transaction for each request that counts the same",
            Daemon { store: Store::Postgres, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Transactions(Store::Postgres, Work::Number),
        ..scenario(
            "strict-postgres-number",
            "the same over a transaction for each request that counts one number of the account",
            Daemon { store: Store::Postgres, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Transactions(Store::Postgres, Work::Add),
        ..scenario(
            "strict-postgres-add",
            "the same over one statement for each request, which decides nothing",
            Daemon { store: Store::Postgres, ..STRICT },
            &["--conns", "64"],
        )
    },
    Scenario {
        goal: Some((0.10, 0.25)),
        ..scenario(
            "ticket",
            "ticket, one plan a sender, SQLite, 64 connections",
            Daemon { chain: &["ticket"], plans: true, ..TEST },
            &["--conns", "64"],
        )
    },
    Scenario {
        base: Subject::Daemon(Daemon { rules: 10, ..MANY_RULES }),
        measure: Measure::Memory,
        goal: Some((250.0, 120.0)),
        ..scenario("rules-memory", "memory of 1,000,000 bwl rules", MANY_RULES, &[])
    },
    Scenario {
        base: Subject::Daemon(Daemon { rules: 10, ..MANY_RULES }),
        measure: Measure::Loading,
        goal: Some((3.0, 1.5)),
        ..scenario(
            "rules-loading",
            "start with 1,000,000 rules less start with 10, over `sqlite3` dumping them as CSV",
            MANY_RULES,
            &[],
        )
    },
    Scenario {
        base: Subject::Daemon(Daemon { rules: 1_000_000, ..FULL }),
        beside: Beside::RuleChanges,
        measure: Measure::P99,
        goal: Some((1.5, 1.5)),
        ..scenario(
            "rules-change",
            "full chain with 1,000,000 rules, 5,000/s, a rule changed ten times a second: p99 over none changed",
            Daemon { rules: 1_000_000, ..FULL },
            &["--conns", "16", "--rate", "5000"],
        )
    },
    Scenario {
        base: Subject::Daemon(TEST),
        beside: Beside::Flood(256),
        measure: Measure::P99,
        goal: Some((3.0, 1.5)),
        ..scenario(
            "flood",
            "mod-test, 1 connection at a port while 256 flood another, 1 worker: p99 over alone",
            TEST,
            &["--conns", "1"],
        )
    },
    Scenario {
        base: Subject::Daemon(Daemon { workers: 2, ..TEST }),
        beside: Beside::Flood(256),
        measure: Measure::P99,
        goal: Some((3.0, 1.5)),
        ..scenario(
            "flood-2",
            "mod-test, 1 connection at a port while 256 flood another, 2 workers: p99 over alone",
            Daemon { workers: 2, ..TEST },
            &["--conns", "1"],
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
