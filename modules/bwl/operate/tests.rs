//! An operator's orders, on every database.

use std::sync::Arc;

use actors::local::Local;
use actors::operate::{Order, Refused};
use serde_json::{Value, json};
use testkit::Engine;

use crate::testing::Rig;

const ANN: &str = "ann@home.example";

async fn rig(engine: Engine, rows: &str) -> Rig {
    Rig::start(&super::super::MODULE, json!({}), Local::fixed(&["home.example"], &[ANN]), engine, rows).await
}

/// Carries out an order as the daemon does: with what it changed obeyed when it returns.
async fn order(rig: &Rig, verb: &str, arguments: Value) -> Result<Value, Refused> {
    let Value::Object(arguments) = arguments else { panic!("no object") };
    let order = Order { object: "rule".to_owned(), verb: verb.to_owned(), arguments };
    let done = Arc::clone(&rig.module).operate(order).await?;
    if done.changed {
        Arc::clone(&rig.module).refresh().await.unwrap();
    }
    Ok(done.value)
}

async fn rules(rig: &Rig, filter: Value) -> Vec<String> {
    let answer = order(rig, "list", filter).await.unwrap();
    answer["rules"].as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap().to_owned()).collect()
}

/// Addresses that would be something else if they were pasted into SQL, or forgotten on the way.
const ODD: &[&str] = &[
    "o'brien@a.example",
    "back\\slash@a.example",
    "per%cent_@a.example",
    "\"a b\"@a.example",
    "x'; DROP TABLE bwl_global; --@a.example",
    "😀@a.example",
    "bücher@bücher.example",
];

async fn orders_change_what_is_decided_at_once(engine: Engine) {
    let rig = rig(engine, "").await;
    for (table, arguments, expected, sender, recipient, user) in [
        ("global", json!({"source": "bad@away.example", "status": "reject"}), "REJECT bwl_global", "bad@away.example", "x@y.example", ""),
        ("domain", json!({"rules_for": "Home.example", "source": "d.example", "status": "Discard"}), "DISCARD bwl_domain", "a@d.example", ANN, ""),
        ("account", json!({"rules_for": ANN, "source": "*.top.example", "status": "filter-discard"}), "FILTER bwl_account", "a@b.top.example", ANN, ""),
        ("sasl", json!({"sasl_user": "thief"}), "REJECT bwl_global_sasl", "a@b.example", "x@y.example", "thief"),
        ("global", json!({"source": "q.example", "status": "reject", "only_users": ["ben"], "skip_users": ["carl"]}), "REJECT bwl_global", "a@q.example", "x@y.example", "ben"),
    ] {
        let mut arguments = arguments;
        arguments["table"] = table.into();
        arguments["note"] = "why".into();
        arguments["who"] = "root".into();
        let added = order(&rig, "add", arguments).await.unwrap();
        let rule = added["rule"].as_str().unwrap().to_owned();
        assert_eq!((&added["active"], &added["description"], &added["who"]), (&json!(true), &json!("why"), &json!("root")), "{added}");
        assert!(added["stamp"].as_i64().unwrap() > 1_700_000_000, "{added}");
        let id = rule.split_once(':').unwrap().1;
        assert_eq!(rig.told(sender, recipient, user).await, format!("{expected} {id}"), "{engine:?}");

        order(&rig, "disable", json!({"rules": [rule]})).await.unwrap();
        assert_eq!(rig.told(sender, recipient, user).await, "DUNNO", "{rule} is disabled");
        assert!(!rules(&rig, json!({"active": true})).await.contains(&rule));
        order(&rig, "enable", json!({"rules": [rule]})).await.unwrap();
        assert_eq!(rig.told(sender, recipient, user).await, format!("{expected} {id}"));
        order(&rig, "remove", json!({"rules": [rule]})).await.unwrap();
        assert_eq!(rig.told(sender, recipient, user).await, "DUNNO", "{rule} is removed");
        assert!(!rules(&rig, json!({})).await.contains(&rule));
    }
}

