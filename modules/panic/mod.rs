//! mod-panic: fails in every way a module can, as the recipient's local part asks. Compiled only with the
//! cargo feature `panic-module`, for tests of what the runtime does about it.
//!
//! - `panic@...` panics before it answers, `panic-later@...` after it has waited once;
//! - `sleep-250ms@...` answers that late;
//! - `hang-250ms@...` stops the worker's whole thread for that long, as no module may;
//! - `unavailable@...` could not ask;
//! - `reject@...` refuses;
//! - every other recipient: no opinion.

use std::sync::Arc;

use actors::module::{
    BoxFuture, Configured, Decide, Decision, Module, ModuleContext, ModuleType, Query, StartError, Unavailable,
};
use actors::settings::{Section, parse_duration};
use libvalvula::{Text, Verdict};

/// The registry's entry.
pub static MODULE: Type = Type;

/// `panic`, the module that fails when asked to.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "panic"
    }

    fn configure(&self, _: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings)
    }
}

struct Settings;

impl Configured for Settings {
    fn start(self: Box<Self>, _: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async { Ok(Arc::new(Panic) as Arc<dyn Module>) })
    }
}

struct Panic;

impl Module for Panic {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        let local = String::from_utf8_lossy(query.recipient_key().local_part()).into_owned();
        if let Some(span) = local.strip_prefix("sleep-").and_then(parse_duration) {
            return Decide::Later(Box::pin(async move {
                tokio::time::sleep(span).await;
                Ok(None)
            }));
        }
        if let Some(span) = local.strip_prefix("hang-").and_then(parse_duration) {
            #[allow(clippy::disallowed_methods)] // the fault that is wanted
            std::thread::sleep(span);
        }
        match local.as_str() {
            "panic" => panic!("asked to by the recipient"),
            "panic-later" => Decide::Later(Box::pin(async {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                panic!("asked to by the recipient, later")
            })),
            "unavailable" => Decide::Now(Err(Unavailable::new("asked to be unavailable by the recipient"))),
            "reject" => {
                let verdict = Verdict::reject(Text::new("Refused as the recipient asked"));
                Decide::Now(Ok(Some(Decision::new(verdict, "recipient reject@"))))
            }
            _ => Decide::DUNNO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libvalvula::Request;

    use super::*;

    fn asked(recipient: &str) -> Decide {
        let request = Request::builder().recipient(recipient).build().unwrap();
        Arc::new(Panic).decide(Arc::new(Query { request, listener: "test".into() }))
    }

    #[test]
    #[should_panic(expected = "asked to")]
    fn it_panics_when_asked_to() {
        drop(asked("panic@x.example"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_answers_as_late_as_asked_to() {
        let Decide::Later(answer) = asked("sleep-250ms@x.example") else { panic!("answered at once") };
        let start = tokio::time::Instant::now();
        assert_eq!(answer.await, Ok(None));
        assert!(start.elapsed() >= Duration::from_millis(250));
    }

    #[test]
    fn it_could_not_ask_when_asked_to_and_else_has_no_opinion() {
        assert!(matches!(asked("unavailable@x.example"), Decide::Now(Err(_))));
        assert!(matches!(asked("ann@x.example"), Decide::Now(Ok(None))));
    }
}
