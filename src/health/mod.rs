//! Health: whether the daemon does its work, for service managers, load balancers and metrics.
//!
//! `GET /healthz` is 200 only while every listener answers itself; `GET /metrics` says what `-s` says, in
//! Prometheus's text format. Nothing here is asked by Postfix: what fails here fails alone.

mod metrics;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::Runtime;
use actors::probe::Answer;

pub use metrics::text as metrics_text;
pub use server::{MetricsSocket, Shown};

/// How long a listener may take to answer itself.
const LIMIT: Duration = Duration::from_millis(2500);
/// Whoever asks more often gets the last answer again.
const FRESH: Duration = Duration::from_millis(250);

/// What a look at every listener found.
#[derive(Debug, Clone)]
pub struct Checked(Vec<(Arc<str>, Answer)>);

impl Checked {
    /// Every listener answers.
    pub fn is_healthy(&self) -> bool {
        self.0.iter().all(|(_, answer)| *answer == Answer::Yes)
    }

    /// Every listener answers, or has a reason not to: nothing a restart would mend.
    pub fn is_alive(&self) -> bool {
        !self.0.iter().any(|(_, answer)| matches!(answer, Answer::No(_)))
    }

    /// What is not as it should be, one line each.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.0.iter().filter(|(_, answer)| *answer != Answer::Yes);
        faults.map(|(name, answer)| format!("{name}: {}", answer.text())).collect()
    }
}

/// Looks at every listener of a running daemon; one look at a time.
pub struct Health {
    runtime: Runtime,
    last: tokio::sync::Mutex<Option<(Instant, Checked)>>,
}

impl Health {
    /// Of the listeners of `runtime`.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, last: tokio::sync::Mutex::default() }
    }

    /// Asks every listener, or gives what was found a moment ago.
    pub async fn check(&self) -> Checked {
        let mut last = self.last.lock().await;
        if let Some((at, checked)) = &*last
            && at.elapsed() < FRESH
        {
            return checked.clone();
        }
        let checked = Checked(self.runtime.check(LIMIT).await);
        *last = Some((Instant::now(), checked.clone()));
        checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(answers: &[(&str, Answer)]) -> Checked {
        Checked(answers.iter().map(|(name, answer)| (Arc::from(*name), answer.clone())).collect())
    }

    #[test]
    fn what_has_a_reason_not_to_answer_is_unhealthy_and_alive() {
        let good = checked(&[("in", Answer::Yes), ("workers", Answer::Yes)]);
        assert!(good.is_healthy() && good.is_alive() && good.faults().is_empty());
        for quiet in [Answer::Suspended, Answer::Full, Answer::Paused, Answer::Busy, Answer::Elsewhere] {
            let checked = checked(&[("in", quiet.clone()), ("workers", Answer::Yes)]);
            assert!(!checked.is_healthy() && checked.is_alive());
            assert_eq!(checked.faults(), [format!("in: {}", quiet.text())]);
        }
        let silent = checked(&[("in", Answer::No("no answer within 2s".to_owned()))]);
        assert!(!silent.is_healthy() && !silent.is_alive());
    }
}
