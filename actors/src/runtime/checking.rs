//! Whether the listeners answer, as health checks ask.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::Runtime;
use crate::mail::ask;
use crate::port::{Port, PortState, Respond};
use crate::probe::Answer;

impl Runtime {
    /// Asks each listener through its own socket, all at once, and whether every worker hands in its
    /// figures; each within `limit`. By name, `workers` for those.
    pub async fn check(&self, limit: Duration) -> Vec<(Arc<str>, Answer)> {
        struct Asked {
            name: Arc<str>,
            address: actix::Addr<Port>,
            bound: libvalvula::Endpoint,
            quiet: Option<Answer>,
        }
        let asked: Vec<Asked> = {
            let inside = self.0.inside.lock();
            let ports = inside.ports.iter().map(|port| Asked {
                name: port.settings.name.clone(),
                address: port.address.clone(),
                bound: port.bound.clone(),
                quiet: match () {
                    () if port.health.is_down() => Some(Answer::No("down".to_owned())),
                    () if port.state.get() == PortState::Suspended => Some(Answer::Suspended),
                    () if port.seats.is_full() => Some(Answer::Full),
                    () => None,
                },
            });
            ports.collect()
        };
        let answers = asked.into_iter().map(|Asked { name, address, bound, quiet }| async move {
            let answer = match quiet {
                None => match self.0.probes.ask(&bound, limit).await {
                    Ok(()) => Answer::Yes,
                    // It may have become full, or been suspended, while it was asked.
                    Err(why) => self.quiet_now(&name).unwrap_or(Answer::No(why)),
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
            let answer = match timeout(limit, self.totals()).await {
                Ok(_) => Answer::Yes,
                Err(_) => Answer::No("a worker does not answer".to_owned()),
            };
            (Arc::from("workers"), answer)
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
        match port.state.get() {
            PortState::Suspended => Some(Answer::Suspended),
            PortState::Listening => port.seats.is_full().then_some(Answer::Full),
        }
    }
}
