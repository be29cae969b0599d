//! The schema against the real engines: made, adopted, refused, and made by many at once.

use std::process::{Command, Stdio};
use std::time::Duration;

use migrations::{MigrateError, migrate, status};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use testkit::{Engine, TestDatabase};

const TABLES: [&str; 14] = [
    "bwl_global",
    "bwl_domain",
    "bwl_account",
    "bwl_global_sasl",
    "slm_exception",
    "mquota_exception",
    "ticket_plan",
    "domain_ticket",
    "domain_ticket_history",
    "domain_month_ticket_history",
    "outgoing_ip",
    "time_tracking",
    "lmm_by_domain",
    "transport_global",
];

/// How many steps this program has.
fn steps() -> usize {
    migrations::program_version().number
}

async fn connect(url: &str) -> DatabaseConnection {
    let url = if url.starts_with("sqlite:") { format!("{url}?mode=rwc") } else { url.to_owned() };
    Database::connect(url).await.expect("the test's database answers")
}

/// Every table and column of the documents is there, and takes a row of NULLs.
fn assert_complete(test: &TestDatabase) {
    for (table, columns) in [
        (
            "bwl_global",
            "id, is_active, source, destination, description, status, stamp, who, sasl_users_to_skip, \
             limit_rule_to_sasl_users, expires",
        ),
        ("bwl_domain", "id, is_active, rules_for, source, description, status, stamp, who, expires"),
        ("bwl_account", "id, is_active, rules_for, source, description, status, stamp, who, expires"),
        ("bwl_global_sasl", "id, is_active, sasl_user, description, stamp, who, expires"),
        ("slm_exception", "id, is_active, description, mail_from, sasl_username"),
        ("mquota_exception", "id, is_active, sasl_user, description"),
        ("ticket_plan", "id, name, description, total_limit, day_limit, month_limit"),
        (
            "domain_ticket",
            "id, domain, sasl_user, total_used, current_day_usage, current_month_usage, valid_until, \
             ticket_plan_id, block_ticket, has_outgoing_ip, outgoing_ip_id",
        ),
        ("domain_ticket_history", "id, domain_ticket_id, stamp, day_usage"),
        ("domain_month_ticket_history", "id, domain_ticket_id, stamp, month_usage"),
        ("outgoing_ip", "id, is_active, outgoing_ip, transport, label, description"),
        ("time_tracking", "day, month"),
        ("lmm_by_domain", "id, is_active, domain, allowed_networks, description"),
        ("transport_global", "id, is_active, only_auth, source, destination, description, transport"),
    ] {
        test.sql(&format!("SELECT {columns} FROM {table};"));
        let nullable: Vec<_> = columns.split(", ").filter(|column| *column != "id").collect();
        let nulls = vec!["NULL"; nullable.len()].join(", ");
        test.sql(&format!("INSERT INTO {table} ({}) VALUES ({nulls});", nullable.join(", ")));
        assert_eq!(test.sql(&format!("SELECT count(*) FROM {table} WHERE {} IS NULL;", nullable[0])), "1", "{table}");
    }
}

#[tokio::test]
async fn an_empty_database_gets_every_table_and_a_second_start_finds_nothing_to_do() {
    for engine in Engine::ALL {
        let test = TestDatabase::new(engine);
        let database = connect(&test.url()).await;
        let before = status(&database).await.unwrap();
        assert_eq!((before.database.number, before.pending.len()), (0, steps()), "{engine:?}");
        let report = migrate(&database).await.unwrap();
        assert_eq!((report.from.number, report.to.number, report.applied.len()), (0, steps(), steps()), "{engine:?}");
        assert_eq!((report.taken_over, report.warnings), (vec![], vec![]), "{engine:?}");
        assert_complete(&test);
        let again = migrate(&database).await.unwrap();
        assert_eq!(again.from, again.to);
        assert_eq!((again.applied.len(), again.taken_over, again.warnings), (0, vec![], vec![]), "{engine:?}");
    }
}

