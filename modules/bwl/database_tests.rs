//! Rows written with plain SQL decide, on every database.

use actors::local::Local;
use actors::operate::Order;
use serde_json::{Value, json};
use testkit::{Engine, TestDatabase};

use crate::house::{House, ask, comes_to, rcpt};
use crate::testing::{Rig, faults};

const ANN: &str = "ann@home.example";

async fn rig(engine: Engine, rows: &str) -> Rig {
    let local = Local::fixed(&["home.example"], &[ANN]);
    Rig::start(&super::MODULE, json!({}), local, engine, rows).await
}

async fn rows_written_with_plain_sql_decide(engine: Engine) {
    let rig = rig(
        engine,
        "INSERT INTO bwl_global (id, is_active, source, destination, status) VALUES (1, 1, '*.mailer.net', NULL, 'reject'), (2, 1, 'x.example', '', 'Discard'), (3, 0, 'y.example', '', 'reject'), (4, 1, 'z.example', '', 'whatever'), (5, 1, '*', '', 'reject');
         INSERT INTO bwl_global (id, is_active, source, status, sasl_users_to_skip, limit_rule_to_sasl_users) VALUES (6, 1, 'q.example', 'reject', 'ben', 'ann, ben');
         INSERT INTO bwl_domain (id, is_active, rules_for, source, status) VALUES (1, 1, 'home.example', 'd.example', 'reject');
         INSERT INTO bwl_account (id, is_active, rules_for, source, status) VALUES (1, 1, 'ann@home.example', 'a.example', 'filter-discard');
         INSERT INTO bwl_global_sasl (id, is_active, sasl_user) VALUES (1, 1, 'carl'), (2, 0, 'dora');",
    )
    .await;
    let cases = [
        ("REJECT bwl_global 1", "a@b.c.mailer.net", ANN, ""),
        ("DUNNO", "a@mailer.net", ANN, ""),
        ("DISCARD bwl_global 2", "a@x.example", ANN, ""),
        ("DUNNO", "a@y.example", ANN, ""),
        ("DUNNO", "a@z.example", ANN, ""),
        ("DUNNO", "a@q.example", ANN, ""),
        ("DUNNO", "a@q.example", ANN, "ben"),
        ("REJECT bwl_global 6", "a@q.example", ANN, "ann"),
        ("REJECT bwl_domain 1", "a@d.example", ANN, ""),
        ("FILTER bwl_account 1", "a@a.example", ANN, ""),
        ("REJECT bwl_global_sasl 1", ANN, "x@y.example", "carl"),
        ("DUNNO", ANN, "x@y.example", "dora"),
    ];
    for (expected, sender, recipient, user) in cases {
        assert_eq!(rig.told(sender, recipient, user).await, expected, "{engine:?} {sender} {user}");
    }

    rig.sql.sql("INSERT INTO bwl_global (id, is_active, source, status) VALUES (20, 1, 'new.example', 'reject')");
    rig.comes_to("REJECT bwl_global 20", "a@new.example", ANN, "").await;
    rig.sql.sql("UPDATE bwl_global SET source = 'newer.example' WHERE id = 20");
    rig.comes_to("DUNNO", "a@new.example", ANN, "").await;
    assert_eq!(rig.told("a@newer.example", ANN, "").await, "REJECT bwl_global 20");
    rig.sql.sql("UPDATE bwl_global SET is_active = 0 WHERE id = 20");
    rig.comes_to("DUNNO", "a@newer.example", ANN, "").await;
    rig.sql.sql("DELETE FROM bwl_domain; DELETE FROM bwl_account; UPDATE bwl_global_sasl SET is_active = 1");
    rig.comes_to("DUNNO", "a@d.example", ANN, "").await;
    rig.comes_to("DUNNO", "a@a.example", ANN, "").await;
    rig.comes_to("REJECT bwl_global_sasl 2", ANN, "x@y.example", "dora").await;

    let status = rig.module.status();
    assert_eq!(status.iter().map(|(table, _)| *table).collect::<Vec<_>>(), ["bwl_global_sasl", "bwl_global", "bwl_domain", "bwl_account"]);
}

#[tokio::test]
async fn rows_written_with_plain_sql_decide_on_sqlite() {
    rows_written_with_plain_sql_decide(Engine::Sqlite).await;
}