async fn odd_addresses_are_ordinary_values(engine: Engine) {
    let rig = rig(engine, "").await;
    let long = format!("{}@a.example", "x".repeat(1000));
    for address in ODD.iter().copied().chain([&*long]) {
        let rule = order(&rig, "add", json!({"table": "global", "source": address, "status": "reject", "note": address})).await;
        let rule = rule.unwrap_or_else(|refused| panic!("{address}: {refused}"))["rule"].as_str().unwrap().to_owned();
        assert!(rig.told(address, "x@y.example", "").await.starts_with("REJECT bwl_global"), "{engine:?} {address}");
        assert_eq!(rules(&rig, json!({"contains": address})).await, std::slice::from_ref(&rule), "{engine:?} {address}");
        let again = order(&rig, "add", json!({"table": "global", "source": address, "status": "reject"})).await;
        assert!(matches!(&again, Err(Refused::Exists(what)) if what.contains(&rule)), "{address}: {again:?}");
    }
    assert_eq!(rules(&rig, json!({})).await.len(), ODD.len() + 1, "every table is still there");
    assert_eq!(rules(&rig, json!({"contains": "%"})).await.len(), 1, "a percent sign is itself");
    assert!(rules(&rig, json!({"contains": "a_example"})).await.is_empty(), "an underscore is itself");
}

async fn what_can_hardly_be_meant_is_refused(engine: Engine) {
    let rig = rig(engine, "INSERT INTO bwl_global (id, is_active, source, status) VALUES (5, 1, '@Bad.example', 'REJECT'), (6, 0, 'off.example', 'reject'), (7, 0, 'odd.example', 'whatever');").await;
    for (arguments, says) in [
        (json!({"table": "global", "source": "*", "status": "reject"}), "too broad"),
        (json!({"table": "global", "source": "x.example", "destination": "@", "status": "reject"}), "too broad"),
        (json!({"table": "global", "source": "x.example", "status": "rejct"}), "rejct"),
        (json!({"table": "global", "source": "x.example"}), "status"),
        (json!({"table": "global", "status": "reject"}), "every mail"),
        (json!({"table": "global", "source": "a\nb@x.example", "status": "reject"}), "control"),
        (json!({"table": "global", "source": "y".repeat(1025), "status": "reject"}), "1024"),
        (json!({"table": "global", "source": "x.example", "status": "reject", "only_users": ["a b"]}), "one SASL user"),
        (json!({"table": "domain", "rules_for": "a@x.example", "status": "reject"}), "no domain"),
        (json!({"table": "domain", "status": "reject"}), "rules_for"),
        (json!({"table": "account", "rules_for": "x.example", "status": "reject"}), "no address"),
        (json!({"table": "sasl", "sasl_user": " "}), "sasl_user"),
        (json!({"table": "nowhere"}), "nowhere"),
        (json!({"table": "global", "source": "x.example", "status": "reject", "force": true}), "force"),
        (json!({"table": "global", "source": "bad.EXAMPLE", "status": "reject"}), "global:5 says the same"),
        (json!({"table": "global", "source": "bad.example", "status": "ok"}), "global:5"),
        (json!({"table": "global", "source": "off.example", "status": "reject"}), "enable"),
    ] {
        let refused = order(&rig, "add", arguments.clone()).await;
        assert!(refused.as_ref().is_err_and(|refused| refused.to_string().contains(says)), "{arguments}: {refused:?}");
    }
    for (verb, arguments, says) in [
        ("remove", json!({"rules": ["global:5", "global:99"]}), "no rule global:99"),
        ("enable", json!({"rules": ["global:7"]}), "whatever"),
        ("disable", json!({"rules": ["17"]}), "names no rule"),
        ("explode", json!({}), "explode"),
    ] {
        let refused = order(&rig, verb, arguments).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{verb}: {refused}");
    }
    assert_eq!(rules(&rig, json!({})).await, ["global:5", "global:6", "global:7"], "nothing has changed");
    let everything = json!({"table": "global", "status": "reject", "everything": true, "disabled": true});
    let added = order(&rig, "add", everything).await.unwrap();
    assert_eq!(added["active"], json!(false));
    let other = json!({"table": "global", "source": "off.example", "status": "discard"});
    assert!(order(&rig, "add", other).await.is_ok(), "a disabled rule keeps no other from deciding");
}

