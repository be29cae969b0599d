//! What the running daemon answers while the tables of Postfix's configuration are away, hang, or change.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Address, Connection, Daemon, Engine, Home, Request, Server, TestDatabase, programs};

/// More than anything here takes on a busy machine, and less than a request may.
const SOON: Duration = Duration::from_secs(20);

/// Answers are believed for no time: each request asks again.
const BRIEF: &str = "cache_positive = \"1ms\"\ncache_negative = \"1ms\"\n";
/// Answers are believed for an hour: only what is noticed counts.
const LONG: &str = "cache_positive = \"1h\"\ncache_negative = \"1h\"\n";

/// A sender at `domain` who may be forged, to a recipient there.
fn from(sender: &str, domain: &str) -> Request {
    Request::rcpt(&format!("{sender}@{domain}"), &format!("ann@{domain}"))
}

/// A home whose Postfix has this main.cf, and a daemon with one listener: bwl that defers when it can't decide.
struct Setup {
    home: Home,
    policy: Address,
}

impl Setup {
    /// With these further keys of `[postfix]`.
    fn new(main: &str, keys: &str) -> Self {
        let setup = Self { home: Home::new(programs!()), policy: support::loopback().into() };
        setup.main_cf(main);
        setup.home.write("postfix/master.cf", "smtp inet n - n - - smtpd\n");
        setup.home.configure(&format!(
            "[postfix]\nconfig_directory = \"{}\"\ncache_retry = \"100ms\"\n{keys}\n\n\
             [[listener]]\nname = \"mx\"\naddress = \"{}\"\nmodules = [\"bwl\"]\n\n[module.bwl]\non_failure = \"defer\"\n",
            setup.home.path("postfix").display(),
            setup.policy
        ));
        setup
    }

    fn main_cf(&self, main: &str) {
        self.home.write(
            "postfix/main.cf",
            format!("compatibility_level = 3.6\nmyhostname = mx.rig.example\nmydestination =\nalias_maps =\n{main}"),
        );
    }

    #[track_caller]
    fn ask(&self, request: &Request) -> String {
        Connection::open(&self.policy).unwrap().ask(request).unwrap()
    }

    #[track_caller]
    fn until(&self, request: &Request, expected: &str) -> Duration {
        let mut connection = Connection::open(&self.policy).unwrap();
        support::wait_until(&format!("the answer {expected}"), SOON, || {
            connection.ask(request).unwrap().starts_with(expected)
        })
    }
}

/// main.cf with tables of this server: PostfixAdmin's domains and mailboxes.
fn tables_of(server: &Server, database: &TestDatabase, home: &std::path::Path) -> String {
    let (user, password) = Server::login();
    let (kind, hosts) = match server.engine() {
        Engine::MariaDb => ("mysql", format!("unix:{}", server.socket().display())),
        _ => ("pgsql", format!("inet:{}:{}", server.tcp().0, server.tcp().1)),
    };
    let table = |name: &str, query: &str| {
        let file = home.join(name);
        let dbname = database.name();
        let text =
            format!("hosts = {hosts}\nuser = {user}\npassword = {password}\ndbname = {dbname}\nquery = {query}\n");
        std::fs::write(&file, text).unwrap();
        format!("{kind}:{}", file.display())
    };
    format!(
        "virtual_mailbox_domains = {}\nvirtual_mailbox_maps = {}\n",
        table("domains.cf", "SELECT domain FROM domain WHERE domain='%s'"),
        table("mailboxes.cf", "SELECT username FROM mailbox WHERE username='%s'")
    )
}

fn rows(database: &TestDatabase) {
    database.sql(
        "CREATE TABLE domain (domain varchar(255)); INSERT INTO domain VALUES ('here.example'), ('there.example');
         CREATE TABLE mailbox (username varchar(255)); INSERT INTO mailbox VALUES ('ann@here.example');",
    );
}

fn a_table_server_that_stops(engine: Engine) {
    let server = Arc::new(Server::start_new(engine));
    let database = TestDatabase::on_server(&server);
    rows(&database);
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(&tables_of(&server, &database, directory.path()), BRIEF);
    let daemon = setup.home.start();
    let (forged, honest) = (from("eve", "here.example"), from("ann", "here.example"));
    assert!(setup.ask(&forged).starts_with("REJECT"), "{engine:?}: {}", daemon.log());
    assert_eq!(setup.ask(&honest), "DUNNO", "{engine:?}");
    assert_eq!(setup.ask(&from("eve", "elsewhere.example")), "DUNNO", "{engine:?}");

    server.stop();
    for _ in 0..5 {
        // What was known serves, each as it was.
        assert!(setup.ask(&forged).starts_with("REJECT"), "{engine:?}: {}", daemon.log());
        assert_eq!(setup.ask(&honest), "DUNNO", "{engine:?}: {}", daemon.log());
        assert_eq!(setup.ask(&from("eve", "elsewhere.example")), "DUNNO", "{engine:?}: {}", daemon.log());
        // What was not known is neither a yes nor a no.
        assert!(setup.ask(&from("eve", "there.example")).starts_with("DEFER"), "{engine:?}: {}", daemon.log());
        assert!(setup.ask(&from("eve", "new.example")).starts_with("DEFER"), "{engine:?}: {}", daemon.log());
    }
    daemon.wait_log(&["a local question could not be asked"]);

    server.start();
    database.sql("INSERT INTO mailbox VALUES ('eve@here.example');");
    setup.until(&from("eve", "there.example"), "REJECT");
    setup.until(&from("eve", "new.example"), "DUNNO");
    setup.until(&forged, "DUNNO");
    daemon.wait_log(&["local questions are answered again"]);
}

