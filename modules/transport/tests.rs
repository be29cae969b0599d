//! Each sentence of mod-transport's specification, and what breaks when it is broken.

use actors::local::Local;
use libvalvula::Request;
use serde_json::json;
use testkit::Engine;

use super::*;
use crate::rules::Builder;
use crate::testing::{Rig, query, told};

const ANN: &str = "ann@s.example";
const BEN: &str = "ben@d.example";

fn row(id: i64, source: &str, destination: &str, transport: &str) -> TransportRow {
    let text = |text: &str| (text != "NULL").then(|| text.to_owned());
    TransportRow {
        id,
        is_active: Some(1),
        only_auth: None,
        source: text(source),
        destination: text(destination),
        transport: text(transport),
    }
}

fn table(rows: &[TransportRow]) -> RuleTable<WayOut> {
    let mut builder = Builder::new();
    for rule in rows.iter().filter_map(|row| row.read().unwrap()) {
        builder.add(&rule).unwrap();
    }
    let table = RuleTable::new();
    table.load(builder.finish());
    table
}

fn answer(rows: &[TransportRow], user: &str) -> String {
    let query = query(Request::builder().sender(ANN).recipient(BEN).sasl_username(user));
    choose(&table(rows), &query, &mut Trace::default()).map_or("DUNNO".to_owned(), |d| d.verdict.to_string())
}

#[test]
fn a_transport_without_a_colon_gets_one() {
    for (transport, expected) in [
        ("slow", "FILTER slow:"),
        ("slow:", "FILTER slow:"),
        ("smtp:[192.0.2.1]:2525", "FILTER smtp:[192.0.2.1]:2525"),
        (" slow ", "FILTER slow:"),
    ] {
        assert_eq!(answer(&[row(1, "", "", transport)], ""), expected, "{transport}");
    }
}

#[test]
fn source_and_destination_match_as_address_rules() {
    for (source, destination, expected) in [
        ("ann@s.example", "ben@d.example", true),
        ("s.example", "*.example", true),
        ("NULL", "ben@", true),
        ("example", "", true),
        ("x.example", "", false),
        ("s.example", "s.example", false),
    ] {
        let expected = if expected { "FILTER t:" } else { "DUNNO" };
        assert_eq!(answer(&[row(1, source, destination, "t")], ""), expected, "{source} -> {destination}");
    }
}

#[test]
fn the_first_active_row_decides_specific_before_general_then_by_id() {
    let rows = [row(1, "s.example", "", "a"), row(4, "s.example", "d.example", "b"), row(3, "example", "example", "c")];
    assert_eq!(answer(&rows, ""), "FILTER c:");
    assert_eq!(answer(&rows[..2], ""), "FILTER b:");
    assert_eq!(answer(&[row(2, "", "d.example", "a"), row(1, "", "", "b")], ""), "FILTER b:");
    for is_active in [None, Some(0)] {
        let off = TransportRow { is_active, ..row(1, "", "", "a") };
        assert_eq!(answer(&[off, row(2, "", "", "b")], ""), "FILTER b:", "not active");
    }
}

#[test]
fn only_auth_not_0_asks_for_an_authenticated_client() {
    for (only_auth, asks) in [(None, false), (Some(0), false), (Some(1), true), (Some(7), true)] {
        let rows = [TransportRow { only_auth, ..row(1, "", "", "a") }, row(2, "", "", "b")];
        assert_eq!(answer(&rows, "ann"), "FILTER a:");
        assert_eq!(answer(&rows, ""), if asks { "FILTER b:" } else { "FILTER a:" }, "{only_auth:?}");
    }
}

#[test]
fn a_row_without_a_usable_transport_is_a_fault() {
    for transport in ["NULL", "", " ", "a\nb"] {
        let fault = row(1, "", "", transport).read().unwrap_err().to_string();
        assert!(fault.contains("transport"), "{fault}");
    }
    assert!(row(1, "*", "", "a").read().is_err());
}

#[tokio::test]
async fn rows_written_with_plain_sql_decide_on_every_database() {
    for engine in Engine::ALL {
        rows_written_with_plain_sql_decide(engine).await;
    }
}

async fn rows_written_with_plain_sql_decide(engine: Engine) {
    let rows = "INSERT INTO transport_global (id, is_active, only_auth, source, transport) VALUES (5, 1, 1, 's.example', 'slow')";
    let rig = Rig::start(&MODULE, json!({}), Local::fixed(&[], &[]), engine, rows).await;
    assert_eq!(rig.told(ANN, BEN, "ann").await, "FILTER transport_global 5");
    assert_eq!(rig.told(ANN, BEN, "").await, "DUNNO");
    let explained = Arc::clone(&rig.module).explain(query(Request::builder().sender(ANN).recipient(BEN))).await;
    assert_eq!(told(&explained.outcome), "DUNNO");
    assert!(explained.trace[0].contains("transport_global 5: source s.example") && explained.trace[0].contains("only_auth"), "{:?}", explained.trace);
    rig.sql.sql("UPDATE transport_global SET only_auth = NULL");
    rig.comes_to("FILTER transport_global 5", ANN, BEN, "").await;
}
