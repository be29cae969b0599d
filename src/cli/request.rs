//! `valvulactl request`: asks a listener as Postfix would. The answer is the real one, and what it costs
//! is charged.

use std::path::Path;
use std::time::{Duration, Instant};

use actors::stats::report::ListenerReport;
use libvalvula::{Client, Endpoint};
use serde_json::{Value, json};

use super::asked::Asked;
use super::control::{SOON, ask, understood};
use super::exit::{Exit, Failure};
use super::ping::reachable;
use crate::control::protocol::Command;

/// Longer than any chain may take.
const PATIENCE: Duration = Duration::from_secs(100);

/// Sends the request: what was answered, or how it fails. `socket` is the daemon's control socket, asked
/// where its listener is, unless an address is given.
pub fn run(asked: &Asked, socket: impl FnOnce() -> Result<std::path::PathBuf, Failure>) -> Result<Value, Failure> {
    let request = asked.request().map_err(|error| Failure::new(Exit::Usage, error))?;
    let address = match asked.listener.as_deref().map(str::parse::<Endpoint>) {
        Some(Ok(address)) => address,
        _ => address_of(&socket()?, asked.listener.as_deref())?,
    };
    let address = reachable(&address);
    let wait = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let wait = wait.map_err(|error| Failure::new(Exit::Software, error))?;
    wait.block_on(async {
        let mut client =
            Client::connect(&address, PATIENCE).await.map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let sent = Instant::now();
        // Closed without an answer is what `on_failure = "disconnect"` does.
        let answer = client.ask(&request).await.map_err(|error| Failure::new(Exit::CouldNotAsk, error))?;
        let milliseconds = sent.elapsed().as_secs_f64() * 1000.0;
        let text = String::from_utf8_lossy(answer.as_bytes()).into_owned();
        Ok(json!({ "address": address.to_string(), "answer": text, "milliseconds": milliseconds }))
    })
}

/// The answer, for people.
pub fn text(answer: &Value) -> String {
    let shown = answer["answer"].as_str().unwrap_or_default();
    libvalvula::Printable::new(shown.as_bytes()).to_string()
}

fn address_of(socket: &Path, name: Option<&str>) -> Result<Endpoint, Failure> {
    let listeners: Vec<ListenerReport> = understood(ask(socket, &Command::Listeners, SOON)?)?;
    let known = || listeners.iter().map(|listener| &*listener.name).collect::<Vec<_>>().join(", ");
    let listener = match (name, &*listeners) {
        (Some(name), all) => all
            .iter()
            .find(|listener| listener.name == name)
            .ok_or_else(|| Failure::new(Exit::No, format!("no listener is called {name:?}; there are: {}", known())))?,
        (None, [only]) => only,
        (None, _) => {
            return Err(Failure::new(Exit::No, format!("name a listener (--listener); there are: {}", known())));
        }
    };
    listener.address.parse().map_err(|error| Failure::new(Exit::Unavailable, error))
}
