//! Counters and the database: exact among daemons, durable, and never counted twice.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod daemon;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use actors::counting::{Durability, Ruling, Settings};
use testkit::{Engine, TestDatabase};

use self::daemon::{Asked, Daemon, NOW, STRICT};

/// 64 tasks ask for one account until each was refused three times; how many passed.
async fn race(daemons: &[Daemon], limit: i64) -> i64 {
    let passed = Arc::new(AtomicI64::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (ledger, passed) = (daemons[task % daemons.len()].ledger.clone(), passed.clone());
            tokio::spawn(async move {
                let mut refusals = 0;
                while refusals < 3 {
                    let asked = Asked { limit, ..Asked::default() };
                    match asked.of(&ledger).await {
                        Ok(Ruling::Pass) => drop(passed.fetch_add(1, Ordering::Relaxed)),
                        Ok(Ruling::Over(_)) => refusals += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    passed.load(Ordering::Relaxed)
}

async fn exactly_the_limit_passes(engine: Engine, count: usize, settings: Settings) {
    let sql = TestDatabase::new(engine);
    let mut daemons = Vec::new();
    for _ in 0..count {
        daemons.push(Daemon::start(&sql, settings).await);
    }
    let limit = 10_000;
    assert_eq!(race(&daemons, limit).await, limit, "{engine:?}");
    for daemon in daemons {
        daemon.stop().await;
    }
    assert_eq!(daemon::stored(&sql, "ann@example.com"), limit);
    assert_eq!(daemon::stored(&sql, "example.com"), limit, "the domain's moved with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_passes_relaxed() {
    exactly_the_limit_passes(Engine::Sqlite, 1, Settings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_passes_with_two_daemons_on_one_sqlite_file() {
    exactly_the_limit_passes(Engine::Sqlite, 2, STRICT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_passes_with_two_daemons_on_one_mariadb() {
    exactly_the_limit_passes(Engine::MariaDb, 2, STRICT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_passes_with_two_daemons_on_one_postgresql() {
    exactly_the_limit_passes(Engine::Postgres, 2, STRICT).await;
}

/// One daemon decides hundreds of requests at a time, the other few, so that its entries are quicker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_many_requests_is_not_kept_from_writing_by_one_with_few() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let (busy, quick) = (Daemon::start(&sql, STRICT).await, Daemon::start(&sql, STRICT).await);
        let stop = Arc::new(AtomicBool::new(false));
        let quick_tasks: Vec<_> = (0..2)
            .map(|_| {
                let (ledger, stop) = (quick.ledger.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut passed = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(Asked::default().of(&ledger).await, Ok(Ruling::Pass));
                        passed += 1;
                    }
                    passed
                })
            })
            .collect();
        let busy_tasks: Vec<_> = (0..400)
            .map(|_| {
                let ledger = busy.ledger.clone();
                tokio::spawn(async move {
                    for _ in 0..10 {
                        assert_eq!(Asked::default().of(&ledger).await, Ok(Ruling::Pass));
                    }
                })
            })
            .collect();
        for task in busy_tasks {
            task.await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let mut passed = 4000;
        for task in quick_tasks {
            passed += task.await.unwrap();
        }
        busy.stop().await;
        quick.stop().await;
        assert_eq!(daemon::stored(&sql, "ann@example.com"), passed, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_restarted_in_the_middle_loses_and_adds_nothing() {
    for settings in [STRICT, Settings::default()] {
        let sql = TestDatabase::new(Engine::Sqlite);
        let daemons = [Daemon::start(&sql, settings).await];
        let counters = daemons[0].counters.clone();
        let restarts = tokio::spawn(async move {
            for _ in 0..200 {
                counters.restart().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(race(&daemons, 5000).await, 5000);
        restarts.await.unwrap();
        let [daemon] = daemons;
        daemon.stop().await;
        assert_eq!(daemon::stored(&sql, "ann@example.com"), 5000);
    }
}

#[tokio::test]
async fn counters_are_read_back_by_the_next_daemon() {
    for engine in Engine::ALL {
        for durability in [Durability::Strict, Durability::Relaxed] {
            let sql = TestDatabase::new(engine);
            let settings = Settings { durability, flush_interval: Duration::from_secs(3600), ..Settings::default() };
            let first = Daemon::start(&sql, settings).await;
            for _ in 0..3 {
                assert_eq!(Asked::default().of(&first.ledger).await, Ok(Ruling::Pass));
            }
            first.stop().await;
            let second = Daemon::start(&sql, settings).await;
            let asked = Asked { limit: 4, ..Asked::default() };
            assert_eq!(asked.of(&second.ledger).await, Ok(Ruling::Pass), "{engine:?} {durability:?}");
            assert!(matches!(asked.of(&second.ledger).await, Ok(Ruling::Over(_))), "{engine:?} {durability:?}");
            second.stop().await;
        }
    }
}

#[tokio::test]
async fn what_is_given_back_is_given_back_in_the_database() {
    for engine in Engine::ALL {
        for durability in [Durability::Strict, Durability::Relaxed] {
            let sql = TestDatabase::new(engine);
            let daemon = Daemon::start(&sql, Settings { durability, ..Settings::default() }).await;
            for recipient in ["a@x", "b@x", "c@x", "a@x"] {
                let asked = Asked { instance: "i", recipient, ..Asked::default() };
                assert_eq!(asked.of(&daemon.ledger).await, Ok(Ruling::Pass));
            }
            daemon.ledger.flush().await.unwrap();
            assert_eq!(daemon::stored(&sql, "ann@example.com"), 3);
            let whole = Asked { instance: "i", message: Some(1), ..Asked::default() };
            assert_eq!(whole.of(&daemon.ledger).await, Ok(Ruling::Pass));
            daemon.stop().await;
            assert_eq!(daemon::stored(&sql, "ann@example.com"), 1, "{engine:?} {durability:?}");
        }
    }
}

#[tokio::test]
async fn relaxed_daemons_see_each_others_charges_after_an_interval() {
    let sql = TestDatabase::new(Engine::Sqlite);
    let settings = Settings { flush_interval: Duration::from_millis(20), ..Settings::default() };
    let (one, two) = (Daemon::start(&sql, settings).await, Daemon::start(&sql, settings).await);
    for _ in 0..5 {
        let _ = Asked::default().of(&one.ledger).await;
    }
    one.ledger.flush().await.unwrap();
    assert_eq!(Asked::default().of(&two.ledger).await, Ok(Ruling::Pass));
    two.ledger.flush().await.unwrap();
    assert_eq!(two.used(), 6);
    assert_eq!(one.used(), 5, "as it last saw it");
    assert_eq!(Asked::default().of(&one.ledger).await, Ok(Ruling::Pass));
    one.ledger.flush().await.unwrap();
    assert_eq!(one.used(), 7);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_refusal_is_held_against_what_another_daemon_gave_back() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let (one, two) = (Daemon::start(&sql, STRICT).await, Daemon::start(&sql, STRICT).await);
        let full = Asked { instance: "i", message: Some(4), limit: 4, ..Asked::default() };
        assert_eq!(full.of(&one.ledger).await, Ok(Ruling::Pass));
        let more = Asked { limit: 4, ..Asked::default() };
        assert!(matches!(more.of(&two.ledger).await, Ok(Ruling::Over(_))), "{engine:?}: charged by the other");
        let less = Asked { instance: "i", message: Some(3), limit: 4, ..Asked::default() };
        assert_eq!(less.of(&one.ledger).await, Ok(Ruling::Pass));
        // A refusal was held against the database a moment ago: it may stand for a second.
        let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
        while more.of(&two.ledger).await != Ok(Ruling::Pass) {
            assert!(tokio::time::Instant::now() < give_up, "{engine:?}: refused although there is room");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        one.stop().await;
        two.stop().await;
        assert_eq!(daemon::stored(&sql, "ann@example.com"), 4);
    }
}

#[tokio::test]
async fn resetting_an_account_gives_it_its_quota_back() {
    let sql = TestDatabase::new(Engine::Sqlite);
    let daemon = Daemon::start(&sql, Settings::default()).await;
    let asked = Asked { limit: 1, ..Asked::default() };
    assert_eq!(asked.of(&daemon.ledger).await, Ok(Ruling::Pass));
    assert!(matches!(asked.of(&daemon.ledger).await, Ok(Ruling::Over(_))));
    assert_eq!(daemon.ledger.reset(b"ann@example.com").await, Ok(1));
    assert_eq!(asked.of(&daemon.ledger).await, Ok(Ruling::Pass));
    daemon.stop().await;
    assert_eq!(daemon::stored(&sql, "ann@example.com"), 1);
    assert_eq!(daemon::stored(&sql, "example.com"), 2);
}

#[tokio::test]
async fn any_bytes_are_ordinary_names() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        for name in [
            b"o'brien\"; DROP TABLE valvula_counter; --@example.com".to_vec(),
            b"100%_\\@example.com".to_vec(),
            "\u{1f600}@example.com".as_bytes().to_vec(),
            b"\xe9t\xe9\xff@example.com".to_vec(),
            [b"x".repeat(1000), b"@example.com".to_vec()].concat(),
            "\u{1f600}".repeat(1000).into_bytes(),
            [b"x@".to_vec(), b"y".repeat(3000)].concat(),
        ] {
            for settings in [STRICT, Settings::default()] {
                let asked = Asked { account: &name, limit: 2, ..Asked::default() };
                let daemon = Daemon::named(&sql, "odd", settings).await;
                assert_eq!(asked.of(&daemon.ledger).await, Ok(Ruling::Pass), "{engine:?} {settings:?}");
                daemon.stop().await;
            }
            let daemon = Daemon::named(&sql, "odd", STRICT).await;
            let asked = Asked { account: &name, limit: 2, ..Asked::default() };
            assert!(matches!(asked.of(&daemon.ledger).await, Ok(Ruling::Over(_))), "{engine:?}: counted together");
            daemon.stop().await;
        }
    }
}

#[tokio::test]
async fn closed_windows_are_removed_from_the_database() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let daemon = Daemon::start(&sql, STRICT).await;
        let _ = Asked::default().of(&daemon.ledger).await;
        daemon.ledger.flush().await.unwrap();
        assert_eq!(daemon.counters.remove_closed().await, Ok(0));
        daemon.clock.advance(Duration::from_secs(3 * 86_400));
        assert!(daemon.counters.remove_closed().await.unwrap() >= 2, "{engine:?}");
        daemon.stop().await;
        assert_eq!(sql.sql("SELECT COUNT(*) FROM valvula_counter"), "0", "{engine:?}");
    }
}

/// What passes of ten requests, four of which are all that the window has room for.
async fn passed_of_ten(daemon: &Daemon, from: u64) -> usize {
    let mut passed = 0;
    for _ in 0..10 {
        passed +=
            usize::from(Asked { limit: 4, from, ..Asked::default() }.of(&daemon.ledger).await == Ok(Ruling::Pass));
    }
    passed
}

#[tokio::test]
async fn a_clock_that_is_set_back_refuses_nobody_who_has_quota_left() {
    for (engine, settings) in
        Engine::ALL.into_iter().flat_map(|engine| [(engine, STRICT), (engine, Settings::default())])
    {
        let what = format!("{engine:?} {:?}", settings.durability);
        let sql = TestDatabase::new(engine);
        let daemon = Daemon::start(&sql, settings).await;
        assert_eq!(passed_of_ten(&daemon, NOW).await, 4, "{what}");
        daemon.ledger.flush().await.unwrap();
        // Another daemon's clock may be behind by so much: what it asks belongs to the newer window.
        daemon.clock.set(UNIX_EPOCH + Duration::from_secs(NOW - 1));
        assert_eq!(passed_of_ten(&daemon, NOW - 60).await, 0, "{what}, a second back");

        for hours in 1..=3 {
            let then = NOW - hours * 3600;
            daemon.clock.set(UNIX_EPOCH + Duration::from_secs(then));
            assert_eq!(passed_of_ten(&daemon, then).await, 4, "{what}, {hours} hours back");
            if hours < 3 {
                daemon.ledger.flush().await.unwrap();
                assert_eq!(passed_of_ten(&daemon, then).await, 0, "{what}, {hours} hours back, read again");
            }
        }
        daemon.stop().await;
        assert_eq!(daemon::stored(&sql, "ann@example.com"), 4, "{what}");
        let next = Daemon::start(&sql, settings).await;
        assert_eq!(passed_of_ten(&next, NOW).await, 4, "{what}, forth again");
        next.stop().await;
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_while_no_daemon_ran_refuses_nobody_who_has_quota_left() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let daemon = Daemon::start(&sql, STRICT).await;
        let later = NOW + 3600;
        daemon.clock.set(UNIX_EPOCH + Duration::from_secs(later));
        assert_eq!(passed_of_ten(&daemon, later).await, 4, "{engine:?}");
        daemon.stop().await;
        let next = Daemon::start(&sql, STRICT).await;
        assert_eq!(passed_of_ten(&next, NOW).await, 4, "{engine:?}");
        next.stop().await;
    }
}
