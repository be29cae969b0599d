//! Quotes, backslashes, percent signs, emoji, 8-bit bytes and a thousand characters as sender, recipient, SASL user
//! and rule: ordinary values in every module, on every database. Nothing executes, nothing falls over.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::Duration;

use support::{Address, Connection, Engine, Home, Request, TestDatabase, programs};

/// Local parts that would be something else if they were pasted into SQL, or forgotten on the way.
fn odd() -> Vec<String> {
    let mut odd: Vec<String> = [
        "o'brien",
        "say\\\"cheese",
        "back\\slash\\",
        "100%_of",
        "x'; DROP TABLE bwl_global; --",
        "\"; DELETE FROM domain_ticket; #",
        "#sasl_user# $1 ? :name",
        "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
        "b\u{fc}cher",
        "`tick` {brace} (paren)",
    ]
    .map(str::to_owned)
    .to_vec();
    odd.push("l".repeat(1000));
    odd
}

const TABLES: [&str; 11] = [
    "bwl_global",
    "bwl_domain",
    "bwl_account",
    "bwl_global_sasl",
    "slm_exception",
    "mquota_exception",
    "ticket_plan",
    "domain_ticket",
    "lmm_by_domain",
    "transport_global",
    "seen",
];

/// Text as a literal of the engine.
fn literal(engine: Engine, text: &str) -> String {
    let text = text.replace('\'', "''");
    if engine == Engine::MariaDb { format!("'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

/// A listener for each module, which alone decides there.
const CHAINS: [&str; 7] = ["bwl", "slm", "mquota", "ticket", "lmm", "transport", "mw"];

const SECTIONS: &str = "
[module.slm]
mode = \"full\"
[module.mquota]
timezone = \"UTC\"
durability = \"strict\"
[[module.mquota.period]]
label = \"day\"
from = \"00:00\"
to = \"00:00\"
hour = 2
[module.ticket]
timezone = \"UTC\"
[[module.mw.connection]]
name = \"main\"
on_request = [\"INSERT INTO seen (sasl, sender, recipient) VALUES (#sasl_user#, #mail-from#, #rcpt-to#)\"]
";

struct Scene {
    home: Home,
    addresses: Vec<Address>,
}

impl Scene {
    fn new(database: &TestDatabase) -> Self {
        let mut settings = format!(
            "[database]\nurl = \"{}\"\n[postfix]\nautodetect = false\nlocal_domains = [\"home.example\"]\n",
            database.url()
        );
        let mut addresses = Vec::new();
        for module in CHAINS {
            let address: Address = support::loopback().into();
            settings +=
                &format!("[[listener]]\nname = \"{module}\"\naddress = \"{address}\"\nmodules = [\"{module}\"]\n");
            addresses.push(address);
        }
        Self { home: Home::with(programs!(), &(settings + SECTIONS)), addresses }
    }

    fn ask(&self, module: &str, request: &Request) -> String {
        let place = CHAINS.iter().position(|known| *known == module).expect("a module of the scene");
        Connection::open(&self.addresses[place]).unwrap().ask(request).unwrap()
    }

    /// Asks until the answer begins with `expected`: rows count within a second.
    fn comes_to(&self, module: &str, request: &Request, expected: &str) {
        support::wait_until(&format!("{module}: {expected}"), Duration::from_secs(20), || {
            self.ask(module, request).starts_with(expected)
        });
    }
}

fn rows(database: &TestDatabase) -> Vec<String> {
    TABLES.map(|table| database.sql(&format!("SELECT COUNT(*) FROM {table};"))).to_vec()
}

fn odd_values_are_ordinary(engine: Engine) {
    let database = TestDatabase::new(engine);
    let scene = Scene::new(&database);
    assert_eq!(scene.home.start().stop(), 0);
    database.sql("CREATE TABLE seen (sasl TEXT, sender TEXT, recipient TEXT);");
    let odd = odd();
    let mut sql = if engine == Engine::MariaDb { "SET NAMES utf8mb4;".to_owned() } else { String::new() };
    for (place, local) in odd.iter().enumerate() {
        let text = |domain: &str| literal(engine, &format!("{local}@{domain}"));
        let id = place + 1;
        sql += &format!(
            "INSERT INTO bwl_global (id, is_active, source, destination, status) VALUES ({id}, 1, {}, {}, 'reject');
             INSERT INTO bwl_account (id, is_active, rules_for, source, status) VALUES ({id}, 1, {}, 'account.example', 'discard');
             INSERT INTO bwl_domain (id, is_active, rules_for, source, status) VALUES ({id}, 1, 'home.example', {}, 'reject');
             INSERT INTO bwl_global_sasl (id, is_active, sasl_user) VALUES ({id}, 1, {});
             INSERT INTO slm_exception (id, is_active, sasl_username, mail_from) VALUES ({id}, 1, {}, {});
             INSERT INTO mquota_exception (id, is_active, sasl_user) VALUES ({id}, 1, {});
             INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES ({id}, {}, 1);
             INSERT INTO lmm_by_domain (id, is_active, domain, allowed_networks) VALUES ({id}, 1, {}, '192.0.2.0/24');
             INSERT INTO transport_global (id, is_active, source, destination, transport) VALUES ({id}, 1, {}, {}, 'out-{id}');",
            text("global.example"),
            text("to.example"),
            text("home.example"),
            text("domain.example"),
            text("blocked.example"),
            text("slm.example"),
            text("boss.example"),
            text("free.example"),
            text("ticket.example"),
            text("lmm.example"),
            text("transport.example"),
            text("to.example"),
        );
    }
    database.sql(&format!("{sql} INSERT INTO ticket_plan (id, total_limit) VALUES (1, 1);"));
    let daemon = scene.home.start();
    assert_eq!(daemon.count_log(&["row passed over"]), 0, "{}", daemon.log());
    let before = rows(&database);
    for (place, local) in odd.iter().enumerate() {
        let at = |domain: &str| format!("{local}@{domain}");
        let rcpt = |sender: &str, recipient: &str| Request::rcpt(sender, recipient).set("instance", "");
        let by = |user: &str| rcpt(user, "r@away.example").sasl(user);
        let is = |module: &str, request: &Request, expected: &str| {
            let answer = scene.ask(module, request);
            assert!(answer.starts_with(expected), "{engine:?} {module}, {local:?}: {answer}, not {expected}");
        };
        is("bwl", &rcpt(&at("global.example"), &at("to.example")), "REJECT");
        is("bwl", &rcpt(&at("global.example"), "ann@to.example"), "DUNNO");
        // A percent sign sends the mail on, as Postfix reads it: no local delivery, so no rule of an account.
        let delivered = if local.contains('%') { "DUNNO" } else { "DISCARD" };
        is("bwl", &rcpt("x@account.example", &at("home.example")), delivered);
        is("bwl", &rcpt(&at("domain.example"), "ann@home.example"), "REJECT");
        is("bwl", &by(&at("blocked.example")), "REJECT");
        is("slm", &rcpt(&at("boss.example"), "r@away.example").sasl(&at("slm.example")), "DUNNO");
        is("slm", &rcpt(&at("other.example"), "r@away.example").sasl(&at("slm.example")), "REJECT");
        is("slm", &by(&at("away.example")), "DUNNO");
        for expected in ["DUNNO", "DUNNO", "REJECT Sending limit reached"] {
            is("mquota", &by(&at("held.example")), expected);
        }
        for _ in 0..3 {
            is("mquota", &by(&at("free.example")), "DUNNO");
        }
        is("ticket", &by(&at("ticket.example")), "DUNNO");
        is("ticket", &by(&at("ticket.example")), "REJECT");
        let used = database.sql(&format!("SELECT total_used FROM domain_ticket WHERE id = {};", place + 1));
        assert_eq!(used, "1", "{engine:?} {local:?}");
        is("lmm", &rcpt(&at("lmm.example"), "ann@home.example").set("client_address", "192.0.2.5"), "DUNNO");
        is("lmm", &rcpt(&at("lmm.example"), "ann@home.example").set("client_address", "198.51.100.5"), "REJECT");
        is("transport", &rcpt(&at("transport.example"), &at("to.example")), &format!("FILTER out-{}:", place + 1));
        is("mw", &rcpt(&at("from.example"), &at("to.example")).sasl(&at("user.example")), "DUNNO");
    }
    let expected = odd.len();
    support::wait_until("the statements of mw have run", Duration::from_secs(20), || {
        database.sql("SELECT COUNT(*) FROM seen;") == expected.to_string()
    });
    for local in &odd {
        let text = |domain: &str| literal(engine, &format!("{local}@{domain}"));
        let set_names = if engine == Engine::MariaDb { "SET NAMES utf8mb4;" } else { "" };
        let found = database.sql(&format!(
            "{set_names} SELECT COUNT(*) FROM seen WHERE sasl = {} AND sender = {} AND recipient = {};",
            text("user.example"),
            text("from.example"),
            text("to.example")
        ));
        assert_eq!(found, "1", "{engine:?} {local:?}");
    }

    // Bytes that are no text in any encoding we know: nobody's rule, nobody's fault.
    for bytes in [&b"\xe9t\xe9"[..], b"\xff\xfe\x80", b"a\xf0\x9f", &[0xc3; 900]] {
        let value = [bytes, b"@8bit.example"].concat();
        for module in CHAINS {
            let request = Request::rcpt("", "").set("sender", &value).set("recipient", &value);
            let request = request.set("sasl_username", &value).set("sasl_method", "PLAIN").set("instance", "");
            assert_eq!(scene.ask(module, &request), "DUNNO", "{engine:?} {module} {bytes:?}");
        }
    }
    // They are counted like any other.
    let request = Request::rcpt("", "").set("sasl_username", b"\xe9t\xe9@8bit.example").set("instance", "");
    scene.comes_to("mquota", &request, "REJECT Sending limit reached");

    let mut after = rows(&database);
    assert!(after.pop().unwrap().parse::<usize>().unwrap() >= expected);
    assert_eq!(after, before[..before.len() - 1], "{engine:?}: every table is there, with its rows");
    assert_eq!(daemon.count_log(&["panic"]), 0, "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn odd_values_are_ordinary_on_sqlite() {
    odd_values_are_ordinary(Engine::Sqlite);
}

#[test]
fn odd_values_are_ordinary_on_mariadb() {
    odd_values_are_ordinary(Engine::MariaDb);
}

#[test]
fn odd_values_are_ordinary_on_postgresql() {
    odd_values_are_ordinary(Engine::Postgres);
}
