//! The statistics as text. Scripts read it: names and order of the first lines of each section are fixed,
//! further lines may follow in each section.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use actors::stats::report::{ListenerReport, ModuleReport, Processing, Report};
use serde_json::Value;

/// The text of `valvulad -s` and `valvulactl stats`.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_report(&mut out, report);
    out
}

fn write_report(out: &mut String, report: &Report) -> fmt::Result {
    section(out, "General stats")?;
    line(out, "valvula pid", report.pid)?;
    line(out, "operation stamp", report.stamp)?;
    line(out, "handlers registered", report.handlers)?;
    line(out, "requests handled", report.requests.count)?;
    line(out, "seconds_running", report.seconds_running)?;
    line(out, "version", &report.version)?;
    line(out, "workers", report.workers)?;
    section(out, "TCP stats")?;
    line(out, "current listeners", report.listeners.len())?;
    line(out, "current connections", report.connections)?;
    for listener in &report.listeners {
        line(out, &format!("listener {}", listener.name), listener_line(listener))?;
    }
    section(out, "Work load")?;
    line(out, "pending tasks", report.pending)?;
    section(out, "Processing stats (in ms)")?;
    processing(out, &report.requests)?;
    for module in &report.modules {
        section(out, &format!("Processing stats for mod-{} (in ms)", module.name))?;
        processing(out, &module.requests)?;
        module_lines(out, module)?;
    }
    for (part, facts) in &report.parts {
        section(out, &format!("{part} stats"))?;
        for (name, value) in facts {
            line(out, name, shown(value))?;
        }
    }
    Ok(())
}

fn section(out: &mut String, name: &str) -> fmt::Result {
    writeln!(out, "--== {name} ==--")
}

fn line(out: &mut String, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "{name}: {value}")
}

fn processing(out: &mut String, requests: &Processing) -> fmt::Result {
    for (name, milliseconds) in [
        ("avg", requests.avg_ms),
        ("min", requests.min_ms),
        ("max", requests.max_ms),
        ("p50", requests.p50_ms),
        ("p90", requests.p90_ms),
        ("p99", requests.p99_ms),
    ] {
        line(out, &format!("{name} request processing time"), format_args!("{milliseconds:.3}"))?;
    }
    line(out, "requests", requests.count)?;
    line(out, "answers", counts(&requests.actions))
}

fn listener_line(listener: &ListenerReport) -> String {
    format!(
        "{} at {}, {} of {} connections, {} requests, {} pending, {} accepted, {} restarts, {} unanswered, ended: {}, \
         chain: {}",
        listener.state,
        listener.address,
        listener.connections,
        listener.max_connections,
        listener.requests.count,
        listener.pending,
        listener.accepted,
        listener.restarts,
        listener.disconnects,
        counts(&listener.ended),
        listener.modules.join(" "),
    )
}

fn module_lines(out: &mut String, module: &ModuleReport) -> fmt::Result {
    if module.kind != module.name {
        line(out, "type", &module.kind)?;
    }
    line(out, "failures", counts(&module.failures))?;
    if !module.would_have.is_empty() {
        line(out, "would have answered", counts(&module.would_have))?;
    }
    let (held, most, peak) = (module.in_flight, module.max_in_flight, module.in_flight_peak);
    line(out, "in flight", format_args!("{held}, at most {most} on a worker, peak {peak}"))?;
    line(out, "restarts", module.restarts)?;
    line(out, "workers", module.states.join(" "))?;
    for (name, value) in &module.facts {
        line(out, name, shown(value))?;
    }
    Ok(())
}

/// `DUNNO 12, REJECT 3`; `none` when there are none.
pub fn counts(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> =
        counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// A fact of a module may hold what came from the network: on a terminal it is one line of plain characters.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if !text.chars().any(char::is_control) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Report {
        let requests = Processing {
            count: 3,
            avg_ms: 0.123_46,
            min_ms: 0.1,
            max_ms: 1234.5,
            actions: [("DUNNO".to_owned(), 2), ("REJECT".to_owned(), 1), ("OK".to_owned(), 0)].into(),
            ..Processing::default()
        };
        Report {
            pid: 42,
            stamp: 1_700_000_000,
            version: "0.1.0".to_owned(),
            seconds_running: 7,
            handlers: 1,
            requests: requests.clone(),
            connections: 5,
            pending: 2,
            workers: 2,
            listeners: vec![ListenerReport { name: "submission".to_owned(), ..ListenerReport::default() }],
            modules: vec![ModuleReport {
                name: "bwl".to_owned(),
                kind: "bwl".to_owned(),
                requests,
                facts: vec![("rules".to_owned(), 10.into()), ("odd".to_owned(), "a\n--== x".into())],
                ..ModuleReport::default()
            }],
            parts: BTreeMap::new(),
        }
    }

    #[test]
    fn the_lines_that_scripts_read_stand_first_in_their_sections_and_in_order() {
        let text = text(&example());
        let lines: Vec<_> = text.lines().collect();
        let at = |line: &str| {
            lines.iter().position(|found| *found == line).unwrap_or_else(|| panic!("no {line:?} in\n{text}"))
        };
        let processing = |start: usize| {
            assert_eq!(
                &lines[start + 1..start + 4],
                [
                    "avg request processing time: 0.123",
                    "min request processing time: 0.100",
                    "max request processing time: 1234.500"
                ]
            );
        };
        assert_eq!(
            &lines[..6],
            [
                "--== General stats ==--",
                "valvula pid: 42",
                "operation stamp: 1700000000",
                "handlers registered: 1",
                "requests handled: 3",
                "seconds_running: 7"
            ]
        );
        let tcp = at("--== TCP stats ==--");
        assert_eq!(&lines[tcp + 1..tcp + 3], ["current listeners: 1", "current connections: 5"]);
        let load = at("--== Work load ==--");
        assert_eq!(lines[load + 1], "pending tasks: 2");
        let all = at("--== Processing stats (in ms) ==--");
        processing(all);
        let module = at("--== Processing stats for mod-bwl (in ms) ==--");
        processing(module);
        assert!(tcp < load && load < all && all < module);
        assert!(text.contains("\nanswers: DUNNO 2, REJECT 1\n"));
    }

    #[test]
    fn a_fact_can_not_begin_a_section() {
        let text = text(&example());
        assert!(text.contains("odd: \"a\\n--== x\""), "{text}");
        assert!(!text.contains("\n--== x"));
    }
}
