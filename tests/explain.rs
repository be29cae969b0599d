//! `valvulactl request` and `explain`: the same answer, one asked for real, one without any effect.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use serde_json::Value;
use support::{Engine, Home, TestDatabase, programs};

const RULES: &str = "
    INSERT INTO bwl_global (id, is_active, source, status) VALUES (7, 1, 'bad@away.example', 'reject');
    INSERT INTO bwl_global_sasl (id, is_active, sasl_user) VALUES (3, 1, 'thief');";

fn home(address: std::net::SocketAddr, database: &TestDatabase, more: &str) -> Home {
    let settings = format!(
        "[database]\nurl = \"{}\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"test\", \"bwl\", \"slm\"]\n{more}",
        database.url()
    );
    Home::with(programs!(), &settings)
}

fn with_rules() -> TestDatabase {
    let database = TestDatabase::new(Engine::Sqlite);
    let first = home(support::loopback(), &database, "");
    first.start().stop();
    database.sql(RULES);
    database
}

const BAD: [&str; 4] = ["--sender", "bad@away.example", "--recipient", "ann@example.com"];

fn json(home: &Home, arguments: &[&str]) -> Value {
    let output = home.valvulactl(&[arguments, &["--json"]].concat()).ok();
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

#[test]
fn explain_names_the_rule_and_comes_to_the_answer_that_request_gets() {
    let database = with_rules();
    let home = home(support::loopback(), &database, "");
    let daemon = home.start();
    for (arguments, answer, by, why) in [
        (&[][..], "REJECT", "bwl", "bwl_global 7"),
        (&["--sasl", "thief"], "REJECT", "bwl", "bwl_global_sasl 3"),
        (&["--sender", "good@away.example"], "DUNNO", "", "no module"),
        (&["--sender", ""], "DUNNO", "", "no module"),
        (&["--sender", "good@away.example", "--sasl", "bob@away.example"], "REJECT", "slm", "same-domain"),
    ] {
        let asked = if arguments.contains(&"--sender") {
            [&BAD[2..], arguments].concat()
        } else {
            [&BAD[..], arguments].concat()
        };
        let requested = json(&home, &[&["request"][..], &asked].concat());
        let explained = json(&home, &[&["explain"][..], &asked].concat());
        assert_eq!(requested["answer"], explained["answer"], "{arguments:?}");
        assert!(explained["answer"].as_str().unwrap().starts_with(answer), "{explained}");
        assert_eq!(explained["by"], by, "{explained}");
        assert!(explained["why"].as_str().unwrap().contains(why), "{explained}");
        assert_eq!(explained["listener"], "in");
    }
    let text = home.valvulactl(&[&["explain"][..], &BAD].concat()).ok().stdout;
    assert!(text.starts_with("listener in: test bwl slm\n"), "{text}");
    for part in ["\ntest (", "\nbwl (", "bwl_global 7", "\nslm: not asked\n", "\nanswer: REJECT "] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let text = home.valvulactl(&[&["request"][..], &BAD].concat()).ok().stdout;
    assert!(text.starts_with("REJECT ") && text.lines().count() == 1, "{text}");
    drop(daemon);
}

#[test]
fn explain_changes_no_statistics_and_request_does() {
    let database = with_rules();
    let home = home(support::loopback(), &database, "");
    let daemon = home.start();
    let counts = || {
        let stats = daemon.stats();
        let modules: Vec<_> =
            stats["modules"].as_array().unwrap().iter().map(|module| module["requests"]["count"].clone()).collect();
        (stats["requests"].clone(), modules)
    };
    let before = counts();
    for _ in 0..3 {
        home.valvulactl(&[&["explain"][..], &BAD].concat()).ok();
    }
    assert_eq!(counts(), before);
    home.valvulactl(&[&["request"][..], &BAD].concat()).ok();
    support::wait_until("the request is counted", std::time::Duration::from_secs(10), || counts().0["count"] == 1);
}

/// Everything that a daemon says of itself but the time, and everything that its database holds.
fn state(daemon: &support::Daemon<'_>, database: &TestDatabase) -> (Value, Vec<String>) {
    let stats = daemon.stats();
    let modules: Vec<_> = stats["modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|module| serde_json::json!([module["name"], module["requests"], module["failures"], module["facts"]]))
        .collect();
    // Kind 255 is a writer's own row, which a daemon makes some time after its start.
    let tables = [
        "valvula_counter WHERE kind < 255",
        "domain_ticket",
        "domain_ticket_history",
        "seen",
        "bwl_global",
        "valvula_change",
    ];
    let rows = tables.map(|table| database.sql(&format!("SELECT * FROM {table} ORDER BY 1;"))).to_vec();
    (serde_json::json!([stats["requests"], stats["listeners"][0]["requests"], modules]), rows)
}

#[test]
fn explain_changes_no_counter_no_instance_memory_and_no_statistics() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        let address = support::loopback();
        let chain = "[\"bwl\", \"slm\", \"strict\", \"relaxed\", \"ticket\", \"lmm\", \"transport\", \"mw\"]";
        let period = |name: &str| {
            format!(
                "[module.{name}]\ntype = \"mquota\"\ndurability = \"{name}\"\n[[module.{name}.period]]\n\
                 label = \"day\"\nfrom = \"00:00\"\nto = \"00:00\"\nhour = 3\n"
            )
        };
        let settings = format!(
            "[database]\nurl = \"{}\"\n[postfix]\nautodetect = false\n\
             [[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = {chain}\n{}{}\
             [[module.mw.connection]]\nname = \"main\"\non_request = [\"INSERT INTO seen (sender) VALUES (#mail-from#)\"]\n\
             [module.slm]\nmode = \"disabled\"\n",
            database.url(),
            period("strict"),
            period("relaxed"),
        );
        let home = Home::with(programs!(), &settings);
        assert_eq!(home.start().stop(), 0);
        database.sql(
            "CREATE TABLE seen (sender VARCHAR(100)); \
             INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@example.com'); \
             INSERT INTO bwl_global (id, is_active, source, status) VALUES (1, 1, 'away.example', 'ok');",
        );
        let daemon = home.start();
        let mail = |more: &[&str]| {
            let base = ["--sender", "ann@example.com", "--recipient", "r@away.example", "--sasl", "ann@example.com"];
            [&base[..], &["--instance", "1.2.3"], more].concat().iter().map(|&word| word.to_owned()).collect::<Vec<_>>()
        };
        let explain = |more: &[&str]| {
            let words = mail(more);
            json(&home, &[&["explain"][..], &words.iter().map(String::as_str).collect::<Vec<_>>()].concat())
        };
        let before = state(&daemon, &database);
        for _ in 0..5 {
            // At each stage; also what would warn of a row that makes an open relay.
            for more in [&[][..], &["--stage", "DATA", "--count", "2"], &["--stage", "END-OF-MESSAGE", "--count", "3"]]
            {
                assert_eq!(explain(more)["answer"], "DUNNO", "{engine:?}");
            }
            home.valvulactl(&["explain", "--sender", "x@away.example", "--recipient", "r@away.example"]).ok();
        }
        assert_eq!(state(&daemon, &database), before, "{engine:?}");
        assert_eq!(daemon.count_log(&["open relay"]), 0, "{}", daemon.log());
        // The message itself is charged as if nobody had asked before.
        let words = mail(&["--stage", "DATA", "--count", "3"]);
        let asked = json(&home, &[&["request"][..], &words.iter().map(String::as_str).collect::<Vec<_>>()].concat());
        assert_eq!(asked["answer"], "DUNNO", "{engine:?}");
        assert_eq!(database.sql("SELECT total_used FROM domain_ticket;"), "3", "{engine:?}");
        let next =
            ["explain", "--sender", "ann@example.com", "--recipient", "r@away.example", "--sasl", "ann@example.com"];
        let refused = json(&home, &next)["answer"].clone();
        assert!(refused.as_str().unwrap().starts_with("REJECT"), "{engine:?}: three are used now: {refused}");
    }
}

