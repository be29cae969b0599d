use std::time::Duration;

use actix::{ActorContext, Handler};

use super::*;
use crate::mail::{ask, post};

struct Counter {
    handled: u32,
    starts: u32,
}

impl Actor for Counter {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Self::Context) {
        self.starts += 1;
    }
}
impl Supervised for Counter {}

#[derive(Message)]
#[rtype(result = "(u32, u32)")]
struct Count;
impl Handler<Count> for Counter {
    type Result = actix::MessageResult<Count>;
    fn handle(&mut self, _: Count, _: &mut Self::Context) -> Self::Result {
        self.handled += 1;
        actix::MessageResult((self.handled, self.starts))
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;
impl Handler<Panic> for Counter {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked for by the test");
    }
}

impl Handler<Restart> for Counter {
    type Result = ();
    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        context.stop();
    }
}

fn counter() -> Counter {
    Counter { handled: 0, starts: 0 }
}

fn quiet() -> Logger {
    Logger::root(slog::Discard, o!())
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

#[test]
fn messages_that_wait_while_the_actor_crashes_are_answered_after_its_restart() {
    run(async {
        let (address, health) = supervise("counter", &quiet(), |_| counter());
        post(&address, Panic);
        let answers = futures_util::future::join_all((0..20).map(|_| ask(&address, Count))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(answers[19], Ok((20, 2)), "twenty handled, started twice");
        assert_eq!((health.restarts(), health.state()), (1, State::Up));
    });
}

#[test]
fn past_its_intensity_the_actor_is_down_but_answers_and_is_tried_again_after_a_minute() {
    run(async {
        let (address, health) = supervise("counter", &quiet(), |_| counter());
        for crash in 0..6 {
            assert_eq!(health.state(), State::Up, "before crash {crash}");
            post(&address, Panic);
            assert!(ask(&address, Count).await.is_ok());
        }
        assert_eq!(health.state(), State::Down);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(ask(&address, Count).await.is_ok());
        assert_eq!(health.state(), State::Up);
        assert_eq!(health.restarts(), 6);
    });
}

#[test]
fn an_ordered_restart_ends_being_down_and_forgives_the_crashes() {
    run(async {
        let (address, health) = supervise("counter", &quiet(), |_| counter());
        for _ in 0..6 {
            post(&address, Panic);
            assert!(ask(&address, Count).await.is_ok());
        }
        assert_eq!(health.state(), State::Down);
        assert!(ask(&address, Restart).await.is_ok());
        assert!(ask(&address, Count).await.is_ok());
        assert_eq!(health.state(), State::Up);
        post(&address, Panic);
        assert!(ask(&address, Count).await.is_ok());
        assert_eq!(health.state(), State::Up, "one crash more is the first again");
    });
}

#[test]
fn an_ordered_restart_is_no_crash() {
    run(async {
        let (address, health) = supervise("counter", &quiet(), |_| counter());
        for _ in 0..20 {
            assert!(ask(&address, Restart).await.is_ok());
        }
        assert!(matches!(ask(&address, Count).await, Ok((1, 21))));
        assert_eq!(health.state(), State::Up);
    });
}

#[test]
fn an_actor_nobody_has_the_address_of_ends() {
    run(async {
        let witness = Arc::new(());
        struct Held(#[allow(dead_code, reason = "held, not read")] Arc<()>);
        impl Actor for Held {
            type Context = Context<Self>;
        }
        impl Supervised for Held {}
        let (address, _) = supervise("held", &quiet(), |_| Held(witness.clone()));
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(address);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}
