//! The report as metrics: everything `-s` shows that is a number, in Prometheus's text format.
//!
//! Labels are the names of the configuration (listener, module, table) and words from fixed sets (action,
//! reason, state, the name of a fact): as many series as the configuration has parts, whoever sends mail.

use std::collections::BTreeMap;

use actors::stats::report::{ListenerReport, ModuleReport, Processing, Report};
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary};
use serde_json::Value;

/// The page `/metrics`.
pub fn text(report: &Report) -> String {
    let mut page = Page::default();
    whole(&mut page, report);
    for listener in &report.listeners {
        of_listener(&mut page, listener);
    }
    for module in &report.modules {
        of_module(&mut page, module);
    }
    for (part, facts) in &report.parts {
        for (name, value) in facts {
            of_part(&mut page, part, name, value);
        }
    }
    let families: Vec<_> = page.0.into_values().collect();
    // It refuses a family without a name or without a metric; there is none.
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

fn whole(page: &mut Page, report: &Report) {
    page.gauge("valvula_info", "The daemon: its version.", &[("version", &report.version)], 1.0);
    page.gauge("valvula_pid", "Process id.", &[], f64::from(report.pid));
    page.gauge("valvula_uptime_seconds", "How long the daemon has been running.", &[], report.seconds_running as f64);
    page.gauge("valvula_workers", "Worker threads.", &[], report.workers as f64);
    page.gauge("valvula_modules", "Modules that are loaded.", &[], report.handlers as f64);
    page.counter("valvula_handled_total", "Requests handled, all listeners together.", &[], report.requests.count);
}

fn of_listener(page: &mut Page, listener: &ListenerReport) {
    let labels = [("listener", listener.name.as_str())];
    let up = if listener.state == "listening" { 1.0 } else { 0.0 };
    page.gauge("valvula_listener_up", "Whether the listener accepts connections.", &labels, up);
    let state = [labels[0], ("state", listener.state.as_str())];
    page.gauge("valvula_listener_state", "The listener's state.", &state, 1.0);
    page.gauge("valvula_connections", "Connections open.", &labels, listener.connections as f64);
    page.gauge("valvula_connections_max", "Limit of open connections.", &labels, listener.max_connections as f64);
    page.counter("valvula_connections_accepted_total", "Connections accepted.", &labels, listener.accepted);
    page.gauge("valvula_requests_pending", "Requests read and not yet answered.", &labels, listener.pending as f64);
    page.counter("valvula_listener_restarts_total", "Restarts of the listener.", &labels, listener.restarts);
    page.counter(
        "valvula_unanswered_total",
        "Requests left without an answer by on_failure.",
        &labels,
        listener.disconnects,
    );
    let ended = ("valvula_connections_ended_total", "Connections ended for a fault of the client.", "reason");
    page.counters(ended, &labels, &listener.ended);
    page.times("valvula_request", "a request took", &labels, &listener.requests);
    page.counters(("valvula_answers_total", "Answers.", "action"), &labels, &listener.requests.actions);
}

fn of_module(page: &mut Page, module: &ModuleReport) {
    let labels = [("module", module.name.as_str())];
    page.times("valvula_module", "a module took for a request", &labels, &module.requests);
    page.counters(
        ("valvula_module_answers_total", "Opinions, and DUNNO.", "action"),
        &labels,
        &module.requests.actions,
    );
    let failures = ("valvula_module_failures_total", "Requests it did not answer.", "kind");
    page.counters(failures, &labels, &module.failures);
    let would_have = ("valvula_module_would_have_total", "What it would have answered (observe).", "action");
    page.counters(would_have, &labels, &module.would_have);
    page.gauge("valvula_module_in_flight", "Requests it holds.", &labels, module.in_flight as f64);
    let most = module.max_in_flight as f64;
    page.gauge("valvula_module_in_flight_max", "The most it may hold on a worker.", &labels, most);
    let peak = module.in_flight_peak as f64;
    page.gauge("valvula_module_in_flight_peak", "The most it held on a worker.", &labels, peak);
    page.counter("valvula_module_restarts_total", "Restarts of its actors.", &labels, module.restarts);
    for state in ["up", "restarting", "down"] {
        let count = module.states.iter().filter(|found| *found == state).count();
        let labels = [labels[0], ("state", state)];
        page.gauge("valvula_module_actors", "Its actors, one a worker, by state.", &labels, count as f64);
    }
    for (name, value) in &module.facts {
        if let Some(value) = number(value) {
            let labels = [labels[0], ("fact", name.as_str())];
            page.gauge("valvula_module_fact", "The module's own figures, as -s names them.", &labels, value);
        }
    }
}

/// What a table of Postfix's configuration counts: its name, then one of these.
const OF_TABLES: [&str; 4] = [" not found", " found", " failed", " postmap processes"];

fn of_part(page: &mut Page, part: &str, name: &str, value: &Value) {
    let Some(value) = number(value) else { return };
    // A table has a name with its type in it; a fact of the cache has none.
    let table = OF_TABLES.iter().find_map(|what| Some((name.strip_suffix(what)?, what.trim_start())));
    match table.filter(|(table, _)| part == "postfix" && table.contains(':')) {
        Some((table, what)) => {
            let labels = [("table", table), ("result", what)];
            page.counter("valvula_table_lookups_total", "Look-ups in Postfix's tables.", &labels, value as u64);
        }
        None => {
            let labels = [("part", part), ("fact", name)];
            page.gauge("valvula_part_fact", "Figures of the daemon's parts, as -s names them.", &labels, value);
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(if *value { 1.0 } else { 0.0 }),
        other => other.as_f64(),
    }
}

/// The families by name: a family stands together, whoever adds to it.
#[derive(Default)]
struct Page(BTreeMap<String, MetricFamily>);

type Labels<'a> = [(&'a str, &'a str)];

impl Page {
    fn add(&mut self, name: &str, help: &str, kind: MetricType, labels: &Labels<'_>, fill: impl FnOnce(&mut Metric)) {
        let family = self.0.entry(name.to_owned()).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        fill(&mut metric);
        family.mut_metric().push(metric);
    }

    fn gauge(&mut self, name: &str, help: &str, labels: &Labels<'_>, value: f64) {
        self.add(name, help, MetricType::GAUGE, labels, |metric| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    fn counter(&mut self, name: &str, help: &str, labels: &Labels<'_>, value: u64) {
        self.add(name, help, MetricType::COUNTER, labels, |metric| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        });
    }

    /// One counter for each word of `counts`, under the label that is named last.
    fn counters(
        &mut self,
        (name, help, label): (&str, &str, &str),
        labels: &Labels<'_>,
        counts: &BTreeMap<String, u64>,
    ) {
        for (word, count) in counts {
            let labels = [labels, &[(label, word)]].concat();
            self.counter(name, help, &labels, *count);
        }
    }

    /// A summary in seconds, and the shortest and longest.
    fn times(&mut self, name: &str, what: &str, labels: &Labels<'_>, times: &Processing) {
        let seconds = |milliseconds: f64| milliseconds / 1000.0;
        let help = format!("How long {what}.");
        self.add(&format!("{name}_duration_seconds"), &help, MetricType::SUMMARY, labels, |metric| {
            let quantiles = [(0.5, times.p50_ms), (0.9, times.p90_ms), (0.99, times.p99_ms)];
            let quantiles = quantiles.map(|(rank, milliseconds)| {
                let mut quantile = Quantile::default();
                quantile.set_quantile(rank);
                quantile.set_value(seconds(milliseconds));
                quantile
            });
            let mut summary = Summary::default();
            summary.set_sample_count(times.count);
            summary.set_sample_sum(seconds(times.avg_ms) * times.count as f64);
            summary.set_quantile(quantiles.into());
            metric.set_summary(summary);
        });
        for (which, word, milliseconds) in [("min", "shortest", times.min_ms), ("max", "longest", times.max_ms)] {
            let help = format!("The {word} time {what}.");
            self.gauge(&format!("{name}_duration_{which}_seconds"), &help, labels, seconds(milliseconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let requests = Processing {
            count: 4,
            avg_ms: 0.5,
            p99_ms: 2.0,
            actions: counts(&[("DUNNO", 3), ("REJECT", 1)]),
            ..Processing::default()
        };
        let listener = ListenerReport {
            name: "in".to_owned(),
            state: "suspended".to_owned(),
            ended: counts(&[("malformed", 2)]),
            requests: requests.clone(),
            ..ListenerReport::default()
        };
        let module = ModuleReport {
            name: "odd\"name\n".to_owned(),
            requests: requests.clone(),
            states: vec!["up".to_owned(), "down".to_owned()],
            facts: vec![("rules".to_owned(), 7.into()), ("last error".to_owned(), "a@b.example".into())],
            ..ModuleReport::default()
        };
        let tables = vec![
            ("hash:/etc/aliases not found".to_owned(), 5.into()),
            ("hash:/etc/aliases found".to_owned(), 6.into()),
            ("entries".to_owned(), 8.into()),
        ];
        Report {
            version: "1.2.3".to_owned(),
            requests,
            listeners: vec![listener],
            modules: vec![module],
            parts: [("postfix".to_owned(), tables)].into(),
            ..Report::default()
        }
    }

    #[test]
    fn each_figure_of_the_statistics_is_a_series() {
        let text = text(&report());
        for line in [
            "valvula_info{version=\"1.2.3\"} 1",
            "valvula_handled_total 4",
            "valvula_listener_up{listener=\"in\"} 0",
            "valvula_connections_ended_total{listener=\"in\",reason=\"malformed\"} 2",
            "valvula_request_duration_seconds{listener=\"in\",quantile=\"0.99\"} 0.002",
            "valvula_request_duration_seconds_sum{listener=\"in\"} 0.002",
            "valvula_request_duration_seconds_count{listener=\"in\"} 4",
            "valvula_answers_total{listener=\"in\",action=\"REJECT\"} 1",
            "valvula_module_actors{module=\"odd\\\"name\\n\",state=\"down\"} 1",
            "valvula_module_fact{module=\"odd\\\"name\\n\",fact=\"rules\"} 7",
            "valvula_table_lookups_total{table=\"hash:/etc/aliases\",result=\"not found\"} 5",
            "valvula_table_lookups_total{table=\"hash:/etc/aliases\",result=\"found\"} 6",
            "valvula_part_fact{part=\"postfix\",fact=\"entries\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("a@b.example"), "a text may hold what came from the network");
    }

    #[test]
    fn a_family_is_described_once_and_stands_together() {
        let mut report = report();
        report.listeners.push(ListenerReport { name: "more".to_owned(), ..ListenerReport::default() });
        let text = text(&report);
        assert_eq!(text.matches("# TYPE valvula_connections gauge").count(), 1, "{text}");
        let at = |line: &str| text.lines().position(|found| found.starts_with(line)).expect(line);
        let first = at("valvula_connections{listener=\"in\"}");
        assert_eq!(at("valvula_connections{listener=\"more\"}"), first + 1, "{text}");
    }
}
