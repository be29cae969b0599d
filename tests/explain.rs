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
