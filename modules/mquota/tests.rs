//! The sentences of mod-mquota, one test each.

use serde_json::{Value, json};
use testkit::{Engine, TestDatabase};

use super::*;
use crate::house::{House, ask, comes_to, data, explain, rcpt};
use crate::testing::faults;

const NOON: &str = "2026-01-15T12:30:00Z";

/// Settings with one period of the whole day, in Madrid.
fn settings(limits: Value) -> Value {
    let mut period = json!({"label": "day", "from": "00:00", "to": "00:00"});
    merge(&mut period, limits);
    json!({"timezone": "Europe/Madrid", "period": [period]})
}

fn merge(into: &mut Value, more: Value) {
    let (Value::Object(into), Value::Object(more)) = (into, more) else { panic!("objects") };
    into.extend(more);
}

fn with(mut settings: Value, more: Value) -> Value {
    merge(&mut settings, more);
    settings
}

struct Rig {
    sql: TestDatabase,
    house: House,
    module: Arc<dyn Module>,
}

impl Rig {
    async fn start(settings: Value) -> Self {
        Self::at(NOON, settings).await
    }

    async fn at(time: &str, settings: Value) -> Self {
        let sql = TestDatabase::new(Engine::Sqlite);
        let house = House::open(&sql, time).await;
        let module = house.start(&MODULE, "mquota", settings).await;
        Self { sql, house, module }
    }

    async fn rcpt(&self, user: &str) -> String {
        ask(&self.module, rcpt(user)).await
    }

    async fn data(&self, user: &str, count: u32) -> String {
        ask(&self.module, data(user, count)).await
    }

    /// What `user` has used of minute, hour and run, and its domain.
    fn used(&self, user: &str) -> [[i64; 3]; 2] {
        let mut used = [[0; 3]; 2];
        let domain = user.split('@').nth(1).unwrap_or_default();
        self.module_ledger().each(|kind, name, counter| {
            for (side, wanted) in [user, domain].into_iter().enumerate() {
                if usize::from(kind) == side && name == wanted.as_bytes() {
                    used[side] = counter.tallies.map(|tally| tally.used);
                }
            }
        });
        used
    }

    fn module_ledger(&self) -> Arc<Ledger> {
        let ledger = self.house.counters.find("mquota");
        ledger.expect("started")
    }
}

#[tokio::test]
async fn authenticated_requests_only() {
    let rig = Rig::start(settings(json!({"minute": 0}))).await;
    let request = || rcpt("").sender("ann@example.com");
    assert_eq!(ask(&rig.module, request()).await, "DUNNO");
    assert!(rig.rcpt("ann@example.com").await.starts_with("REJECT"));
}

#[tokio::test]
async fn an_active_exception_for_the_user_or_for_its_domain_is_no_opinion() {
    let rig = Rig::start(settings(json!({"minute": 0}))).await;
    rig.sql.sql(
        "INSERT INTO mquota_exception (is_active, sasl_user) VALUES \
         (1, 'Ann@Example.com'), (1, 'free.example'), (0, 'ben@example.com'), (NULL, 'paid.example'), (1, NULL), (1, '')",
    );
    for user in ["ann@example.com", "anybody@free.example"] {
        comes_to(&rig.module, "DUNNO", || rcpt(user)).await;
    }
    for user in ["ben@example.com", "x@paid.example", "x@sub.free.example", "free"] {
        assert!(rig.rcpt(user).await.starts_with("REJECT"), "{user}");
    }
    rig.sql.sql("UPDATE mquota_exception SET is_active = 0");
    comes_to(&rig.module, "REJECT", || rcpt("ann@example.com")).await;
}

