//! The configuration, checked by `valvulad --check-config`; the daemon refuses to start in the same words.

use support::{Home, programs};

use crate::document::{Section, code, ended};

const LISTENER: &str = "[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n";

pub fn section() -> Section {
    let mut rows = Vec::new();
    for settings in [
        "[server]\nwrokers = 2",
        "[server]\nworkers = \"many\"",
        "[server]\nworkers = -1",
        "[server]\nworkers = 99999999999999999999",
        "[server]\nuser = \"nobody-of-that-name\"",
        "[server]\ngrace = \"soon\"",
        "[log]\nlevel = \"loud\"",
        "[log]\nlevel = 7",
        "[log]\ntarget = \"printer\"",
        "[database]\nurl = \"oracle://x\"",
        "[database]\nurl = \"mysql://u:geheim@/\"",
        "[database]\nmax_connections = 0",
        "[postfix]\nlocal_domains = \"example.com\"",
        "[postfix]\ntimeout = \"-1s\"",
        "[module.bwl]\ndeny_unknown = true",
        "[module.bwl]\non_failure = \"explode\"",
        "[module.bwl]\ndeadline = \"fast\"",
        "[module.slm]\nmode = \"fully\"",
        "[module.mquota]\ntimezone = \"Europe/Nowhere\"",
        "[[module.mquota.period]]\nlabel = \"day\"\nfrom = \"25:00\"\nto = \"9\"",
        "[module.nonsense]",
        "[unheard]\nof = 1",
        "listener = 1",
        "[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:99999\"\nmodules = [\"test\"]",
        "[[listener]]\nname = \"b\"\naddress = \"localhost:1\"\nmodules = [\"test\"]",
        "[[listener]]\nname = \"b\"\naddress = \"unix:relative\"\nmodules = [\"test\"]",
        "[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nmodules = []",
        "[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nmodules = [\"tset\"]",
        "[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nmodules = [\"bwl\", \"mod-bwl\"]",
        "[[listener]]\nname = \"b\"\nmodules = [\"test\"]",
        "[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:1\"\nmodules = [\"test\"]",
        "[[listener]]\nname = \"stats\"\naddress = \"127.0.0.1:1\"\nmodules = [\"test\"]",
        "[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nmodules = [\"test\"]\nmax_line = 10\nmode = \"0666\"",
        "[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nmodules = [\"test\"]\ndeadline = \"200s\"",
    ] {
        let home = Home::with(programs!(), &format!("{LISTENER}{settings}\n"));
        rows.push((shown(settings), checked(&home)));
    }
    for (what, text) in [
        ("a section's header without its end", format!("{LISTENER}[log\nlevel = 1\n").into_bytes()),
        ("the same key twice", b"[log]\nlevel = \"info\"\nlevel = \"info\"\n".to_vec()),
        ("a text without its end, which holds a password", b"[database]\nurl = \"mysql://u:geheim@h/d\n".to_vec()),
        ("bytes that are no UTF-8", b"[log]\nlevel = \"\xff\"\n".to_vec()),
        ("a NUL", b"[log]\n\0\n".to_vec()),
        ("an empty file", Vec::new()),
    ] {
        let home = Home::new(programs!());
        home.write("valvula.toml", text);
        rows.push((what.to_owned(), checked(&home)));
    }
    let home = Home::new(programs!());
    rows.push(("no file".to_owned(), checked(&home)));
    std::fs::create_dir(home.path("valvula.toml")).unwrap();
    rows.push(("a directory in place of the file".to_owned(), checked(&home)));
    for (name, value) in [("VALVULA__LOG__LEVEL", "loud"), ("VALVULA__LISTENER__7__NAME", "x"), ("VALVULA__", "x")] {
        let home = Home::with(programs!(), LISTENER);
        let output = home.valvulad_with(&["--check-config"], &[(name, value)]);
        rows.push((format!("the environment has {}", code(&format!("{name}={value}"))), ended(&output, &home, 4)));
    }
    Section {
        title: "The configuration",
        about: "Put behind a good `[[listener]]` named `in` in `valvula.toml`, where nothing else is said. What is shown is \
                `valvulad --check-config`; a start ends the same way, and a reload keeps the old configuration.",
        rows,
    }
}

fn shown(settings: &str) -> String {
    settings.lines().map(code).collect::<Vec<_>>().join("<br>")
}

fn checked(home: &Home) -> String {
    ended(&home.valvulad(&["--check-config"]), home, 4)
}
