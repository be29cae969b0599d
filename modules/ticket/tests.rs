//! The sentences of mod-ticket, one test each, on all three databases.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use libvalvula::Request;
use serde_json::json;
use testkit::{Engine, TestDatabase};

use super::*;
use crate::house::{House, ask, comes_to, data, explain, outcome, rcpt};
use crate::testing::faults;

const NOON: &str = "2026-01-15T12:30:00Z";
const ANN: &str = "ann@x.com";

struct Rig {
    sql: TestDatabase,
    house: House,
    module: Arc<dyn Module>,
}

impl Rig {
    /// A database with `rows`, SQL that every engine understands.
    async fn start(engine: Engine, rows: &str) -> Self {
        Self::at(NOON, engine, rows).await
    }

    async fn at(time: &str, engine: Engine, rows: &str) -> Self {
        let sql = TestDatabase::new(engine);
        let house = House::open(&sql, time).await;
        if !rows.is_empty() {
            sql.sql(rows);
        }
        let module = house.start(&MODULE, "ticket", json!({"timezone": "Europe/Madrid"})).await;
        Self { sql, house, module }
    }

    async fn rcpt(&self, user: &str) -> String {
        ask(&self.module, rcpt(user)).await
    }

    async fn data(&self, user: &str, count: u32) -> String {
        ask(&self.module, data(user, count)).await
    }

    /// Total, day and month of ticket `id`.
    fn used(&self, id: i64) -> String {
        used(&self.sql, id)
    }

    async fn end(self) {
        self.house.close().await;
    }
}

/// What a client printed, columns separated by `|` on every engine.
fn shown(sql: &TestDatabase, query: &str) -> String {
    sql.sql(query).replace('\t', "|")
}

fn used(sql: &TestDatabase, id: i64) -> String {
    let query = format!("SELECT total_used, current_day_usage, current_month_usage FROM domain_ticket WHERE id = {id};");
    shown(sql, &query)
}

#[tokio::test]
async fn no_ticket_is_no_opinion_and_no_transaction() {
    for engine in Engine::ALL {
        let rig = Rig::start(engine, "INSERT INTO domain_ticket (id, sasl_user, domain) VALUES (1, 'joann@x.com', 'notx.com');").await;
        assert_eq!(rig.rcpt(ANN).await, "DUNNO");
        assert_eq!(ask(&rig.module, rcpt("").sender("ann@x.com")).await, "DUNNO");
        let fact = |name: &str| rig.module.status().into_iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!((fact("transactions"), fact("users with a ticket")), (json!(0), json!(1)));
        rig.end().await;
    }
}

#[tokio::test]
async fn total_day_and_month_are_charged_together_and_null_counters_are_0() {
    for engine in Engine::ALL {
        let rig = Rig::start(engine, "INSERT INTO domain_ticket (id, sasl_user, total_used) VALUES (1, 'Ann@X.com', 100);").await;
        let noted = || rig.sql.sql("SELECT COUNT(*) FROM valvula_change;");
        let before = noted();
        assert_eq!(rig.rcpt(ANN).await, "DUNNO");
        assert_eq!(rig.used(1), "101|1|1", "{engine:?}");
        assert_eq!(noted(), before, "{engine:?}: a charge is no change of names");
        assert_eq!(rig.data("ANN@x.com", 5).await, "DUNNO");
        assert_eq!(rig.used(1), "106|6|6", "{engine:?}");
        rig.end().await;
    }
}

#[tokio::test]
async fn the_senders_domain_is_charged_when_no_ticket_names_the_user() {
    for engine in Engine::ALL {
        let rig = Rig::start(
            engine,
            "INSERT INTO domain_ticket (id, domain) VALUES (1, 'y.com, x.com');
             INSERT INTO domain_ticket (id, sasl_user) VALUES (2, 'ben@x.com , ann@x.com');
             INSERT INTO domain_ticket (id, domain) VALUES (3, 'X.com');",
        )
        .await;
        for request in [rcpt("carl@z.com").sender("a@x.com"), rcpt("").sender("b@X.COM"), rcpt(ANN).sender("c@x.com")] {
            assert_eq!(ask(&rig.module, request).await, "DUNNO");
        }
        assert_eq!([rig.used(3), rig.used(2)], ["2|2|2", "1|1|1"], "{engine:?}");
        assert_eq!(rig.sql.sql("SELECT COUNT(*) FROM domain_ticket WHERE id = 1 AND total_used IS NULL;"), "1");
        rig.end().await;
    }
}