#[tokio::test]
async fn status_changes_nothing() {
    for engine in Engine::ALL {
        let test = TestDatabase::new(engine);
        let database = connect(&test.url()).await;
        status(&database).await.unwrap();
        let tables = match engine {
            Engine::Sqlite => "SELECT count(*) FROM sqlite_master;",
            Engine::MariaDb => "SELECT count(*) FROM information_schema.tables WHERE table_schema = database();",
            Engine::Postgres => "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public';",
        };
        assert_eq!(test.sql(tables), "0", "{engine:?}");
    }
}

#[tokio::test]
async fn a_database_newer_than_the_program_is_refused_with_both_versions_and_left_alone() {
    for engine in Engine::ALL {
        let test = TestDatabase::new(engine);
        let database = connect(&test.url()).await;
        migrate(&database).await.unwrap();
        test.sql(
            "INSERT INTO valvula_migration (version, applied_at) VALUES ('m9999_better', 1); DROP TABLE slm_exception;",
        );
        let error = migrate(&database).await.unwrap_err();
        assert!(matches!(error, MigrateError::Newer { .. }), "{engine:?}: {error}");
        let said = error.to_string();
        assert!(
            said.contains(&format!("{} (m9999_better)", steps() + 1))
                && said.contains(&migrations::program_version().to_string()),
            "{said}"
        );
        assert!(test.try_sql("SELECT id FROM slm_exception;").is_err(), "{engine:?}: something was changed");
        assert_eq!(status(&database).await.unwrap().unknown, ["m9999_better"]);
        // The refusal leaves no lock behind.
        test.sql("DELETE FROM valvula_migration WHERE version = 'm9999_better';");
        migrate(&database).await.unwrap();
    }
}

#[tokio::test]
async fn addresses_of_1000_characters_and_any_script_are_kept_as_they_are() {
    for engine in Engine::ALL {
        let test = TestDatabase::new(engine);
        migrate(&connect(&test.url()).await).await.unwrap();
        let address = format!("{}😀é@example.com", "x".repeat(986));
        assert_eq!(address.chars().count(), 1000);
        test.sql(&format!("INSERT INTO bwl_global (source, destination) VALUES ('{address}', '{address}');"));
        assert_eq!(test.sql("SELECT destination FROM bwl_global;"), address, "{engine:?}");
    }
}

/// What the tests below start as processes of their own: a daemon's first step.
#[tokio::test]
#[ignore = "started by other tests, with VALVULA_TEST_URL"]
async fn child_that_migrates() {
    let url = std::env::var("VALVULA_TEST_URL").expect("started by another test");
    let report = migrate(&connect(&url).await).await.unwrap();
    println!("applied: {}", report.applied.len());
}

