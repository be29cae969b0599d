//! `valvulactl rule`, `slm-exception`, `quota-exception`, `quota` and `ticket`: what an operator changes through the
//! running daemon is obeyed by the next request, and refusals are told apart by their exit codes. On every database.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use serde_json::Value;
use support::{Connection, Daemon, Engine, Home, Output, Request, TestDatabase, programs};

const SETTINGS: &str = "
[postfix]
autodetect = false
local_domains = [\"home.example\"]
local_addresses = [\"ann@home.example\", \"ben@home.example\"]
[module.slm]
mode = \"full\"
[module.mquota]
timezone = \"UTC\"
[[module.mquota.period]]
label = \"all day\"
from = \"00:00\"
to = \"00:00\"
global = 2
domain_global = 100
";

struct Scene {
    home: Home,
    address: support::Address,
    database: TestDatabase,
}

impl Scene {
    fn new(engine: Engine) -> Self {
        let database = TestDatabase::new(engine);
        let (home, address) = Self::home(&database);
        Self { home, address, database }
    }

    /// A daemon's home on `database`.
    fn home(database: &TestDatabase) -> (Home, support::Address) {
        let address: support::Address = support::loopback().into();
        let listener = format!(
            "[database]\nurl = \"{}\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"slm\", \"ticket\", \"mquota\"]\n{SETTINGS}",
            database.url()
        );
        (Home::with(programs!(), &listener), address)
    }

    fn ask(&self, request: &Request) -> String {
        Connection::open(&self.address).unwrap().ask(request).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.home.valvulactl(arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat()).ok();
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, says: &str) {
        let output = self.run(arguments);
        assert_eq!(output.code, Some(code), "{arguments:?}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(says), "{arguments:?}: {}", output.stderr);
    }
}

fn started(scene: &Scene) -> Daemon<'_> {
    scene.home.start()
}

fn a_rule_is_obeyed_by_the_next_request(engine: Engine) {
    let scene = Scene::new(engine);
    let _daemon = started(&scene);
    let bad = Request::rcpt("bad@away.example", "ann@home.example");
    assert!(scene.ask(&bad).starts_with("DUNNO"));
    assert_eq!(scene.run(&["rule", "list"]).ok().stdout, "no rules\n");

    let added = scene.run(&[
        "rule",
        "add",
        "global",
        "--source",
        "bad@away.example",
        "--status",
        "reject",
        "--note",
        "it's spam",
    ]);
    assert_eq!(added.ok().stdout, "rule global:1 added\n");
    assert!(scene.ask(&bad).starts_with("REJECT"), "obeyed at once");
    let list = scene.run(&["rule", "list"]).ok().stdout;
    let lines: Vec<_> = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["RULE STATE STATUS SENDER FOR USERS NOTE", "global:1 active reject bad@away.example it's spam"]);
    let rules = scene.json(&["rule", "list", "--contains", "SPAM"]);
    assert_eq!(rules["rules"][0]["rule"], "global:1");

    let trial = scene.run(&["rule", "test", "bad@away.example", "ann@home.example"]).ok().stdout;
    assert!(trial.starts_with("REJECT ") && trial.contains("bwl_global 1:"), "{trial}");

    scene.run(&["rule", "disable", "global:1"]).ok();
    assert!(scene.ask(&bad).starts_with("DUNNO"));
    let trial = scene.run(&["rule", "test", "bad@away.example", "ann@home.example"]).ok().stdout;
    assert!(trial.starts_with("no rule decides\n") && trial.contains("bwl_global 1: disabled"), "{trial}");
    scene.run(&["rule", "enable", "global:1"]).ok();
    assert!(scene.ask(&bad).starts_with("REJECT"));
    assert_eq!(scene.run(&["rule", "remove", "global:1"]).ok().stdout, "rule global:1 removed\n");
    assert!(scene.ask(&bad).starts_with("DUNNO"));

    scene.run(&["rule", "add", "account", "ann@home.example", "--status", "discard"]).ok();
    assert!(scene.ask(&bad).starts_with("DISCARD"));
    scene.run(&["rule", "add", "domain", "home.example", "--source", "x.example", "--status", "reject"]).ok();
    assert!(scene.ask(&Request::rcpt("a@x.example", "ben@home.example")).starts_with("REJECT"));
    scene.run(&["rule", "add", "sasl", "ben@home.example", "--note", "-stolen"]).ok();
    assert!(
        scene.ask(&Request::rcpt("ben@home.example", "x@y.example").sasl("ben@home.example")).starts_with("REJECT")
    );
    assert_eq!(
        scene.json(&["rule", "list", "--table", "sasl", "--table", "domain"])["rules"].as_array().unwrap().len(),
        2
    );
}

fn a_rule_can_be_given_an_end(engine: Engine) {
    let scene = Scene::new(engine);
    let _daemon = started(&scene);
    let bad = Request::rcpt("bad@away.example", "ann@home.example");
    let add = |when: &str| {
        ["rule", "add", "global", "--source", "away.example", "--status", "reject", "--expires", when]
            .map(str::to_owned)
    };
    let run = |when: &str| scene.run(&add(when).iter().map(String::as_str).collect::<Vec<_>>());
    let output = run("2001-01-01");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("is past"), "{output:?}");
    let output = run("soon");
    assert_eq!(output.code, Some(64), "{output:?}");
    assert!(output.stderr.contains("expected a day like"), "{output:?}");

    run("2s").ok();
    assert!(scene.ask(&bad).starts_with("REJECT"));
    let list = scene.run(&["rule", "list"]).ok().stdout;
    assert!(list.contains("global:1  until 20"), "{list}");
    let expires = scene.json(&["rule", "list"])["rules"][0]["expires"].as_i64().unwrap();
    support::wait_until("it ends by itself", std::time::Duration::from_secs(20), || scene.ask(&bad) == "DUNNO");
    assert!(jiff::Timestamp::now().as_second() >= expires, "not before its time");
    let list = scene.run(&["rule", "list"]).ok().stdout;
    assert!(list.contains("global:1  expired 20"), "{list}");
}

