//! The Control actor: carries out what operators ask for over the control socket.
//!
//! The socket's connections are served by tasks of their own; each command becomes one message to this
//! actor, on the system arbiter, and is carried out in a task, so that statistics can be had while a
//! reload loads its rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, ActorContext, Addr, Context, Handler, Message, Supervised};
use actors::mail::post;
use actors::operate::Order;
use actors::supervise::{Restart, supervise};
use futures_util::future::BoxFuture;
use libvalvula::{Attribute, Request};
use serde_json::{Value, json};
use slog::{Level, Logger, info};
use tokio::sync::oneshot;

use super::operate;
use super::service::Service;
use crate::config::LEVELS;
use crate::control::Operator;
use crate::control::protocol::{Code, Command, Refusal, Reply};

/// A command and who waits for what comes of it.
#[derive(Message)]
#[rtype(result = "()")]
struct Please {
    command: Command,
    reply: oneshot::Sender<Reply>,
}

/// Write the statistics to the log.
#[derive(Message)]
#[rtype(result = "()")]
struct Dump;

/// The actor.
struct Control {
    service: Arc<Service>,
    log: Logger,
}

impl Actor for Control {
    type Context = Context<Self>;
}

impl Supervised for Control {}

impl Handler<Restart> for Control {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        context.stop();
    }
}

impl Handler<Please> for Control {
    type Result = ();

    fn handle(&mut self, Please { command, reply }: Please, _: &mut Self::Context) {
        let (service, log) = (self.service.clone(), self.log.clone());
        actix_rt::spawn(async move {
            if !matches!(command, Command::Stats | Command::Listeners | Command::Explain { .. }) {
                info!(log, "operator's command"; "command" => ?command);
            }
            // Who asked may have gone; the order is carried out all the same.
            let _ = reply.send(carry_out(&service, command).await);
        });
    }
}

impl Handler<Dump> for Control {
    type Result = ();

    fn handle(&mut self, _: Dump, _: &mut Self::Context) {
        let (service, log) = (self.service.clone(), self.log.clone());
        actix_rt::spawn(async move {
            let report = service.report().await;
            for line in crate::cli::status::text(&report).lines() {
                info!(log, "stats"; "line" => line);
            }
        });
    }
}

/// The way to the actor.
#[derive(Clone)]
pub(super) struct Orders(Addr<Control>);

/// Starts the actor.
pub(super) fn start(service: Arc<Service>, log: &Logger) -> Orders {
    let (address, _) = supervise("control", log, |_| Control { service, log: log.clone() });
    Orders(address)
}

impl Orders {
    /// Writes the statistics to the log.
    pub(super) fn dump(&self) {
        post(&self.0, Dump);
    }
}

impl Operator for Orders {
    fn operate(&self, command: Command) -> BoxFuture<'static, Reply> {
        let (reply, answer) = oneshot::channel();
        post(&self.0, Please { command, reply });
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(Refusal::new(Code::Failed, "the control actor crashed; try again")))
        })
    }
}

async fn carry_out(service: &Arc<Service>, command: Command) -> Reply {
    let not_found = |error: actors::OrderError| Refusal::new(Code::NotFound, error.to_string());
    let done = |what: String| Ok(json!({ "done": what }));
    match command {
        Command::Stats => as_json(&service.report().await),
        Command::Listeners => as_json(&service.report().await.listeners),
        Command::Restart { target } => service.restart(&target).await.map_err(not_found).and_then(done),
        Command::Suspend { listener } => {
            service.runtime().suspend(&listener).map_err(not_found)?;
            done(format!("listener {listener} suspended"))
        }
        Command::Resume { listener } => {
            service.runtime().resume(&listener).map_err(not_found)?;
            done(format!("listener {listener} resumed"))
        }
        Command::Reload => {
            service.reload().await.map_err(|lines| Refusal::new(Code::Failed, lines.join("\n"))).and_then(done)
        }
        Command::Upgrade => service.upgrade().await.map_err(|why| Refusal::new(Code::Failed, why)).and_then(done),
        Command::Explain { listener, request } => {
            let request = request_of(&request)?;
            as_json(&service.runtime().explain(listener.as_deref(), request).await.map_err(not_found)?)
        }
        Command::Operate { module, object, verb, arguments } => {
            operate::carry_out(service.runtime(), &module, Order { object, verb, arguments }).await
        }
        Command::LogLevel { level } => log_level(service, level),
    }
}

/// The request with these attributes, checked as one from the network is.
fn request_of(attributes: &BTreeMap<String, String>) -> Result<Request, Refusal> {
    let mut builder = Request::builder();
    for (name, value) in attributes {
        let attribute = Attribute::from_name(name.as_bytes())
            .ok_or_else(|| Refusal::new(Code::BadRequest, format!("no request has an attribute {name:?}")))?;
        builder = builder.set(attribute, value);
    }
    builder.build().map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))
}

fn as_json(value: &impl serde::Serialize) -> Reply {
    serde_json::to_value(value).map_err(|error| Refusal::new(Code::Failed, error.to_string()))
}

fn log_level(service: &Service, level: Option<String>) -> Reply {
    let logging = service.logging();
    if let Some(wanted) = level {
        let Some((_, level)) = LEVELS.iter().find(|(name, _)| *name == wanted) else {
            let known: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
            let message = format!("there is no level {wanted:?}; there are: {}", known.join(", "));
            return Err(Refusal::new(Code::NotFound, message));
        };
        logging.set_level(*level);
    }
    let now: Level = logging.level();
    let name = LEVELS.iter().find(|(_, level)| *level == now).map_or("info", |(name, _)| *name);
    Ok::<Value, Refusal>(json!({ "level": name }))
}