fn child(url: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test's own program"));
    command.args(["--ignored", "--exact", "child_that_migrates", "--nocapture"]).env("VALVULA_TEST_URL", url);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn twenty_daemons_start_at_once_on_one_empty_database() {
    for engine in Engine::ALL {
        let test = TestDatabase::new(engine);
        let children: Vec<_> = (0..20).map(|_| child(&test.url()).spawn().unwrap()).collect();
        let mut worked = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{engine:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
            let all = format!("applied: {}", steps());
            worked += usize::from(said.contains(&all));
            assert!(said.contains(&all) || said.contains("applied: 0"), "{engine:?}: {said}");
        }
        assert_eq!(worked, 1, "{engine:?}: exactly one does the work");
        assert_complete(&test);
    }
}

#[tokio::test]
async fn a_start_killed_in_the_middle_is_made_good_by_the_next() {
    for engine in Engine::ALL {
        // How long a whole start takes here, so that the kills fall all over it.
        let test = TestDatabase::new(engine);
        let since = std::time::Instant::now();
        assert!(child(&test.url()).status().unwrap().success());
        let whole = since.elapsed();
        let mut halves = 0;
        for round in 1..=8 {
            let test = TestDatabase::new(engine);
            let mut child = child(&test.url()).spawn().unwrap();
            tokio::time::sleep(whole * round / 8).await;
            child.kill().unwrap();
            child.wait().unwrap();
            let database = connect(&test.url()).await;
            let left = status(&database).await.unwrap().pending.len();
            halves += usize::from((1..steps()).contains(&left));
            let report = migrate(&database).await.unwrap();
            assert_eq!(report.to.number, steps(), "{engine:?}, round {round}");
            assert_complete(&test);
        }
        println!("{engine:?}: {halves} of 8 kills left a part of the steps ({whole:?} a start)");
        if engine != Engine::MariaDb {
            assert_eq!(halves, 0, "{engine:?}: all or nothing");
        }
    }
}

#[tokio::test]
async fn the_lock_of_a_daemon_whose_machine_is_gone_is_free_again_in_seconds() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let test = TestDatabase::new(engine);
        migrate(&connect(&test.url()).await).await.unwrap();
        let mut administrator = test.open_client();
        let (hold, leave, held) = match engine {
            Engine::MariaDb => (
                "LOCK TABLES valvula_migration WRITE;",
                "UNLOCK TABLES;",
                "SELECT COUNT(*) FROM (SELECT IS_USED_LOCK(CONCAT('valvula.schema.', MD5(DATABASE()))) AS who) AS it \
                 WHERE who IS NOT NULL;",
            ),
            _ => (
                "BEGIN; LOCK TABLE valvula_migration;",
                "COMMIT;",
                "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database());",
            ),
        };
        administrator.run(hold);
        // Has the lock, waits for the table, and falls silent as if its machine had lost power.
        let mut child = child(&test.url()).spawn().unwrap();
        testkit::wait_until("it has the lock", Duration::from_secs(60), || test.sql(held) == "1");
        let stop = Command::new("kill").args(["-STOP", &child.id().to_string()]).status().unwrap();
        assert!(stop.success());
        administrator.run(leave);
        let since = std::time::Instant::now();
        let report = migrate(&connect(&test.url()).await).await.unwrap();
        println!("{engine:?}: free after {:?}", since.elapsed());
        assert_eq!(report.to.number, steps(), "{engine:?}");
        assert!(since.elapsed() < Duration::from_secs(60), "{engine:?}: {:?}", since.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
        // Its patience is not that of the connections that go on.
        if engine == Engine::MariaDb {
            let database = connect(&test.url()).await;
            migrate(&database).await.unwrap();
            let row = database.query_one_raw(Statement::from_string(
                sea_orm::DatabaseBackend::MySql,
                "SELECT CAST(@@SESSION.wait_timeout = @@GLOBAL.wait_timeout AS SIGNED)",
            ));
            assert_eq!(row.await.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn a_step_that_was_half_done_is_done_again() {
    // What a crash between two statements of MySQL's leaves: a table without its note, another missing.
    for engine in Engine::ALL {
        let test = TestDatabase::new(engine);
        let database = connect(&test.url()).await;
        migrate(&database).await.unwrap();
        test.sql(
            "DELETE FROM valvula_migration WHERE version >= 'm0004'; DROP TABLE domain_ticket_history; \
             DROP TABLE transport_global; INSERT INTO ticket_plan (name) VALUES ('kept');",
        );
        let report = migrate(&database).await.unwrap();
        assert_eq!((report.from.number, report.applied.len()), (3, steps() - 3), "{engine:?}");
        assert_eq!(test.sql("SELECT name FROM ticket_plan;"), "kept");
        test.sql("SELECT day_usage FROM domain_ticket_history; SELECT transport FROM transport_global;");
    }
}

/// Tables as an old Valvula leaves them: latin1, no indexes but the key, no later columns, short names.
const OLD: &str = "
    CREATE TABLE bwl_global (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, source VARCHAR(255),
        destination VARCHAR(20000), description VARCHAR(300), status VARCHAR(32), stamp INT, extra VARCHAR(50))
        ENGINE=MyISAM DEFAULT CHARSET=latin1;
    CREATE TABLE bwl_account (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, rules_for TEXT, source TEXT,
        status VARCHAR(32)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE domain_ticket (id INT AUTO_INCREMENT PRIMARY KEY, domain VARCHAR(255), sasl_user VARCHAR(255),
        total_used INT, ticket_plan_id INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE time_tracking (day INT, month INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    INSERT INTO time_tracking VALUES (17, 3);
    INSERT INTO bwl_global (id, source, destination, status, extra)
        SELECT 3 * seq, CONCAT('us\u{e9}r', seq, '@example.com'), NULL, 'reject', 'panel' FROM seq_1_to_10000;
    INSERT INTO bwl_account (id, rules_for, status)
        SELECT 7 * seq, CONCAT('ann', seq, '@example.com'), NULL FROM seq_1_to_10000;
    INSERT INTO domain_ticket (id, domain, total_used) SELECT seq + 100, CONCAT('d', seq, '.net'), NULL FROM seq_1_to_10000;
";

const SUMS: &str = "
    SELECT COUNT(*), SUM(id), SUM(CRC32(CONVERT(CONCAT_WS('|', id, is_active, source, status, extra) USING utf8mb4))) FROM bwl_global;
    SELECT COUNT(*), SUM(id), SUM(CRC32(CONVERT(CONCAT_WS('|', id, rules_for, source, status) USING utf8mb4))) FROM bwl_account;
    SELECT COUNT(*), SUM(id), SUM(CRC32(CONVERT(CONCAT_WS('|', id, domain, sasl_user, total_used) USING utf8mb4))) FROM domain_ticket;
    SELECT * FROM time_tracking;
";

#[tokio::test]
async fn tables_of_an_old_valvula_are_taken_over_with_rows_and_ids() {
    let test = TestDatabase::new(Engine::MariaDb);
    test.sql(OLD);
    let before = test.sql(SUMS);
    let database = connect(&test.url()).await;
    let report = migrate(&database).await.unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    assert!(report.taken_over.iter().any(|line| line.contains("bwl_global") && line.contains("latin1")), "{report:#?}");
    assert_eq!(test.sql(SUMS), before);
    assert_eq!(test.sql("SELECT source FROM bwl_global WHERE id = 3;"), "us\u{e9}r1@example.com");
    // Fit for any address now, and the panel's own column is still there.
    test.sql("INSERT INTO bwl_global (source, sasl_users_to_skip, extra) VALUES ('😀@example.com', 'ann', 'new');");
    assert_eq!(test.sql("SELECT source FROM bwl_global WHERE extra = 'new';"), "😀@example.com");
    assert_eq!(
        test.sql("SELECT DISTINCT engine, table_collation FROM information_schema.tables WHERE table_schema = database() AND table_name NOT LIKE 'valvula%';"),
        "InnoDB\tutf8mb4_unicode_ci"
    );
    let again = migrate(&database).await.unwrap();
    assert_eq!((again.applied.len(), again.taken_over, again.warnings), (0, vec![], vec![]), "nothing left to do");
    for table in TABLES {
        test.sql(&format!("SELECT * FROM {table} LIMIT 1;"));
    }
}

/// A user of the shared MariaDB who has `privileges` on the whole database; the URL as which he connects.
fn weak(test: &TestDatabase, privileges: &str) -> String {
    let name = test.name();
    let grant = format!(
        "CREATE USER 'weak_{name}'@'localhost' IDENTIFIED BY 'secret'; \
         GRANT {privileges} ON {name}.* TO 'weak_{name}'@'localhost';"
    );
    testkit::Server::shared(Engine::MariaDb).administer("", &grant);
    test.url().replace("//valvula:", &format!("//weak_{name}:"))
}

/// The statement that an error asks an administrator for.
fn asked_for(error: &MigrateError) -> String {
    let said = error.to_string();
    let (_, statement) = said.split_once("an administrator has to say: ").unwrap_or_else(|| panic!("{said}"));
    statement.to_owned()
}

#[tokio::test]
async fn a_column_that_is_needed_and_may_not_be_added_ends_the_start_with_the_statement_that_grants_it() {
    let test = TestDatabase::new(Engine::MariaDb);
    test.sql(OLD);
    let before = test.sql(SUMS);
    let url = weak(&test, "SELECT, INSERT, UPDATE, DELETE, CREATE");
    let error = migrate(&connect(&url).await).await.unwrap_err();
    assert!(error.to_string().contains("ALTER command denied"), "{error}");
    assert_eq!(test.sql(SUMS), before);
    // As it stands there, it helps.
    testkit::Server::shared(Engine::MariaDb).administer("", &format!("{};", asked_for(&error)));
    let report = migrate(&connect(&url).await).await.unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(test.sql(SUMS), before);
}

#[tokio::test]
async fn without_create_the_start_ends_with_the_statement_that_grants_it() {
    let test = TestDatabase::new(Engine::MariaDb);
    let url = weak(&test, "SELECT, INSERT, UPDATE, DELETE");
    let error = migrate(&connect(&url).await).await.unwrap_err();
    assert!(
        asked_for(&error).starts_with("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, TRIGGER ON `"),
        "{error}"
    );

    let test = TestDatabase::new(Engine::Postgres);
    let name = test.name();
    let role = format!(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE weak_{name} LOGIN PASSWORD 'secret'; \
         GRANT USAGE ON SCHEMA public TO weak_{name};"
    );
    testkit::Server::shared(Engine::Postgres).administer(&name, &role);
    let url = test.url().replace("//valvula:", &format!("//weak_{name}:"));
    let error = migrate(&connect(&url).await).await.unwrap_err();
    let statement = asked_for(&error);
    assert!(statement.contains("ON SCHEMA \"public\" TO") && statement.contains(&format!("weak_{name}")), "{error}");
}

#[tokio::test]
async fn what_is_not_needed_and_may_not_be_added_is_gone_without_and_said_at_each_start() {
    let test = TestDatabase::new(Engine::MariaDb);
    // All that the original's newest tables have.
    migrate(&connect(&test.url()).await).await.unwrap();
    test.sql(
        "DROP TABLE valvula_migration; DROP TABLE valvula_counter; ALTER TABLE bwl_global DROP COLUMN expires; \
         DROP INDEX valvula_domain_ticket_history_domain_ticket_id ON domain_ticket_history; \
         ALTER TABLE bwl_account CONVERT TO CHARACTER SET latin1; \
         INSERT INTO bwl_global (id, source) VALUES (7, 'ann@example.com');",
    );
    let url = weak(&test, "SELECT, INSERT, UPDATE, DELETE, CREATE");
    for start in 1..=2 {
        let report = migrate(&connect(&url).await).await.unwrap();
        assert_eq!(report.to.number, steps(), "start {start}");
        let said = |parts: &[&str]| report.warnings.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(said(&["table bwl_global goes without column expires", "ALTER"]), "{:#?}", report.warnings);
        assert!(
            said(&["table domain_ticket_history goes without index on domain_ticket_id", "INDEX"]),
            "{:#?}",
            report.warnings
        );
        assert!(said(&["table bwl_account can't be made fit for every address", "ALTER"]), "{:#?}", report.warnings);
        assert_eq!(report.warnings.len(), 3, "{:#?}", report.warnings);
        assert_eq!(report.taken_over, Vec::<String>::new());
    }
    assert_eq!(test.sql("SELECT id, source FROM bwl_global;"), "7\tann@example.com");
    // With the privileges it is made good.
    let report = migrate(&connect(&test.url()).await).await.unwrap();
    assert_eq!((report.warnings, report.taken_over.len()), (vec![], 3));
}

#[tokio::test]
async fn one_who_waits_for_the_lock_gets_it_when_it_is_free() {
    let test = TestDatabase::new(Engine::MariaDb);
    let mut holder = test.open_client();
    holder.run("SELECT GET_LOCK(CONCAT('valvula.schema.', MD5(DATABASE())), 0);");
    let mut waiting = child(&test.url()).spawn().unwrap();
    let waits = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock';";
    testkit::wait_until("it waits for the lock", Duration::from_secs(10), || test.sql(waits) == "1");
    assert!(waiting.try_wait().unwrap().is_none());
    assert!(test.try_sql("SELECT id FROM bwl_global;").is_err(), "nothing is done without the lock");
    drop(holder);
    assert!(waiting.wait().unwrap().success());
}
