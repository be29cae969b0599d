//! Rows of the three engines, and what breaks when they are away.

use serde_json::json;
use testkit::{Engine, TestDatabase};

use super::*;
use crate::database::kept_log::{Lines, kept_log};
use crate::settings::{Faults, Node};

const ROWS: &str = "CREATE TABLE panel_domain (name VARCHAR(255) NOT NULL, active INTEGER NOT NULL);
    INSERT INTO panel_domain VALUES ('home.example', 1), ('off.example', 0), ('bücher.example', 1), ('here.example', 1);
    CREATE TABLE panel_user (address VARCHAR(255) NOT NULL);
    INSERT INTO panel_user VALUES ('ann@home.example'), ('o''brien@home.example'), ('jörg@bücher.example'), ('a%b@home.example');";
const DOMAINS: &str = "SELECT 1 FROM panel_domain WHERE name = #domain# AND active = 1";
const ADDRESSES: &str = "SELECT address FROM panel_user WHERE address = #address#";

fn read(settings: serde_json::Value) -> (Option<QuerySettings>, Vec<String>) {
    let faults = Faults::default();
    let leaf =
        |value: &serde_json::Value| Node::Leaf { value: value.clone(), origin: "a.toml".into(), from_env: false };
    let keys = settings.as_object().unwrap().iter().map(|(key, value)| (key.clone(), leaf(value))).collect();
    let mut section = Section::new("postfix", Node::Table { keys, origin: "a.toml".into() }, faults.clone());
    let own = DatabaseUrl::sqlite("/own.db");
    let settings = QuerySettings::read(&mut section, &own, Duration::from_secs(4));
    (settings, faults.take().iter().map(ToString::to_string).collect())
}

struct Setup {
    queries: Arc<Queries>,
    lines: Lines,
    _directory: tempfile::TempDir,
}

impl Setup {
    async fn new(url: &str, queries: &[(&str, &str)]) -> Self {
        let mut settings = serde_json::Map::new();
        settings.insert("query_url".to_owned(), json!(url));
        settings.extend(queries.iter().map(|(key, query)| ((*key).to_owned(), json!(query))));
        let (settings, faults) = read(settings.into());
        assert!(faults.is_empty(), "{faults:?}");
        let settings = settings.expect("there is a query");
        let directory = tempfile::tempdir().unwrap();
        let main = "compatibility_level = 3.6\nmyhostname = mx.example\nmydestination = here.example\nrecipient_delimiter = -\n";
        std::fs::write(directory.path().join("main.cf"), main).unwrap();
        let of_postfix = postfix::Settings {
            config_directory: directory.path().to_owned(),
            addresses_elsewhere: settings.lists_addresses(),
            ..postfix::Settings::default()
        };
        let resolver = Arc::new(Resolver::load(of_postfix).await);
        let (log, lines) = kept_log();
        let queries = Arc::new(Queries::new(settings, move || resolver.clone(), &log));
        Self { queries, lines, _directory: directory }
    }

    async fn domain(&self, name: &str) -> Truth {
        let key = libvalvula::domain_key(name.as_bytes()).into_owned();
        self.queries.clone().domain(key.into()).await
    }

    async fn address(&self, address: &str) -> Truth {
        self.queries.clone().address(AddressKey::new(address.as_bytes())).await
    }
}

const BOTH: [(&str, &str); 2] = [("domains_query", DOMAINS), ("addresses_query", ADDRESSES)];

#[tokio::test]
async fn a_row_is_yes_and_no_row_is_no_on_each_engine() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        database.sql(ROWS);
        let setup = Setup::new(&database.url(), &BOTH).await;
        for (name, expected) in [
            ("home.example", Truth::Yes),
            ("HOME.example", Truth::Yes),
            ("xn--bcher-kva.example", Truth::Yes),
            ("off.example", Truth::No),
            ("a.home.example", Truth::No),
            ("' OR 1 = 1 --", Truth::No),
            ("%", Truth::No),
        ] {
            assert_eq!(setup.domain(name).await, expected, "{engine:?} {name}");
        }
        for (name, expected) in [
            ("ann@home.example", Truth::Yes),
            ("Ann@Home.Example", Truth::Yes),
            ("ann-list@home.example", Truth::Yes),
            ("o'brien@home.example", Truth::Yes),
            ("a%b@home.example", Truth::Yes),
            ("Jörg@xn--bcher-kva.example", Truth::Yes),
            ("ann+list@home.example", Truth::No),
            ("ben@home.example", Truth::No),
            ("a_b@home.example", Truth::No),
            ("' OR '1' = '1@home.example", Truth::No),
            ("ann\\@home.example", Truth::No),
            ("ann", Truth::No),
            ("@home.example", Truth::No),
        ] {
            assert_eq!(setup.address(name).await, expected, "{engine:?} {name}");
        }
        assert_eq!(setup.queries.clone().domain(Arc::from(&b"caf\xe9.example"[..])).await, Truth::No);
        assert!(setup.lines.all().is_empty(), "{:?}", setup.lines.all());
        let place = setup.queries.place();
        assert!(!place.is_empty() && !place.contains("secret"), "{place}");
    }
}