#[test]
fn what_can_not_be_asked_is_said_and_told_apart() {
    let database = with_rules();
    let second = format!("[[listener]]\nname = \"out\"\naddress = \"{}\"\nmodules = [\"test\"]\n", support::loopback());
    let address = support::loopback();
    let home = home(address, &database, &second);
    for order in ["explain", "request"] {
        let output = home.valvulactl(&[&[order][..], &BAD].concat());
        assert_eq!((output.code, output.stderr.lines().count()), (Some(69), 1), "no daemon: {}", output.stderr);
    }
    let daemon = home.start();
    let by_address = address.to_string();
    for (arguments, code, says) in [
        (&[][..], 1, "in, out"),
        (&["--listener", "nowhere"], 1, "in, out"),
        (&["--listener", "in", "--client", "x"], 64, "x"),
        (&["--listener", "in", "--stage", "SOON"], 64, "SOON"),
        (&["--listener", "in", "--recipient-count", "1"], 64, "--recipient-count"),
        (&["--listener", "out"], 0, ""),
        (&["--listener", &by_address], 0, ""),
    ] {
        for order in ["explain", "request"] {
            let output = home.valvulactl(&[&[order][..], &BAD, arguments].concat());
            assert_eq!(output.code, Some(code), "{order} {arguments:?}: {}", output.stderr);
            assert!(output.stderr.contains(says), "{order} {arguments:?}: {}", output.stderr);
        }
    }
    let output = home.valvulactl(&["explain", "--sender", "a\nb", "--listener", "in"]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    drop(daemon);
}
