//! Each sentence of mod-mw's specification, and what breaks when it is broken.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actors::clock::Clock;
use actors::local::Local;
use actors::module::Decide;
use actors::settings::{Faults, Section};
use libvalvula::{Request, RequestBuilder};
use serde_json::json;
use testkit::{Engine, TestDatabase};

use super::*;
use crate::testing::{Rig, context, database, faults, node, query};

fn request(sender: &str) -> RequestBuilder {
    Request::builder()
        .sender(sender)
        .recipient("ben@y.example")
        .sasl_username("ann")
        .size(123)
        .recipient_count(2)
        .queue_id("4bX")
        .client_address("192.0.2.1")
}

async fn started(settings: Value, sql: &TestDatabase, clock: Clock) -> Arc<dyn Module> {
    let faults = Faults::default();
    let mut section = Section::new("module.mw", node(settings), faults.clone());
    let configured = MODULE.configure(&mut section);
    section.finish();
    assert!(faults.is_empty(), "{:?}", faults.take());
    let context = actors::module::ModuleContext { clock, ..context("mw", &database(sql).await, Local::fixed(&[], &[])) };
    configured.start(context).await.unwrap()
}

fn fact(module: &Arc<dyn Module>, connection: &str, name: &str) -> u64 {
    let (_, connections) = module.status().remove(0);
    connections[connection][name].as_u64().unwrap_or_else(|| panic!("{connections}"))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < give_up, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn ask(module: &Arc<dyn Module>, request: RequestBuilder) {
    assert!(matches!(Arc::clone(module).decide(query(request)), Decide::Now(Ok(None))), "always no opinion, at once");
}

const SEEN: &str = "CREATE TABLE seen (queue_id VARCHAR(64), size INT, sasl VARCHAR(255), sender VARCHAR(255), n INT, recipient VARCHAR(255), client VARCHAR(64));";
const INSERT: &str = "INSERT INTO seen VALUES (#queue-id#, #size#, #sasl_user#, #mail-from#, #rcpt-count#, '#rcpt-to#', #client-address#)";

async fn statements_run_with_the_values_of_the_request(engine: Engine) {
    let sql = TestDatabase::new(engine);
    sql.sql(SEEN);
    let settings = json!({"connection": [{"name": "main", "on_request": [INSERT]}]});
    let module = started(settings, &sql, Clock::system()).await;
    // Whatever an address holds is a value and nothing else.
    let senders = ["ann@x.example", "o'brien@x.example", "\"; DROP TABLE seen; --\"@x.example", "a\\%_?$1#size#@x.example", "bücher@x.example"];
    for sender in senders {
        ask(&module, request(sender));
    }
    Arc::clone(&module).stop().await;
    assert_eq!(fact(&module, "main", "statements run"), 5, "a stop runs what is queued");
    let rows = sql.sql("SELECT queue_id, size, sasl, n, recipient, client FROM seen LIMIT 1");
    let columns: Vec<_> = rows.split(['|', '\t']).collect();
    assert_eq!(columns, ["4bX", "123", "ann", "2", "ben@y.example", "192.0.2.1"]);
    for sender in senders {
        let found = sql.sql(&format!("SELECT COUNT(*) FROM seen WHERE sender = '{}'", match engine {
            Engine::MariaDb => sender.replace('\\', "\\\\").replace('\'', "''"),
            _ => sender.replace('\'', "''"),
        }));
        assert_eq!(found, "1", "{sender}");
    }
}

#[tokio::test]
async fn statements_run_with_the_values_of_the_request_on_every_database() {
    for engine in Engine::ALL {
        statements_run_with_the_values_of_the_request(engine).await;
    }
}

#[tokio::test]
async fn a_connection_of_its_own_and_listeners_of_its_own() {
    let (own, other) = (TestDatabase::new(Engine::Sqlite), TestDatabase::new(Engine::Sqlite));
    other.sql(SEEN);
    let settings = json!({"connection": [
        {"name": "other", "url": other.url(), "on_request": [INSERT]},
        {"name": "elsewhere", "url": other.url(), "listeners": ["submission"], "on_request": [INSERT]},
        {"name": "here", "url": other.url(), "listeners": ["submission", "test"], "on_request": ["INSERT INTO seen (sasl) VALUES ('here')"]},
    ]});
    let module = started(settings, &own, Clock::system()).await;
    ask(&module, request("ann@x.example"));
    Arc::clone(&module).stop().await;
    assert_eq!(other.sql("SELECT sasl FROM seen ORDER BY sasl"), "ann\nhere");
}

#[tokio::test]
async fn a_statement_that_fails_is_counted_and_the_next_one_runs() {
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(SEEN);
    let settings = json!({"connection": [{"name": "main", "on_request": ["INSERT INTO nowhere VALUES (#size#)", INSERT]}]});
    let module = started(settings, &sql, Clock::system()).await;
    ask(&module, request("ann@x.example"));
    ask(&module, request("ben@x.example"));
    Arc::clone(&module).stop().await;
    assert_eq!((fact(&module, "main", "statements failed"), fact(&module, "main", "statements run")), (2, 2));
    assert_eq!(sql.sql("SELECT COUNT(*) FROM seen"), "2");
}

#[tokio::test]
async fn a_statement_that_hangs_delays_no_answer_and_what_does_not_fit_the_queue_is_counted() {
    let sql = TestDatabase::new(Engine::MariaDb);
    sql.sql(SEEN);
    let settings = json!({"connection": [{"name": "main", "queue": 3, "timeout": "300ms", "on_request": ["SELECT SLEEP(1000)"]}]});
    let module = started(settings, &sql, Clock::system()).await;
    ask(&module, request("ann@x.example"));
    let start = std::time::Instant::now();
    for _ in 0..100 {
        ask(&module, request("ann@x.example"));
    }
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    let left_out = fact(&module, "main", "requests left out");
    assert!((96..=98).contains(&left_out), "at most one is being run and three wait: {left_out}");
    until("it is given up", || fact(&module, "main", "statements failed") >= 1).await;
    let start = std::time::Instant::now();
    Arc::clone(&module).stop().await;
    assert!(start.elapsed() < Duration::from_secs(8), "a stop does not wait for ever: {:?}", start.elapsed());
}

#[tokio::test]
async fn while_the_database_is_away_what_is_queued_waits_and_then_runs() {
    let server = Arc::new(testkit::Server::start_new(Engine::Postgres));
    let (own, other) = (TestDatabase::new(Engine::Sqlite), TestDatabase::on_server(&server));
    other.sql(SEEN);
    server.stop();
    let settings = json!({"connection": [{"name": "main", "url": other.url(), "on_request": [INSERT]}]});
    let module = started(settings, &own, Clock::system()).await;
    for _ in 0..20 {
        ask(&module, request("ann@x.example"));
    }
    assert_eq!(fact(&module, "main", "requests waiting"), 20);
    server.start();
    until("the statements are run", || fact(&module, "main", "statements run") == 20).await;
    assert_eq!(other.sql("SELECT COUNT(*) FROM seen"), "20");
    assert_eq!(fact(&module, "main", "statements failed"), 0);
}

#[tokio::test]
async fn hourly_statements_run_when_the_hour_changes() {
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(SEEN);
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * 3_600 + 3_599));
    let settings = json!({"connection": [{"name": "main", "every_hour": ["INSERT INTO seen (sasl) VALUES ('hourly')"]}]});
    let module = started(settings, &sql, clock.clone()).await;
    let rows = || sql.sql("SELECT COUNT(*) FROM seen");
    ask(&module, request("ann@x.example"));
    assert_eq!(rows(), "0", "not at the start");
    for expected in ["1", "2"] {
        clock.advance(Duration::from_secs(1));
        until("the hour's statement is run", || rows() == expected).await;
        clock.advance(Duration::from_secs(3_599));
    }
}

