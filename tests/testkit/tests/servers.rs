//! The private servers start, serve the real clients, stop, start again, and leave nothing behind.

use std::sync::Arc;

use testkit::{Engine, Server, TestDatabase};

#[test]
fn each_engine_gives_an_empty_database_that_its_own_client_can_use() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        database.sql("CREATE TABLE t (id INTEGER, name VARCHAR(20)); INSERT INTO t VALUES (1, 'ann');");
        assert_eq!(database.sql("SELECT name FROM t;"), "ann", "{engine:?}");
        assert!(database.try_sql("SELECT nothing FROM nowhere;").is_err(), "{engine:?}");
        assert!(
            TestDatabase::new(engine).try_sql("SELECT name FROM t;").is_err(),
            "{engine:?}: not a database of its own"
        );
    }
}

#[test]
fn a_client_that_stays_open_holds_its_transaction() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        database.sql("CREATE TABLE t (id INTEGER);");
        let mut client = database.open_client();
        client.run("BEGIN; INSERT INTO t VALUES (7);");
        assert_eq!(client.run("SELECT id FROM t;").trim(), "7", "{engine:?}");
        assert_eq!(database.sql("SELECT count(*) FROM t;"), "0", "{engine:?}");
        client.run("COMMIT;");
        assert_eq!(database.sql("SELECT count(*) FROM t;"), "1", "{engine:?}");
    }
}

#[test]
fn a_stopped_server_keeps_its_data_and_a_dropped_one_leaves_nothing() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let server = Arc::new(Server::start_new(engine));
        let database = TestDatabase::on_server(&server);
        database.sql("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1);");
        server.stop();
        assert!(database.try_sql("SELECT id FROM t;").is_err(), "{engine:?} answers although it is stopped");
        server.start();
        server.kill();
        server.start();
        assert_eq!(database.sql("SELECT id FROM t;"), "1", "{engine:?}");
        let socket = server.socket();
        drop(database);
        drop(server);
        assert!(!socket.exists(), "{engine:?} left {}", socket.display());
    }
}
