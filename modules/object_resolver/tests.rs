//! Each sentence of mod-object-resolver's specification, and what breaks when it is broken.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use actors::local::Truth;
use libvalvula::AddressKey;
use serde_json::json;
use testkit::{Engine, TestDatabase};

use super::*;
use crate::testing::{Recorder, faults};

const ROWS: &str = "
    CREATE TABLE domains (id INTEGER PRIMARY KEY, name TEXT, status INTEGER);
    CREATE TABLE users (name TEXT, dom_id INTEGER);
    INSERT INTO domains VALUES (1, 'Home.example', 0), (2, 'off.example', 2), (3, 'bücher.example', 0), (4, 'empty.example', 0);
    INSERT INTO users VALUES ('Ann', 1), ('o''brien', 1), ('ann', 2), ('jörg', 3), ('ann', 99);";

fn plesk(path: &str, log: &Logger) -> Arc<Plesk> {
    Arc::new(Plesk::new(path.into(), b"+", log))
}

async fn domain(source: &Arc<Plesk>, domain: &str) -> Truth {
    Arc::clone(source).domain(domain_of(domain)).await
}

fn domain_of(name: &str) -> Arc<[u8]> {
    libvalvula::domain_key(name.as_bytes()).into_owned().into()
}

async fn address(source: &Arc<Plesk>, address: &str) -> Truth {
    Arc::clone(source).address(AddressKey::new(address.as_bytes())).await
}

#[tokio::test]
async fn a_domain_is_local_if_its_status_is_0() {
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(ROWS);
    let source = plesk(&sql.name(), &Recorder::default().logger());
    for name in ["home.example", "HOME.example", "bücher.example", "xn--bcher-kva.example", "empty.example"] {
        assert_eq!(domain(&source, name).await, Truth::Yes, "{name}");
    }
    for name in ["off.example", "x.example", "a.home.example", "example", "' OR 1 = 1 --", "%"] {
        assert_eq!(domain(&source, name).await, Truth::No, "{name}");
    }
}

#[tokio::test]
async fn an_address_is_local_if_its_domains_status_is_0_and_the_user_exists() {
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(ROWS);
    let source = plesk(&sql.name(), &Recorder::default().logger());
    let local =
        ["ann@home.example", "ANN@Home.Example", "o'brien@home.example", "ann+list@home.example", "Jörg@xn--bcher-kva.example", "JÖRG+x@bücher.example"];
    for name in local {
        assert_eq!(address(&source, name).await, Truth::Yes, "{name}");
    }
    for name in ["ben@home.example", "ann@off.example", "ann@empty.example", "ann@x.example", "ann", "@home.example", "a%@home.example", "+ann@home.example"] {
        assert_eq!(address(&source, name).await, Truth::No, "{name}");
    }
}

#[tokio::test]
async fn an_absent_or_unreadable_database_is_could_not_ask_with_one_warning_and_none_is_made() {
    let directory = testkit::directory();
    let path = directory.path().join("passwd.db");
    let recorder = Recorder::default();
    let source = plesk(path.to_str().unwrap(), &recorder.logger());
    for _ in 0..3 {
        assert!(matches!(domain(&source, "home.example").await, Truth::CouldNotAsk(_)));
    }
    assert!(!path.exists(), "no file is made");
    assert_eq!(recorder.lines().len(), 1, "{:?}", recorder.lines());
    std::fs::write(&path, "no database at all, but long enough to be looked at as one").unwrap();
    assert!(matches!(address(&source, "ann@home.example").await, Truth::CouldNotAsk(_)));
    assert_eq!(recorder.lines().len(), 1, "still the same trouble");
    std::fs::remove_file(&path).unwrap();
    // Plesk puts a file in its place: seen with the next question.
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(ROWS);
    std::fs::copy(sql.name(), &path).unwrap();
    assert_eq!(domain(&source, "home.example").await, Truth::Yes);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(domain(&source, "home.example").await, Truth::CouldNotAsk(_)));
    assert_eq!(recorder.lines().len(), 3, "went, came back, went: {:?}", recorder.lines());
}

#[tokio::test]
async fn the_database_is_opened_read_only_and_its_ownership_and_permissions_stay() {
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(ROWS);
    let path = sql.name();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let (before, bytes) = (std::fs::metadata(&path).unwrap(), std::fs::read(&path).unwrap());
    let source = plesk(&path, &Recorder::default().logger());
    assert_eq!(address(&source, "ann@home.example").await, Truth::Yes);
    let after = std::fs::metadata(&path).unwrap();
    let facts = |m: &std::fs::Metadata| (m.mode(), m.uid(), m.gid(), m.ino(), m.mtime_nsec());
    assert_eq!(facts(&before), facts(&after));
    assert_eq!(bytes, std::fs::read(&path).unwrap());
    let beside = std::fs::read_dir(std::path::Path::new(&path).parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "nothing is written beside it");
}

#[tokio::test]
async fn its_section_alone_gives_a_source() {
    let sql = TestDatabase::new(Engine::Sqlite);
    sql.sql(ROWS);
    let faults = actors::settings::Faults::default();
    let node = crate::testing::node(json!({"plesk_database": sql.name(), "recipient_delimiter": "-"}));
    let configured = MODULE.configure(&mut Section::new("module.object-resolver", node, faults.clone()));
    assert!(faults.is_empty());
    let source = configured.source(&Recorder::default().logger()).expect("the section alone switches it on");
    assert_eq!(source.name(), "object-resolver");
    let ask = |address: &str| Arc::clone(&source).address(AddressKey::new(address.as_bytes()));
    assert_eq!(ask("ann-list@home.example").await, Truth::Yes);
    assert_eq!(ask("ann+list@home.example").await, Truth::No, "another delimiter");
}

#[test]
fn settings_at_fault_are_named() {
    let found = faults(&MODULE, json!({"plesk_database": "passwd.db", "colour": 1}));
    assert!(found[0].contains("module.object-resolver.plesk_database: ") && found[0].contains("absolute"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}
