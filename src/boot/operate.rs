//! Orders about a module's own tables and counters, on their way to the modules in service.

use std::sync::Arc;
use std::time::Duration;

use actors::Runtime;
use actors::module::Module;
use actors::operate::{Order, Refused};
use serde_json::Value;
use tokio::time::timeout;

use crate::control::protocol::{Code, Refusal, Reply};

/// A database that hangs must not keep an operator waiting for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has `order` carried out by the module called `name`, or by the first of that kind; when it changed
/// something, returns after every module of the kind obeys it.
pub(super) async fn carry_out(runtime: &Runtime, name: &str, order: Order) -> Reply {
    let (first, all) = in_service(runtime, name)?;
    let work = async {
        let done = first.operate(order).await.map_err(refusal)?;
        if done.changed {
            for module in all {
                module.refresh().await.map_err(|error| not_obeyed_yet(&error.to_string()))?;
            }
        }
        Ok::<Value, Refusal>(done.value)
    };
    timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let waited = format!("no answer from the database within {} s", PATIENCE.as_secs());
        Err(Refusal::new(Code::CouldNotAsk, format!("{waited}; what was asked for may still be carried out")))
    })
}

type Instance = Arc<dyn Module>;

fn in_service(runtime: &Runtime, name: &str) -> Result<(Instance, Vec<Instance>), Refusal> {
    let modules = runtime.modules();
    let name = name.strip_prefix("mod-").unwrap_or(name);
    let chosen = modules
        .iter()
        .find(|(settings, _)| *settings.name == *name)
        .or_else(|| modules.iter().find(|(settings, _)| *settings.kind == *name));
    let Some((settings, first)) = chosen else {
        let mut known: Vec<_> = modules.iter().map(|(settings, _)| &*settings.name).collect();
        known.sort_unstable();
        let message = format!("no listener runs a module {name}; modules in service: {}", known.join(", "));
        return Err(Refusal::new(Code::NotFound, message));
    };
    let same_kind = modules.iter().filter(|(other, _)| other.kind == settings.kind);
    Ok((first.clone(), same_kind.map(|(_, module)| module.clone()).collect()))
}

fn refusal(refused: Refused) -> Refusal {
    let code = match &refused {
        Refused::Invalid(_) => Code::Invalid,
        Refused::NotFound(_) => Code::NotFound,
        Refused::Exists(_) => Code::Exists,
        Refused::CouldNotAsk(_) => Code::CouldNotAsk,
    };
    Refusal::new(code, refused.to_string())
}

fn not_obeyed_yet(error: &str) -> Refusal {
    Refusal::new(Code::CouldNotAsk, format!("it is written, but could not be read back yet: {error}"))
}