#[tokio::test]
async fn refusals_and_their_order() {
    let plan = "INSERT INTO ticket_plan (id, total_limit, day_limit, month_limit) VALUES (7, 10, 5, 8);
        INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id, valid_until, block_ticket, total_used, current_day_usage, current_month_usage) VALUES ";
    for engine in Engine::ALL {
        let rows = "(1, 'a@x', 7, 1000, 1, 10, 5, 8), (2, 'b@x', 7, NULL, 1, 10, 5, 8), (3, 'c@x', 7, -1, 0, 10, 5, 8), \
            (4, 'd@x', 7, 4000000000, NULL, 9, 5, 8), (5, 'e@x', 7, NULL, NULL, 9, 4, 8), (6, 'f@x', 7, NULL, NULL, 7, 2, 3);";
        let rig = Rig::start(engine, &format!("{plan}{rows}")).await;
        for (user, answer, why) in [
            ("a@x", "REJECT The sending plan of a@x has ended", "domain_ticket 1: valid_until 1000 is past"),
            ("b@x", "REJECT Sending is blocked for b@x", "domain_ticket 2: block_ticket is set"),
            ("c@x", "REJECT The sending plan of c@x is used up: 10 messages in total", "domain_ticket 3: total limit, used 10 + 1 > 10"),
            ("d@x", "REJECT The sending plan of d@x is used up: 5 messages per day", "domain_ticket 4: day limit, used 5 + 1 > 5"),
            ("e@x", "REJECT The sending plan of e@x is used up: 8 messages per month", "domain_ticket 5: month limit, used 8 + 1 > 8"),
        ] {
            let decision = outcome(&rig.module, rcpt(user)).await.unwrap().unwrap();
            assert_eq!((decision.verdict.to_string().as_str(), decision.why.as_ref()), (answer, why), "{engine:?}");
        }
        assert!(rig.data("f@x", 4).await.contains("10 messages in total"), "7 + 4 > 10");
        assert_eq!(rig.data("f@x", 3).await, "DUNNO");
        assert_eq!(rig.used(6), "10|5|6", "{engine:?}");
        assert_eq!(rig.used(1), "10|5|8", "{engine:?}: refused, not charged");
        rig.end().await;
    }
}

#[tokio::test]
async fn limits_of_0_or_less_or_null_and_a_plan_that_does_not_exist_limit_nothing() {
    for engine in Engine::ALL {
        let rig = Rig::start(
            engine,
            "INSERT INTO ticket_plan (id, total_limit, day_limit, month_limit) VALUES (7, 0, -1, NULL);
             INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, 'a@x', 7), (2, 'b@x', 999), (3, 'c@x', NULL);",
        )
        .await;
        for user in ["a@x", "b@x", "c@x"] {
            assert_eq!(rig.data(user, 1_000_000).await, "DUNNO", "{engine:?} {user}");
        }
        rig.end().await;
    }
}

