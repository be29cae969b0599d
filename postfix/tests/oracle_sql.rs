//! `mysql:` and `pgsql:` tables against `postmap -q`, on real servers with PostfixAdmin's schema and queries.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use libvalvula::AddressKey;
use postfix::{Resolver, Settings, State, Verdict};
use support::{Directory, ODD_KEYS, compare, is_native};
use testkit::{Engine, Server, TestDatabase};

/// The tables of PostfixAdmin that Postfix asks, with odd rows.
fn schema(engine: Engine) -> String {
    let boolean = if engine == Engine::Postgres { "boolean" } else { "tinyint(1)" };
    let (yes, no) = if engine == Engine::Postgres { ("true", "false") } else { ("1", "0") };
    let escaped = if engine == Engine::Postgres { r"a\b" } else { r"a\\b" };
    format!(
        "CREATE TABLE domain (domain varchar(255) PRIMARY KEY, description varchar(255), aliases int, active {boolean});
         CREATE TABLE mailbox (username varchar(255) PRIMARY KEY, maildir varchar(255), domain varchar(255), quota bigint, active {boolean});
         CREATE TABLE alias (address varchar(255) PRIMARY KEY, goto text, domain varchar(255), active {boolean});
         CREATE TABLE alias_domain (alias_domain varchar(255) PRIMARY KEY, target_domain varchar(255), active {boolean});
         INSERT INTO domain VALUES ('example.com','',0,{yes}),('example.org','',0,{yes}),('off.example','',0,{no});
         INSERT INTO mailbox VALUES ('user@example.com','example.com/user/','example.com',7,{yes}),
           ('o''brien@example.com','example.com/ob/','example.com',0,{yes}),('{escaped}@example.com','bs/','example.com',1,{yes}),
           ('100%@example.com','pc/','example.com',1,{yes}),('a\"b@example.com','q/','example.com',1,{yes}),
           ('off@example.com','x','example.com',1,{no}),('josé@example.com','u8/','example.com',1,{yes}),
           ('user@inner@example.com','in/','example.com',1,{yes}),('a b@example.com','sp/','example.com',1,{yes});
         INSERT INTO alias VALUES ('user@example.com','user@example.com','example.com',{yes}),
           ('@example.org','user@example.com,o''brien@example.com','example.org',{yes}),('postmaster@example.com','user@example.com','example.com',{yes});
         INSERT INTO alias_domain VALUES ('alias.example','example.com',{yes});"
    )
}

const DOMAINS: &str = "SELECT domain FROM domain WHERE domain='%s' AND active = YES";
const MAILBOXES: &str = "SELECT maildir FROM mailbox WHERE username='%s' AND active = YES";
const ALIASES: &str = "SELECT goto FROM alias WHERE address='%s' AND active = YES";
const ALIAS_DOMAIN_MAILBOXES: &str = "SELECT maildir FROM mailbox,alias_domain WHERE alias_domain.alias_domain = '%d' \
    AND mailbox.username = CONCAT('%u', '@', alias_domain.target_domain) AND mailbox.active = YES";

struct Mail {
    database: TestDatabase,
    directory: Directory,
    kind: &'static str,
    connection: String,
}

impl Mail {
    fn new(server: &Arc<Server>) -> Self {
        let database = TestDatabase::on_server(server);
        database.sql(&schema(server.engine()));
        let (user, password) = Server::login();
        let (address, port) = server.tcp();
        // One that is not there comes first: the next is tried.
        let hosts = match server.engine() {
            Engine::MariaDb => format!("127.0.0.1:1 unix:{}", server.socket().display()),
            _ => format!("127.0.0.1:1 inet:{address}:{port}"),
        };
        let connection =
            format!("hosts = {hosts}\nuser = {user}\npassword = {password}\ndbname = {}\n", database.name());
        let kind = if server.engine() == Engine::MariaDb { "mysql" } else { "pgsql" };
        Self { database, directory: Directory::new("compatibility_level = 3.6\n"), kind, connection }
    }

    fn table(&self, name: &str, query: &str) -> String {
        let yes = if self.kind == "pgsql" { "true" } else { "'1'" };
        let query = query.replace("YES", yes);
        let file: PathBuf = self.directory.write(name, format!("{}query = {query}\n", self.connection));
        format!("{}:{}", self.kind, file.display())
    }
}

