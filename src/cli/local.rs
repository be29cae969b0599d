//! Is this address or domain local, and what decided? Behind `valvulad -l` and `valvulactl lookup`; and what
//! the tools that read Postfix's configuration by themselves have in common.

use std::path::Path;

use libvalvula::AddressKey;
use postfix::{Answer, Fault, Resolver, State, Verdict};
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use crate::config::{self, Identity, PostfixSide};
use crate::privileges;

/// An answer, and what is wrong with the configuration that it comes from.
pub struct Found {
    name: String,
    answer: Answer,
    warnings: Vec<Fault>,
    faults: Vec<Fault>,
}

/// Asks Postfix's configuration, as `service` of master.cf sees it if one is named.
pub async fn look_up(name: &str, settings: postfix::Settings, service: Option<&str>) -> Found {
    let resolver = Resolver::load_service(settings, service).await;
    let answer = if name.contains('@') {
        resolver.is_local_address(&AddressKey::new(name.as_bytes())).await
    } else {
        resolver.is_local_domain(name.as_bytes()).await
    };
    let faults = match resolver.state() {
        State::Faulty(faults) => faults.clone(),
        _ => Vec::new(),
    };
    Found { name: name.to_owned(), answer, warnings: resolver.warnings().to_vec(), faults }
}

impl Found {
    /// 0 yes, 1 no, 75 could not ask.
    pub fn exit(&self) -> Exit {
        match self.answer.verdict {
            Verdict::Yes => Exit::Good,
            Verdict::No => Exit::No,
            Verdict::CouldNotAsk => Exit::CouldNotAsk,
        }
    }

    /// The answer and what decided; each source that was asked follows, a line each.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.answer);
        for step in &self.answer.evidence.steps {
            text += &format!("  {step}\n");
        }
        for warning in &self.warnings {
            text += &format!("warning: {warning}\n");
        }
        for fault in &self.faults {
            text += &format!("fault: {fault}\n");
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "verdict": self.answer.verdict,
            "decided_by": self.answer.decided_by(),
            "evidence": self.answer.evidence,
            "warnings": self.warnings,
            "faults": self.faults,
        })
    }
}

/// What the configuration at `path` says about Postfix.
pub fn side(path: Option<&Path>) -> Result<PostfixSide, Failure> {
    let path = path.unwrap_or(Path::new(config::DEFAULT_PATH));
    config::postfix_side(path, std::env::vars_os()).map_err(|faults| Failure::config(&faults))
}

/// What is checked is checked with the daemon's own rights.
pub fn become_user(user: Option<&Identity>) -> Result<(), Failure> {
    match user {
        Some(user) if nix::unistd::geteuid().is_root() => {
            privileges::drop_to(user).map_err(|error| Failure::new(Exit::Software, format!("server.user: {error}")))
        }
        _ => Ok(()),
    }
}

/// Waits for `work` on a runtime of its own.
pub fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map(|runtime| runtime.block_on(work))
        .map_err(|error| Failure::new(Exit::Software, format!("can't wait for answers: {error}")))
}