fn what_is_refused_says_why_and_exits_with_its_code(engine: Engine) {
    let scene = Scene::new(engine);
    scene.refused(&["rule", "list"], 69, "no daemon answers");
    let _daemon = started(&scene);
    scene.refused(&["rule", "add", "global", "--source", "*", "--status", "reject"], 1, "too broad");
    scene.refused(&["rule", "add", "global", "--source", "a.example", "--status", "rejct"], 1, "rejct");
    scene.refused(&["rule", "add", "global", "--status", "reject"], 1, "every mail");
    scene.refused(&["rule", "remove", "global:9"], 1, "global:9");
    scene.refused(&["rule", "remove", "9"], 1, "names no rule");
    scene.run(&["rule", "add", "global", "--source", "a.example", "--status", "reject"]).ok();
    scene.refused(&["rule", "add", "global", "--source", "@A.example", "--status", "reject"], 1, "global:1");
    for usage in [
        &["rule"][..],
        &["rule", "add"],
        &["rule", "add", "global"],
        &["rule", "add", "nowhere", "--status", "ok"],
        &["rule", "remove"],
        &["rule", "list", "--active", "--disabled"],
        &["quota", "reset"],
        &["slm-exception", "remove", "x"],
    ] {
        scene.refused(usage, 64, "");
    }
    scene.refused(&["slm-exception", "remove", "9"], 1, "no exception 9");
    scene.refused(&["quota-exception", "add", "@"], 1, "neither");
    scene.refused(&["quota", "reset", "nobody@home.example"], 1, "nobody@home.example");
    scene.refused(&["quota", "show", "--module", "other"], 1, "modules in service: bwl, mquota, slm, ticket");
}

