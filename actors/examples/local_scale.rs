//! Measures the local questions with 100,000 domains and 1,000,000 mailboxes in `sqlite:` and `mysql:` tables:
//! what a look-up costs that asks the table, what one costs that the cache answers, beside a plain look-up in a hash
//! map, and what memory all of it takes.
//!
//! Prints a row of the table in docs/postfix.md for each process, so that none begins with the memory of another.
//! Needs `sqlite3` or a MariaDB server:
//! `cargo run --release -p actors --example local_scale -- sqlite`, then `-- mysql`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement that prints, and ends where it is wrong")]

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::local::{Answers as _, Ask, Truth};
use actors::postfix_config::{CacheSettings, Detected, LocalQuestions, LocalSettings, Source, Sources};
use libvalvula::AddressKey;
use slog::{Logger, o};
use testkit::{Engine, Server, TestDatabase};

const DOMAINS: usize = 100_000;
const MAILBOXES: usize = 1_000_000;
/// `cache_entries`: what is used stays as long as it is no more than half of them.
const ENTRIES: usize = 400_000;
/// Questions in flight while tables are asked.
const AT_ONCE: usize = 64;
/// Cached look-ups of a measurement, and how often it is repeated: the best counts.
const LOOK_UPS: usize = 2_000_000;
const ROUNDS: usize = 5;

fn domain(number: usize) -> String {
    format!("domain{number}.example")
}

fn mailbox(number: usize) -> String {
    format!("user{number}@{}", domain(number % DOMAINS))
}

/// Both tables, made by the engine itself.
fn fill(database: &TestDatabase) {
    let numbers = |count: usize| match database.engine() {
        Engine::Sqlite => format!(
            "WITH RECURSIVE s(seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM s WHERE seq + 1 < {count}) SELECT VALUES FROM s"
        ),
        _ => format!("SELECT VALUES FROM seq_0_to_{}", count - 1),
    };
    let joined = |user: bool| match (database.engine(), user) {
        (Engine::Sqlite, false) => "'domain' || seq || '.example'".to_owned(),
        (Engine::Sqlite, true) => format!("'user' || seq || '@domain' || (seq % {DOMAINS}) || '.example'"),
        (_, false) => "CONCAT('domain', seq, '.example')".to_owned(),
        (_, true) => format!("CONCAT('user', seq, '@domain', seq MOD {DOMAINS}, '.example')"),
    };
    let insert = |table: &str, count, user| {
        format!("INSERT INTO {table} {};\n", numbers(count).replace("VALUES", &joined(user)))
    };
    database.sql(&format!(
        "CREATE TABLE domain (domain VARCHAR(80) PRIMARY KEY);\nCREATE TABLE mailbox (username VARCHAR(80) PRIMARY KEY);\n{}{}",
        insert("domain", DOMAINS, false),
        insert("mailbox", MAILBOXES, true)
    ));
}

/// main.cf with `sqlite:` or `mysql:` tables over the database.
fn configure(directory: &Path, database: &TestDatabase) {
    let (kind, place) = match database.engine() {
        Engine::Sqlite => ("sqlite", format!("dbpath = {}\n", database.name())),
        _ => {
            let (user, password) = Server::login();
            let socket = database.server().socket();
            let hosts = format!("hosts = unix:{}\nuser = {user}\npassword = {password}\n", socket.display());
            ("mysql", format!("{hosts}dbname = {}\n", database.name()))
        }
    };
    let table = |name: &str, query: &str| {
        std::fs::write(directory.join(name), format!("{place}query = {query}\n")).unwrap();
        format!("{kind}:{}", directory.join(name).display())
    };
    let domains = table("domains.cf", "SELECT domain FROM domain WHERE domain='%s'");
    let mailboxes = table("mailboxes.cf", "SELECT username FROM mailbox WHERE username='%s'");
    let main = format!(
        "compatibility_level = 3.6\nmyhostname = mx.example\nmydestination =\nalias_maps =\n\
         virtual_mailbox_domains = {domains}\nvirtual_mailbox_maps = {mailboxes}\n"
    );
    std::fs::write(directory.join("main.cf"), main).unwrap();
    std::fs::write(directory.join("master.cf"), "").unwrap();
}