#[test]
fn while_mariadb_is_stopped_the_last_known_answers_serve_and_then_it_could_not_be_asked() {
    a_table_server_that_stops(Engine::MariaDb);
}

#[test]
fn while_postgresql_is_stopped_the_last_known_answers_serve_and_then_it_could_not_be_asked() {
    a_table_server_that_stops(Engine::Postgres);
}

#[test]
fn the_last_known_answer_serves_for_cache_stale_and_no_longer() {
    let server = Arc::new(Server::start_new(Engine::MariaDb));
    let database = TestDatabase::on_server(&server);
    rows(&database);
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(&tables_of(&server, &database, directory.path()), &format!("{BRIEF}cache_stale = \"2s\""));
    let daemon = setup.home.start();
    let forged = from("eve", "here.example");
    assert!(setup.ask(&forged).starts_with("REJECT"), "{}", daemon.log());
    server.stop();
    // From "REJECT" to "could not ask", never through a "no".
    let begun = Instant::now();
    loop {
        let answer = setup.ask(&forged);
        if answer.starts_with("DEFER") {
            break;
        }
        assert!(answer.starts_with("REJECT"), "{answer}: {}", daemon.log());
        assert!(begun.elapsed() < SOON, "it serves for ever");
    }
}

/// Sends `signal` to the process that serves `server`.
fn signal(server: &Server, signal: &str) {
    let pid = std::fs::read_to_string(server.socket().parent().unwrap().join("pid")).unwrap();
    assert!(Command::new("kill").args(["-s", signal, pid.trim()]).status().unwrap().success());
}

#[test]
fn while_mariadb_hangs_what_is_known_serves_and_only_what_needs_it_waits() {
    let server = Arc::new(Server::start_new(Engine::MariaDb));
    let database = TestDatabase::on_server(&server);
    rows(&database);
    let directory = tempfile::tempdir().unwrap();
    let main = format!("{}virtual_alias_domains = alias.example\n", tables_of(&server, &database, directory.path()));
    let setup = Setup::new(&main, BRIEF);
    let daemon = setup.home.start();
    let (forged, honest) = (from("eve", "here.example"), from("ann", "here.example"));
    assert!(setup.ask(&forged).starts_with("REJECT"), "{}", daemon.log());
    assert_eq!(setup.ask(&honest), "DUNNO");
    signal(&server, "STOP");
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(setup.ask(&forged).starts_with("REJECT"), "{}", daemon.log());
        assert_eq!(setup.ask(&honest), "DUNNO", "{}", daemon.log());
    }
    // Six requests with three questions each; each question that hangs is waited for once.
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    signal(&server, "CONT");
    database.sql("INSERT INTO mailbox VALUES ('eve@here.example');");
    setup.until(&forged, "DUNNO");
}

