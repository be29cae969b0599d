//! SIGHUP and `valvulactl reload`: a new configuration is checked whole, then swapped; or the old stays.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::Duration;

use rustix::process::Signal;
use support::{Address, Connection, Engine, Home, Request, TestDatabase, programs};

struct Scene {
    home: Home,
    database: TestDatabase,
    address: Address,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            home: Home::new(programs!()),
            database: TestDatabase::new(Engine::Sqlite),
            address: support::loopback().into(),
        };
        scene.chain("\"bwl\"", "");
        scene
    }

    /// The one listener's chain, and what else the configuration holds.
    fn chain(&self, modules: &str, more: &str) {
        self.home.configure(&format!(
            "[database]\nurl = \"{}\"\n[[listener]]\nname = \"in\"\naddress = \"{}\"\nmodules = [{modules}]\n{more}\n",
            self.database.url(),
            self.address
        ));
    }

    fn refuse(&self, connection: &mut Connection) {
        self.database
            .sql("INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');");
        support::wait_until("the rule is loaded", Duration::from_secs(10), || {
            connection.ask(&bad()).unwrap().starts_with("REJECT")
        });
    }
}

fn bad() -> Request {
    Request::rcpt("bad@away.example", "ann@example.com")
}

#[test]
fn a_new_chain_counts_for_connections_that_are_open() {
    let scene = Scene::new();
    let daemon = scene.home.start();
    let mut connection = Connection::open(&scene.address).unwrap();
    scene.refuse(&mut connection);

    scene.chain("\"test\"", "");
    daemon.signal(Signal::HUP);
    support::wait_until("the new chain decides", Duration::from_secs(10), || {
        connection.ask(&bad()).unwrap() == "DUNNO"
    });
    scene.chain("\"test\", \"bwl\"", "");
    daemon.control(&["reload"]);
    assert!(connection.ask(&bad()).unwrap().starts_with("REJECT"), "valvulactl reload answers when it is done");
    assert_eq!(daemon.listener("in")["accepted"], 1, "on the one connection all the time");
}

#[test]
fn a_bad_configuration_leaves_the_old_one_and_says_every_fault() {
    let scene = Scene::new();
    let daemon = scene.home.start();
    let mut connection = Connection::open(&scene.address).unwrap();
    scene.refuse(&mut connection);

    scene.chain("\"test\"", "[module.test]\nwrong = 1\n[nonsense]\n");
    daemon.signal(Signal::HUP);
    daemon.wait_log(&["module.test.wrong"]);
    daemon.wait_log(&["nonsense"]);
    let output = scene.home.valvulactl(&["reload"]);
    assert!(!matches!(output.code, None | Some(0)), "{output:?}");
    assert!(output.stderr.contains("module.test.wrong") && output.stderr.contains("nonsense"), "{output:?}");
    assert!(connection.ask(&bad()).unwrap().starts_with("REJECT"), "the old chain decides");

    scene.chain("\"test\"", "");
    daemon.control(&["reload"]);
    assert_eq!(connection.ask(&bad()).unwrap(), "DUNNO", "mended, it counts");
}

#[test]
fn twice_in_a_row_is_no_trouble() {
    let scene = Scene::new();
    let daemon = scene.home.start();
    let mut connection = Connection::open(&scene.address).unwrap();
    for _ in 0..10 {
        daemon.signal(Signal::HUP);
        assert_eq!(connection.ask(&bad()).unwrap(), "DUNNO");
    }
    daemon.control(&["reload"]);
    assert_eq!(connection.ask(&bad()).unwrap(), "DUNNO");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn listeners_come_and_go() {
    let scene = Scene::new();
    let daemon = scene.home.start();
    let mut first = Connection::open(&scene.address).unwrap();
    assert_eq!(first.ask(&bad()).unwrap(), "DUNNO");
    let more: Address = support::loopback().into();
    scene.chain("\"bwl\"", &format!("[[listener]]\nname = \"more\"\naddress = \"{more}\"\nmodules = [\"test\"]"));
    daemon.control(&["reload"]);
    let mut second = Connection::open(&more).unwrap();
    assert_eq!(second.ask(&bad()).unwrap(), "DUNNO");

    scene.chain("\"bwl\"", "");
    daemon.control(&["reload"]);
    second.assert_ended();
    assert!(Connection::open(&more).is_err(), "nobody listens there any more");
    assert_eq!(first.ask(&bad()).unwrap(), "DUNNO");
    assert_eq!(daemon.listener("in")["accepted"], 1, "the first connection did not notice");
}

#[test]
fn a_listener_that_is_renamed_keeps_its_connections_and_names_may_change_places() {
    let scene = Scene::new();
    let other: Address = support::loopback().into();
    let two = |first: &str, second: &str| {
        scene.home.configure(&format!(
            "[[listener]]\nname = \"{first}\"\naddress = \"{}\"\nmodules = [\"test\"]\n\
             [[listener]]\nname = \"{second}\"\naddress = \"{other}\"\nmodules = [\"test\"]\n",
            scene.address
        ));
    };
    two("one", "two");
    let daemon = scene.home.start();
    let (mut first, mut second) = (Connection::open(&scene.address).unwrap(), Connection::open(&other).unwrap());
    let mut ask_both = || {
        for connection in [&mut first, &mut second] {
            assert_eq!(connection.ask(&bad()).unwrap(), "DUNNO");
        }
    };
    ask_both();
    for (names, counts) in [(("in", "two"), (1, 2)), (("two", "in"), (3, 2)), (("in", "out"), (3, 1))] {
        two(names.0, names.1);
        daemon.control(&["reload"]);
        ask_both();
        let (one, other) = (daemon.listener(names.0), daemon.listener(names.1));
        assert_eq!((&one["address"], &one["accepted"]), (&scene.address.to_string().into(), &1.into()), "{names:?}");
        // Requests are counted under the name they were asked by.
        let counted = (one["requests"]["count"].as_u64().unwrap(), other["requests"]["count"].as_u64().unwrap());
        assert_eq!(counted, counts, "{names:?}");
        daemon.wait_log(&["verdict", &format!("listener={}", names.1)]);
    }
    assert_eq!(daemon.stats()["requests"]["count"], 8, "none is lost");
    assert_eq!(daemon.stats()["connections"], 2);
    let more = Connection::open(&scene.address).unwrap().ask(&bad()).unwrap();
    assert_eq!(more, "DUNNO", "it accepts under its new name");
}

#[test]
fn log_level_is_changed_while_it_runs() {
    let scene = Scene::new();
    let daemon = scene.home.start();
    let verdicts = || daemon.count_log(&["verdict"]);
    let mut connection = Connection::open(&scene.address).unwrap();
    connection.ask(&bad()).unwrap();
    support::wait_until("verdicts are logged", Duration::from_secs(10), || verdicts() == 1);
    daemon.control(&["log-level", "error"]);
    connection.ask(&bad()).unwrap();
    daemon.control(&["log-level", "info"]);
    connection.ask(&bad()).unwrap();
    support::wait_until("verdicts are logged again", Duration::from_secs(10), || verdicts() == 2);
    let output = scene.home.valvulactl(&["log-level", "loud"]);
    assert!(!matches!(output.code, None | Some(0)), "{output:?}");
}