/// Asks `ask(number)` for each number, `AT_ONCE` at a time; the time of one.
async fn each(count: usize, ask: impl Fn(usize) -> Ask<Truth>) -> Duration {
    let begun = Instant::now();
    for first in (0..count).step_by(AT_ONCE) {
        let asked = (first..count.min(first + AT_ONCE)).map(&ask);
        for (number, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            assert_eq!(answer, Truth::Yes, "{}", first + number);
        }
    }
    begun.elapsed() / u32::try_from(count).unwrap()
}

/// The best time of one of `LOOK_UPS` calls, over names in an order that no cache line foresees.
fn best(names: usize, mut look_up: impl FnMut(usize)) -> f64 {
    let round = |look_up: &mut dyn FnMut(usize)| {
        let begun = Instant::now();
        let mut at = 1_usize;
        for _ in 0..LOOK_UPS {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            look_up((at >> 33) % names);
        }
        begun.elapsed().as_nanos() as f64 / LOOK_UPS as f64
    };
    (0..ROUNDS).map(|_| round(&mut look_up)).fold(f64::INFINITY, f64::min)
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

async fn measure(engine: Engine) {
    let database = TestDatabase::new(engine);
    fill(&database);
    let directory = tempfile::tempdir().unwrap();
    configure(directory.path(), &database);
    let log = Logger::root(slog::Discard, o!());
    let settings = postfix::Settings { config_directory: directory.path().to_owned(), ..postfix::Settings::default() };
    let detected = Detected::load(settings, &log).await;
    let sources = Sources::new([detected as Arc<dyn Source>]);
    let hour = Duration::from_secs(3600);
    let cache = CacheSettings { positive: hour, entries: ENTRIES, ..CacheSettings::default() };
    let local = LocalQuestions::start(LocalSettings { sources, cache, ..LocalSettings::default() }, &log);

    let names: Vec<String> = (0..DOMAINS).map(domain).collect();
    let before = resident();
    let cold = each(DOMAINS, |number| local.domain(names[number].as_bytes())).await;
    let after_domains = resident();
    let mut plain: HashMap<Box<[u8]>, bool, foldhash::fast::RandomState> = HashMap::default();
    plain.extend(names.iter().map(|name| (Box::from(name.as_bytes()), true)));
    let hash = best(DOMAINS, |number| {
        black_box(plain.get(names[number].as_bytes()));
    });
    let clocked = best(DOMAINS, |number| {
        black_box((plain.get(names[number].as_bytes()), tokio::time::Instant::now()));
    });
    drop(plain);
    let cached = best(DOMAINS, |number| {
        let answer = local.domain(names[number].as_bytes());
        assert!(matches!(answer, Ask::Ready(Some(Truth::Yes))));
    });
    let before_mailboxes = resident();
    let cold_address = each(MAILBOXES, |number| local.address(&AddressKey::new(mailbox(number).as_bytes()))).await;
    let after = resident();
    let kept: u64 =
        local.status().iter().filter(|(name, _)| name.ends_with(" cached")).filter_map(|(_, n)| n.as_u64()).sum();
    println!(
        "| `{}:` | {:.0} µs | {:.0} µs | {cached:.0} ns | {hash:.0} ns, {clocked:.0} ns | {:.1}, {:.1} | {:.0} MiB | {:.0} MiB | {kept} |",
        if engine == Engine::Sqlite { "sqlite" } else { "mysql" },
        cold.as_nanos() as f64 / 1000.0,
        cold_address.as_nanos() as f64 / 1000.0,
        cached / hash,
        cached / clocked,
        after_domains - before,
        after - before_mailboxes,
    );
}

fn main() {
    let engine = match std::env::args().nth(1).as_deref() {
        Some("sqlite") => Engine::Sqlite,
        Some("mysql") => Engine::MariaDb,
        other => panic!("expected sqlite or mysql, found {other:?}"),
    };
    println!(
        "| tables | domain asked | address asked | domain cached | hash map, and with the clock | ratios | memory: {DOMAINS} domains | and {MAILBOXES} mailboxes | answers kept |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    actix_rt::System::new().block_on(measure(engine));
}
