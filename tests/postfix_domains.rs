//! mod-bwl and mod-slm behind a real Postfix whose domains and mailboxes stand in tables: nothing but its own
//! main.cf tells the daemon what is local.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::process::Command;
use std::time::Duration;

use support::{Address, Connection, Engine, Home, Postfix, Request, Server, Smtp, TestDatabase, programs};

const OUTSIDE: &str = "eve@away.example";
const LOCAL: &str = "ann@tables.example";
const FOREIGN: &str = "kim@elsewhere.example";

/// A table of domains and one of mailboxes, as main.cf names them.
struct Tables {
    domains: String,
    mailboxes: String,
    _directory: tempfile::TempDir,
    _database: Option<TestDatabase>,
}

/// Tables of a type whose files `postmap` makes.
fn files(kind: &str) -> Tables {
    let directory = directory();
    let table = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        let table = format!("{kind}:{}", file.display());
        assert!(Command::new("postmap").arg(&table).status().unwrap().success(), "postmap {table}");
        table
    };
    let domains = table("domains", "tables.example OK\n");
    let mailboxes = table("mailboxes", "ann@tables.example ann/\nben@tables.example ben/\n");
    Tables { domains, mailboxes, _directory: directory, _database: None }
}

/// Tables of a private MariaDB, with PostfixAdmin's queries.
fn mysql() -> Tables {
    let database = TestDatabase::new(Engine::MariaDb);
    database.sql(
        "CREATE TABLE domain (domain varchar(255), active tinyint(1));
         INSERT INTO domain VALUES ('tables.example', 1), ('elsewhere.example', 0);
         CREATE TABLE mailbox (username varchar(255), maildir varchar(255), active tinyint(1));
         INSERT INTO mailbox VALUES ('ann@tables.example', 'ann/', 1), ('ben@tables.example', 'ben/', 1), ('old@tables.example', 'old/', 0);",
    );
    let directory = directory();
    let (user, password) = Server::login();
    let table = |name: &str, query: &str| {
        let file = directory.path().join(name);
        let (socket, dbname) = (database.server().socket(), database.name());
        let text = format!(
            "hosts = unix:{}\nuser = {user}\npassword = {password}\ndbname = {dbname}\nquery = {query}\n",
            socket.display()
        );
        std::fs::write(&file, text).unwrap();
        format!("mysql:{}", file.display())
    };
    let domains = table("domains.cf", "SELECT domain FROM domain WHERE domain='%s' AND active = '1'");
    let mailboxes = table("mailboxes.cf", "SELECT maildir FROM mailbox WHERE username='%s' AND active = '1'");
    Tables { domains, mailboxes, _directory: directory, _database: Some(database) }
}

/// One that Postfix's own user can read.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("valvula-tables-").tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

/// Postfix with these tables that asks `chain` in `recipient`, and the daemon behind it.
struct Setup {
    postfix: Postfix,
    home: Home,
    policy: Address,
    database: TestDatabase,
}

impl Setup {
    fn new(tables: &Tables, chain: &str, lists: &dyn Fn(&str) -> Vec<String>) -> Self {
        let policy: Address = support::loopback().into();
        let mut options = vec!["--policy".to_owned(), policy.for_postfix(), "--set".to_owned()];
        options.push(format!("virtual_mailbox_domains={}", tables.domains));
        options.extend(["--set".to_owned(), format!("virtual_mailbox_maps={}", tables.mailboxes)]);
        options.extend(lists(&policy.for_postfix()));
        let postfix = Postfix::start(&options.iter().map(String::as_str).collect::<Vec<_>>());
        let (home, database) = (Home::new(programs!()), TestDatabase::new(Engine::Sqlite));
        home.configure(&format!(
            "[database]\nurl = \"{}\"\n\n[postfix]\nconfig_directory = \"{}\"\n\n\
             [[listener]]\nname = \"mx\"\naddress = \"{policy}\"\nmodules = {chain}\n\n\
             [module.slm]\nmode = \"valid-mail-from\"\n",
            database.url(),
            postfix.config_directory().display()
        ));
        Self { postfix, home, policy, database }
    }

    fn ask_until(&self, request: &Request, expected: &str) {
        let mut connection = Connection::open(&self.policy).unwrap();
        support::wait_until(&format!("the answer {expected}"), Duration::from_secs(20), || {
            connection.ask(request).unwrap().starts_with(expected)
        });
    }

    fn rcpt(&self, sender: &str, recipient: &str) -> String {
        Smtp::open(self.postfix.mx()).rcpt(sender, recipient)
    }

    fn submit(&self, sender: &str, recipient: &str) -> String {
        let mut smtp = Smtp::open(self.postfix.submission());
        smtp.login("alice", "secret");
        smtp.rcpt(sender, recipient)
    }
}

