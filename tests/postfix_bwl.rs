//! Mail through a real Postfix, decided by the rows of mod-bwl.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::Duration;

use support::{Address, Connection, Engine, Home, Postfix, Request, Smtp, TestDatabase, programs};

const SENDER: &str = "eve@away.example";
const LOCAL: &str = "ann@example.com"; // the rig's virtual_mailbox_domains hold example.com
const FOREIGN: &str = "kim@elsewhere.example";

/// A row of `bwl_global`.
fn row(source: &str, destination: &str, status: &str) -> String {
    format!(
        "INSERT INTO bwl_global (is_active, source, destination, status) \
         VALUES (1, '{source}', '{destination}', '{status}');"
    )
}

/// Postfix, and the configuration of a daemon that it asks at `policy` and whose main.cf that daemon reads.
fn postfix_and_home(policy: &Address, options: &[&str], database: &TestDatabase) -> (Postfix, Home) {
    let policy_name = policy.for_postfix();
    let mut all = vec!["--policy", &policy_name, "--delivery", "maildir"];
    all.extend(options);
    let postfix = Postfix::start(&all);
    let home = Home::new(programs!());
    home.configure(&settings(policy, &postfix, database));
    (postfix, home)
}

fn settings(policy: &Address, postfix: &Postfix, database: &TestDatabase) -> String {
    let mode = if matches!(policy, Address::Unix(_)) { "mode = \"0666\"" } else { "" };
    format!(
        "[database]\nurl = \"{}\"\n\n[postfix]\nconfig_directory = \"{}\"\n\n\
         [[listener]]\nname = \"mx\"\naddress = \"{policy}\"\nmodules = [\"bwl\"]\n{mode}\n",
        database.url(),
        postfix.config_directory().display()
    )
}

/// Asks until the answer to `request` begins with `expected`; gives that answer and how long it took.
#[track_caller]
fn ask_until(policy: &Address, request: &Request, expected: &str) -> (String, Duration) {
    let mut connection = Connection::open(policy).expect("the daemon listens");
    support::wait_for(&format!("the answer {expected}"), Duration::from_secs(10), || {
        let answer = connection.ask(request).expect("the daemon answers");
        answer.starts_with(expected).then_some(answer)
    })
}

/// The text of a `REJECT text`.
#[track_caller]
fn refusal(policy: &Address) -> String {
    let (answer, _) = ask_until(policy, &Request::rcpt(SENDER, LOCAL), "REJECT ");
    answer["REJECT ".len()..].to_owned()
}

fn is_refused_with_our_text(policy: &Address) {
    let database = TestDatabase::new(Engine::Sqlite);
    let (postfix, home) = postfix_and_home(policy, &[], &database);
    let _daemon = home.start();

    let reply = Smtp::open(postfix.mx()).rcpt(SENDER, LOCAL);
    assert!(reply.starts_with("250"), "before the row is there: {reply}");

    database.sql(&row(SENDER, "", "reject"));
    let text = refusal(policy);
    assert!(text.len() > 10, "a text for the sender: {text}");

    let reply = Smtp::open(postfix.mx()).rcpt(SENDER, LOCAL);
    assert!(reply.starts_with("554 "), "{reply}");
    assert!(reply.contains(&text), "{reply} holds {text}");
    let other = Smtp::open(postfix.mx()).rcpt("kind@away.example", LOCAL);
    assert!(other.starts_with("250"), "another sender: {other}");
}

#[test]
fn a_reject_row_refuses_rcpt_with_554_and_our_text_over_tcp() {
    is_refused_with_our_text(&support::loopback().into());
}

#[test]
fn a_reject_row_refuses_rcpt_with_554_and_our_text_over_ipv6() {
    is_refused_with_our_text(&support::loopback6().into());
}

#[test]
fn a_reject_row_refuses_rcpt_with_554_and_our_text_over_a_unix_socket() {
    let directory = tempfile::Builder::new().prefix("valvula-socket-").tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    is_refused_with_our_text(&Address::Unix(directory.path().join("policy")));
}

#[test]
fn a_blocked_sasl_user_sends_nothing() {
    let policy = support::loopback().into();
    let database = TestDatabase::new(Engine::Sqlite);
    let (postfix, home) = postfix_and_home(&policy, &[], &database);
    let _daemon = home.start();
    let mut smtp = Smtp::open(postfix.submission());
    smtp.login("alice", "secret");
    let reply = smtp.rcpt("alice@example.com", FOREIGN);
    assert!(reply.starts_with("250"), "{reply}");

    database.sql("INSERT INTO bwl_global_sasl (is_active, sasl_user) VALUES (1, 'alice');");
    ask_until(&policy, &Request::rcpt("alice@example.com", FOREIGN).sasl("alice"), "REJECT ");
    let mut smtp = Smtp::open(postfix.submission());
    smtp.login("alice", "secret");
    let reply = smtp.rcpt("alice@example.com", FOREIGN);
    assert!(reply.starts_with("554 "), "{reply}");
}

