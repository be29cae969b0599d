//! The walk comes to what the chain would answer, and says how.

use std::sync::atomic::{AtomicUsize, Ordering};

use libvalvula::{Request, Text};

use super::*;
use crate::module::{BoxFuture, Decide, Unavailable};

/// A module that explains as told, and counts what it is asked.
struct Scripted {
    act: Act,
    decided: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Act {
    NoOpinion,
    Reject,
    Away,
    Hang,
    PanicNow,
    PanicLater,
}

impl Module for Scripted {
    fn decide(self: Arc<Self>, _: Arc<Query>) -> Decide {
        self.decided.fetch_add(1, Ordering::SeqCst);
        Decide::DUNNO
    }

    fn explain(self: Arc<Self>, _: Arc<Query>) -> BoxFuture<Explanation> {
        let outcome = match self.act {
            Act::PanicNow => panic!("at once"),
            Act::NoOpinion => Ok(None),
            Act::Reject => Ok(Some(Decision::new(Verdict::reject(Text::new("no")), "rule 17"))),
            Act::Away => Err(Unavailable::new("the table is away")),
            Act::Hang => return Box::pin(std::future::pending()),
            Act::PanicLater => return Box::pin(async { panic!("later") }),
        };
        Box::pin(async move { Explanation { outcome, trace: vec!["looked".to_owned()] } })
    }
}

async fn walked(chain: &[(Act, OnFailure, bool)]) -> Explained {
    let decided = Arc::new(AtomicUsize::new(0));
    let stops = chain
        .iter()
        .enumerate()
        .map(|(place, &(act, on_failure, observe))| Stop {
            settings: Arc::new(ModuleSettings { on_failure, observe, ..ModuleSettings::new(&format!("m{place}")) }),
            module: Arc::new(Scripted { act, decided: decided.clone() }),
            down: (0, 2),
        })
        .collect();
    let request = Request::builder().protocol_state("RCPT").build().unwrap();
    let query = Arc::new(Query { request, listener: "in".into() });
    let explained = walk("in", stops, Duration::from_secs(10), &query).await;
    assert_eq!(decided.load(Ordering::SeqCst), 0, "decide is never asked");
    explained
}

#[tokio::test]
async fn the_first_opinion_is_the_answer_and_those_behind_are_not_asked() {
    use OnFailure::Dunno;
    let explained =
        walked(&[(Act::NoOpinion, Dunno, false), (Act::Reject, Dunno, false), (Act::PanicNow, Dunno, false)]).await;
    assert_eq!(explained.answer.as_deref(), Some("REJECT no"));
    assert_eq!((&*explained.by, &*explained.why), ("m1", "rule 17"));
    assert_eq!(explained.steps[0].said, Said::NoOpinion);
    assert_eq!(explained.steps[1].trace, ["looked"]);
    assert_eq!(explained.steps[2].said, Said::NotAsked);
}

#[tokio::test]
async fn without_an_opinion_it_is_dunno() {
    let explained = walked(&[(Act::NoOpinion, OnFailure::Defer, false)]).await;
    assert_eq!((explained.answer.as_deref(), &*explained.by), (Some("DUNNO"), ""));
}

#[tokio::test]
async fn who_observes_would_have() {
    let explained = walked(&[(Act::Reject, OnFailure::Dunno, true)]).await;
    assert_eq!(explained.answer.as_deref(), Some("DUNNO"));
    assert!(matches!(&explained.steps[0].said, Said::WouldHave { answer, .. } if answer == "REJECT no"));
}

#[tokio::test(start_paused = true)]
async fn every_failure_goes_to_on_failure() {
    for (act, kind) in [
        (Act::Away, FailureKind::Unavailable),
        (Act::Hang, FailureKind::TimedOut),
        (Act::PanicNow, FailureKind::Crashed),
        (Act::PanicLater, FailureKind::Crashed),
    ] {
        let flows = walked(&[(act, OnFailure::Dunno, false), (Act::Reject, OnFailure::Dunno, false)]).await;
        assert_eq!(flows.by, "m1", "{}", kind.name());
        let Said::Failed { failure, on_failure, .. } = &flows.steps[0].said else { panic!("{:?}", flows.steps[0]) };
        assert_eq!((&**failure, &**on_failure), (kind.name(), "dunno"));

        let defers = walked(&[(act, OnFailure::Defer, false), (Act::Reject, OnFailure::Dunno, false)]).await;
        assert!(defers.answer.as_deref().is_some_and(|answer| answer.starts_with("DEFER")), "{:?}", defers.answer);
        assert_eq!((&*defers.by, &defers.steps[1].said), ("m0", &Said::NotAsked));

        let ends = walked(&[(act, OnFailure::Disconnect, false)]).await;
        assert_eq!((ends.answer, &*ends.by), (None, "m0"));
    }
}

#[tokio::test]
async fn an_explanation_is_read_back_by_the_tool() {
    let explained = walked(&[(Act::Reject, OnFailure::Dunno, false), (Act::Away, OnFailure::Dunno, false)]).await;
    let json = serde_json::to_string(&explained).unwrap();
    assert_eq!(serde_json::from_str::<Explained>(&json).unwrap(), explained);
}
