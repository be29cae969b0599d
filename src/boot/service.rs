//! The running service: what an operator's orders and signals act on.

use std::sync::Arc;

use actors::clock::Clock;
use actors::counting::Counters;
use actors::local::Local;
use actors::module::BoxFuture;
use actors::stats::report::Report;
use actors::{Bound, OrderError, Restarted, Runtime};
use parking_lot::Mutex;
use slog::{Logger, error, info, warn};

use super::Source;
use super::parts::{self, Given, LocalParts};
use crate::cli::exit::{Exit, Failure};
use crate::config::{Metrics, Server, Settings};
use crate::health::{self, Health};
use crate::log::Logging;
use crate::upgrade::{Leaving, Predecessor, Upgrade};

/// The running service.
pub(crate) struct Service {
    source: Source,
    runtime: Runtime,
    local: LocalParts,
    given: Given,
    logging: Logging,
    log: Logger,
    health: Arc<Health>,
    leaving: Arc<Leaving>,
    /// What only a restart of the daemon changes.
    fixed: Mutex<Fixed>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// Settings that a reload does not change.
#[derive(PartialEq)]
struct Fixed {
    server: Server,
    metrics: Metrics,
    database: String,
}

impl Fixed {
    fn of(settings: &Settings) -> Self {
        // Taken over at once.
        let server = Server { max_request_memory: 0, ..settings.server.clone() };
        Self { server, metrics: settings.metrics.clone(), database: settings.database.url.to_string() }
    }
}

impl Service {
    /// Starts everything and serves.
    pub(super) async fn start(
        source: Source,
        settings: Settings,
        bound: Vec<Bound>,
        logging: Logging,
        (leaving, predecessor): (Leaving, Option<Arc<Predecessor>>),
    ) -> Result<Self, Failure> {
        let log = logging.logger().clone();
        warn_of(&settings.warnings, &log);
        let database = parts::database(&settings, &log).await?;
        let local = LocalParts::start(&settings, &log).await;
        let clock = Clock::system();
        let given = Given {
            local: Local::new(local.questions.clone()),
            counters: Counters::open(database.clone(), clock.clone(), log.clone()),
            database,
            clock,
        };
        let fixed = Mutex::new(Fixed::of(&settings));
        let (workers, memory) = (settings.server.workers, settings.server.max_request_memory);
        let modules = parts::modules(settings.modules, &given, &log).await?;
        let runtime = Runtime::start(workers, env!("CARGO_PKG_VERSION"), &log)
            .await
            .map_err(|error| Failure::new(Exit::Software, format!("workers: {error}")))?;
        runtime.set_request_memory(memory);
        if let Some(predecessor) = predecessor {
            predecessor.wait_to_begin().await?;
            // What the other one has charged since they were read.
            let why = |error| Failure::new(Exit::Unavailable, format!("counters: {error}"));
            given.counters.read_again().await.map_err(why)?;
        }
        runtime
            .serve(settings.listeners, modules, bound)
            .await
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let health = Arc::new(Health::new(runtime.clone()));
        let reloading = tokio::sync::Mutex::new(());
        Ok(Self { source, runtime, local, given, logging, log, health, leaving: Arc::new(leaving), fixed, reloading })
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn logging(&self) -> &Logging {
        &self.logging
    }

    /// Reads the configuration again and swaps it in whole; on any fault the old one stays, and the
    /// faults are returned and logged.
    pub(super) async fn reload(&self) -> Result<String, Vec<String>> {
        let _one = self.reloading.lock().await;
        // A log file that was moved away is opened anew in any case.
        self.logging.reopen();
        let outcome = self.reload_all().await;
        match &outcome {
            Ok(done) => info!(self.log, "configuration reloaded"; "what" => done),
            Err(lines) => {
                for line in lines {
                    error!(self.log, "reload: {}", line);
                }
                error!(self.log, "reload failed, the old configuration stays");
            }
        }
        outcome
    }

    async fn reload_all(&self) -> Result<String, Vec<String>> {
        let settings = self.read_again().await?;
        let mut bound = Vec::new();
        let mut lines = Vec::new();
        for listener in settings.listeners.iter().filter(|listener| !self.runtime.is_served(listener)) {
            match Bound::new(listener) {
                Ok(socket) => bound.push(socket),
                Err(error) => lines.push(error.to_string()),
            }
        }
        if !lines.is_empty() {
            return Err(lines);
        }
        let needs_restart = *self.fixed.lock() != Fixed::of(&settings);
        let Settings { server, log: logging, metrics: _, database: _, local, listeners, modules, warnings } = settings;
        let log = self.log.clone();
        warn_of(&warnings, &log);
        let counts = (listeners.len(), modules.iter().filter(|module| module.used).count());
        let sources = parts::sources(&modules, &log);
        // What can fail comes first; a module that starts asks the old local questions.
        let modules = parts::modules(modules, &self.given, &log).await.map_err(|failure| failure.lines)?;
        self.logging.change(&logging).map_err(|error| vec![format!("log.target: {error:#}")])?;
        self.runtime.set_request_memory(server.max_request_memory);
        self.runtime.serve(listeners, modules, bound).await.map_err(|error| vec![error.to_string()])?;
        self.local.configure(&local, sources).await;
        let mut done = format!("{} listeners, {} modules", counts.0, counts.1);
        if needs_restart {
            warn!(log, "changes of [server], [metrics] or [database] url count after a restart of the daemon only");
            done += "; changes of [server], [metrics] or [database] url count after a restart only";
        }
        Ok(done)
    }

    /// Off this thread, on which ports accept: files and the user database may be slow.
    async fn read_again(&self) -> Result<Settings, Vec<String>> {
        let source = self.source.clone();
        match tokio::task::spawn_blocking(move || source.read()).await {
            Ok(Ok(settings)) => Ok(settings),
            Ok(Err(faults)) => Err(faults.iter().map(ToString::to_string).collect()),
            Err(error) => Err(vec![format!("reading the configuration: {error}")]),
        }
    }

    /// What another program in this one's place needs.
    pub(super) fn leaving(&self) -> &Leaving {
        &self.leaving
    }

    /// Puts the program that is installed now in this one's place.
    pub(super) async fn upgrade(&self) -> Result<String, String> {
        let _no_reload = self.reloading.lock().await;
        let upgrade = Upgrade {
            leaving: &self.leaving,
            runtime: &self.runtime,
            write: async || self.given.counters.flush().await,
            log: &self.log,
        };
        upgrade.run().await
    }

    /// What asks every listener.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// The statistics of everything.
    pub(super) async fn report(&self) -> Report {
        let mut report = self.runtime.report().await;
        report.parts.insert("postfix".to_owned(), self.local.status());
        let database = self.given.database.status();
        report.parts.insert(
            "database".to_owned(),
            database.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        );
        report
    }

    /// Restarts one supervisor.
    pub(super) async fn restart(&self, target: &str) -> Result<String, OrderError> {
        match target {
            "postfix" => {
                let settings = self.local.detected.resolver().settings().clone();
                self.local.detected.reload(settings).await;
                self.local.questions.restart();
                Ok("postfix restarted".to_owned())
            }
            "store" => {
                self.given.counters.restart().await;
                Ok("store restarted".to_owned())
            }
            _ => self.runtime.restart(target).map(|restarted| match restarted {
                Restarted::Port => format!("listener {target} restarted"),
                Restarted::Module => format!("module {target} restarted on all workers"),
                Restarted::Stats => "stats restarted".to_owned(),
            }),
        }
    }

    /// Stops serving, then writes what is not written, then closes the database. How many requests were
    /// still in hand when the grace was over.
    pub(super) async fn stop(&self, grace: std::time::Duration) -> usize {
        let left = self.runtime.stop(grace).await;
        self.given.counters.close().await;
        self.given.database.close().await;
        left
    }
}

fn warn_of(warnings: &[String], log: &Logger) {
    for warning in warnings {
        warn!(log, "configuration"; "warning" => warning);
    }
}

/// What `[metrics]` shows of the service.
pub(super) struct Shown(pub(super) Arc<Service>);

impl health::Shown for Shown {
    fn faults(&self) -> BoxFuture<Vec<String>> {
        let health = self.0.health.clone();
        Box::pin(async move { health.check().await.faults() })
    }

    fn metrics(&self) -> BoxFuture<String> {
        let service = self.0.clone();
        Box::pin(async move { health::metrics_text(&service.report().await) })
    }
}