#[tokio::test]
async fn a_ticket_with_an_active_outgoing_ip_chooses_its_transport() {
    for engine in Engine::ALL {
        let rig = Rig::start(
            engine,
            "INSERT INTO outgoing_ip (id, is_active, transport) VALUES (1, 1, 'out-1'), (2, 0, 'out-2'), (3, 1, NULL), (4, 1, 'relay:[192.0.2.1]');
             INSERT INTO domain_ticket (id, sasl_user, has_outgoing_ip, outgoing_ip_id) VALUES
             (1, 'a@x', 1, 1), (2, 'b@x', 1, 2), (3, 'c@x', 0, 1), (4, 'd@x', 1, 3), (5, 'e@x', 1, 99), (6, 'f@x', NULL, 1), (7, 'g@x', 1, 4);",
        )
        .await;
        for (user, answer) in [
            ("a@x", "FILTER out-1:"),
            ("b@x", "DUNNO"),
            ("c@x", "DUNNO"),
            ("d@x", "DUNNO"),
            ("e@x", "DUNNO"),
            ("f@x", "DUNNO"),
            ("g@x", "FILTER relay:[192.0.2.1]"),
        ] {
            for _ in 0..2 {
                let request = rcpt(user).instance("1.2");
                assert_eq!(ask(&rig.module, request).await, answer, "{engine:?} {user}: a duplicate is told the same");
            }
        }
        assert_eq!(rig.used(1), "1|1|1");
        rig.end().await;
    }
}

#[tokio::test]
async fn a_message_is_charged_once_for_each_recipient_accepted() {
    for engine in Engine::ALL {
        let rig = Rig::start(
            engine,
            "INSERT INTO ticket_plan (id, total_limit) VALUES (7, 4);
             INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, 'ann@x.com', 7);",
        )
        .await;
        for recipient in ["a@x", "b@x", "a@x", "c@x"] {
            assert_eq!(ask(&rig.module, rcpt(ANN).instance("1.2").recipient(recipient)).await, "DUNNO");
        }
        assert_eq!(rig.used(1), "3|3|3");
        assert_eq!(ask(&rig.module, data(ANN, 2).instance("1.2")).await, "DUNNO");
        assert_eq!(rig.used(1), "2|2|2", "{engine:?}: given back");
        let end = || data(ANN, 2).protocol_state("END-OF-MESSAGE").instance("1.2");
        assert_eq!([ask(&rig.module, end()).await, ask(&rig.module, end()).await], ["DUNNO", "DUNNO"]);
        assert_eq!(rig.used(1), "2|2|2");
        assert_eq!(ask(&rig.module, rcpt(ANN).instance("3.4")).await, "DUNNO");
        assert!(ask(&rig.module, data(ANN, 5).instance("3.4")).await.starts_with("REJECT"));
        assert_eq!(rig.used(1), "2|2|2", "{engine:?}: refused as a whole, given back whole");
        assert_eq!(ask(&rig.module, rcpt(ANN).protocol_state("MAIL")).await, "DUNNO");
        rig.end().await;
    }
}

