//! The parts that a service is made of besides the runtime: database, local questions, counters, modules.

use std::sync::Arc;
use std::time::Duration;

use actors::ReadyModule;
use actors::clock::Clock;
use actors::counting::Counters;
use actors::database::Database;
use actors::local::Local;
use actors::module::ModuleContext;
use actors::postfix_config::{Detected, LocalQuestions, LocalSettings, Queries, Source, Sources};
use serde_json::Value;
use slog::{Logger, info, o, warn};
use tokio::time::timeout;

use crate::cli::exit::{Exit, Failure};
use crate::config::{self, ModulePlan, Settings};

/// The longest a module may take to be ready: a million rules load in seconds, a server may be slow.
const READY: Duration = Duration::from_secs(300);

/// Connects to the database and brings its schema up to date.
pub(super) async fn database(settings: &Settings, log: &Logger) -> Result<Database, Failure> {
    let unavailable = |why: String| Failure::new(Exit::Unavailable, format!("database: {why}"));
    let log = log.new(o!("part" => "database"));
    let database =
        Database::open(settings.database.clone(), log.clone()).map_err(|error| unavailable(error.to_string()))?;
    database.connect_with_backoff().await.map_err(|error| unavailable(error.to_string()))?;
    // On the database's own thread, which its connections belong to.
    let writer = database.writer();
    let report = database
        .handle()
        .spawn(async move { migrations::migrate(&writer).await })
        .await
        .map_err(|error| unavailable(error.to_string()))?
        .map_err(|error| unavailable(error.to_string()))?;
    for warning in &report.warnings {
        warn!(log, "database schema"; "warning" => warning);
    }
    let taken_over = report.taken_over.join(", ");
    info!(log, "database ready"; "database" => %settings.database.url, "schema" => %report.to,
        "schema_before" => %report.from, "steps" => report.applied.len(), "taken_over" => taken_over);
    Ok(database)
}

/// What answers the local questions.
pub(super) struct LocalParts {
    pub(super) detected: Arc<Detected>,
    pub(super) questions: LocalQuestions,
    log: Logger,
    _follow: actors::postfix_config::FollowGuard,
}

impl LocalParts {
    pub(super) async fn start(settings: &Settings, log: &Logger) -> Self {
        let log = log.new(o!("part" => "postfix"));
        let detected = Detected::load(settings.local.postfix.clone(), &log).await;
        let added = sources(&settings.modules, &log);
        let questions = LocalQuestions::start(local_settings(&settings.local, &detected, added, &log), &log);
        let follow = detected.follow(questions.clone());
        Self { detected, questions, log, _follow: follow }
    }

    /// For the report: what the cache did, then each table of Postfix's configuration that was asked since it
    /// was last read.
    pub(super) fn status(&self) -> Vec<(String, Value)> {
        let mut facts = self.questions.status();
        let resolver = self.detected.resolver();
        for table in resolver.tables().map(|tables| tables.all()).unwrap_or_default() {
            let counts = table.counts();
            for (what, count) in [
                ("found", counts.found),
                ("not found", counts.not_found),
                ("failed", counts.failed),
                ("postmap processes", counts.children),
            ] {
                facts.push((format!("{} {what}", table.name()), count.into()));
            }
        }
        facts
    }

    /// Takes over the settings of a reload, `added` being what its modules add.
    pub(super) async fn configure(&self, local: &config::Local, added: Vec<Arc<dyn Source>>) {
        self.detected.reload(local.postfix.clone()).await;
        self.questions.configure(local_settings(local, &self.detected, added, &self.log));
    }
}

/// What modules add to what answers the local questions, whether a chain names them or not.
pub(super) fn sources(modules: &[ModulePlan], log: &Logger) -> Vec<Arc<dyn Source>> {
    let of = |module: &ModulePlan| module.configured.source(&log.new(o!("module" => module.settings.name.to_string())));
    modules.iter().filter_map(of).collect()
}

/// Postfix's own configuration is asked first.
fn local_settings(
    local: &config::Local,
    detected: &Arc<Detected>,
    added: Vec<Arc<dyn Source>>,
    log: &Logger,
) -> LocalSettings {
    let own = std::iter::once(detected.clone() as Arc<dyn Source>);
    let queries = local.queries.clone().map(|settings| {
        let detected = detected.clone();
        Arc::new(Queries::new(settings, move || detected.resolver(), log)) as Arc<dyn Source>
    });
    LocalSettings {
        sources: Sources::new(own.chain(queries).chain(added)),
        recipient_delimiter: detected.resolver().recipient_delimiter().into(),
        cache: local.cache,
        timeout: local.timeout,
    }
}

/// What modules are given.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) local: Local,
    pub(super) database: Database,
    pub(super) counters: Counters,
    pub(super) clock: Clock,
}

impl Given {
    fn context(&self, name: &Arc<str>, log: &Logger) -> ModuleContext {
        ModuleContext {
            name: name.clone(),
            log: log.new(o!("module" => name.to_string())),
            local: self.local.clone(),
            database: self.database.clone(),
            counters: self.counters.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// Makes the modules that a chain names ready, all at once, and gives all faults together. Those that
/// are ready while another is not are stopped again.
pub(super) async fn modules(
    modules: Vec<ModulePlan>,
    given: &Given,
    log: &Logger,
) -> Result<Vec<ReadyModule>, Failure> {
    let mut starting = Vec::new();
    for ModulePlan { settings, used, configured } in modules {
        if used {
            // A task of its own: what panics at start is that module, not the daemon.
            let start = timeout(READY, configured.start(given.context(&settings.name, log)));
            starting.push((settings, actix_rt::spawn(start)));
        } else if configured.source(log).is_none() {
            warn!(log, "module is configured but stands in no chain"; "module" => &*settings.name);
        }
    }
    let (mut ready, mut lines) = (Vec::new(), Vec::new());
    for (settings, start) in starting {
        match start.await {
            Ok(Ok(Ok(module))) => ready.push(ReadyModule { settings, module }),
            Ok(Ok(Err(error))) => lines.push(format!("module {}: {error}", settings.name)),
            Ok(Err(_)) => lines.push(format!("module {}: not ready after {} s", settings.name, READY.as_secs())),
            Err(error) => lines.push(format!("module {}: crashed while starting: {error}", settings.name)),
        }
    }
    if lines.is_empty() {
        return Ok(ready);
    }
    for module in ready {
        module.module.stop().await;
    }
    Err(Failure { exit: Exit::Unavailable, lines })
}
