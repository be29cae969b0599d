//! A database that the C Valvula made, 10,000 rows of every kind: taken over by the first start as it is, decided by as
//! before, and nothing left to do for the second. And what becomes of it when the database user may do less.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::Duration;

use support::{Address, Connection, Daemon, Engine, Home, Request, Server, TestDatabase, programs};

/// As its newest version leaves them: latin1, no index but the key, NULL allowed everywhere.
const TABLES: &str = "
    CREATE TABLE bwl_global (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, source VARCHAR(512), destination VARCHAR(512), description TEXT, status VARCHAR(32), stamp INT, who VARCHAR(64), sasl_users_to_skip TEXT, limit_rule_to_sasl_users TEXT) ENGINE=MyISAM DEFAULT CHARSET=latin1;
    CREATE TABLE bwl_domain (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, rules_for TEXT, source TEXT, description TEXT, status VARCHAR(32), stamp INT, who VARCHAR(64)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE bwl_account (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, rules_for TEXT, source TEXT, description TEXT, status VARCHAR(32), stamp INT, who VARCHAR(64)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE bwl_global_sasl (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, sasl_user VARCHAR(255), description TEXT, stamp INT, who VARCHAR(64)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE slm_exception (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, description TEXT, mail_from VARCHAR(255), sasl_username VARCHAR(255)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE mquota_exception (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, sasl_user VARCHAR(255), description TEXT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE ticket_plan (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255), description TEXT, total_limit INT, day_limit INT, month_limit INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE domain_ticket (id INT AUTO_INCREMENT PRIMARY KEY, domain VARCHAR(255), sasl_user VARCHAR(255), total_used INT, current_day_usage INT, current_month_usage INT, valid_until INT, ticket_plan_id INT, block_ticket INT, has_outgoing_ip INT, outgoing_ip_id INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE domain_ticket_history (id INT AUTO_INCREMENT PRIMARY KEY, domain_ticket_id INT, stamp INT, day_usage INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE domain_month_ticket_history (id INT AUTO_INCREMENT PRIMARY KEY, domain_ticket_id INT, stamp INT, month_usage INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE outgoing_ip (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, outgoing_ip VARCHAR(64), transport VARCHAR(64), label VARCHAR(64), description TEXT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE time_tracking (day INT, month INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE lmm_by_domain (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, domain VARCHAR(255), allowed_networks TEXT, description TEXT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE transport_global (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, only_auth INT, source VARCHAR(512), destination VARCHAR(512), description TEXT, transport VARCHAR(255)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
";

/// 10,000 rows of each kind with ids that have gaps; every third is not active, every seventh has a letter of
/// latin1. What a row has no need of is NULL.
const ROWS: &str = "
    CREATE TEMPORARY TABLE n AS SELECT seq AS n, 3 * seq AS id, IF(seq % 3 = 0, IF(seq % 2 = 0, 0, NULL), 1) AS active, CONCAT(IF(seq % 7 = 0, 'us\u{e9}r', 'user'), seq) AS name FROM seq_1_to_10000;
    INSERT INTO bwl_global (id, is_active, source, status) SELECT id, active, CONCAT(name, '@global.example'), ELT(1 + n % 2, 'reject', 'Discard') FROM n;
    INSERT INTO bwl_domain (id, is_active, rules_for, source, status) SELECT id, active, IF(n % 2, 'home.example', 'other.example'), CONCAT(name, '@domain.example'), 'reject' FROM n;
    INSERT INTO bwl_account (id, is_active, rules_for, source, status) SELECT id, active, 'ann@home.example', CONCAT(name, '@account.example'), 'REJECT' FROM n;
    INSERT INTO bwl_global_sasl (id, is_active, sasl_user) SELECT id, active, CONCAT(name, '@blocked.example') FROM n;
    INSERT INTO slm_exception (id, is_active, sasl_username, mail_from) SELECT id, active, CONCAT(name, '@slm.example'), IF(n % 2, NULL, 'boss@slm.example') FROM n;
    INSERT INTO mquota_exception (id, is_active, sasl_user) SELECT id, active, CONCAT(name, '@quota.example') FROM n;
    INSERT INTO ticket_plan (id, name, total_limit, day_limit) SELECT n, name, n, IF(n % 2, NULL, -1) FROM n;
    INSERT INTO domain_ticket (id, sasl_user, total_used, ticket_plan_id, block_ticket, valid_until) SELECT id, CONCAT(name, '@ticket.example'), IF(n % 2, NULL, n), n, IF(n % 5 = 0, 1, NULL), IF(n % 11 = 0, 1000, NULL) FROM n;
    INSERT INTO domain_ticket_history (id, domain_ticket_id, stamp, day_usage) SELECT id, id, 1500000000 + n, n FROM n;
    INSERT INTO domain_month_ticket_history (id, domain_ticket_id, stamp, month_usage) SELECT id, id, 1500000000 + n, n FROM n;
    INSERT INTO outgoing_ip (id, is_active, transport, label) SELECT id, active, CONCAT('out-', n), name FROM n;
    INSERT INTO lmm_by_domain (id, is_active, domain, allowed_networks) SELECT id, active, CONCAT('d', n, '.lmm.example'), IF(n % 2, '192.0.2.0/24, 2001:db8::/32', NULL) FROM n;
    INSERT INTO transport_global (id, is_active, only_auth, source, transport) SELECT id, active, IF(n % 2, 1, NULL), CONCAT(name, '@transport.example'), CONCAT('way-', n) FROM n;
";

const KINDS: [(&str, &str); 13] = [
    (
        "bwl_global",
        "is_active, source, destination, description, status, stamp, who, sasl_users_to_skip, limit_rule_to_sasl_users",
    ),
    ("bwl_domain", "is_active, rules_for, source, description, status, stamp, who"),
    ("bwl_account", "is_active, rules_for, source, description, status, stamp, who"),
    ("bwl_global_sasl", "is_active, sasl_user, description, stamp, who"),
    ("slm_exception", "is_active, description, mail_from, sasl_username"),
    ("mquota_exception", "is_active, sasl_user, description"),
    ("ticket_plan", "name, description, total_limit, day_limit, month_limit"),
    (
        "domain_ticket",
        "domain, sasl_user, total_used, current_day_usage, current_month_usage, valid_until, ticket_plan_id, block_ticket, has_outgoing_ip, outgoing_ip_id",
    ),
    ("domain_ticket_history", "domain_ticket_id, stamp, day_usage"),
    ("domain_month_ticket_history", "domain_ticket_id, stamp, month_usage"),
    ("outgoing_ip", "is_active, outgoing_ip, transport, label, description"),
    ("lmm_by_domain", "is_active, domain, allowed_networks, description"),
    ("transport_global", "is_active, only_auth, source, destination, description, transport"),
];

/// Number, ids and contents of every table's rows; what NULL is, is told from what is empty.
fn contents(database: &TestDatabase) -> Vec<String> {
    let sum = |(table, columns): (&str, &str)| {
        let columns: Vec<_> = columns.split(", ").map(|column| format!("IFNULL({column}, 'NULL')")).collect();
        let row = format!("CONVERT(CONCAT_WS('|', id, {}) USING utf8mb4)", columns.join(", "));
        database.sql(&format!("SELECT '{table}', COUNT(*), SUM(id), SUM(CRC32({row})) FROM {table};"))
    };
    KINDS.into_iter().map(sum).collect()
}

const CHAINS: [(&str, &str); 6] = [
    ("bwl", ""),
    ("slm", "[module.slm]\nmode = \"full\"\n"),
    (
        "mquota",
        "[module.mquota]\ntimezone = \"UTC\"\n[[module.mquota.period]]\nlabel = \"day\"\nfrom = \"00:00\"\nto = \"00:00\"\nglobal = 0\n",
    ),
    ("ticket", "[module.ticket]\ntimezone = \"UTC\"\n"),
    ("lmm", ""),
    ("transport", ""),
];

struct Scene {
    home: Home,
    addresses: Vec<Address>,
}

impl Scene {
    fn new(url: &str) -> Self {
        let mut settings = format!(
            "[database]\nurl = \"{url}\"\n[postfix]\nautodetect = false\nlocal_domains = [\"home.example\"]\n\
             local_addresses = [\"ann@home.example\"]\n"
        );
        let mut addresses = Vec::new();
        for (module, section) in CHAINS {
            let address: Address = support::loopback().into();
            settings += &format!(
                "[[listener]]\nname = \"{module}\"\naddress = \"{address}\"\nmodules = [\"{module}\"]\n{section}"
            );
            addresses.push(address);
        }
        Self { home: Home::with(programs!(), &settings), addresses }
    }

    fn connection(&self, module: &str) -> Connection {
        let place = CHAINS.iter().position(|(known, _)| *known == module).expect("a module of the scene");
        Connection::open(&self.addresses[place]).unwrap()
    }
}

/// The name in row `n`.
fn name(n: u32) -> String {
    let word = if n.is_multiple_of(7) { "us\u{e9}r" } else { "user" };
    format!("{word}{n}")
}

fn is_active(n: u32) -> bool {
    !n.is_multiple_of(3)
}

/// What the rows decided before, worked out here from what they hold, asked through the daemon: each as the
/// beginning of the answer.
fn decides_as_before(scene: &Scene) {
    let mut connections = CHAINS.map(|(module, _)| scene.connection(module));
    let mut is = |place: usize, request: &Request, expected: &str, n: u32| {
        let answer = connections[place].ask(request).unwrap();
        assert!(answer.starts_with(expected), "{}, row {n}: {answer}, expected {expected}", CHAINS[place].0);
    };
    let or_dunno = |holds: bool, answer: &'static str| if holds { answer } else { "DUNNO" };
    for n in (1..=10_000).step_by(41).chain([10_000]) {
        let name = name(n);
        let from = |domain: &str| format!("{name}@{domain}");
        let to_ann = |sender: &str| Request::rcpt(sender, "ann@home.example");
        let by = |user: &str| Request::rcpt(user, "r@away.example").sasl(user).set("instance", "");
        let status = if n.is_multiple_of(2) { "REJECT" } else { "DISCARD" };
        is(0, &to_ann(&from("global.example")), or_dunno(is_active(n), status), n);
        is(0, &to_ann(&from("domain.example")), or_dunno(is_active(n) && n % 2 == 1, "REJECT"), n);
        is(0, &to_ann(&from("account.example")), or_dunno(is_active(n), "REJECT"), n);
        is(0, &by(&from("blocked.example")), or_dunno(is_active(n), "REJECT"), n);
        let as_boss = Request::rcpt("boss@slm.example", "r@away.example").sasl(&from("slm.example"));
        is(1, &as_boss, or_dunno(!is_active(n), "REJECT"), n);
        let as_other = Request::rcpt("other@slm.example", "r@away.example").sasl(&from("slm.example"));
        is(1, &as_other, or_dunno(!(is_active(n) && n % 2 == 1), "REJECT"), n);
        is(2, &by(&from("quota.example")), or_dunno(!is_active(n), "REJECT"), n);
        let refused = n.is_multiple_of(5) || n.is_multiple_of(11) || n.is_multiple_of(2);
        is(3, &by(&from("ticket.example")), or_dunno(refused, "REJECT"), n);
        let client = |address: &str| {
            Request::rcpt(&format!("x@d{n}.lmm.example"), "ann@home.example").set("client_address", address)
        };
        is(4, &client("192.0.2.77"), or_dunno(is_active(n) && n.is_multiple_of(2), "REJECT"), n);
        is(4, &client("198.51.100.1"), or_dunno(is_active(n), "REJECT"), n);
        let out = Request::rcpt(&from("transport.example"), "r@away.example");
        is(5, &out, or_dunno(is_active(n) && n.is_multiple_of(2), "FILTER way-"), n);
        is(5, &out.sasl("somebody"), or_dunno(is_active(n), "FILTER way-"), n);
    }
}

fn original() -> TestDatabase {
    let database = TestDatabase::new(Engine::MariaDb);
    database.sql(&format!("SET NAMES utf8mb4; {TABLES} {ROWS}"));
    database
}

/// The line that says what the start did to the schema.
fn ready(daemon: &Daemon<'_>) -> String {
    daemon.wait_log(&["database ready"])
}

#[test]
fn ten_thousand_rows_of_every_kind_are_taken_over_and_decide_as_before() {
    let database = original();
    let before = contents(&database);
    assert!(before.iter().all(|line| line.split('\t').nth(1) == Some("10000")), "{before:#?}");
    let scene = Scene::new(&database.url());
    let daemon = scene.home.start();
    let line = ready(&daemon);
    let converted = "character set (was latin1_swedish_ci) made utf8mb4, engine MyISAM made InnoDB";
    assert!(line.contains("bwl_global: column source widened") && line.contains(converted), "{line}");
    assert_eq!(daemon.count_log(&["database schema", "warning"]), 0, "{}", daemon.log());
    assert_eq!(contents(&database), before, "every row is there, with its id and what it held");
    decides_as_before(&scene);

    // The tickets that passed were charged, NULL being 0; the others not at all.
    let charged =
        database.sql("SELECT COUNT(*), SUM(total_used) FROM domain_ticket WHERE current_day_usage IS NOT NULL;");
    let passed =
        (1..=10_000_u32).step_by(41).chain([10_000]).filter(|n| n % 5 != 0 && n % 11 != 0 && n % 2 == 1).count();
    assert_eq!(charged, format!("{passed}\t{passed}"));

    // A panel goes on with the columns it knows, and any address fits now.
    database.sql("SET NAMES utf8mb4; INSERT INTO bwl_global (is_active, source, destination, description, status, stamp, who, sasl_users_to_skip, limit_rule_to_sasl_users) VALUES (1, '\u{1f600}@panel.example', NULL, NULL, 'reject', 1, 'panel', NULL, NULL);");
    let smiling = Request::rcpt("\u{1f600}@panel.example", "ann@home.example");
    support::wait_until("the panel's row counts", Duration::from_secs(10), || {
        scene.connection("bwl").ask(&smiling).unwrap().starts_with("REJECT")
    });
    assert_eq!(daemon.stop(), 0);

    let before = contents(&database);
    let made =
        "SELECT TABLE_NAME, CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1;";
    let tables = database.sql(made);
    let daemon = scene.home.start();
    let line = ready(&daemon);
    assert!(line.contains("steps=0") && line.contains("taken_over=\"\""), "nothing to do: {line}");
    assert_eq!((contents(&database), database.sql(made)), (before, tables));
    assert_eq!(daemon.stop(), 0);
}

/// A scene whose user has `privileges` on the original's database.
fn weak(database: &TestDatabase, privileges: &str) -> Scene {
    let name = database.name();
    let grant = format!(
        "CREATE USER 'weak_{name}'@'localhost' IDENTIFIED BY 'secret'; \
         GRANT {privileges} ON {name}.* TO 'weak_{name}'@'localhost';"
    );
    Server::shared(Engine::MariaDb).administer("", &grant);
    Scene::new(&database.url().replace("//valvula:", &format!("//weak_{name}:")))
}

#[test]
fn without_alter_index_and_trigger_it_says_so_and_decides_as_before() {
    let database = original();
    let before = contents(&database);
    let scene = weak(&database, "SELECT, INSERT, UPDATE, DELETE, CREATE");
    for start in 1..=2 {
        let daemon = scene.home.start();
        for said in [
            "table bwl_global goes without column expires",
            "table domain_ticket_history goes without index on domain_ticket_id",
            "table transport_global can't be made fit for every address: the database user lacks the privilege ALTER",
        ] {
            assert_eq!(daemon.count_log(&[said]), 1, "start {start}: {said}: {}", daemon.log());
        }
        // Without TRIGGER changes are found by comparing.
        let polled = daemon.count_log(&["no trigger can note changes of the table", "table=bwl_global ", "TRIGGER"]);
        assert_eq!(polled, 1, "start {start}: {}", daemon.log());
        if start == 1 {
            assert_eq!(contents(&database), before);
            decides_as_before(&scene);
            database
                .sql("INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'new@panel.example', 'reject');");
            let new = Request::rcpt("new@panel.example", "ann@home.example");
            support::wait_until("the panel's row counts", Duration::from_secs(20), || {
                scene.connection("bwl").ask(&new).unwrap().starts_with("REJECT")
            });
        }
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn an_older_table_without_alter_ends_the_start_with_the_statement_that_grants_it() {
    let database = original();
    database.sql("ALTER TABLE bwl_global DROP COLUMN limit_rule_to_sasl_users;");
    let scene = weak(&database, "SELECT, INSERT, UPDATE, DELETE, CREATE");
    let daemon = Daemon::spawn(&scene.home);
    assert_eq!(daemon.wait(), 69, "{}", daemon.log());
    let name = database.name();
    let statement = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, TRIGGER ON `{name}`.* TO 'weak_{name}'@'localhost'"
    );
    daemon.wait_log(&["ALTER command denied", &statement]);
    drop(daemon);
    // As it stands in the log, it helps.
    Server::shared(Engine::MariaDb).administer("", &format!("{statement};"));
    let daemon = scene.home.start();
    assert_eq!(database.sql("SELECT COUNT(*) FROM bwl_global WHERE limit_rule_to_sasl_users IS NULL;"), "10000");
    assert_eq!(daemon.stop(), 0);
}