async fn queries_answer_as_postfix_does(engine: Engine) {
    let mail = Mail::new(&Arc::new(Server::start_new(engine)));
    let keys: Vec<&str> = ODD_KEYS
        .iter()
        .copied()
        .chain(["user@alias.example", "@example.org", "x@example.org", "off.example"])
        .collect();
    let mut compared = 0;
    let mut queries = vec![
        (DOMAINS, true),
        (MAILBOXES, true),
        (ALIASES, true),
        // A value whose type PostgreSQL cannot find out: left to postmap there.
        (ALIAS_DOMAIN_MAILBOXES, engine == Engine::MariaDb),
        ("SELECT maildir, NULL, quota, active FROM mailbox WHERE username LIKE '%%@%d' ORDER BY username", true),
        ("SELECT goto FROM alias WHERE address = '%s'\nresult_format = %u of %d, %U\n", true),
        ("SELECT goto FROM alias WHERE address = '%s'\ndomain = example.org, other.example\n", true),
        ("SELECT quota FROM mailbox WHERE username = '%u@%2.%1'", true),
        ("SELECT maildir FROM mailbox WHERE quota = '%u'", engine == Engine::MariaDb),
    ];
    if engine == Engine::Postgres {
        let joined = "SELECT maildir FROM mailbox,alias_domain WHERE alias_domain.alias_domain = '%d' \
            AND mailbox.username = '%u' || '@' || alias_domain.target_domain AND mailbox.active = YES";
        queries.push((joined, true));
    }
    for (number, (query, native)) in queries.into_iter().enumerate() {
        let spec = mail.table(&format!("q{number}.cf"), query);
        // PostgreSQL is an error for a text that is no number, for Postfix too: asked for one alone.
        let keys = if query.contains("quota = ") { &["7", "8"][..] } else { &keys };
        compared += compare(&mail.directory, &spec, keys).await;
        let table = mail.directory.tables().open(&spec);
        table.get(b"7").await.unwrap();
        table.get(b"user@example.com").await.ok();
        assert_eq!(is_native(&table), native, "{query}");
    }
    let old = format!("{}select_field = maildir\ntable = mailbox\nwhere_field = username\n", mail.connection);
    let file = mail.directory.write("old.cf", old);
    compared += compare(&mail.directory, &format!("{}:{}", mail.kind, file.display()), &keys).await;
    assert!(compared >= 450, "{compared}");

    let limited = mail.table("limited.cf", "SELECT username FROM mailbox WHERE domain = '%d'\nexpansion_limit = 2\n");
    let table = mail.directory.tables().open(&limited);
    assert!(table.get(b"user@example.com").await.is_err());
    assert_eq!(table.get(b"user@example.org").await, Ok(None));
    drop(mail.database);
}

#[tokio::test]
async fn mysql_queries_answer_as_postfix_does() {
    queries_answer_as_postfix_does(Engine::MariaDb).await;
}

#[tokio::test]
async fn pgsql_queries_answer_as_postfix_does() {
    queries_answer_as_postfix_does(Engine::Postgres).await;
}

