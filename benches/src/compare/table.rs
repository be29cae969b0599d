//! Medians, ratios and the table.

use std::fmt::Write as _;

use super::scenario::{Measure, Scenario};
use crate::load::Report;

/// What the rounds of a scenario came to, base and subject in turn.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// Reports of what the ratio is over.
    pub base: Vec<Report>,
    /// Reports of what is measured.
    pub subject: Vec<Report>,
}

/// A line of the table.
#[derive(Debug, Clone)]
pub enum Line {
    /// Measured under load.
    Load(Scenario, Rounds),
    /// Measured without load: the base, the subject, both with their unit, and the ratio if there is one.
    Still(Scenario, String, String, Option<f64>),
    /// Could not be measured, and why.
    Skipped(Scenario, String),
}

/// The middle one; of an even number the mean of the two in the middle. 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// What is measured, of one report.
pub fn value(measure: Measure, report: &Report) -> f64 {
    match measure {
        Measure::Rate | Measure::IdleMemory | Measure::Loading | Measure::Memory => report.rate,
        Measure::Cpu => report.server_cpu_us,
        Measure::P50 => report.p50_us,
        Measure::P99 => report.p99_us,
    }
}

impl Rounds {
    /// The ratio of each round.
    pub fn ratios(&self, measure: Measure) -> Vec<f64> {
        let pairs = self.subject.iter().zip(&self.base);
        pairs.map(|(subject, base)| value(measure, subject) / value(measure, base)).collect()
    }
}

/// The table in Markdown.
pub fn markdown(lines: &[Line]) -> String {
    let mut table = String::from(
        "| scenario | over | measured | ratio | rounds | must | aim | p50 us | p99 us | CPU us a request | times | generator | others |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut skipped = String::new();
    for line in lines {
        // Writing to a string can't fail.
        let _ = match line {
            Line::Load(scenario, rounds) => load_line(&mut table, scenario, rounds),
            Line::Still(scenario, base, subject, ratio) => {
                let (must, aim) = goals(scenario);
                let ratio = ratio.map_or_else(String::new, |ratio| format!("**{ratio:.2}**"));
                writeln!(table, "| {} | {base} | {subject} | {ratio} | | {must} | {aim} | | | | | | |", scenario.title)
            }
            Line::Skipped(scenario, why) => {
                let why = why.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim();
                writeln!(skipped, "- Not measured: {} (`{}`): {why}", scenario.title, scenario.name)
            }
        };
    }
    let notes = [busy(lines), skipped].concat();
    if notes.is_empty() { table } else { format!("{table}\n{notes}") }
}

/// From so much of a core on, other work decides what a rate comes to.
const BUSY: f64 = 30.0;

/// A warning when the machine had other work: a server with more threads then gets a greater share of a
/// core than its rival, and its ratio of rates shows the scheduler rather than the server.
fn busy(lines: &[Line]) -> String {
    let reports = lines.iter().flat_map(|line| match line {
        Line::Load(_, rounds) => [&rounds.base[..], &rounds.subject[..]],
        Line::Still(..) | Line::Skipped(..) => [&[][..], &[][..]],
    });
    let others = median(reports.flatten().map(|report| report.others_cpu_percent));
    if others < BUSY {
        return String::new();
    }
    format!(
        "**Other work took {others:.0} % of a core meanwhile. Ratios of rates are not to be relied on here; those of the CPU \
         that a request costs (*times*) and of p50 with one connection are.**\n"
    )
}

fn load_line(table: &mut String, scenario: &Scenario, rounds: &Rounds) -> std::fmt::Result {
    let measure = scenario.measure;
    let of = |reports: &[Report], value: fn(&Report) -> f64| median(reports.iter().map(value));
    let show = |reports: &[Report]| {
        let value = median(reports.iter().map(|report| value(measure, report)));
        if measure == Measure::Rate { format!("{value:.0}/s") } else { format!("{value:.0} us") }
    };
    let ratios = rounds.ratios(measure);
    let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
    let (must, aim) = goals(scenario);
    let both = |value: fn(&Report) -> f64, digits| {
        format!("{:.digits$} / {:.digits$}", of(&rounds.subject, value), of(&rounds.base, value))
    };
    writeln!(
        table,
        "| {} | {} | {} | **{:.2}** | {low:.2} to {high:.2} | {must} | {aim} | {} | {} | {} | {:.2} | {} | {} |",
        scenario.title,
        show(&rounds.base),
        show(&rounds.subject),
        median(ratios.iter().copied()),
        both(|report| report.p50_us, 0),
        both(|report| report.p99_us, 0),
        both(|report| report.server_cpu_us, 1),
        of(&rounds.subject, |report| report.server_cpu_us) / of(&rounds.base, |report| report.server_cpu_us),
        both(|report| report.generator_cpu_percent, 0),
        both(|report| report.others_cpu_percent, 0),
    )
}

fn goals(scenario: &Scenario) -> (String, String) {
    scenario.goal.map_or_else(Default::default, |(must, aim)| (must.to_string(), aim.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::scenario::SCENARIOS;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_line_shows_the_median_of_the_ratios_and_their_spread() {
        let report = |rate| Report { rate, ..Report::default() };
        let rounds =
            Rounds { base: [100.0, 200.0, 100.0].map(report).into(), subject: [50.0, 160.0, 70.0].map(report).into() };
        let table = markdown(&[
            Line::Load(SCENARIOS[0], rounds),
            Line::Skipped(SCENARIOS[1], "\n  module.x: unknown\nmore".to_owned()),
        ]);
        assert!(table.contains("| 100/s | 70/s | **0.70** | 0.50 to 0.80 | 0.7 | 0.85 |"), "{table}");
        assert!(!table.contains("Other work"), "{table}");
        assert!(table.contains("(`test-latency`): module.x: unknown\n"), "{table}");
    }

    #[test]
    fn a_busy_machine_is_said_so() {
        let report = Report { rate: 1.0, others_cpu_percent: 90.0, ..Report::default() };
        let rounds = Rounds { base: vec![report.clone()], subject: vec![report] };
        let table = markdown(&[Line::Load(SCENARIOS[0], rounds)]);
        assert!(table.contains("Other work took 90 % of a core"), "{table}");
    }
}
