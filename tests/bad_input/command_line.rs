//! Command lines of both programs.

use support::{Home, programs};

use crate::document::{Section, code, ended};

pub fn section() -> Section {
    let home = Home::with(programs!(), "[[listener]]\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n");
    let mut rows = Vec::new();
    for arguments in [
        &["--nonsense"][..],
        &["stray"],
        &["-l"],
        &["-l", ""],
        &["--json"],
        &["-s", "-p"],
        &["-s", "-s"],
        &["--detach", "-b"],
        &["-s"],
        &["-l", "@"],
        &["-l", "a b"],
    ] {
        let sent = code(&format!("valvulad {}", quoted(arguments)));
        rows.push((sent, ended(&home.valvulad(arguments), &home, 2)));
    }
    for arguments in [
        &["stats"][..],
        &["explode"],
        &["restart"],
        &["restart", "a", "b"],
        &["log-level", "loud", "quiet"],
        &["rule", "add"],
        &["rule", "add", "nowhere", "--status", "ok"],
        &["rule", "list", "--active", "--disabled"],
        &["quota", "reset"],
        &["ticket", "assign", "small"],
        &["ticket", "assign", "small", "--user", "a", "--until", "soon"],
        &["import", "valvula"],
        &["import", "valvula", "x", "--check", "-o", "y"],
        &["import", "valvula", "absent.conf"],
        &["--socket", "nowhere.sock", "stats"],
    ] {
        let sent = code(&format!("valvulactl {}", quoted(arguments)));
        rows.push((sent, ended(&home.valvulactl(arguments), &home, 2)));
    }
    Section {
        title: "Command lines",
        about: "With `-c` and a good configuration, while no daemon runs. Of what is said, the first lines.",
        rows,
    }
}

fn quoted(arguments: &[&str]) -> String {
    let quoted =
        |word: &&str| if word.is_empty() || word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