fn exceptions_are_obeyed_by_the_next_request(engine: Engine) {
    let scene = Scene::new(engine);
    let _daemon = started(&scene);
    let as_other = Request::rcpt("ben@home.example", "x@y.example").sasl("ann@home.example");
    assert!(scene.ask(&as_other).starts_with("REJECT"), "mode full");
    let added =
        scene.run(&["slm-exception", "add", "ann@home.example", "--sender", "ben@home.example", "--note", "her boss"]);
    assert_eq!(added.ok().stdout, "exception 1 added\n");
    assert!(scene.ask(&as_other).starts_with("DUNNO"));
    scene.refused(&["slm-exception", "add", "ANN@home.example", "--sender", "ben@home.example"], 1, "exception 1");
    let list = scene.run(&["slm-exception", "list"]).ok().stdout;
    assert!(list.contains("ann@home.example  ben@home.example  her boss"), "{list}");
    scene.run(&["slm-exception", "remove", "1"]).ok();
    assert!(scene.ask(&as_other).starts_with("REJECT"));
    scene.run(&["slm-exception", "add", "ann@home.example"]).ok();
    assert!(scene.ask(&as_other).starts_with("DUNNO"), "any sender");
}

fn quotas_are_shown_reset_and_lifted(engine: Engine) {
    let scene = Scene::new(engine);
    let _daemon = started(&scene);
    let send =
        || scene.ask(&Request::rcpt("ann@home.example", "x@y.example").sasl("ann@home.example").set("instance", ""));
    let used = |name: &str, side: &str| {
        let shown = scene.json(&["quota", "show", name]);
        let windows = shown["windows"].as_array().unwrap();
        let global = windows.iter().find(|row| row["window"] == "global" && row["side"] == side);
        global.map_or(-1, |row| row["used"].as_i64().unwrap())
    };
    assert_eq!(scene.run(&["quota", "show"]).ok().stdout, "period: all day\nnothing is used\n");
    assert_eq!(used("ann@home.example", "account"), 0, "who is asked for has a line");
    assert!(send().starts_with("DUNNO") && send().starts_with("DUNNO"));
    let explained = scene.json(&[
        "explain",
        "--sender",
        "ann@home.example",
        "--recipient",
        "x@y.example",
        "--sasl",
        "ann@home.example",
    ]);
    assert_eq!(explained["by"], "mquota", "{explained}");
    assert!(explained["why"].as_str().unwrap().contains("used 2 + 1 > 2"), "{explained}");
    assert!(send().starts_with("REJECT"), "the third");
    assert_eq!(
        (used("ANN@home.example", "account"), used("home.example", "domain")),
        (2, 2),
        "explain charged nothing"
    );
    let shown = scene.run(&["quota", "show", "--top", "1"]).ok().stdout;
    let full: Vec<_> = shown
        .lines()
        .filter(|line| line.contains("global"))
        .map(|line| line.split_whitespace().take(5).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(full, ["account ann@home.example global 2 2"], "{shown}");
    assert!(shown.lines().any(|line| line.contains("global") && line.ends_with("UTC")), "when it opens: {shown}");

    scene.run(&["quota", "reset", "ann@home.example"]).ok();
    assert_eq!((used("ann@home.example", "account"), used("home.example", "domain")), (0, 2));
    assert!(send().starts_with("DUNNO") && send().starts_with("DUNNO") && send().starts_with("REJECT"));

    let added = scene.run(&["quota-exception", "add", "home.example", "--note", "ours"]).ok().stdout;
    assert_eq!(added, "exception 1 added\n");
    assert!(send().starts_with("DUNNO"));
    scene.refused(&["quota-exception", "add", "@home.example"], 1, "exception 1");
    assert!(scene.run(&["quota-exception", "list", "--contains", "OURS"]).ok().stdout.contains("home.example"));
    scene.run(&["quota-exception", "remove", "1"]).ok();
    assert!(send().starts_with("REJECT"));
}

fn tickets_are_sold_blocked_and_credited(engine: Engine) {
    let scene = Scene::new(engine);
    let _daemon = started(&scene);
    let request = Request::rcpt("ann@home.example", "x@y.example").sasl("ann@home.example").set("instance", "");
    let send = || scene.ask(&request);
    // Above the quota's limits, which are behind.
    scene.run(&["quota-exception", "add", "home.example"]).ok();
    assert_eq!(
        scene.run(&["ticket", "plan", "add", "small", "--total", "1", "--day", "100"]).ok().stdout,
        "plan 1 (small) added\n"
    );
    let sold = scene.run(&["ticket", "assign", "small", "--user", "ann@home.example"]).ok().stdout;
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(sold.lines().nth(1).unwrap()), "1 ann@home.example small 0/1 0/100 0");
    let explained = scene.json(&[
        "explain",
        "--sender",
        "ann@home.example",
        "--recipient",
        "x@y.example",
        "--sasl",
        "ann@home.example",
    ]);
    assert_eq!(explained["answer"], "DUNNO", "{explained}");
    assert!(send().starts_with("DUNNO"), "explain charged nothing");
    assert!(send().starts_with("REJECT"), "used up");
    scene.run(&["ticket", "credit", "1", "1"]).ok();
    assert!(send().starts_with("DUNNO"));
    scene.run(&["ticket", "plan", "change", "small", "--total", "-1"]).ok();
    assert!(send().starts_with("DUNNO"));
    let shown = scene.json(&["ticket", "show", "ann@home.example"]);
    assert_eq!(
        (&shown["tickets"][0]["used"]["day"], &shown["tickets"][0]["plan"]["total"]),
        (&3.into(), &Value::Null),
        "{shown}"
    );
    scene.run(&["ticket", "block", "1"]).ok();
    assert!(send().starts_with("REJECT"));
    scene.run(&["ticket", "unblock", "1"]).ok();
    assert!(send().starts_with("DUNNO"));
    scene.run(&["ticket", "assign", "small", "--ticket", "1", "--until", "2001-01-01"]).ok();
    assert!(send().starts_with("REJECT"), "it has ended");
    assert_eq!(scene.run(&["ticket", "history", "1"]).ok().stdout, "no day with use has ended yet\n");

    scene.refused(&["ticket", "credit", "1", "1000"], 1, "no more than that");
    scene.refused(&["ticket", "plan", "remove", "small"], 1, "no limit without it");
    scene.refused(&["ticket", "assign", "small", "--user", "ann@home.example"], 1, "ticket 1");
    scene.refused(&["ticket", "show", "nobody@home.example"], 1, "nobody@home.example");
    scene.refused(&["ticket", "assign", "small"], 64, "");
    scene.refused(&["ticket", "assign", "small", "--user", "a", "--domain", "b"], 64, "");
    scene.refused(&["ticket", "assign", "small", "--user", "a", "--until", "soon"], 64, "2027-12-31");
}