#[tokio::test]
async fn a_citext_column_is_compared_as_postgresql_does() {
    let server = testkit::Server::shared(Engine::Postgres);
    let database = TestDatabase::new(Engine::Postgres);
    server.administer(&database.name(), "CREATE EXTENSION citext");
    database.sql("CREATE TABLE panel_domain (name citext); INSERT INTO panel_domain VALUES ('Home.Example');");
    let query = "SELECT 1 FROM panel_domain WHERE name = #domain#";
    let setup = Setup::new(&database.url(), &[("domains_query", query)]).await;
    assert_eq!(setup.domain("home.example").await, Truth::Yes);
}

#[tokio::test]
async fn a_placeholder_may_stand_more_than_once() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        database.sql(ROWS);
        let query = "SELECT 1 FROM panel_domain WHERE name = '#domain#' AND name = #domain#";
        let setup = Setup::new(&database.url(), &[("domains_query", query)]).await;
        assert_eq!(setup.domain("home.example").await, Truth::Yes, "{engine:?}");
        assert_eq!(setup.domain("x.example").await, Truth::No, "{engine:?}");
    }
}

#[tokio::test]
async fn without_a_list_of_addresses_all_of_a_domain_exist_unless_postfix_knows_it() {
    let database = TestDatabase::new(Engine::Sqlite);
    database.sql(ROWS);
    let setup = Setup::new(&database.url(), &BOTH[..1]).await;
    assert_eq!(setup.address("anybody@home.example").await, Truth::Yes);
    assert_eq!(setup.address("anybody@off.example").await, Truth::No);
    // mydestination has it: what its maps say counts.
    assert_eq!(setup.address("anybody@here.example").await, Truth::No);
    let setup = Setup::new(&database.url(), &BOTH[1..]).await;
    assert_eq!(setup.domain("home.example").await, Truth::No);
    assert_eq!(setup.address("anybody@home.example").await, Truth::No);
}

#[tokio::test]
async fn a_foreign_file_is_never_made_nor_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("panel.db");
    let setup = Setup::new(&format!("sqlite://{}", path.display()), &BOTH).await;
    for _ in 0..2 {
        assert!(matches!(setup.domain("home.example").await, Truth::CouldNotAsk(_)));
    }
    assert!(!path.exists(), "no file is made");
    assert_eq!(setup.lines.all().len(), 1, "{:?}", setup.lines.all());

    let database = TestDatabase::new(Engine::Sqlite);
    database.sql(ROWS);
    std::fs::copy(database.name(), &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(setup.domain("home.example").await, Truth::Yes);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is made beside it");
    assert_eq!(setup.lines.all().len(), 2, "{:?}", setup.lines.all());
    // A file put in its place is seen.
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(setup.domain("home.example").await, Truth::CouldNotAsk(_)));
}

#[tokio::test]
async fn a_server_that_was_away_is_asked_again_and_a_wrong_query_is_no_no() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let server = Arc::new(testkit::Server::start_new(engine));
        let database = TestDatabase::on_server(&server);
        database.sql(ROWS);
        let setup = Setup::new(&database.url(), &BOTH).await;
        assert_eq!(setup.domain("home.example").await, Truth::Yes, "{engine:?}");
        server.stop();
        let Truth::CouldNotAsk(why) = setup.domain("home.example").await else { panic!("{engine:?}: not away") };
        assert!(!why.contains("secret"), "{why}");
        server.start();
        assert_eq!(setup.domain("home.example").await, Truth::Yes, "{engine:?}");
        assert_eq!(setup.domain("x.example").await, Truth::No, "{engine:?}");
        assert_eq!(setup.lines.all().len(), 2, "{:?}", setup.lines.all());
        let wrong = Setup::new(&database.url(), &[("domains_query", "SELECT 1 FROM nowhere WHERE a = #domain#")]).await;
        assert!(matches!(wrong.domain("home.example").await, Truth::CouldNotAsk(_)), "{engine:?}");
    }
}

#[test]
fn settings_at_fault_are_named() {
    assert!(read(json!({})).0.is_none());
    for (settings, key, reason) in [
        (json!({"domains_query": "SELECT 1"}), "domains_query", "expected #domain# in it"),
        (json!({"addresses_query": "SELECT 1 WHERE #domain# = 1"}), "addresses_query", "expected one of #address#"),
        (json!({"domains_query": "DELETE FROM a WHERE b = #domain#"}), "domains_query", "expected a SELECT"),
        (json!({"domains_query": "SELECT '%#domain#'"}), "domains_query", "can't be bound"),
        (json!({"domains_query": DOMAINS, "query_url": "oracle://x"}), "query_url", "unknown kind of database"),
        (json!({"query_url": "sqlite:///a.db"}), "query_url", "nothing is asked there"),
    ] {
        let (_, faults) = read(settings.clone());
        assert_eq!(faults.len(), 1, "{settings}: {faults:?}");
        assert!(
            faults[0].contains(&format!("postfix.{key}: ")) && faults[0].contains(reason),
            "{settings}: {faults:?}"
        );
    }
    let (own, faults) = read(json!({"domains_query": DOMAINS}));
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(own.unwrap().url.to_string(), "sqlite:/own.db");
}
