//! Is this address or domain local, and what decided? Behind `valvulad -l` and `valvulactl lookup`; and what
//! the tools that read Postfix's configuration by themselves have in common.

use std::path::Path;
use std::sync::Arc;

use actors::local::Truth;
use actors::postfix_config::{Queries, Source};
use libvalvula::{AddressKey, domain_key};
use postfix::{Answer, Fault, Outcome, Resolver, State, Verdict};
use serde_json::{Value, json};
use slog::Logger;

use super::exit::{Exit, Failure};
use crate::config::{self, Identity, Local, ModulePlan, PostfixSide};
use crate::privileges;
use crate::registry::Registry;

/// An answer, and what is wrong with the configuration that it comes from.
pub struct Found {
    name: String,
    answer: Answer,
    warnings: Vec<Fault>,
    faults: Vec<Fault>,
}

/// Asks Postfix's configuration, as `service` of master.cf sees it if one is named; then, as the daemon does, the
/// database of `[postfix]` and the `modules` that answer too, until one says yes.
pub async fn look_up(name: &str, local: &Local, service: Option<&str>, modules: &[ModulePlan]) -> Found {
    let resolver = Arc::new(Resolver::load_service(local.postfix.clone(), service).await);
    let asked = match name.contains('@') {
        true => Asked::Address(AddressKey::new(name.as_bytes())),
        false => Asked::Domain(domain_key(name.as_bytes()).into_owned().into()),
    };
    let mut answer = match &asked {
        Asked::Address(address) => resolver.is_local_address(address).await,
        Asked::Domain(_) => resolver.is_local_domain(name.as_bytes()).await,
    };
    for source in sources(local, &resolver, modules) {
        if answer.verdict == Verdict::Yes || name.is_empty() {
            break;
        }
        asked.of(source, &mut answer).await;
    }
    let faults = match resolver.state() {
        State::Faulty(faults) => faults.clone(),
        _ => Vec::new(),
    };
    Found { name: name.to_owned(), answer, warnings: resolver.warnings().to_vec(), faults }
}

/// Who else answers, in the order in which the daemon asks them.
fn sources(local: &Local, resolver: &Arc<Resolver>, modules: &[ModulePlan]) -> Vec<Arc<dyn Source>> {
    // What they would log stands in the answer.
    let log = Logger::root(slog::Discard, slog::o!());
    let queries = local.queries.clone().map(|settings| {
        let resolver = resolver.clone();
        Arc::new(Queries::new(settings, move || resolver.clone(), &log)) as Arc<dyn Source>
    });
    queries.into_iter().chain(modules.iter().filter_map(|module| module.configured.source(&log))).collect()
}

enum Asked {
    Domain(Arc<[u8]>),
    Address(AddressKey),
}

impl Asked {
    /// Asks `source`, and adds what it says.
    async fn of(&self, source: Arc<dyn Source>, answer: &mut Answer) {
        let (name, place) = (source.name().to_owned(), source.place());
        let (key, truth) = match self {
            Self::Domain(domain) => (&**domain, source.domain(domain.clone()).await),
            Self::Address(address) => (address.as_bytes(), source.address(address.clone()).await),
        };
        let outcome = match truth {
            Truth::Yes => Outcome::Has,
            Truth::No => Outcome::HasNot,
            Truth::CouldNotAsk(why) => Outcome::Failed(why.to_string()),
        };
        answer.verdict = match (&outcome, answer.verdict) {
            (Outcome::Has, _) => Verdict::Yes,
            (Outcome::Failed(_), _) => Verdict::CouldNotAsk,
            (_, verdict) => verdict,
        };
        answer.evidence.push(name, place, key, outcome);
    }
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
    config::postfix_side(path, std::env::vars_os(), &Registry::of_this_project())
        .map_err(|faults| Failure::config(&faults))
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
