//! mod-mw: SQL for each request.
//!
//! An answer never waits for it: statements are queued, within bounds, and run behind by one task for
//! each connection (`runner`). A statement that fails, hangs or does not fit is counted and logged.

mod runner;
mod settings;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::database::Database;
use actors::module::{
    BoxFuture, Configured, Decide, Explanation, Module, ModuleContext, ModuleType, Query, StartError,
};
use actors::settings::Section;
use serde_json::{Value, json};

use self::runner::Runner;
use self::settings::Settings;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `mw`, SQL for each request.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "mw"
    }

    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings::read(section))
    }
}

impl Configured for Settings {
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async move {
            let runners = self.connections.into_iter().map(|connection| start(connection, &context));
            let runners = runners.collect::<Result<_, _>>()?;
            Ok(Arc::new(Mw { runners, context }) as Arc<dyn Module>)
        })
    }
}

/// Opens a pool of its own, of one connection: statements run one after the other, in the order of the
/// requests. It connects when it is first needed; a server that is away delays no start.
fn start(connection: settings::Connection, context: &ModuleContext) -> Result<Runner, StartError> {
    let own = context.database.settings();
    let mut settings = own.clone();
    if let Some(url) = &connection.url {
        settings.url = url.clone();
    }
    settings.max_connections = 1;
    let log = context.log.new(slog::o!("connection" => connection.name.clone()));
    let database = Database::open(settings, log).map_err(StartError::new)?;
    Ok(Runner::start(connection, database, context.clock.clone(), context.log.clone()))
}

struct Mw {
    runners: Vec<Runner>,
    context: ModuleContext,
}

impl Module for Mw {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        for runner in self.runners.iter().filter(|runner| runner.wants(&query)) {
            runner.queue(&query, &self.context.log);
        }
        Decide::DUNNO
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        let trace = self.runners.iter().map(|runner| match runner.wants(&query) {
            true => format!("{} would be queued", runner.describe()),
            false => format!("{}: not for listener {}", runner.describe(), query.listener),
        });
        let trace = trace.collect();
        Box::pin(async { Explanation { outcome: Ok(None), trace } })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        let connections: serde_json::Map<_, _> = self.runners.iter().map(Runner::status).collect();
        vec![("connections", json!(connections))]
    }

    fn stop(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async move {
            for runner in &self.runners {
                runner.stop(&self.context.log).await;
            }
        })
    }
}
