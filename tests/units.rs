//! The systemd units in etc/: what they allow, and that each line says why.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::path::Path;
use std::process::{Command, Output};

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn systemd_analyze(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze").args(arguments).output().expect("systemd-analyze: apt-get install systemd")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_services_exposure_is_at_most_1_5() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/valvulad.service");
    let output = systemd_analyze(&["security", "--no-pager", "--offline=true", "--threshold=15", path]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let overall = said.lines().find(|line| line.contains("Overall exposure level")).expect("it says a figure");
    let figure = overall.split_whitespace().find_map(|word| word.parse::<f64>().ok()).expect("a number");
    assert!(figure <= 1.5, "{overall}");
}

#[test]
fn systemd_understands_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in ["valvulad.service", "valvulad.socket"] {
        // What is not installed here is left out: it is no fault of the unit.
        let text: String = unit(name)
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .map(|line| match line.split_once('=') {
                Some((key @ ("ExecStart" | "ExecReload"), _)) => format!("{key}=/bin/true\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        paths.push(path.to_str().unwrap().to_owned());
    }
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(paths.iter().map(String::as_str));
    let output = systemd_analyze(&arguments);
    let ours: Vec<_> = said(&output).lines().filter(|line| line.contains("valvulad")).map(str::to_owned).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// Lines that follow each other without a comment between them share the one before them.
#[test]
fn every_line_has_its_reason() {
    for name in ["valvulad.service", "valvulad.socket"] {
        let (mut reason, mut section) = (false, String::new());
        for line in unit(name).lines() {
            match line {
                "" => reason = false,
                _ if line.starts_with('[') => section = line.to_owned(),
                _ if line.starts_with('#') => reason = true,
                // What the others of these sections say needs none.
                _ if section != "[Service]" && section != "[Socket]" => {}
                _ => assert!(reason, "{name}: {line}: why?"),
            }
        }
    }
}

#[test]
fn the_service_may_do_what_the_daemon_does() {
    let text = unit("valvulad.service");
    let values = |key: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(|line| line.split_whitespace().map(str::to_owned)).collect()
    };
    // Postfix and databases by TCP, sockets and log by unix, postmap's list of interfaces by netlink.
    for family in ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"] {
        assert!(values("RestrictAddressFamilies").iter().any(|found| found == family), "{family}");
    }
    assert_eq!(values("User"), ["valvula"]);
    assert_eq!(values("StateDirectory"), ["valvula"], "the default state_dir");
    assert_eq!(values("RuntimeDirectory"), ["valvula"], "the default control_socket");
    assert_eq!(values("Type"), ["notify"]);
    assert_eq!(values("RestartPreventExitStatus"), ["78"]);
    // On a unix socket it has to tell root from others; see the unit.
    assert!(values("PrivateUsers").is_empty());
    let seconds = |key: &str| values(key)[0].trim_end_matches('s').parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec") > 10 + 30, "the grace, and what is written after it");
    assert!(seconds("TimeoutStartSec") > 30, "start_timeout of the database");
}
