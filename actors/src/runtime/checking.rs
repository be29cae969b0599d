//! Whether the listeners answer, as health checks ask.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{PortEntry, Runtime};
use crate::mail::ask;
use crate::port::{Port, PortState, Respond};
use crate::probe::Answer;
use crate::seat::Seats;

impl Runtime {
    /// Asks each listener through its own socket, all at once, and each worker; each within `limit`. By name,
    /// `workers` for those.
    pub async fn check(&self, limit: Duration) -> Vec<(Arc<str>, Answer)> {
        struct Asked {
            name: Arc<str>,
            address: actix::Addr<Port>,
            bound: libvalvula::Endpoint,
            seats: Arc<Seats>,
            quiet: Option<Answer>,
        }
        let asked: Vec<Asked> = {
            let inside = self.0.inside.lock();
            let ports = inside.ports.iter().map(|port| Asked {
                name: port.settings.name.clone(),
                address: port.address.clone(),
                bound: port.bound.clone(),
                seats: port.seats.clone(),
                quiet: if port.health.is_down() { Some(Answer::No("down".to_owned())) } else { quiet(port) },
            });
            ports.collect()
        };
        let answers = asked.into_iter().map(|Asked { name, address, bound, seats, quiet }| async move {
            let progress = seats.progress();
            let answer = match quiet {
                None => match self.0.probes.ask(&bound, limit).await {
                    // It may have become full, or been suspended, while it was asked. One that hangs accepts nobody.
                    Answer::No(_) if seats.progress() != progress => self.quiet_now(&name).unwrap_or(Answer::Busy),
                    Answer::No(why) => self.quiet_now(&name).unwrap_or(Answer::No(why)),
                    answer => answer,
                },
                Some(Answer::No(why)) => Answer::No(why),
                Some(quiet) => match timeout(limit, ask(&address, Respond)).await {
                    Ok(Ok(())) => quiet,
                    _ => Answer::No(format!("{}, and its actor does not answer", quiet.text())),
                },
            };
            (name, answer)
        });
        let workers = async {
            let asked = self.0.workers.iter().map(|worker| timeout(limit, ask(&worker.address, Respond)));
            let answers = join_all(asked).await.into_iter().enumerate();
            let hang: Vec<_> =
                answers.filter(|(_, answer)| answer.is_err()).map(|(number, _)| number.to_string()).collect();
            let why = || format!("number {} of {} does not answer", hang.join(", "), self.0.workers.len());
            (Arc::from("workers"), if hang.is_empty() { Answer::Yes } else { Answer::No(why()) })
        };
        let (mut checked, workers) = tokio::join!(join_all(answers), workers);
        checked.push(workers);
        checked
    }

    /// Whether some port is down: it cannot accept, and its restarts are used up.
    pub fn a_port_is_down(&self) -> Option<Arc<str>> {
        let inside = self.0.inside.lock();
        inside.ports.iter().find(|port| port.health.is_down()).map(|port| port.settings.name.clone())
    }

    fn quiet_now(&self, name: &str) -> Option<Answer> {
        let inside = self.0.inside.lock();
        let port = inside.ports.iter().find(|port| *port.settings.name == *name)?;
        quiet(port)
    }
}

/// Why a port does not answer that is as it should be.
fn quiet(port: &PortEntry) -> Option<Answer> {
    match port.state.get() {
        PortState::Suspended => Some(Answer::Suspended),
        PortState::Listening if port.state.is_paused() => Some(Answer::Paused),
        PortState::Listening => port.seats.is_full().then_some(Answer::Full),
    }
}
