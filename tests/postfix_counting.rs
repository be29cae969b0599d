//! Mail through a real Postfix, with login, counted by mod-mquota and mod-ticket.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Address, Engine, Home, Postfix, Smtp, TestDatabase, programs};

const BOB: &str = "bob@example.com";

fn settings(policy: &Address, postfix: &Postfix, database: &TestDatabase, module: &str, section: &str) -> String {
    format!(
        "[database]\nurl = \"{}\"\n[postfix]\nconfig_directory = \"{}\"\n\
         [[listener]]\nname = \"submission\"\naddress = \"{policy}\"\nmodules = [\"{module}\"]\n{section}",
        database.url(),
        postfix.config_directory().display()
    )
}

/// Sends a message to `count` recipients; the reply to its end.
fn send(postfix: &Postfix, subject: &str, count: u32) -> String {
    let mut smtp = login(postfix);
    for number in 1..=count {
        let reply = match number {
            1 => smtp.rcpt(BOB, "r1@elsewhere.example"),
            _ => smtp.command(&format!("RCPT TO:<r{number}@elsewhere.example>")),
        };
        assert!(reply.starts_with("250"), "{subject}, recipient {number}: {reply}");
    }
    smtp.data(subject)
}

fn login(postfix: &Postfix) -> Smtp {
    let mut smtp = Smtp::open(postfix.submission());
    smtp.login(BOB, "secret");
    smtp
}

/// A quota of 5 recipients per minute lets one message with 3 recipients and one with 2 pass, and
/// refuses the next at RCPT with our text.
fn five_recipients_a_minute(options: &[&str]) {
    let policy: Address = support::loopback().into();
    let database = TestDatabase::new(Engine::Sqlite);
    let postfix = Postfix::start(&[&["--policy", &policy.for_postfix()], options].concat());
    let section = "[module.mquota]\ntimezone = \"UTC\"\n[[module.mquota.period]]\nlabel = \"day\"\n\
                   from = \"00:00\"\nto = \"00:00\"\nminute = 5\n";
    let home = Home::with(programs!(), &settings(&policy, &postfix, &database, "mquota", section));
    let _daemon = home.start();

    // All of it within one minute of the clock: what follows takes a second or two.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 60;
    support::wait_until("a minute has begun", Duration::from_secs(61), || second() < 40);
    let reply = send(&postfix, "three", 3);
    assert!(reply.starts_with("250"), "{reply}");
    let reply = send(&postfix, "two", 2);
    assert!(reply.starts_with("250"), "{reply}");
    let reply = login(&postfix).rcpt(BOB, "r6@elsewhere.example");
    let text = "Sending limit reached: 5 messages per minute for bob@example.com, try again after ";
    assert!(reply.starts_with("554 ") && reply.contains(text), "{reply}");
    // Another account has its own.
    let mut smtp = Smtp::open(postfix.submission());
    smtp.login("alice", "secret");
    let reply = smtp.rcpt("alice@example.com", "r1@elsewhere.example");
    assert!(reply.starts_with("250"), "{reply}");
    let shown = home.valvulactl(&["quota", "show", BOB, "--json"]).ok().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let windows = shown["windows"].as_array().unwrap();
    // The hour: the minute may be over by now.
    let hour = windows.iter().find(|row| row["window"] == "hour" && row["side"] == "account").unwrap();
    assert_eq!(hour["used"], 5, "{shown}");
}

#[test]
fn a_quota_of_five_recipients_a_minute_asked_at_rcpt() {
    five_recipients_a_minute(&[]);
}

#[test]
fn the_same_asked_at_rcpt_twice_at_data_and_at_the_end() {
    five_recipients_a_minute(&["--stages", "relay,recipient,data,end_of_data"]);
}

#[test]
fn a_tickets_outgoing_transport_carries_the_message() {
    let policy: Address = support::loopback().into();
    let database = TestDatabase::new(Engine::Sqlite);
    let line = "out-1 unix - - n - - discard -o syslog_name=postfix/out-1";
    let postfix = Postfix::start(&["--policy", &policy.for_postfix(), "--master-line", line]);
    let section = "[module.ticket]\ntimezone = \"UTC\"\n";
    let home = Home::with(programs!(), &settings(&policy, &postfix, &database, "ticket", section));
    assert_eq!(home.start().stop(), 0);
    database.sql(&format!(
        "INSERT INTO ticket_plan (id, total_limit) VALUES (1, 2); \
         INSERT INTO outgoing_ip (id, is_active, transport) VALUES (1, 1, 'out-1'); \
         INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id, has_outgoing_ip, outgoing_ip_id) \
         VALUES (1, '{BOB}', 1, 1, 1);"
    ));
    let _daemon = home.start();
    let reply = send(&postfix, "by the ticket's way out", 2);
    assert!(reply.starts_with("250"), "{reply}");
    let carried = |line: &str, to: &str| line.contains("postfix/out-1/discard[") && line.contains(to);
    support::wait_until("the transport carries both", Duration::from_secs(20), || {
        let log = postfix.log();
        ["to=<r1@elsewhere.example>", "to=<r2@elsewhere.example>"]
            .into_iter()
            .all(|to| log.lines().any(|line| carried(line, to)))
    });
    let reply = login(&postfix).rcpt(BOB, "r3@elsewhere.example");
    assert!(reply.starts_with("554 ") && reply.contains("is used up: 2 messages in total"), "{reply}");
    // Mail of nobody with a ticket goes the usual way.
    let mut smtp = Smtp::open(postfix.submission());
    smtp.login("alice", "secret");
    assert!(smtp.rcpt("alice@example.com", "r4@elsewhere.example").starts_with("250"));
    assert!(smtp.data("as ever").starts_with("250"));
    support::wait_until("it is carried too", Duration::from_secs(20), || {
        postfix.log().lines().any(|line| line.contains("to=<r4@elsewhere.example>") && line.contains("status=sent"))
    });
    assert!(!postfix.log().lines().any(|line| carried(line, "r4@")), "{}", postfix.log());
}