async fn lists_are_filtered(engine: Engine) {
    let rig = rig(engine, "INSERT INTO bwl_global (id, is_active, source, status, description) VALUES (1, 1, 'a.example', 'reject', 'Spam'), (2, 0, 'b.example', 'OK', NULL), (3, NULL, '*', 'reject', NULL);
        INSERT INTO bwl_account (id, is_active, rules_for, status) VALUES (4, 1, 'ann@home.example', 'reject');
        INSERT INTO bwl_global_sasl (id, is_active, sasl_user) VALUES (5, 1, 'thief');").await;
    for (filter, expected) in [
        (json!({}), &["sasl:5", "global:1", "global:2", "global:3", "account:4"][..]),
        (json!({"tables": ["account", "sasl"]}), &["sasl:5", "account:4"]),
        (json!({"status": "ok"}), &["global:2"]),
        (json!({"status": "reject"}), &["global:1", "global:3", "account:4"]),
        (json!({"active": true}), &["sasl:5", "global:1", "account:4"]),
        (json!({"active": false}), &["global:2", "global:3"]),
        (json!({"contains": "SPAM"}), &["global:1"]),
        (json!({"contains": "ann@"}), &["account:4"]),
        (json!({"limit": 2}), &["sasl:5", "global:1"]),
    ] {
        assert_eq!(rules(&rig, filter.clone()).await, expected, "{engine:?} {filter}");
    }
    let answer = order(&rig, "list", json!({"limit": 2})).await.unwrap();
    assert_eq!(answer["more"], json!(true));
    let answer = order(&rig, "list", json!({"tables": ["global"]})).await.unwrap();
    assert_eq!(answer["more"], json!(false));
    assert!(answer["rules"][2]["fault"].as_str().unwrap().contains("too broad"), "{answer}");
}

async fn a_trial_names_the_rule_and_says_why_the_others_do_not(engine: Engine) {
    let rig = rig(engine, "INSERT INTO bwl_global (id, is_active, source, status, sasl_users_to_skip, limit_rule_to_sasl_users) VALUES
            (1, 1, 'a.example', 'ok', NULL, NULL), (2, 1, 'a.example', 'reject', 'ben', NULL), (3, 1, 'bad@a.example', 'discard', NULL, NULL),
            (4, 0, 'a.example', 'reject', NULL, NULL), (5, 1, 'other.example', 'reject', NULL, NULL), (6, 1, 'a.example', 'reject', NULL, 'carl');
        INSERT INTO bwl_account (id, is_active, rules_for, status) VALUES (7, 1, 'ann@home.example', 'reject');").await;
    let shown = |answer: &Value, key: &str| {
        answer[key].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    };
    let answer = order(&rig, "test", json!({"sender": "bad@a.example", "recipient": "x@away.example"})).await.unwrap();
    assert!(answer["answer"].as_str().unwrap().starts_with("REJECT") && answer["why"].as_str().unwrap().starts_with("bwl_global 2:"), "{answer}");
    assert!(shown(&answer, "trace").contains("bwl_global 1: source a.example"), "ok, passed over: {answer}");
    let others = shown(&answer, "others");
    for (part, there) in [
        ("bwl_global 3: source bad@a.example", true),
        ("not tried", true),
        ("bwl_global 4: disabled", true),
        ("bwl_global 6: ", true),
        ("does not name the user", true),
        ("bwl_global 5", false),
        ("bwl_account 7", false),
    ] {
        assert_eq!(others.contains(part), there, "{part}: {others}");
    }
    let answer = order(&rig, "test", json!({"sender": "x@b.example", "recipient": ANN})).await.unwrap();
    assert!(answer["why"].as_str().unwrap().starts_with("bwl_account 7:"), "{answer}");
    let answer = order(&rig, "test", json!({"sender": "x@b.example", "recipient": "x@y.example", "sasl": "ben"})).await.unwrap();
    assert_eq!((&answer["answer"], &answer["why"]), (&json!("DUNNO"), &Value::Null));
    assert!(order(&rig, "test", json!({"sender": "a\nb", "recipient": "x"})).await.is_err());
}

async fn rules_may_end(engine: Engine) {
    // Long past, and disabled.
    let rig = rig(engine, "INSERT INTO bwl_global (id, is_active, source, status, expires) VALUES (101, 1, 'old.example', 'reject', 1000), (102, 0, 'off.example', 'reject', 1000);").await;
    let now = jiff::Timestamp::now().as_second();
    let add = |more: Value| {
        let mut add = json!({"table": "global", "source": "new.example", "status": "reject"});
        add.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        add
    };
    let refused = order(&rig, "add", add(json!({"expires": now - 1}))).await.unwrap_err().to_string();
    assert!(refused.contains("is past"), "{refused}");
    let added = order(&rig, "add", add(json!({"expires": now + 3600}))).await.unwrap();
    assert_eq!((&added["expires"], &added["expired"]), (&json!(now + 3600), &json!(false)), "{added}");
    assert!(rig.told("x@new.example", ANN, "").await.starts_with("REJECT bwl_global"), "{engine:?}");
    let refused = order(&rig, "add", add(json!({}))).await.unwrap_err().to_string();
    assert!(refused.contains("says the same, for a time"), "{refused}");
    for (table, of, key) in [("domain", "home.example", "rules_for"), ("account", ANN, "rules_for"), ("sasl", "thief", "sasl_user")] {
        let status = if table == "sasl" { "" } else { "reject" };
        let add = json!({"table": table, key: of, "status": status, "expires": now + 60});
        assert_eq!(order(&rig, "add", add).await.unwrap()["expires"], json!(now + 60), "{engine:?} {table}");
    }
    let listed = order(&rig, "list", json!({"contains": "old.example"})).await.unwrap();
    assert_eq!((&listed["rules"][0]["expires"], &listed["rules"][0]["expired"]), (&json!(1000), &json!(true)), "{listed}");
    assert_eq!(rig.told("x@old.example", "y@far.example", "").await, "DUNNO", "{engine:?}: it has ended");
    let trial = order(&rig, "test", json!({"sender": "x@old.example", "recipient": "y@far.example"})).await.unwrap();
    assert!(trial["trace"].to_string().contains("bwl_global 101: source old.example, destination (any)"), "{trial}");
    assert!(trial["trace"].to_string().contains("it has expired"), "{trial}");
    let refused = order(&rig, "enable", json!({"rules": ["global:102"]})).await.unwrap_err().to_string();
    assert!(refused.contains("rule global:102 has expired"), "{refused}");
    // One that has ended keeps no other from being added.
    order(&rig, "add", add(json!({"source": "old.example"}))).await.unwrap();
    assert!(rig.told("x@old.example", "y@far.example", "").await.starts_with("REJECT"), "{engine:?}");
}

macro_rules! on_every_database {
    ($($name:ident => $of:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            for engine in [Engine::Sqlite, Engine::MariaDb, Engine::Postgres] {
                $of(engine).await;
            }
        }
    )*};
}

on_every_database! {
    an_order_is_obeyed_when_it_returns => orders_change_what_is_decided_at_once,
    odd_addresses => odd_addresses_are_ordinary_values,
    refusals => what_can_hardly_be_meant_is_refused,
    filters => lists_are_filtered,
    rules_that_end => rules_may_end,
    trials => a_trial_names_the_rule_and_says_why_the_others_do_not,
}