#[tokio::test]
async fn a_panels_plain_sql_is_obeyed_from_the_next_request_on() {
    for engine in Engine::ALL {
        let rig = Rig::start(
            engine,
            "INSERT INTO ticket_plan (id, total_limit) VALUES (7, 1);
             INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, 'ann@x.com', 7);",
        )
        .await;
        assert_eq!(rig.rcpt(ANN).await, "DUNNO");
        assert!(rig.rcpt(ANN).await.starts_with("REJECT"));
        for (update, expected) in [
            ("UPDATE domain_ticket SET total_used = 0;", "DUNNO"),
            ("UPDATE ticket_plan SET total_limit = 5;", "DUNNO"),
            ("UPDATE domain_ticket SET block_ticket = 1;", "REJECT Sending is blocked for ann@x.com"),
            ("UPDATE domain_ticket SET block_ticket = 0, valid_until = 1;", "REJECT The sending plan of ann@x.com has ended"),
            ("UPDATE domain_ticket SET valid_until = -1;", "DUNNO"),
            ("INSERT INTO ticket_plan (id, total_limit) VALUES (8, 1); UPDATE domain_ticket SET ticket_plan_id = 8;", "REJECT The sending plan of ann@x.com is used up: 1 messages in total"),
            ("UPDATE domain_ticket SET sasl_user = 'ben@x.com';", "DUNNO"),
        ] {
            rig.sql.sql(update);
            assert_eq!(rig.rcpt(ANN).await, expected, "{engine:?} {update}");
        }
        // a name that had no ticket is known within a second
        rig.sql.sql("UPDATE domain_ticket SET sasl_user = 'carl@x.com', ticket_plan_id = NULL, block_ticket = 1;");
        comes_to(&rig.module, "REJECT Sending is blocked for carl@x.com", || rcpt("carl@x.com")).await;
        rig.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panels_reset_is_never_overwritten_by_concurrent_charges() {
    for engine in Engine::ALL {
        let rig = Arc::new(Rig::start(engine, "INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@x.com');").await);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let rig = rig.clone();
                tokio::spawn(async move {
                    for _ in 0..40 {
                        assert_eq!(rig.rcpt(ANN).await, "DUNNO");
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while tasks.iter().any(|task| !task.is_finished()) {
            // what a panel does that sells again what is left: read and reset in one transaction
            let (begin, lock) = match engine {
                Engine::Sqlite => ("BEGIN IMMEDIATE", ""),
                _ => ("BEGIN", " FOR UPDATE"),
            };
            let reset = format!(
                "{begin}; SELECT 'used', COALESCE(total_used, 0) FROM domain_ticket WHERE id = 1{lock}; \
                 UPDATE domain_ticket SET total_used = 0 WHERE id = 1; COMMIT;"
            );
            let printed = tokio::task::block_in_place(|| shown(&rig.sql, &reset));
            let used = printed.lines().find_map(|line| line.strip_prefix("used|")).expect("a row");
            taken += used.parse::<i64>().unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
        let left: i64 = rig.used(1).split('|').next().unwrap().parse().unwrap();
        assert_eq!(taken + left, 640, "{engine:?}");
        assert!(rig.used(1).ends_with("|640|640"), "{engine:?} {}", rig.used(1));
    }
}

async fn exactly_the_limit_passes(engine: Engine) {
    let limit = 10_000;
    let sql = TestDatabase::new(engine);
    let mut modules = Vec::new();
    let mut houses = Vec::new();
    for daemon in 0..2 {
        let house = House::open(&sql, NOON).await;
        if daemon == 0 {
            sql.sql(&format!(
                "INSERT INTO ticket_plan (id, total_limit) VALUES (7, {limit});
                 INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, 'ann@x.com', 7);"
            ));
        }
        modules.push(house.start(&MODULE, "ticket", json!({})).await);
        houses.push(house);
    }
    let passed = Arc::new(AtomicI64::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (module, passed) = (modules[task % 2].clone(), passed.clone());
            tokio::spawn(async move {
                loop {
                    match ask(&module, rcpt(ANN)).await.as_str() {
                        "DUNNO" => drop(passed.fetch_add(1, Ordering::Relaxed)),
                        refused => {
                            assert!(refused.starts_with("REJECT"), "{refused}");
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(passed.load(Ordering::Relaxed), limit, "{engine:?}");
    assert_eq!(used(&sql, 1), format!("{limit}|{limit}|{limit}"), "{engine:?}");
    for house in houses {
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_never_sell_a_ticket_twice_on_sqlite() {
    exactly_the_limit_passes(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_never_sell_a_ticket_twice_on_mariadb() {
    exactly_the_limit_passes(Engine::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_never_sell_a_ticket_twice_on_postgresql() {
    exactly_the_limit_passes(Engine::Postgres).await;
}

/// Waits until the day of `time_tracking` is `day|month`.
async fn tracked(sql: &TestDatabase, expected: &str) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let found = shown(sql, "SELECT day, month FROM time_tracking;");
        if found == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < give_up, "{found}, not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const HISTORY: &str = "SELECT domain_ticket_id, stamp, day_usage FROM domain_ticket_history ORDER BY stamp, domain_ticket_id;";
const MONTHS: &str = "SELECT domain_ticket_id, stamp, month_usage FROM domain_month_ticket_history ORDER BY stamp, domain_ticket_id;";

#[tokio::test]
async fn at_the_change_of_day_history_is_written_once_and_day_counters_return_to_0() {
    for engine in Engine::ALL {
        let rows = "INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@x.com'), (2, 'ben@x.com');";
        let rig = Rig::at("2026-01-15T22:59:58Z", engine, rows).await;
        tracked(&rig.sql, "15|1").await;
        let other = House::open(&rig.sql, "2026-01-15T22:59:58Z").await;
        let second = other.start(&MODULE, "ticket", json!({"timezone": "Europe/Madrid"})).await;
        assert_eq!(rig.data(ANN, 3).await, "DUNNO");
        rig.house.at("2026-01-15T23:00:00Z");
        other.at("2026-01-15T23:00:00Z");
        assert_eq!(rig.data(ANN, 2).await, "DUNNO");
        assert_eq!(ask(&second, data(ANN, 1)).await, "DUNNO");
        tracked(&rig.sql, "16|1").await;
        assert_eq!(rig.used(1), "6|3|6", "{engine:?}");
        assert_eq!(shown(&rig.sql, HISTORY), "1|1768517999|3", "{engine:?}: stamped 23:59:59 of the 15th, ben's nothing not");
        assert_eq!(shown(&rig.sql, MONTHS), "", "{engine:?}");
        other.close().await;
        rig.end().await;
    }
}

#[tokio::test]
async fn at_the_change_of_month_the_month_ends_too() {
    for engine in Engine::ALL {
        let rig = Rig::at("2026-01-31T22:00:00Z", engine, "INSERT INTO domain_ticket (id, sasl_user, current_month_usage, total_used) VALUES (1, 'ann@x.com', 40, 100);").await;
        tracked(&rig.sql, "31|1").await;
        assert_eq!(rig.data(ANN, 2).await, "DUNNO");
        rig.house.at("2026-01-31T23:00:00Z");
        tracked(&rig.sql, "1|2").await;
        assert_eq!(rig.used(1), "102|0|0", "{engine:?}");
        assert_eq!(shown(&rig.sql, HISTORY), "1|1769900399|2", "{engine:?}");
        assert_eq!(shown(&rig.sql, MONTHS), "1|1769900399|42", "{engine:?}");
        rig.end().await;
    }
}

#[tokio::test]
async fn a_daemon_that_was_down_over_midnight_does_it_at_start() {
    for engine in Engine::ALL {
        let rows = "INSERT INTO time_tracking (day, month) VALUES (28, 12);
            INSERT INTO domain_ticket (id, sasl_user, total_used, current_day_usage, current_month_usage) VALUES (1, 'ann@x.com', 9, 3, 5), (2, 'b@x', 1, 0, 1), (3, 'c@x', 1, NULL, NULL);";
        let rig = Rig::start(engine, rows).await;
        tracked(&rig.sql, "15|1").await;
        assert_eq!(rig.used(1), "9|0|0", "{engine:?}");
        assert_eq!(shown(&rig.sql, HISTORY), "1|1766962799|3", "{engine:?}: in the 28th of December 2025");
        assert_eq!(shown(&rig.sql, MONTHS), "1|1767221999|5\n2|1767221999|1", "{engine:?}: in December 2025");
        rig.end().await;
        let again = House::open(&TestDatabase::new(engine), NOON).await;
        again.close().await;
    }
}

#[tokio::test]
async fn what_is_given_back_after_midnight_does_not_touch_the_new_day() {
    let rig = Rig::at("2026-01-31T22:59:00Z", Engine::Sqlite, "INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@x.com');").await;
    for recipient in ["a@x", "b@x"] {
        assert_eq!(ask(&rig.module, rcpt(ANN).instance("1.2").recipient(recipient)).await, "DUNNO");
    }
    rig.house.at("2026-01-31T23:00:00Z");
    assert_eq!(rig.data(ANN, 4).await, "DUNNO");
    assert_eq!(ask(&rig.module, data(ANN, 1).instance("1.2")).await, "DUNNO");
    assert_eq!(rig.used(1), "5|4|4");
    rig.end().await;
}

#[tokio::test]
async fn explaining_charges_nothing() {
    for engine in Engine::ALL {
        let rig = Rig::start(
            engine,
            "INSERT INTO ticket_plan (id, total_limit) VALUES (7, 1);
             INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id, total_used) VALUES (1, 'ann@x.com', 7, 0);",
        )
        .await;
        for _ in 0..2 {
            let (told, trace) = explain(&rig.module, rcpt(ANN).instance("1.2")).await;
            assert_eq!(told, "DUNNO");
            assert_eq!(trace[..2], ["domain_ticket 1 holds", "total: used 0, limit 1"], "{engine:?}");
        }
        assert_eq!(rig.sql.sql("SELECT total_used FROM domain_ticket;"), "0");
        assert_eq!(rig.rcpt(ANN).await, "DUNNO");
        assert!(explain(&rig.module, rcpt(ANN)).await.0.starts_with("REJECT"));
        assert_eq!(explain(&rig.module, rcpt("nobody@x.com")).await.1, ["no ticket names the user or the domain"]);
        rig.end().await;
    }
}

#[tokio::test]
async fn odd_names_are_ordinary() {
    let long = format!("{}@x.com", "n".repeat(900));
    for engine in Engine::ALL {
        let rig = Rig::start(engine, "").await;
        for (id, name) in ["o'brien\\%@x.com", "\"a b\"@x.com", "\u{1f600}@x.com", &long].iter().enumerate() {
            let id = id + 1;
            let literal: String = name.replace('\'', "''");
            let literal = if engine == Engine::MariaDb { literal.replace('\\', "\\\\") } else { literal };
            rig.sql.sql(&format!("INSERT INTO domain_ticket (id, sasl_user) VALUES ({id}, '{literal}');"));
            let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
            while rig.sql.sql(&format!("SELECT COALESCE(total_used, 0) FROM domain_ticket WHERE id = {id};")) == "0" {
                assert!(tokio::time::Instant::now() < give_up, "{engine:?} {name}");
                let request = Request::builder().protocol_state("RCPT").sasl_username(name).recipient("r@x").instance("1");
                assert_eq!(ask(&rig.module, request).await, "DUNNO");
            }
            assert_eq!(rig.used(id as i64), "1|1|1", "{engine:?} {name}");
        }
        rig.end().await;
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_could_not_ask_and_its_mail_is_charged_later_if_it_flowed() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let server = Arc::new(testkit::Server::start_new(engine));
        let sql = TestDatabase::on_server(&server);
        let house = House::open(&sql, NOON).await;
        sql.sql("INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@x.com'), (2, 'ben@x.com');");
        let flows = house.start(&MODULE, "ticket", json!({})).await;
        let defers = house.start(&MODULE, "ticket-2", json!({"on_failure": "defer"})).await;
        assert_eq!([ask(&flows, rcpt(ANN)).await, ask(&defers, rcpt("ben@x.com")).await], ["DUNNO", "DUNNO"]);
        server.stop();
        for _ in 0..3 {
            assert_eq!(ask(&flows, rcpt(ANN)).await, "could not ask", "{engine:?}");
            assert_eq!(ask(&defers, rcpt("ben@x.com")).await, "could not ask", "{engine:?}");
        }
        assert_eq!(ask(&flows, rcpt("nobody@x.com")).await, "DUNNO", "who has no ticket is answered from memory");
        server.start();
        comes_to(&flows, "DUNNO", || rcpt(ANN)).await;
        comes_to(&defers, "DUNNO", || rcpt("ben@x.com")).await;
        // what was asked while it came back was charged too: as often as it was asked
        let charged = |id| used(&sql, id).split('|').next().unwrap().parse::<i64>().unwrap();
        assert!(charged(1) >= 5, "{engine:?}: {}", charged(1));
        assert_eq!(charged(2), 2, "{engine:?}: only what was answered");
        house.close().await;
    }
}

#[test]
fn faults_of_the_settings_are_reported() {
    let faults = faults(&MODULE, json!({"timezone": "Europe/Atlantis", "zone": 1}));
    assert!(faults[0].contains("\"Europe/Atlantis\" is not known"), "{faults:?}");
    assert!(faults[1].contains("zone: unknown key"), "{faults:?}");
}