#[tokio::test]
async fn the_text_says_which_limit_and_when_it_opens_again() {
    for (limits, text) in [
        (json!({"minute": 0}), "0 messages per minute for Ann@example.com, try again after 13:31 CET"),
        (json!({"hour": 0}), "0 messages per hour for ann@example.com, try again after 14:00 CET"),
        (json!({"global": 0}), "0 messages in this period for ann@example.com, try again after 2026-01-16 00:00 CET"),
        (json!({"domain_minute": 0}), "0 messages per minute for example.com, try again after 13:31 CET"),
        (json!({"domain_hour": 0}), "0 messages per hour for example.com, try again after 14:00 CET"),
        (json!({"domain_global": 0}), "0 messages in this period for example.com, try again after 2026-01-16 00:00 CET"),
    ] {
        let rig = Rig::start(settings(limits)).await;
        let expected = format!("REJECT Sending limit reached: {text}");
        assert_eq!(rig.rcpt("ann@example.com").await.to_lowercase(), expected.to_lowercase());
    }
    let rig = Rig::start(settings(json!({"hour": 250}))).await;
    assert_eq!(rig.data("ann@example.com", 250).await, "DUNNO");
    assert_eq!(
        rig.rcpt("ann@example.com").await,
        "REJECT Sending limit reached: 250 messages per hour for ann@example.com, try again after 14:00 CET"
    );
}

#[tokio::test]
async fn the_log_is_told_the_limit_and_the_values_compared() {
    let rig = Rig::start(settings(json!({"hour": 5}))).await;
    assert_eq!(rig.data("ann@example.com", 3).await, "DUNNO");
    let outcome = crate::house::outcome(&rig.module, data("ann@example.com", 4)).await;
    assert_eq!(outcome.unwrap().unwrap().why, "period day, hour limit of account ann@example.com: used 3 + 4 > 5");
}

#[tokio::test]
async fn minus_1_and_absent_are_no_limit() {
    let none = json!({"minute": -1, "hour": -1, "global": -1, "domain_minute": -1, "domain_hour": -1, "domain_global": -1});
    for limits in [json!({}), none] {
        let rig = Rig::start(settings(limits)).await;
        assert_eq!(rig.data("ann@example.com", 1_000_000).await, "DUNNO");
    }
}

#[tokio::test]
async fn action_says_what_is_done_with_what_is_over_the_limit() {
    for (action, answer, used) in [("reject", "REJECT", 1), ("defer", "DEFER", 1), ("hold", "HOLD", 3), ("warn", "WARN", 3)] {
        let rig = Rig::start(with(settings(json!({"hour": 1})), json!({"action": action}))).await;
        assert_eq!(rig.rcpt("ann@example.com").await, "DUNNO");
        for _ in 0..2 {
            let told = rig.rcpt("ann@example.com").await;
            assert_eq!(told.split(' ').next(), Some(answer), "{told}");
            assert!(told.contains("Sending limit reached"), "{told}");
        }
        assert_eq!(rig.used("ann@example.com")[0][1], used, "{action}: what is accepted is counted");
    }
}

