use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::module::BoxFuture;
use crate::postfix_config::{Source, Sources};

/// Answers what it is told to, after a wait, and counts how often it was asked.
struct Told {
    asked: AtomicUsize,
    says: parking_lot::Mutex<Truth>,
    takes: parking_lot::Mutex<Duration>,
}

impl Told {
    fn new(says: Truth) -> Arc<Self> {
        let takes = parking_lot::Mutex::new(Duration::from_millis(100));
        Arc::new(Self { asked: AtomicUsize::new(0), says: parking_lot::Mutex::new(says), takes })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Source for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn domain(self: Arc<Self>, _: Arc<[u8]>) -> BoxFuture<Truth> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (says, takes) = (self.says.lock().clone(), *self.takes.lock());
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            says
        })
    }

    fn address(self: Arc<Self>, address: AddressKey) -> BoxFuture<Truth> {
        self.domain(address.domain().into())
    }
}

fn settings(sources: impl IntoIterator<Item = Arc<dyn Source>>) -> LocalSettings {
    LocalSettings { sources: Sources::new(sources), ..LocalSettings::default() }
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

fn quiet() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

fn away() -> Truth {
    Truth::CouldNotAsk("down".into())
}

#[test]
fn many_who_ask_the_same_cost_one_look_up_and_the_next_costs_none() {
    run(async {
        let source = Told::new(Truth::Yes);
        let local = LocalQuestions::start(settings([source.clone() as Arc<dyn Source>]), &quiet());
        let answers = futures_util::future::join_all((0..100).map(|_| local.domain(b"example.com"))).await;
        assert!(answers.iter().all(|answer| *answer == Truth::Yes));
        assert_eq!(source.asked(), 1);
        assert!(matches!(local.domain(b"example.com"), Ask::Ready(Some(Truth::Yes))));
    });
}

#[test]
fn one_source_that_is_away_makes_a_no_unknown_but_not_a_yes() {
    run(async {
        for (says, expected) in [(Truth::Yes, Truth::Yes), (Truth::No, away())] {
            let (one, other) = (Told::new(away()), Told::new(says));
            let local = LocalQuestions::start(settings([one as Arc<dyn Source>, other]), &quiet());
            assert_eq!(local.domain(b"example.com").await, expected);
        }
    });
}

#[test]
fn a_source_that_hangs_could_not_be_asked() {
    run(async {
        let source = Told::new(Truth::No);
        let settings = LocalSettings { timeout: Duration::from_millis(50), ..settings([source as Arc<dyn Source>]) };
        let local = LocalQuestions::start(settings, &quiet());
        let answer = local.address(&AddressKey::new(b"ann@example.com")).await;
        assert_eq!(answer, Truth::CouldNotAsk("the question took too long".into()));
    });
}

#[test]
fn while_the_source_is_away_the_last_known_answer_serves_and_when_it_is_back_its_answer() {
    run(async {
        let source = Told::new(Truth::Yes);
        let local = LocalQuestions::start(settings([source.clone() as Arc<dyn Source>]), &quiet());
        assert_eq!(local.domain(b"example.com").await, Truth::Yes);
        *source.says.lock() = away();
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(local.domain(b"example.com").await, Truth::Yes);
        *source.says.lock() = Truth::No;
        // Nobody waits to find out that it is back.
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(matches!(local.domain(b"example.com"), Ask::Ready(Some(Truth::Yes))));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(local.domain(b"example.com").await, Truth::No);
    });
}

#[test]
fn other_sources_count_at_once() {
    run(async {
        let local = LocalQuestions::start(settings([Told::new(Truth::No) as Arc<dyn Source>]), &quiet());
        assert_eq!(local.domain(b"example.com").await, Truth::No);
        local.configure(settings([Told::new(Truth::Yes) as Arc<dyn Source>]));
        assert_eq!(local.domain(b"example.com").await, Truth::Yes);
    });
}

#[test]
fn a_crash_of_the_actor_is_could_not_ask_for_who_waits_and_the_next_question_is_answered() {
    run(async {
        let source = Told::new(Truth::Yes);
        let local = LocalQuestions::start(settings([source.clone() as Arc<dyn Source>]), &quiet());
        let waiting = local.domain(b"example.com");
        local.restart();
        assert!(matches!(waiting.await, Truth::CouldNotAsk(_)));
        assert_eq!(local.domain(b"example.com").await, Truth::Yes);
    });
}

#[test]
fn a_source_that_hangs_delays_what_is_known_by_a_second_once() {
    run(async {
        let source = Told::new(Truth::Yes);
        let local = LocalQuestions::start(settings([source.clone() as Arc<dyn Source>]), &quiet());
        assert_eq!(local.domain(b"example.com").await, Truth::Yes);
        tokio::time::advance(Duration::from_secs(301)).await;
        *source.takes.lock() = Duration::from_secs(3600);
        let (begun, patience) = (Instant::now(), CacheSettings::default().patience);
        let waiting = futures_util::future::join_all((0..100).map(|_| local.domain(b"example.com"))).await;
        assert!(waiting.iter().all(|answer| *answer == Truth::Yes));
        assert!(begun.elapsed() < patience * 2, "{:?}", begun.elapsed());
        for _ in 0..100 {
            assert!(matches!(local.domain(b"example.com"), Ask::Ready(Some(Truth::Yes))));
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        assert!(source.asked() < 12, "one question in flight at a time: {}", source.asked());
        *source.takes.lock() = Duration::from_millis(100);
        *source.says.lock() = Truth::No;
        tokio::time::sleep(Duration::from_secs(11)).await;
        let _ = local.domain(b"example.com").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(local.domain(b"example.com").await, Truth::No);
    });
}
