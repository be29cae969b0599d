//! The journal of strict counters: what daemons leave in it, what somebody does to it, and what happens when nothing
//! can be taken from it to the table. (Several daemons at once: `counting.rs`; the database away: `outage.rs`.)

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod daemon;

use std::time::Duration;

use actors::counting::{Durability, Ruling, Settings};
use testkit::{Engine, TestDatabase};

use self::daemon::{Asked, Daemon, STRICT};

const ANN: &str = "ann@example.com";

/// Entries of the journal.
fn entries(sql: &TestDatabase) -> String {
    sql.sql("SELECT COUNT(*) FROM valvula_journal WHERE slot >= 0 AND number > 0;")
}

async fn passes(daemon: &Daemon, limit: i64) -> bool {
    match (Asked { limit, ..Asked::default() }).of(&daemon.ledger).await {
        Ok(ruling) => ruling == Ruling::Pass,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_a_daemon_left_is_counted_by_the_next_whatever_its_durability() {
    for engine in Engine::ALL {
        for durability in [Durability::Strict, Durability::Relaxed] {
            let sql = TestDatabase::new(engine);
            // It is not stopped: for the other it might as well have been killed.
            let first = Daemon::start(&sql, STRICT).await;
            for _ in 0..3 {
                assert!(passes(&first, 4).await);
            }
            assert_eq!(entries(&sql), "3", "{engine:?}");
            let next = Daemon::start(&sql, Settings { durability, ..STRICT }).await;
            assert_eq!(daemon::stored(&sql, ANN), 3, "{engine:?} {durability:?}");
            assert!(passes(&next, 4).await && !passes(&next, 4).await, "{engine:?} {durability:?}");
            next.stop().await;
            first.stop().await;
            assert_eq!(daemon::stored(&sql, ANN), 4, "{engine:?} {durability:?}");
        }
    }
}

#[tokio::test]
async fn a_daemon_that_missed_a_whole_round_of_the_journal_reads_all() {
    let sql = TestDatabase::new(Engine::Sqlite);
    let daemon = Daemon::start(&sql, STRICT).await;
    assert!(passes(&daemon, 5).await);
    daemon.ledger.flush().await.unwrap();
    // Others have written 8,191 entries, which are folded, the last of them over the first.
    sql.sql(
        "DELETE FROM valvula_journal WHERE slot >= 0;
         WITH RECURSIVE numbers(n) AS (SELECT 4097 UNION ALL SELECT n + 1 FROM numbers WHERE n < 8192)
         INSERT INTO valvula_journal (store, slot, number, writer, sequence, batch)
         SELECT CAST('mquota' AS BLOB), n % 4096, n, CAST('other' AS BLOB), n, x'01' FROM numbers;
         UPDATE valvula_journal SET number = 8192 WHERE slot = -1;
         UPDATE valvula_counter SET minute_used = 4 WHERE kind = 0",
    );
    assert!(passes(&daemon, 5).await);
    assert!(!passes(&daemon, 5).await);
    daemon.stop().await;
    assert_eq!(daemon::stored(&sql, ANN), 5);
    assert_eq!(sql.sql("SELECT number FROM valvula_journal WHERE slot = -1"), "8193");
}

#[tokio::test]
async fn a_journal_that_somebody_emptied_begins_anew() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let daemon = Daemon::start(&sql, STRICT).await;
        for what in ["slot >= 0", "slot = -1", "slot >= -1"] {
            assert!(passes(&daemon, 100).await);
            daemon.ledger.flush().await.unwrap();
            sql.sql(&format!("DELETE FROM valvula_journal WHERE {what};"));
        }
        assert!(passes(&daemon, 4).await && !passes(&daemon, 4).await, "{engine:?}");
        daemon.stop().await;
        assert_eq!(daemon::stored(&sql, ANN), 4, "{engine:?}");
    }
}

#[tokio::test]
async fn an_entry_that_can_t_be_read_keeps_a_daemon_from_starting_and_is_named() {
    let sql = TestDatabase::new(Engine::Sqlite);
    let first = Daemon::start(&sql, STRICT).await;
    assert!(passes(&first, 4).await);
    first.stop().await;
    sql.sql("UPDATE valvula_journal SET number = 0 WHERE slot = -1; UPDATE valvula_journal SET batch = x'07' WHERE slot = 1");
    let error = Daemon::try_start(&sql, STRICT).await.err().unwrap();
    assert_eq!(
        error,
        "the counters of mquota can't be read: Custom Error: valvula_journal: entry 1 can't be read: \
         a newer valvulad has written it, or something else"
    );
}

#[tokio::test]
async fn a_journal_that_can_t_be_emptied_holds_what_it_has_room_for_and_loses_nothing() {
    let sql = TestDatabase::new(Engine::Sqlite);
    let daemon = Daemon::start(&sql, STRICT).await;
    assert!(passes(&daemon, i64::MAX).await);
    sql.sql("ALTER TABLE valvula_counter RENAME TO elsewhere");
    let mut asked = 1;
    let error = loop {
        assert!(asked < 10_000, "there is no end to the journal");
        asked += 1;
        match Asked::default().of(&daemon.ledger).await {
            Ok(ruling) => assert_eq!(ruling, Ruling::Pass),
            Err(error) => break error,
        }
    };
    assert!((4000..4200).contains(&asked), "{asked} passed");
    assert!(error.to_string().contains("valvula_counter"), "{error}");
    sql.sql("ALTER TABLE elsewhere RENAME TO valvula_counter");
    let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        assert!(tokio::time::Instant::now() < give_up, "nothing passes although the table is back");
        // Counted also when it could not be asked: its mail is accepted.
        asked += 1;
        if Asked::default().of(&daemon.ledger).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.stop().await;
    assert_eq!(daemon::stored(&sql, ANN), asked);
}
