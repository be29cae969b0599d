//! An operator's orders about plans and tickets, on every database.

use std::sync::Arc;

use actors::local::Local;
use actors::operate::{Order, Refused};
use serde_json::{Value, json};
use testkit::Engine;

use crate::testing::Rig;

async fn order(rig: &Rig, object: &str, verb: &str, arguments: Value) -> Result<Value, Refused> {
    let Value::Object(arguments) = arguments else { panic!("no object") };
    let order = Order { object: object.to_owned(), verb: verb.to_owned(), arguments };
    let done = Arc::clone(&rig.module).operate(order).await?;
    if done.changed {
        Arc::clone(&rig.module).refresh().await.unwrap();
    }
    Ok(done.value)
}

const ANN: &str = "ann@home.example";

async fn plans_and_tickets_are_obeyed_from_the_next_request_on(engine: Engine) {
    let rig = Rig::start(&super::super::MODULE, json!({}), Local::fixed(&[], &[]), engine, "").await;
    let send = async |user: &str| rig.told(user, "x@away.example", user).await;
    assert_eq!(send(ANN).await, "DUNNO");
    let plan = order(&rig, "ticket-plan", "add", json!({"name": "O'Brien's \"small\" 100%", "total": 2, "note": "n"})).await.unwrap();
    assert_eq!((&plan["total"], &plan["day"]), (&json!(2), &Value::Null));
    let ticket = order(&rig, "ticket", "assign", json!({"plan": "o'brien's \"SMALL\" 100%", "user": ANN})).await.unwrap();
    let id = ticket["id"].as_i64().unwrap();
    assert_eq!((&ticket["plan"]["total"], &ticket["used"]["total"]), (&json!(2), &json!(0)), "{ticket}");
    let refused = format!("REJECT domain_ticket {id}");
    for expected in ["DUNNO", "DUNNO", &refused] {
        assert_eq!(send(ANN).await, expected, "{engine:?}");
    }
    let credited = order(&rig, "ticket", "credit", json!({"ticket": id, "count": 1})).await.unwrap();
    assert_eq!(credited["used"], json!({"total": 1, "day": 2, "month": 2}));
    assert_eq!([send(ANN).await, send(ANN).await], ["DUNNO", &refused]);
    order(&rig, "ticket-plan", "change", json!({"plan": plan["id"].to_string(), "total": -1})).await.unwrap();
    assert_eq!(send(ANN).await, "DUNNO", "no limit any more");
    order(&rig, "ticket", "block", json!({"ticket": id})).await.unwrap();
    assert_eq!(send(ANN).await, refused);
    order(&rig, "ticket", "unblock", json!({"ticket": id})).await.unwrap();
    assert_eq!(send(ANN).await, "DUNNO");
    order(&rig, "ticket", "assign", json!({"plan": plan["id"].to_string(), "ticket": id, "valid_until": 1000})).await.unwrap();
    assert_eq!(send(ANN).await, refused, "it has ended");

    order(&rig, "ticket", "assign", json!({"plan": plan["id"].to_string(), "domain": "Away.example"})).await.unwrap();
    let shown = async |name: &str| {
        let answer = order(&rig, "ticket", "show", json!({"name": name})).await?;
        Ok::<_, Refused>(answer["tickets"].as_array().unwrap().iter().map(|ticket| ticket["id"].as_i64().unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(shown("ANN@home.example").await.unwrap(), [id]);
    assert_eq!(shown("away.example").await.unwrap(), [id + 1]);
    assert_eq!(shown(&id.to_string()).await.unwrap(), [id]);
    assert!(matches!(shown("nn@home.example").await, Err(Refused::NotFound(_))), "whole names");

    rig.sql.sql(&format!("INSERT INTO domain_ticket_history (domain_ticket_id, stamp, day_usage) VALUES ({id}, 100, 7), ({id}, 200, 8), (99, 300, 9);"));
    let history = order(&rig, "ticket", "history", json!({"ticket": id})).await.unwrap();
    assert_eq!(history["days"], json!([{"stamp": 200, "used": 8}, {"stamp": 100, "used": 7}]));
    assert_eq!(history["months"], json!([]));

    for (object, verb, arguments, says) in [
        ("ticket-plan", "add", json!({"name": "o'Brien's \"small\" 100%"}), "has this name"),
        ("ticket-plan", "add", json!({"name": "17"}), "no name"),
        ("ticket-plan", "add", json!({"name": "x", "day": 0}), "no limit"),
        ("ticket-plan", "add", json!({"total": 1}), "needs a name"),
        ("ticket-plan", "change", json!({"plan": "none", "total": 1}), "no plan"),
        ("ticket-plan", "change", json!({"plan": plan["id"].to_string()}), "nothing is to be changed"),
        ("ticket-plan", "remove", json!({"plan": plan["id"].to_string()}), "no limit without it"),
        ("ticket", "assign", json!({"plan": "none", "user": ANN}), "no plan"),
        ("ticket", "assign", json!({"plan": plan["id"].to_string(), "user": "Ann@home.example"}), "give it another plan"),
        ("ticket", "assign", json!({"plan": plan["id"].to_string(), "user": "a,b"}), "not one name"),
        ("ticket", "assign", json!({"plan": plan["id"].to_string()}), "expected one of"),
        ("ticket", "assign", json!({"plan": plan["id"].to_string(), "ticket": 99}), "no ticket 99"),
        ("ticket", "credit", json!({"ticket": id, "count": 1_000_000}), "no more than that"),
        ("ticket", "credit", json!({"ticket": id, "count": -5}), "no credit"),
        ("ticket", "credit", json!({"ticket": 99, "count": 5}), "no ticket 99"),
        ("ticket", "block", json!({"ticket": 99}), "no ticket 99"),
        ("ticket", "history", json!({"ticket": 99}), "no ticket 99"),
        ("ticket", "explode", json!({}), "explode"),
    ] {
        let refused = order(&rig, object, verb, arguments.clone()).await;
        assert!(refused.as_ref().is_err_and(|refused| refused.to_string().contains(says)), "{object} {verb} {arguments}: {refused:?}");
    }
    let unused = order(&rig, "ticket-plan", "add", json!({"name": "unused"})).await.unwrap();
    order(&rig, "ticket-plan", "remove", json!({"plan": "unused"})).await.unwrap();
    let plans = order(&rig, "ticket-plan", "list", json!({})).await.unwrap();
    assert!(plans["plans"].as_array().unwrap().iter().all(|plan| plan["id"] != unused["id"]), "{plans}");
}

#[tokio::test]
async fn orders() {
    for engine in [Engine::Sqlite, Engine::MariaDb, Engine::Postgres] {
        plans_and_tickets_are_obeyed_from_the_next_request_on(engine).await;
    }
}