async fn a_stopped_server_is_could_not_ask_until_it_is_back(engine: Engine) {
    let server = Arc::new(Server::start_new(engine));
    let mail = Mail::new(&server);
    let proxied = |name, query| format!("proxy:{}", mail.table(name, query));
    let main = format!(
        "compatibility_level = 3.6\nmyhostname = mx.example.net\nmydestination =\nrecipient_delimiter = +\n\
         virtual_mailbox_domains = plain.example {}\nvirtual_mailbox_maps = {}\nvirtual_alias_maps = {}\nsmtpd_sender_login_maps = {}\n",
        proxied("domains.cf", DOMAINS),
        proxied("mailboxes.cf", MAILBOXES),
        proxied("aliases.cf", ALIASES),
        proxied("logins.cf", ALIASES),
    );
    mail.directory.write("main.cf", main);
    let settings = Settings { config_directory: mail.directory.path().to_owned(), ..Settings::default() };
    let resolver = Resolver::load(settings).await;
    assert_eq!(resolver.state(), &State::Read);
    assert!(resolver.files().contains(&mail.directory.file("domains.cf")));

    let address = async |name: &str| resolver.is_local_address(&AddressKey::new(name.as_bytes())).await;
    let domain = async |name: &str| resolver.is_local_domain(name.as_bytes()).await;
    for (name, expected) in
        [("example.com", Verdict::Yes), ("off.example", Verdict::No), ("mx.example.net", Verdict::Yes)]
    {
        assert_eq!(domain(name).await.verdict, expected, "{name}");
    }
    for (name, expected) in [
        ("user@example.com", Verdict::Yes),
        ("User+ext@Example.Com", Verdict::Yes),
        ("o'brien@example.com", Verdict::Yes),
        ("a\\b@example.com", Verdict::Yes),
        ("postmaster@example.com", Verdict::Yes),
        ("anybody@example.org", Verdict::Yes),
        ("off@example.com", Verdict::No),
        ("' OR '1'='1@example.com", Verdict::No),
        ("user@elsewhere.example", Verdict::No),
    ] {
        let answer = address(name).await;
        assert_eq!(answer.verdict, expected, "{name}: {answer}");
    }
    let answer = address("anybody@example.org").await;
    let step = answer.decided_by().unwrap();
    assert_eq!((step.parameter.as_str(), step.key.as_str()), ("virtual_alias_maps", "@example.org"));
    let owners = resolver.login_owners(&AddressKey::new(b"x@example.org")).await;
    let expected = ["user@example.com", "o'brien@example.com"].map(|login| AddressKey::new(login.as_bytes()));
    assert_eq!(owners.logins.as_deref(), Some(&expected[..]));

    server.stop();
    for (name, expected) in
        [("plain.example", Verdict::Yes), ("example.com", Verdict::CouldNotAsk), ("off.example", Verdict::CouldNotAsk)]
    {
        let answer = domain(name).await;
        assert_eq!(answer.verdict, expected, "{name}: {answer}");
    }
    assert_eq!(address("user@example.com").await.verdict, Verdict::CouldNotAsk);
    assert_eq!(resolver.login_owners(&AddressKey::new(b"x@example.org")).await.logins, None);

    server.start();
    let begun = std::time::Instant::now();
    while domain("example.com").await.verdict != Verdict::Yes {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "not right within seconds: {}",
            domain("example.com").await.evidence
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(address("off@example.com").await.verdict, Verdict::No);
}

#[tokio::test]
async fn a_stopped_mariadb_is_could_not_ask_until_it_is_back() {
    a_stopped_server_is_could_not_ask_until_it_is_back(Engine::MariaDb).await;
}

#[tokio::test]
async fn a_stopped_postgresql_is_could_not_ask_until_it_is_back() {
    a_stopped_server_is_could_not_ask_until_it_is_back(Engine::Postgres).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_an_error_within_the_time_limit() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = Directory::new("");
    let port = listener.local_addr().unwrap().port();
    for kind in ["mysql", "pgsql"] {
        let text = format!("hosts = 127.0.0.1:{port}\nuser = x\ndbname = x\nquery = SELECT '%s'\n");
        let file = directory.write(kind, text);
        let tables = postfix::Tables::new(directory.path().to_owned(), Duration::from_millis(300), 1, true);
        let begun = std::time::Instant::now();
        let answer = tables.open(&format!("{kind}:{}", file.display())).get(b"x").await;
        assert!(answer.is_err() && begun.elapsed() < Duration::from_secs(5), "{answer:?}");
    }
}

#[tokio::test]
async fn a_column_of_a_type_that_the_driver_does_not_know_is_compared_as_postfix_does() {
    let mail = Mail::new(&Arc::new(Server::start_new(Engine::Postgres)));
    let Mail { database, directory, .. } = &mail;
    database.server().administer(&database.name(), "CREATE EXTENSION citext");
    database.sql(
        "CREATE TYPE state AS ENUM ('on', 'off');
         CREATE TABLE people (name citext, box citext, state state);
         INSERT INTO people VALUES ('User@Example.com', 'Box/', 'on'), ('off@example.com', 'x/', 'off');",
    );
    for (number, query) in [
        "SELECT box FROM people WHERE name = '%s'",
        "SELECT state FROM people WHERE name = '%s'",
        "SELECT name FROM people WHERE state = 'on' AND name LIKE '%%@%d'",
    ]
    .into_iter()
    .enumerate()
    {
        let spec = mail.table(&format!("c{number}.cf"), query);
        compare(directory, &spec, ODD_KEYS).await;
        // One after the other: each connection has to find out about the types by itself.
        let table = directory.tables().open(&spec);
        for _ in 0..3 {
            assert!(table.get(b"user@example.com").await.unwrap().is_some(), "{query}");
        }
    }
}