fn quota_show_tells_what_other_daemons_have_charged(engine: Engine) {
    let scene = Scene::new(engine);
    let _daemon = started(&scene);
    let (other_home, other_address) = Scene::home(&scene.database);
    let other = other_home.start();
    let request = Request::rcpt("ann@home.example", "x@y.example").sasl("ann@home.example").set("instance", "");
    assert_eq!(Connection::open(&other_address).unwrap().ask(&request).unwrap(), "DUNNO");
    // The other's second of relaxed is over at the latest when it has ended.
    assert_eq!(other.stop(), 0);
    for arguments in [&["quota", "show", "ann@home.example"][..], &["quota", "show"]] {
        let shown = scene.json(arguments);
        let windows = shown["windows"].as_array().unwrap();
        let global = windows.iter().find(|row| row["window"] == "global" && row["side"] == "account");
        assert_eq!(global.unwrap()["used"], 1, "{arguments:?}: {shown}");
        assert_eq!(shown["could_not_ask"], Value::Null, "{shown}");
    }
}

macro_rules! on_every_database {
    ($($name:ident,)*) => {$(
        mod $name {
            use super::Engine;

            #[test]
            fn on_sqlite() {
                super::$name(Engine::Sqlite);
            }

            #[test]
            fn on_mariadb() {
                super::$name(Engine::MariaDb);
            }

            #[test]
            fn on_postgresql() {
                super::$name(Engine::Postgres);
            }
        }
    )*};
}

on_every_database! {
    a_rule_is_obeyed_by_the_next_request,
    a_rule_can_be_given_an_end,
    what_is_refused_says_why_and_exits_with_its_code,
    exceptions_are_obeyed_by_the_next_request,
    quotas_are_shown_reset_and_lifted,
    tickets_are_sold_blocked_and_credited,
    quota_show_tells_what_other_daemons_have_charged,
}
