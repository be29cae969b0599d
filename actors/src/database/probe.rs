//! A look whether an absent database is back, which keeps nobody waiting: a server that hangs takes every question
//! and answers none, so that whoever tries with what he has to write would be held up by each attempt.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Database;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// At most one look at a time.
#[derive(Default)]
pub struct Probe(Option<JoinHandle<bool>>);

impl Probe {
    /// Starts a look, unless one is on its way.
    pub fn start(&mut self, database: &Database) {
        if self.0.is_none() {
            let database = database.clone();
            let look = async move { matches!(timeout(PATIENCE, database.ping()).await, Ok(Ok(()))) };
            self.0 = Some(tokio::spawn(look));
        }
    }

    /// Whether the database answered, as soon as that is known; never when no look is on its way. Nothing is lost
    /// when it is not waited for to the end.
    pub async fn answered(&mut self) -> bool {
        let Some(look) = &mut self.0 else { return std::future::pending().await };
        let answered = look.await.unwrap_or(false);
        self.0 = None;
        answered
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(look) = &self.0 {
            look.abort();
        }
    }
}