/// A table server that accepts and never answers.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_table_server_that_never_answers_delays_only_requests_that_need_it_within_the_modules_deadline() {
    let (_silent, port) = silent();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("domains.cf");
    std::fs::write(&file, format!("hosts = 127.0.0.1:{port}\nuser = x\ndbname = x\nquery = SELECT '%s'\n")).unwrap();
    let setup = Setup::new(
        &format!(
            "virtual_mailbox_domains = plain.example, mysql:{}\nvirtual_mailbox_maps = inline:{{ann@plain.example=1}}\n",
            file.display()
        ),
        "",
    );
    let other: Address = support::loopback().into();
    let text = std::fs::read_to_string(setup.home.path("valvula.toml")).unwrap();
    let text = text.replace("[module.bwl]", "[module.bwl]\ndeadline = \"2s\"");
    setup.home.write(
        "valvula.toml",
        format!("{text}\n[[listener]]\nname = \"other\"\naddress = \"{other}\"\nmodules = [\"test\"]\n"),
    );
    let daemon = setup.home.start();

    // Many who wait for the server that hangs, each with a name of its own.
    let waiting: Vec<_> = (0..40)
        .map(|number| {
            let policy = setup.policy.clone();
            std::thread::spawn(move || {
                let begun = Instant::now();
                let answer =
                    Connection::open(&policy).unwrap().ask(&from("eve", &format!("d{number}.example"))).unwrap();
                (answer, begun.elapsed())
            })
        })
        .collect();
    support::wait_until("they all wait", SOON, || daemon.module("bwl")["in_flight"].as_u64() >= Some(40));
    // Meanwhile: names that need no table, on the same listener and module; the other listener.
    let (mut same, mut elsewhere) = (Connection::open(&setup.policy).unwrap(), Connection::open(&other).unwrap());
    let mut answered = 0;
    while daemon.module("bwl")["in_flight"].as_u64() >= Some(40) {
        assert!(same.ask(&from("eve", "plain.example")).unwrap().starts_with("REJECT"), "{}", daemon.log());
        assert_eq!(same.ask(&from("ann", "plain.example")).unwrap(), "DUNNO", "{}", daemon.log());
        assert_eq!(elsewhere.ask(&from("eve", "d1.example")).unwrap(), "DUNNO");
        answered += 1;
    }
    assert!(answered > 0, "nothing was answered while others waited");
    for thread in waiting {
        let (answer, took) = thread.join().unwrap();
        assert!(answer.starts_with("DEFER"), "{answer}");
        // The module's deadline is 2 s.
        assert!(took < SOON / 2, "{took:?}");
    }
    assert_eq!(daemon.module("bwl")["failures"]["timed_out"].as_u64(), Some(40), "{}", daemon.module("bwl"));
}

#[track_caller]
fn is_known(setup: &Setup, daemon: &Daemon<'_>, domain: &str) {
    assert!(setup.ask(&from("eve", domain)).starts_with("REJECT"), "{domain}: {}", daemon.log());
}

#[test]
fn a_domain_added_to_main_cf_counts_by_itself_and_a_faulty_main_cf_keeps_the_old_state() {
    let setup = Setup::new("virtual_alias_domains = one.example\n", LONG);
    let daemon = setup.home.start();
    is_known(&setup, &daemon, "one.example");
    assert_eq!(setup.ask(&from("eve", "two.example")), "DUNNO");

    // In place, as an administrator's script does it.
    setup.main_cf("virtual_alias_domains = one.example two.example\n");
    let took = setup.until(&from("eve", "two.example"), "REJECT");
    // Two seconds are promised; the rest is for a busy machine.
    assert!(took < Duration::from_secs(8), "{took:?}");
    is_known(&setup, &daemon, "one.example");

    // As postconf does it: a new file in the old one's place.
    let postconf = Command::new("postconf")
        .arg("-c")
        .arg(setup.home.path("postfix"))
        .args(["-e", "virtual_alias_domains=one.example three.example"])
        .status();
    assert!(postconf.unwrap().success());
    let took = setup.until(&from("eve", "three.example"), "REJECT");
    assert!(took < Duration::from_secs(8), "{took:?}");
    setup.until(&from("eve", "two.example"), "DUNNO");

    setup.home.write("postfix/main.cf", "virtual_alias_domains = ${broken\n");
    let line = daemon.wait_log(&["postfix configuration has a fault, the old one stays in force"]);
    assert!(line.contains("main.cf") && line.contains("virtual_alias_domains"), "it names file and parameter: {line}");
    is_known(&setup, &daemon, "three.example");
    assert_eq!(setup.ask(&from("eve", "two.example")), "DUNNO");
    // Not in force by a reload either; the daemon goes on.
    daemon.control(&["reload"]);
    is_known(&setup, &daemon, "three.example");

    setup.main_cf("virtual_alias_domains = four.example\n");
    setup.until(&from("eve", "four.example"), "REJECT");
    assert_eq!(setup.ask(&from("eve", "three.example")), "DUNNO");
}

#[test]
fn a_file_of_a_table_that_changes_counts_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (list, hash) = (directory.path().join("list"), directory.path().join("domains"));
    let postmap = |text: &str| {
        std::fs::write(&hash, text).unwrap();
        let table = format!("hash:{}", hash.display());
        assert!(Command::new("postmap").arg(&table).status().unwrap().success());
        table
    };
    std::fs::write(&list, "one.example\n").unwrap();
    let table = postmap("two.example OK\n");
    let setup = Setup::new(&format!("virtual_alias_domains = {}, {table}\n", list.display()), LONG);
    let daemon = setup.home.start();
    is_known(&setup, &daemon, "one.example");
    is_known(&setup, &daemon, "two.example");
    for domain in ["three.example", "four.example"] {
        assert_eq!(setup.ask(&from("eve", domain)), "DUNNO");
    }
    std::fs::write(&list, "one.example\nthree.example\n").unwrap();
    setup.until(&from("eve", "three.example"), "REJECT");
    postmap("four.example OK\n");
    setup.until(&from("eve", "four.example"), "REJECT");
    setup.until(&from("eve", "two.example"), "DUNNO");
}