#[tokio::test]
async fn explain_queues_nothing() {
    let settings = json!({"connection": [{"name": "main", "on_request": [INSERT]}, {"name": "x", "listeners": ["y"], "on_request": [INSERT]}]});
    let rig = Rig::start(&MODULE, settings, Local::fixed(&[], &[]), Engine::Sqlite, SEEN).await;
    let explained = Arc::clone(&rig.module).explain(query(request("ann@x.example"))).await;
    assert_eq!(explained.outcome, Ok(None));
    assert_eq!(explained.trace, ["main: 1 statements would be queued", "x: 1 statements: not for listener test"]);
    Arc::clone(&rig.module).stop().await;
    assert_eq!(rig.sql.sql("SELECT COUNT(*) FROM seen"), "0");
}

#[test]
fn settings_at_fault_are_named() {
    let found = faults(
        &MODULE,
        json!({"connection": [
            {"name": "a", "on_request": ["SELECT #size#", "SELECT #sise#"], "every_hour": ["DELETE FROM t WHERE s = #size#"]},
            {"name": "a", "url": "oracle://x", "queue": 0, "on_request": ["SELECT 1"]},
            {"colour": 1},
        ]}),
    );
    for expected in [
        "module.mw.connection[0].on_request: statement 2: there is no placeholder #sise#",
        "module.mw.connection[0].every_hour: an hourly statement has no request",
        "module.mw.connection[1].name: \"a\" is the name of another connection",
        "module.mw.connection[1].url: unknown kind of database",
        "module.mw.connection[1].queue: 0 is out of bounds",
        "module.mw.connection[2]: expected statements in on_request or every_hour",
        "module.mw.connection[2].colour: unknown key",
    ] {
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected} in {found:#?}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}
