//! The report: what the Stats actor added up, together with what is so at this moment.

use super::{PortEntry, Runtime, now};
use crate::stats::report::{ListenerReport, ModuleReport, Processing, Report};
use crate::stats::{Owner, failures, named};
use crate::worker::{Loaded, Replica};

impl Runtime {
    /// Everything, exact at this moment: the workers hand in what they have not yet sent.
    pub async fn report(&self) -> Report {
        let totals = self.totals().await;
        let inside = self.0.inside.lock();
        let listeners: Vec<ListenerReport> = inside
            .ports
            .iter()
            .map(|port| {
                let mut report = listener(port);
                if let Some(tally) = totals.of(&Owner::Listener(port.settings.name.clone())) {
                    report.requests = Processing::from(tally);
                    report.ended = named(tally.ended.iter());
                    report.disconnects = tally.disconnects;
                }
                if port.seats.turned_away() > 0 {
                    report.ended.insert("not_allowed".to_owned(), port.seats.turned_away());
                }
                report
            })
            .collect();
        let modules = inside
            .modules
            .iter()
            .map(|loaded| {
                let name = &loaded.settings.name;
                let replicas = inside.replicas.iter().filter(|replica| replica.module == *name);
                let mut report = module(loaded, replicas);
                report.restarts += inside.old_restarts.get(name).copied().unwrap_or_default();
                if let Some(tally) = totals.of(&Owner::Module(name.clone())) {
                    report.requests = Processing::from(tally);
                    report.failures = failures(tally);
                    report.would_have = named(tally.would_have.iter());
                }
                report
            })
            .collect();
        Report {
            pid: std::process::id(),
            stamp: now(),
            version: self.0.version.clone(),
            seconds_running: self.0.started.elapsed().as_secs(),
            handlers: inside.modules.len(),
            requests: Processing::from(&totals.all_listeners()),
            connections: listeners.iter().map(|listener| listener.connections).sum(),
            pending: listeners.iter().map(|listener| listener.pending).sum(),
            workers: self.0.workers.len(),
            listeners,
            modules,
            parts: [
                ("stats".to_owned(), vec![("restarts".to_owned(), self.0.stats_health.restarts().into())]),
                ("requests".to_owned(), vec![("bytes held by large requests".to_owned(), self.0.budget.held().into())]),
            ]
            .into(),
        }
    }
}

fn listener(port: &PortEntry) -> ListenerReport {
    ListenerReport {
        name: port.settings.name.to_string(),
        address: port.bound.to_string(),
        state: if port.health.is_down() { "down" } else { port.state.get().name() }.to_owned(),
        modules: port.settings.modules.iter().map(ToString::to_string).collect(),
        connections: port.seats.open(),
        max_connections: port.settings.max_connections,
        accepted: port.seats.accepted(),
        pending: port.seats.pending(),
        restarts: port.health.restarts(),
        ..ListenerReport::default()
    }
}

fn module<'a>(loaded: &Loaded, replicas: impl Iterator<Item = &'a Replica>) -> ModuleReport {
    let mut report = ModuleReport {
        name: loaded.settings.name.to_string(),
        kind: loaded.settings.kind.to_string(),
        max_in_flight: loaded.settings.max_in_flight,
        facts: loaded.module.status().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..ModuleReport::default()
    };
    for replica in replicas {
        report.in_flight += replica.gate.held();
        report.in_flight_peak = report.in_flight_peak.max(replica.gate.peak());
        report.restarts += replica.health.restarts();
        report.states.push(replica.health.state().name().to_owned());
    }
    report
}