/// Sends a message that the rule of status `status` takes, and after it one that no rule takes; the log
/// once that second one has arrived. The first must not.
fn swallowed(status: &str, expected: &str) -> String {
    let policy = support::loopback().into();
    let database = TestDatabase::new(Engine::Sqlite);
    let (postfix, home) = postfix_and_home(&policy, &[], &database);
    let _daemon = home.start();
    database.sql(&row(SENDER, "", status));
    ask_until(&policy, &Request::rcpt(SENDER, LOCAL), expected);

    for (sender, subject) in [(SENDER, "swallowed"), ("kind@away.example", "delivered")] {
        let mut smtp = Smtp::open(postfix.mx());
        let reply = smtp.rcpt(sender, LOCAL);
        assert!(reply.starts_with("250"), "{sender}: {reply}");
        let reply = smtp.data(subject);
        assert!(reply.starts_with("250"), "{sender}: {reply}");
    }
    let arrived = || postfix.delivered().iter().any(|message| message.contains("Subject: delivered"));
    support::wait_until("the other message arrives", Duration::from_secs(20), arrived);
    assert_eq!(postfix.delivered().len(), 1, "the first must not arrive");
    postfix.log()
}

#[test]
fn a_discard_row_accepts_the_message_and_drops_it() {
    let log = swallowed("discard", "DISCARD");
    assert!(log.contains("discard: RCPT from"), "{log}");
}

#[test]
fn a_filter_discard_row_sends_the_message_to_the_discard_transport() {
    let log = swallowed("filter-discard", "FILTER discard:");
    let filtered = |line: &str| line.contains("/discard[") && line.contains("to=<ann@example.com>");
    assert!(log.lines().any(filtered), "{log}");
}

#[test]
fn an_ok_row_never_makes_an_open_relay() {
    let policy: Address = support::loopback().into();
    let database = TestDatabase::new(Engine::Sqlite);
    // The worst main.cf there is: our answer alone decides who may relay.
    let list = format!("recipient=check_policy_service {}, reject", policy.for_postfix());
    let relay = "smtpd_relay_restrictions=";
    let options = ["--stage", &list, "--set", relay, "--set-submission", relay];
    let (postfix, home) = postfix_and_home(&policy, &options, &database);
    let daemon = home.start();
    database.sql(&row(SENDER, "", "OK"));
    ask_until(&policy, &Request::rcpt(SENDER, LOCAL), "OK");

    let local = Smtp::open(postfix.mx()).rcpt(SENDER, LOCAL);
    assert!(local.starts_with("250"), "a local delivery: {local}");
    let foreign = Smtp::open(postfix.mx()).rcpt(SENDER, FOREIGN);
    assert!(foreign.starts_with("554 "), "to elsewhere, by nobody we know: {foreign}");
    daemon.wait_log(&["bwl_global", "1"]); // the warning names the row that was passed over
    let mut smtp = Smtp::open(postfix.submission());
    smtp.login("alice", "secret");
    let authenticated = smtp.rcpt(SENDER, FOREIGN);
    assert!(authenticated.starts_with("250"), "to elsewhere, authenticated: {authenticated}");
}

/// A row written by the database's own client counts within a second, and its removal too.
///
/// Half a second is added for a machine that runs other things meanwhile.
fn plain_sql_counts_within_a_second(engine: Engine) {
    const SOON: Duration = Duration::from_millis(1500);
    let policy = support::loopback().into();
    let database = TestDatabase::new(engine);
    let (postfix, home) = postfix_and_home(&policy, &[], &database);
    let _daemon = home.start();
    let request = Request::rcpt(SENDER, LOCAL);

    for round in 0..5 {
        database.sql(&row("away.example", "", "reject"));
        let (_, took) = ask_until(&policy, &request, "REJECT");
        assert!(took < SOON, "round {round}: the new row counted after {took:?}");
        let reply = Smtp::open(postfix.mx()).rcpt(SENDER, LOCAL);
        assert!(reply.starts_with("554 "), "round {round}: {reply}");

        database.sql("DELETE FROM bwl_global;");
        let (_, took) = ask_until(&policy, &request, "DUNNO");
        assert!(took < SOON, "round {round}: the removal counted after {took:?}");
        let reply = Smtp::open(postfix.mx()).rcpt(SENDER, LOCAL);
        assert!(reply.starts_with("250"), "round {round}: {reply}");
    }

    database.sql(&row("away.example", "", "reject"));
    ask_until(&policy, &request, "REJECT");
    database.sql("UPDATE bwl_global SET is_active = 0;");
    let (_, took) = ask_until(&policy, &request, "DUNNO");
    assert!(took < SOON, "the change counted after {took:?}");
}

#[test]
fn a_row_by_sqlite3_counts_within_a_second() {
    plain_sql_counts_within_a_second(Engine::Sqlite);
}

#[test]
fn a_row_by_mariadb_counts_within_a_second() {
    plain_sql_counts_within_a_second(Engine::MariaDb);
}

#[test]
fn a_row_by_psql_counts_within_a_second() {
    plain_sql_counts_within_a_second(Engine::Postgres);
}
