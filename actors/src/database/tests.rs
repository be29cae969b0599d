//! URLs, and the pool against the real engines.

use super::kept_log::kept_log;
use super::*;
use crate::settings::{Faults, Node, Section};
use testkit::{Engine, Server, TestDatabase};

fn log() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

fn open(database: &TestDatabase) -> Database {
    Database::open(Settings::new(database.url().parse().unwrap()), log()).unwrap()
}

#[test]
fn every_form_of_an_sqlite_path_is_understood() {
    for (url, path) in [
        ("sqlite:///var/lib/v.db", "/var/lib/v.db"),
        ("sqlite:/var/lib/v.db", "/var/lib/v.db"),
        ("sqlite://rel/v.db", "rel/v.db"),
        ("sqlite:v.db", "v.db"),
        ("sqlite:///a%20b/%3f.db?mode=rwc", "/a b/?.db"),
    ] {
        let url: DatabaseUrl = url.parse().unwrap();
        assert_eq!(url.file(), Some(std::path::Path::new(path)));
    }
}

#[test]
fn a_wrong_url_is_refused_with_what_was_expected_and_without_its_password() {
    for url in [
        "",
        "valvula.db",
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite:///a.db?cache=shared",
        "sqlite:///50%.db",
        "mysql:root:hunter2@localhost/db",
        "mysql://root:hunter2@localhost",
        "mysql://root:hunter2#x@localhost/db",
        "postgres://root:hunter2@localhost:99999/db",
        "hunter2://localhost/db",
    ] {
        let fault = url.parse::<DatabaseUrl>().unwrap_err();
        assert!(fault.contains("expected") || fault.contains("written"), "{url}: {fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}

#[test]
fn a_password_is_never_shown() {
    for url in
        ["mysql://ann:hunter2@db.example:3307/v", "mariadb://ann:hunter2@h/v?socket=/s", "postgres://ann:hunter2@h/v"]
    {
        let url: DatabaseUrl = url.parse().unwrap();
        let database = Database::open(Settings::new(url.clone()), log()).unwrap();
        for shown in
            [format!("{url}"), format!("{url:?}"), format!("{database:?}"), format!("{:?}", database.settings())]
        {
            assert!(shown.contains("ann@"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

#[test]
fn settings_report_every_fault_with_its_key() {
    let leaf = |value: &str| Node::Leaf { value: value.into(), origin: "a.toml".into(), from_env: false };
    let keys = [("url", "oracle://x"), ("max_connections", "many"), ("synchronous", "off"), ("poll_interval", "1ms")];
    let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), leaf(value))).collect();
    let faults = Faults::default();
    let mut section = Section::new("database", Node::Table { keys, origin: "a.toml".into() }, faults.clone());
    Settings::read(&mut section, "sqlite:v.db");
    section.finish();
    let shown: Vec<_> = faults.take().iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 4, "{shown:#?}");
}

#[tokio::test]
async fn each_engine_connects_and_says_what_it_is() {
    for (engine, product) in
        [(Engine::Sqlite, "SQLite"), (Engine::MariaDb, "MariaDB"), (Engine::Postgres, "PostgreSQL")]
    {
        let test = TestDatabase::new(engine);
        for url in [test.url(), test.url_tcp()] {
            let database = Database::open(Settings::new(url.parse().unwrap()), log()).unwrap();
            database.connect_with_backoff().await.unwrap();
            let description = database.describe().await.unwrap();
            assert_eq!(description.product, product);
            assert!(description.version.starts_with(|c: char| c.is_ascii_digit()), "{description}");
            assert!(database.is_up());
            database.close().await;
        }
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_and_not_cut_short() {
    let test = TestDatabase::new(Engine::MariaDb);
    test.sql("CREATE TABLE t (name VARCHAR(3));");
    let database = open(&test);
    let result =
        database.run(|pool| async move { pool.execute_unprepared("INSERT INTO t VALUES ('abcd')").await }).await;
    assert!(result.is_err());
    assert!(database.is_up(), "an answer that we did not like is an answer");
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let directory = testkit::directory();
    let url = format!("sqlite://{}/absent/v.db", directory.path().display());
    let database = Database::open(Settings::new(url.parse().unwrap()), log()).unwrap();
    let error = database.connect_with_backoff().await.unwrap_err().to_string();
    assert!(error.contains("/absent of the database can't be used: No such file"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_comes_is_given_up_after_the_start_timeout() {
    let directory = testkit::directory();
    let socket = directory.path().join("socket").display().to_string();
    let mut settings = Settings::new(format!("mysql://ann:hunter2@localhost/v?socket={socket}").parse().unwrap());
    settings.start_timeout = Duration::from_millis(300);
    let database = Database::open(settings, log()).unwrap();
    let since = Instant::now();
    let error = database.connect_with_backoff().await.unwrap_err().to_string();
    assert!(since.elapsed() >= Duration::from_millis(300));
    assert!(error.contains("does not answer") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn that_a_server_goes_and_comes_back_is_logged_once_each() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let server = Arc::new(Server::start_new(engine));
        let test = TestDatabase::on_server(&server);
        let (log, lines) = kept_log();
        let database = Database::open(Settings::new(test.url().parse().unwrap()), log).unwrap();
        database.connect_with_backoff().await.unwrap();
        server.stop();
        for _ in 0..3 {
            assert!(database.ping().await.is_err(), "{engine:?}");
        }
        assert!(!database.is_up());
        server.start();
        database.connect_with_backoff().await.unwrap();
        // An answer soon after a failure does not end the absence: one of the next does.
        while !database.is_up() {
            database.ping().await.unwrap();
        }
        for line in ["database is away", "database is back"] {
            assert_eq!(lines.count(line), 1, "{engine:?}: {line}: {:#?}", lines.all());
        }
    }
}

#[test]
fn a_database_is_dropped_anywhere_without_a_panic() {
    let test = TestDatabase::new(Engine::Sqlite);
    let database = open(&test);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        database.ping().await.unwrap();
        let last = database.clone();
        let handle = database.handle();
        drop(database);
        // On its own thread, as the last one.
        handle.spawn(async move { drop(last) }).await.ok();
    });
}

#[tokio::test]
async fn twenty_may_make_one_sqlite_file_at_once() {
    for _ in 0..5 {
        let test = TestDatabase::new(Engine::Sqlite);
        let all: Vec<_> = (0..20).map(|_| open(&test)).collect();
        let connecting: Vec<_> = all.iter().map(Database::connect_with_backoff).collect();
        for connected in futures_util::future::join_all(connecting).await {
            connected.unwrap();
        }
        assert_eq!(test.sql("PRAGMA journal_mode;"), "wal");
    }
}

#[tokio::test]
async fn after_sqlite_has_ended_a_transaction_by_itself_what_is_written_is_committed() {
    use sea_orm::TransactionTrait as _;
    let test = TestDatabase::new(Engine::Sqlite);
    let database = open(&test);
    let work = |pool: DatabaseConnection| async move {
        pool.execute_unprepared("CREATE TABLE t (id INTEGER PRIMARY KEY)").await?;
        let first = pool.begin().await?;
        first.execute_unprepared("INSERT INTO t VALUES (1)").await?;
        // As when the disk is full: the statement fails, and its transaction is rolled back with it.
        assert!(first.execute_unprepared("INSERT OR ROLLBACK INTO t VALUES (1)").await.is_err());
        drop(first);
        let second = pool.begin().await?;
        second.execute_unprepared("INSERT INTO t VALUES (2)").await?;
        second.rollback().await?;
        pool.execute_unprepared("INSERT INTO t VALUES (3)").await
    };
    database.write(work).await.unwrap();
    assert_eq!(test.sql("SELECT id FROM t;"), "3", "as another process sees it");
    database.close().await;
}

/// Whether the next statement would be part of a transaction.
async fn is_within_a_transaction(pool: DatabaseConnection, engine: Engine) -> Result<bool, DbErr> {
    match engine {
        Engine::MariaDb => {
            let statement = sea_orm::Statement::from_string(DatabaseBackend::MySql, "SELECT @@in_transaction");
            let row = pool.query_one_raw(statement).await?.expect("a row");
            row.try_get_by_index::<u64>(0).map(|is_open| is_open == 1)
        }
        // PostgreSQL refuses it outside.
        _ => Ok(pool.execute_unprepared("SAVEPOINT probe").await.is_ok()),
    }
}

/// Ready when its task has been polled `count` times.
async fn after_turns(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_transaction_whose_beginning_nobody_waits_for_is_not_left_open() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let test = TestDatabase::new(engine);
        let mut settings = Settings::new(test.url().parse().unwrap());
        settings.max_connections = 1;
        let database = Database::open(settings, log()).unwrap();
        let mut given_up = 0;
        for turns in 0..400 {
            tokio::select! {
                biased;
                begun = database.begin(TransactionOptions::default()) => drop(begun.unwrap()),
                () = after_turns(turns * 10) => given_up += 1,
            }
            let is_open = database.run(|pool| is_within_a_transaction(pool, engine)).await.unwrap();
            assert!(!is_open, "{engine:?}: given up after {turns} tens of turns, it is open");
        }
        assert!(given_up > 0 && given_up < 400, "{engine:?}: {given_up} given up");
        database.close().await;
    }
}
