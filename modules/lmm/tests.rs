//! Each sentence of mod-lmm's specification, and what breaks when it is broken.

use actors::local::Local;
use libvalvula::Request;
use serde_json::json;
use testkit::Engine;

use super::*;
use crate::rules::Builder;
use crate::testing::{Rig, query, told};

fn row(id: i64, domain: &str, networks: &str) -> DomainRow {
    let text = |text: &str| (text != "NULL").then(|| text.to_owned());
    DomainRow { id, is_active: Some(1), domain: text(domain), allowed_networks: text(networks) }
}

fn answer(rows: &[DomainRow], sender: &str, client: &str, user: &str) -> String {
    let mut builder = Builder::new();
    for rule in rows.iter().filter_map(|row| row.read().unwrap()) {
        builder.add(&rule).unwrap();
    }
    let table = RuleTable::new();
    table.load(builder.finish());
    let query = query(Request::builder().sender(sender).client_address(client).sasl_username(user));
    told(&Ok(check(&table, &query, &mut Trace::default())))
}

const REFUSED: &str = "REJECT lmm_by_domain 1";

#[test]
fn a_domain_with_a_row_is_accepted_from_its_networks_alone() {
    let rows = [row(1, "X.example", "192.0.2.0/24 2001:db8::/32, 198.51.100.7")];
    for (client, expected) in [
        ("192.0.2.77", "DUNNO"),
        ("2001:db8::5", "DUNNO"),
        ("198.51.100.7", "DUNNO"),
        ("::ffff:192.0.2.77", "DUNNO"),
        ("198.51.100.8", REFUSED),
        ("2001:db9::5", REFUSED),
        ("unknown", REFUSED),
        ("", REFUSED),
    ] {
        assert_eq!(answer(&rows, "a@x.example", client, ""), expected, "{client}");
    }
}

#[test]
fn an_authenticated_request_or_another_domain_is_no_opinion() {
    let rows = [row(1, "x.example", "192.0.2.0/24")];
    assert_eq!(answer(&rows, "a@x.example", "203.0.113.1", "ann"), "DUNNO");
    for sender in ["a@y.example", "a@b.x.example", "", "x.example@y.example"] {
        assert_eq!(answer(&rows, sender, "203.0.113.1", ""), "DUNNO", "{sender}");
    }
}

#[test]
fn an_empty_list_allows_nobody() {
    for empty in ["", "NULL", " , "] {
        assert_eq!(answer(&[row(1, "x.example", empty)], "a@x.example", "127.0.0.1", ""), REFUSED, "{empty:?}");
    }
}

#[test]
fn a_row_that_is_not_active_does_not_hold() {
    for is_active in [None, Some(0)] {
        let rows = [DomainRow { is_active, ..row(1, "x.example", "") }];
        assert_eq!(answer(&rows, "a@x.example", "127.0.0.1", ""), "DUNNO");
    }
}

#[test]
fn domain_is_an_address_rule_and_several_rows_add_up() {
    let rows = [row(1, "*.x.example", "192.0.2.1"), row(2, "b.x.example", "192.0.2.2")];
    assert_eq!(answer(&rows, "a@b.x.example", "192.0.2.1", ""), "DUNNO");
    assert_eq!(answer(&rows, "a@b.x.example", "192.0.2.2", ""), "DUNNO");
    assert_eq!(answer(&rows, "a@b.x.example", "192.0.2.3", ""), "REJECT lmm_by_domain 1, 2");
    assert_eq!(answer(&rows, "a@c.x.example", "192.0.2.2", ""), REFUSED);
}

#[test]
fn a_row_without_a_domain_or_with_a_wrong_network_is_a_fault() {
    assert!(row(1, "NULL", "192.0.2.1").read().unwrap_err().to_string().contains("domain"));
    assert!(row(1, "*", "192.0.2.1").read().is_err());
    assert!(row(1, "x.example", "192.0.2.1 nonsense").read().unwrap_err().to_string().contains("\"nonsense\""));
}

#[tokio::test]
async fn rows_written_with_plain_sql_decide_on_every_database() {
    for engine in Engine::ALL {
        rows_written_with_plain_sql_decide(engine).await;
    }
}

async fn rows_written_with_plain_sql_decide(engine: Engine) {
    let rows = "INSERT INTO lmm_by_domain (id, is_active, domain, allowed_networks) VALUES (3, 1, 'x.example', '192.0.2.0/24')";
    let rig = Rig::start(&MODULE, json!({}), Local::fixed(&[], &[]), engine, rows).await;
    let ask = |client: &str| Request::builder().sender("a@x.example").client_address(client);
    assert_eq!(told(&rig.ask(ask("192.0.2.1")).await), "DUNNO");
    let refused = rig.ask(ask("203.0.113.1")).await.unwrap().unwrap();
    assert_eq!(refused.why, "lmm_by_domain 3: client 203.0.113.1, sender a@x.example");
    let shown = refused.verdict.to_string();
    assert!(!shown.contains("192") && !shown.contains("example"), "{shown}");
    let explained = Arc::clone(&rig.module).explain(query(ask("203.0.113.1"))).await;
    assert_eq!(explained.trace, ["lmm_by_domain 3: domain x.example, client not allowed"]);
    rig.sql.sql("DELETE FROM lmm_by_domain");
    rig.comes_to("DUNNO", "a@x.example", "", "").await;
}