#[tokio::test]
async fn if_no_match_says_what_holds_when_no_period_covers_the_time() {
    let periods = json!([
        {"label": "morning", "from": "08:00", "to": "12:00", "global": 2},
        {"label": "late", "from": "20:00", "to": "22:00", "global": 0},
    ]);
    for (no_match, expected) in [
        (Value::Null, ["DUNNO", "DUNNO", "REJECT Sending limit reached: 2 messages in this period for ann@example.com, try again after 20:00 CET"]),
        (json!("first"), ["DUNNO", "DUNNO", "REJECT Sending limit reached: 2 messages in this period for ann@example.com, try again after 20:00 CET"]),
        (json!("no-limit"), ["DUNNO"; 3]),
        (json!("reject"), ["REJECT Sending is not possible at this time, try again after 20:00 CET"; 3]),
    ] {
        let mut settings = json!({"timezone": "Europe/Madrid", "period": periods});
        if !no_match.is_null() {
            merge(&mut settings, json!({"if_no_match": no_match}));
        }
        let rig = Rig::start(settings).await;
        for expected in expected {
            assert_eq!(rig.rcpt("ann@example.com").await, expected, "{no_match}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_when_no_period_covers_the_time_whatever_the_action() {
    let settings = json!({"timezone": "UTC", "if_no_match": "reject", "action": "warn",
        "period": [{"from": "01:00", "to": "02:00"}]});
    let rig = Rig::start(settings).await;
    assert!(rig.rcpt("ann@example.com").await.starts_with("REJECT"));
    assert_eq!(rig.used("ann@example.com"), [[0; 3]; 2]);
}

#[tokio::test]
async fn windows_open_again_at_the_clocks_minute_hour_and_run() {
    let rig = Rig::at("2026-01-15T19:58:59Z", json!({
        "timezone": "Europe/Madrid",
        "period": [
            {"label": "day", "from": "09:00", "to": "21:00", "minute": 2, "hour": 3, "global": 4},
            {"label": "night", "from": "21:00", "to": "09:00", "minute": 2, "hour": 3, "global": 4},
        ]})).await;
    let ann = "ann@example.com";
    assert_eq!([rig.rcpt(ann).await, rig.rcpt(ann).await], ["DUNNO", "DUNNO"]);
    assert!(rig.rcpt(ann).await.contains("per minute"), "the minute is full");
    rig.house.at("2026-01-15T19:59:00Z");
    assert_eq!(rig.rcpt(ann).await, "DUNNO");
    assert!(rig.rcpt(ann).await.contains("per hour"), "the hour is full, and opens later than the minute");
    rig.house.at("2026-01-15T20:00:00Z");
    assert_eq!(rig.rcpt(ann).await, "DUNNO", "a new hour, and a new run that starts at zero");
    rig.house.at("2026-01-15T21:00:00Z");
    assert_eq!([rig.rcpt(ann).await, rig.rcpt(ann).await], ["DUNNO", "DUNNO"]);
    rig.house.at("2026-01-15T22:00:00Z");
    assert_eq!(rig.rcpt(ann).await, "DUNNO");
    assert!(rig.rcpt(ann).await.contains("in this period for ann@example.com, try again after 2026-01-16 09:00 CET"));
    rig.house.at("2026-01-16T20:00:00Z");
    assert_eq!(rig.rcpt(ann).await, "DUNNO", "the next night");
}

#[tokio::test]
async fn a_request_passes_when_every_limit_has_room_for_the_whole_count() {
    let rig = Rig::start(settings(json!({"minute": 5, "domain_minute": 7}))).await;
    assert_eq!(rig.data("ann@example.com", 3).await, "DUNNO");
    assert!(rig.data("ann@example.com", 3).await.contains("5 messages per minute for ann@example.com"));
    assert_eq!(rig.data("ben@example.com", 4).await, "DUNNO");
    assert!(rig.data("cid@example.com", 1).await.contains("7 messages per minute for example.com"));
    assert_eq!(rig.used("cid@example.com"), [[0; 3], [7; 3]], "refused: charged to nobody");
}

#[tokio::test]
async fn one_message_is_charged_once_for_each_recipient_accepted() {
    let rig = Rig::start(settings(json!({}))).await;
    for recipient in ["a@x", "b@x", "a@x", "c@x", "a@x"] {
        assert_eq!(ask(&rig.module, rcpt("ann@example.com").instance("1.2").recipient(recipient)).await, "DUNNO");
    }
    assert_eq!(rig.used("ann@example.com"), [[3; 3]; 2]);
    for stage in ["DATA", "END-OF-MESSAGE", "END-OF-MESSAGE"] {
        let request = data("ann@example.com", 2).protocol_state(stage).instance("1.2");
        assert_eq!(ask(&rig.module, request).await, "DUNNO");
        assert_eq!(rig.used("ann@example.com"), [[2; 3]; 2], "{stage}");
    }
    for stage in ["CONNECT", "EHLO", "HELO", "MAIL", "VRFY", "ETRN"] {
        assert_eq!(ask(&rig.module, rcpt("ann@example.com").protocol_state(stage)).await, "DUNNO");
    }
    assert_eq!(rig.used("ann@example.com"), [[2; 3]; 2]);
}

#[tokio::test]
async fn users_and_domains_compare_without_regard_to_case_and_in_a_label_form() {
    let rig = Rig::start(settings(json!({"domain_minute": 2}))).await;
    assert_eq!(rig.rcpt("Ann@Bücher.example").await, "DUNNO");
    assert_eq!(rig.rcpt("ann@xn--bcher-kva.example").await, "DUNNO");
    assert!(rig.rcpt("ben@BÜCHER.example").await.starts_with("REJECT"));
}

#[tokio::test]
async fn limits_changed_by_a_reload_apply_to_what_is_already_counted() {
    let rig = Rig::start(settings(json!({"hour": 5}))).await;
    assert_eq!(rig.data("ann@example.com", 4).await, "DUNNO");
    assert_eq!(ask(&rig.module, rcpt("ben@example.com").instance("1.2")).await, "DUNNO");
    let reloaded = rig.house.start(&MODULE, "mquota", settings(json!({"hour": 3}))).await;
    Arc::clone(&rig.module).stop().await;
    assert!(ask(&reloaded, rcpt("ann@example.com")).await.contains("3 messages per hour"));
    let more = rig.house.start(&MODULE, "mquota", settings(json!({"hour": 6}))).await;
    assert_eq!(ask(&more, data("ann@example.com", 2)).await, "DUNNO");
    assert_eq!(ask(&more, data("ben@example.com", 1).instance("1.2")).await, "DUNNO");
    assert_eq!(rig.used("ben@example.com")[0], [1; 3], "a message on its way outlives the reload too");
}

#[tokio::test]
async fn durability_may_be_changed_by_a_reload() {
    let rig = Rig::start(settings(json!({"hour": 5}))).await;
    assert_eq!(rig.data("ann@example.com", 4).await, "DUNNO");
    let strict = with(settings(json!({"hour": 5})), json!({"durability": "strict"}));
    let strict = rig.house.start(&MODULE, "mquota", strict).await;
    assert_eq!(ask(&strict, rcpt("ann@example.com")).await, "DUNNO");
    assert!(ask(&strict, rcpt("ann@example.com")).await.starts_with("REJECT"));
    let used = "SELECT hour_used FROM valvula_counter WHERE store = CAST('mquota' AS BLOB) AND kind = 0";
    let ledger = rig.house.counters.find("mquota").expect("started");
    ledger.flush().await.expect("the database is there");
    assert_eq!(rig.sql.sql(used), "5");
    let relaxed = rig.house.start(&MODULE, "mquota", settings(json!({"hour": 7}))).await;
    for _ in 0..2 {
        assert_eq!(ask(&relaxed, rcpt("ann@example.com")).await, "DUNNO");
    }
    assert!(ask(&relaxed, rcpt("ann@example.com")).await.starts_with("REJECT"));
    ledger.flush().await.expect("the database is there");
    assert_eq!(rig.sql.sql(used), "7");
}

#[tokio::test]
async fn counters_live_through_a_restart_of_the_daemon() {
    for engine in Engine::ALL {
        for durability in ["relaxed", "strict"] {
            let sql = TestDatabase::new(engine);
            let settings = with(settings(json!({"hour": 5})), json!({"durability": durability}));
            let house = House::open(&sql, NOON).await;
            let module = house.start(&MODULE, "mquota", settings.clone()).await;
            assert_eq!(ask(&module, data("ann@example.com", 5)).await, "DUNNO");
            module.stop().await;
            house.close().await;
            let house = House::open(&sql, NOON).await;
            let module = house.start(&MODULE, "mquota", settings).await;
            assert!(ask(&module, rcpt("ann@example.com")).await.starts_with("REJECT"), "{engine:?} {durability}");
            house.close().await;
        }
    }
}

#[tokio::test]
async fn what_is_stored_is_kept_until_the_last_window_closes() {
    const LATER: [&str; 2] = ["2026-01-15T12:40:00Z", "2026-01-16T12:30:00Z"];
    for engine in Engine::ALL {
        for durability in ["relaxed", "strict"] {
            let sql = TestDatabase::new(engine);
            let house = House::open(&sql, NOON).await;
            let settings = with(settings(json!({"hour": 100})), json!({"durability": durability}));
            let module = house.start(&MODULE, "mquota", settings).await;
            let ledger = house.counters.find("mquota").expect("started");
            let mut closes = Vec::new();
            for time in [NOON, NOON, LATER[0], LATER[1], LATER[1]] {
                house.at(time);
                assert_eq!(ask(&module, rcpt("ann@example.com")).await, "DUNNO");
                ledger.flush().await.expect("the database is there");
                closes.push(sql.sql("SELECT closes FROM valvula_counter WHERE kind = 0"));
            }
            // Midnight in Madrid.
            let (day, next) = ("1768518000".to_owned(), "1768604400".to_owned());
            assert_eq!(closes, [day.clone(), day.clone(), day, next.clone(), next], "{engine:?} {durability}");
            // A row that somebody removed is made anew with all it says.
            sql.sql("DELETE FROM valvula_counter");
            assert_eq!(ask(&module, rcpt("ann@example.com")).await, "DUNNO");
            ledger.flush().await.expect("the database is there");
            assert_eq!(sql.sql("SELECT closes FROM valvula_counter WHERE kind = 0"), "1768604400");
            let own = sql.sql("SELECT closes FROM valvula_counter WHERE kind = 255");
            let own: i64 = own.parse().expect("one row of one writer");
            assert!(own > 1_768_604_400 && own % 3600 == 0, "the writer's own, for a day: {own}");
            house.close().await;
        }
    }
}

#[tokio::test]
async fn what_stands_in_a_window_that_has_closed_is_not_added_to_however_much_it_is() {
    for engine in Engine::ALL {
        let sql = TestDatabase::new(engine);
        let house = House::open(&sql, NOON).await;
        let module = house.start(&MODULE, "mquota", settings(json!({"hour": 100}))).await;
        let ledger = house.counters.find("mquota").expect("started");
        assert_eq!(ask(&module, rcpt("ann@example.com")).await, "DUNNO");
        ledger.flush().await.expect("the database is there");
        let most = i64::MAX;
        sql.sql(&format!("UPDATE valvula_counter SET minute_used = {most}, hour_used = {most}, run_used = {most}"));
        house.at("2026-01-16T12:30:00Z");
        assert_eq!(ask(&module, rcpt("ann@example.com")).await, "DUNNO");
        assert_eq!(ledger.flush().await, Ok(()), "{engine:?}");
        assert_eq!(sql.sql("SELECT run_used FROM valvula_counter WHERE kind = 0"), "1", "{engine:?}");
        house.close().await;
    }
}

#[tokio::test]
async fn two_settings_of_the_module_count_apart() {
    let rig = Rig::start(settings(json!({"hour": 1}))).await;
    let bulk = rig.house.start(&MODULE, "mquota-bulk", settings(json!({"hour": 1}))).await;
    assert_eq!(rig.rcpt("ann@example.com").await, "DUNNO");
    assert_eq!(ask(&bulk, rcpt("ann@example.com")).await, "DUNNO");
    assert!(ask(&bulk, rcpt("ann@example.com")).await.starts_with("REJECT"));
}

#[tokio::test]
async fn explaining_changes_nothing() {
    let rig = Rig::start(settings(json!({"hour": 1}))).await;
    for _ in 0..3 {
        let (told, trace) = explain(&rig.module, rcpt("ann@example.com").instance("1.2")).await;
        assert_eq!(told, "DUNNO");
        assert!(trace.iter().any(|line| line == "account ann@example.com: hour used 0, limit 1"), "{trace:?}");
        assert!(trace.iter().any(|line| line == "to charge: 1"), "{trace:?}");
    }
    assert_eq!(rig.module_ledger().status().counters, 0);
    assert_eq!(rig.module_ledger().status().messages, 0);
    assert_eq!(ask(&rig.module, rcpt("ann@example.com").instance("1.2")).await, "DUNNO");
    assert!(explain(&rig.module, rcpt("ann@example.com")).await.0.starts_with("REJECT"));
    assert_eq!(explain(&rig.module, rcpt("")).await.1, ["not authenticated: not counted"]);
}

#[tokio::test]
async fn status_says_what_is_held_and_what_is_not_written() {
    let rig = Rig::start(with(settings(json!({})), json!({"flush_interval": "1h"}))).await;
    let fact = |name: &str| rig.module.status().into_iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!((fact("counters"), fact("writes pending")), (json!(0), json!(0)));
    assert_eq!(rig.rcpt("ann@example.com").await, "DUNNO");
    rig.house.at("2026-01-15T12:30:07Z");
    assert_eq!((fact("counters"), fact("writes pending")), (json!(2), json!(2)));
    assert_eq!(fact("oldest unwritten seconds"), json!(7));
    Arc::clone(&rig.module).stop().await;
    assert_eq!((fact("counters"), fact("writes pending")), (json!(2), json!(0)));
    assert_eq!(fact("oldest unwritten seconds"), json!(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_ends_although_counting_goes_on() {
    let rig = Rig::start(with(settings(json!({})), json!({"flush_interval": "1h"}))).await;
    let (ledger, module) = (rig.module_ledger(), Arc::clone(&rig.module));
    let (flushed, mut stop) = tokio::sync::oneshot::channel::<()>();
    let counting = tokio::spawn(async move {
        let mut charged = 0;
        while stop.try_recv().is_err() {
            ask(&module, rcpt(&format!("user{}@example.com", charged % 50))).await;
            charged += 1;
            tokio::task::yield_now().await;
        }
        charged
    });
    for _ in 0..20 {
        ledger.flush().await.unwrap();
    }
    flushed.send(()).unwrap();
    let charged: i64 = counting.await.unwrap();
    ledger.flush().await.unwrap();
    assert_eq!(rig.module.status().into_iter().find(|(name, _)| *name == "writes pending").unwrap().1, json!(0));
    assert_eq!(rig.used("any@example.com")[1][2], charged);
}

#[test]
fn every_fault_of_the_settings_is_reported() {
    for (settings, expected) in [
        (json!({}), "no period is given"),
        (json!({"timezone": "Europe/Atlantis", "if_no_match": "no-limit"}), "\"Europe/Atlantis\" is not known"),
        (json!({"if_no_match": "never"}), "\"never\" is not known"),
        (json!({"if_no_match": "no-limit", "action": "shout"}), "\"shout\" is not known"),
        (json!({"if_no_match": "no-limit", "durability": "some"}), "\"some\" is not known"),
        (json!({"if_no_match": "no-limit", "flush_interval": "0s"}), "expected between"),
        (json!({"period": [{"from": "25:00", "to": "09:00"}]}), "module.mquota.period[0].from: \"25:00\" is no time"),
        (json!({"period": [{"from": "09:00"}]}), "module.mquota.period[0].to: expected a time of the day"),
        (json!({"period": [{"from": "09:00", "to": "21:00", "minute": -2}]}), "period[0].minute: -2 is out of bounds"),
        (json!({"period": [{"from": "09:00", "to": "21:00", "minutes": 2}]}), "period[0].minutes: unknown key"),
    ] {
        let faults = faults(&MODULE, settings.clone());
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{settings}: {faults:?}");
    }
    assert!(faults(&MODULE, settings(json!({"minute": 50}))).is_empty());
}