#[tokio::test]
async fn rows_written_with_plain_sql_decide_on_mariadb() {
    rows_written_with_plain_sql_decide(Engine::MariaDb).await;
}

#[tokio::test]
async fn rows_written_with_plain_sql_decide_on_postgresql() {
    rows_written_with_plain_sql_decide(Engine::Postgres).await;
}

#[tokio::test]
async fn a_row_ends_by_the_clock_alone_and_rows_without_the_column_never() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let house = House::open(&sql, "2026-01-15T12:00:00Z").await;
        // The second as a panel of the original writes it, which knows no such column.
        sql.sql(
            "INSERT INTO bwl_global (id, is_active, source, status, expires) VALUES (1, 1, 'a.example', 'reject', 1768478400);
             INSERT INTO bwl_global (id, is_active, source, status) VALUES (2, 1, 'b.example', 'reject');",
        );
        let bwl = house.start(&super::MODULE, "bwl", json!({})).await;
        let reject = async |domain: &str| ask(&bwl, rcpt("").sender(format!("x@{domain}"))).await.starts_with("REJECT");
        let facts = || bwl.status().into_iter().find(|(name, _)| *name == "bwl_global").unwrap().1;
        let before = facts();
        house.at("2026-01-15T11:59:59Z");
        assert!(reject("a.example").await && reject("b.example").await, "{engine:?}");
        house.at("2026-01-15T12:00:00Z");
        assert!(!reject("a.example").await && reject("b.example").await, "{engine:?}");
        assert_eq!((&before["loads"], &before["changes"]), (&facts()["loads"], &facts()["changes"]), "{engine:?}: read again");
        assert_eq!(before["lacking columns"], "", "{engine:?}");
        // Later is another matter for the row, and is obeyed like any change.
        sql.sql("UPDATE bwl_global SET expires = 1768478401 WHERE id = 1;");
        comes_to(&bwl, "REJECT", || rcpt("").sender("x@a.example")).await;
        house.close().await;
    }
}

#[tokio::test]
async fn a_table_that_lacks_the_column_is_followed_without_it() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let house = House::open(&sql, "2026-01-15T12:00:00Z").await;
        sql.sql("ALTER TABLE bwl_global DROP COLUMN expires; INSERT INTO bwl_global (id, is_active, source, status) VALUES (101, 1, 'a.example', 'reject');");
        let bwl = house.start(&super::MODULE, "bwl", json!({})).await;
        let facts = || bwl.status().into_iter().find(|(name, _)| *name == "bwl_global").unwrap().1;
        assert_eq!(facts()["lacking columns"], "expires", "{engine:?}");
        assert!(ask(&bwl, rcpt("").sender("x@a.example")).await.starts_with("REJECT"), "{engine:?}");
        sql.sql("INSERT INTO bwl_global (id, is_active, source, status) VALUES (102, 1, 'b.example', 'reject');");
        comes_to(&bwl, "REJECT", || rcpt("").sender("x@b.example")).await;
        let order = |verb: &str, arguments: Value| {
            let Value::Object(arguments) = arguments else { panic!("no object") };
            let order = Order { object: "rule".to_owned(), verb: verb.to_owned(), arguments };
            std::sync::Arc::clone(&bwl).operate(order)
        };
        let listed = order("list", json!({})).await.unwrap().value;
        assert_eq!(listed["rules"].as_array().unwrap().len(), 2, "{engine:?}: {listed}");
        assert_eq!(listed["rules"][0]["expires"], Value::Null, "{listed}");
        let add = json!({"table": "global", "source": "c.example", "status": "reject", "expires": 2_000_000_000});
        let refused = order("add", add).await.unwrap_err().to_string();
        assert!(refused.contains("lacks the column expires"), "{refused}");
        order("add", json!({"table": "global", "source": "c.example", "status": "reject"})).await.unwrap();
        house.close().await;
    }
}

#[test]
fn settings_at_fault_are_named() {
    let found = faults(&super::MODULE, json!({"deny_unknown_local_mail_from": "maybe", "colour": 1}));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("valvula.toml: module.bwl.deny_unknown_local_mail_from: "), "{found:?}");
    assert!(found[1].starts_with("valvula.toml: module.bwl.colour: unknown key"), "{found:?}");
}