/// The worst main.cf there is: the answer of the daemon alone decides who may relay.
fn only_we_decide(policy: &str) -> Vec<String> {
    let list = format!("recipient=check_policy_service {policy}, reject");
    let relay = "smtpd_relay_restrictions=";
    ["--stage", &list, "--set", relay, "--set-submission", relay].map(str::to_owned).to_vec()
}

fn an_ok_row_opens_no_relay(tables: &Tables) {
    let setup = Setup::new(tables, "[\"bwl\"]", &only_we_decide);
    let daemon = setup.home.start();
    let row = |id: u8, destination: &str| {
        setup.database.sql(&format!(
            "INSERT INTO bwl_global (id, is_active, source, destination, status) VALUES ({id}, 1, '{OUTSIDE}', '{destination}', 'ok');"
        ));
    };
    assert!(setup.rcpt(OUTSIDE, LOCAL).starts_with("554 "), "nobody accepts before the row is there");

    // Rows that name the foreign recipient and the local one.
    row(1, FOREIGN);
    row(2, LOCAL);
    setup.ask_until(&Request::rcpt(OUTSIDE, LOCAL), "OK");
    let local = setup.rcpt(OUTSIDE, LOCAL);
    assert!(local.starts_with("250 "), "{}: a local delivery: {local}", tables.domains);
    for foreign in
        [FOREIGN, "kim%elsewhere.example@mx.rig.test", "kim@sub.tables.example", "kim@elsewhere.example@mx.rig.test"]
    {
        let reply = setup.rcpt(OUTSIDE, foreign);
        assert!(reply.starts_with('5'), "{}: to elsewhere, by nobody we know: {foreign}: {reply}", tables.domains);
    }
    daemon.wait_log(&["bwl_global", "1", FOREIGN]); // the warning names the row that was passed over
    let authenticated = setup.submit(OUTSIDE, FOREIGN);
    assert!(authenticated.starts_with("250 "), "authenticated: {authenticated}");

    // A row for everything.
    setup.database.sql("DELETE FROM bwl_global;");
    row(3, "");
    setup.ask_until(&Request::rcpt(OUTSIDE, "ben@tables.example"), "OK");
    assert!(setup.rcpt(OUTSIDE, "ben@tables.example").starts_with("250 "));
    assert!(setup.rcpt(OUTSIDE, FOREIGN).starts_with("554 "));

    let shown = setup.home.valvulactl(&["lookup", "tables.example"]).ok().stdout;
    let decided = format!("yes (virtual_mailbox_domains: {} has tables.example)\n", tables.domains);
    assert!(shown.starts_with(&decided), "{shown}");
}

fn a_forged_local_sender_is_refused(tables: &Tables) {
    let setup = Setup::new(tables, "[\"bwl\", \"slm\"]", &|_| Vec::new());
    let _daemon = setup.home.start();
    for (sender, code) in [
        ("nobody@tables.example", '5'),
        ("NoBody@Tables.Example", '5'),
        ("old@tables.example", '5'),
        ("' OR '1'='1@tables.example", '5'),
        ("ben@tables.example", '2'),
        ("Ben@Tables.Example", '2'),
        ("nobody@sub.tables.example", '2'),
        (OUTSIDE, '2'),
        ("", '2'),
    ] {
        let quoted = match sender.split_once('@') {
            Some((local, domain)) if local.contains(' ') => format!("\"{local}\"@{domain}"),
            _ => sender.to_owned(),
        };
        let reply = setup.rcpt(&quoted, LOCAL);
        assert!(reply.starts_with(code), "{}: {sender}: {reply}", tables.mailboxes);
        assert_eq!(reply.contains("does not exist"), code == '5', "{sender}: {reply}");
    }
    // Who has logged in sends as any mailbox there is, and as none that there is not.
    for (sender, code) in [("ben@tables.example", '2'), ("nobody@tables.example", '5'), (OUTSIDE, '5')] {
        let reply = setup.submit(sender, FOREIGN);
        assert!(reply.starts_with(code), "{}: {sender}, logged in: {reply}", tables.mailboxes);
    }
}

#[test]
fn with_domains_in_hash_tables_an_ok_row_opens_no_relay() {
    an_ok_row_opens_no_relay(&files("hash"));
}

#[test]
fn with_domains_in_lmdb_tables_an_ok_row_opens_no_relay() {
    an_ok_row_opens_no_relay(&files("lmdb"));
}

#[test]
fn with_domains_in_mysql_tables_an_ok_row_opens_no_relay() {
    an_ok_row_opens_no_relay(&mysql());
}

#[test]
fn with_mailboxes_in_hash_tables_a_forged_local_sender_is_refused() {
    a_forged_local_sender_is_refused(&files("hash"));
}

#[test]
fn with_mailboxes_in_lmdb_tables_a_forged_local_sender_is_refused() {
    a_forged_local_sender_is_refused(&files("lmdb"));
}

#[test]
fn with_mailboxes_in_mysql_tables_a_forged_local_sender_is_refused() {
    a_forged_local_sender_is_refused(&mysql());
}
