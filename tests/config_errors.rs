//! Faults of the configuration: all of them at once, each with file, key and what was expected.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::net::TcpListener;

use support::{Daemon, Home, programs};

const LISTENER: &str = "[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n";

/// Ends with 78 both ways, and says each of `expected` in one line of its own that names the file.
#[track_caller]
fn refused(home: &Home, file: &str, expected: &[&[&str]]) {
    let checked = home.valvulad(&["--check-config"]);
    assert_eq!(checked.code, Some(78), "--check-config: {checked:?}");
    let daemon = Daemon::spawn(home);
    assert_eq!(daemon.wait(), 78, "the start: {}", daemon.log());
    for said in [format!("{}{}", checked.stdout, checked.stderr), daemon.log()] {
        for parts in expected {
            let found = said.lines().any(|line| line.contains(file) && parts.iter().all(|part| line.contains(part)));
            assert!(found, "no line with {file} and {parts:?} in:\n{said}");
        }
    }
}

#[test]
fn each_fault_names_file_key_and_what_was_expected() {
    let cases: &[(&str, &[&str])] = &[
        ("[server]\nwrokers = 2\n", &["server.wrokers", "unknown", "workers"]),
        ("[server]\nworkers = \"many\"\n", &["server.workers"]),
        ("[log]\nlevel = \"loud\"\n", &["log.level", "info"]),
        ("[log]\nformat = \"xml\"\n", &["log.format", "json"]),
        ("[database]\nurl = \"oracle://x\"\n", &["database.url", "sqlite"]),
        ("[module.bwl]\ndeny_unknown = true\n", &["module.bwl.deny_unknown", "deny_unknown_local_mail_from"]),
        ("[module.bwl]\non_failure = \"explode\"\n", &["module.bwl.on_failure", "dunno"]),
        ("[module.bwl]\ndeadline = \"fast\"\n", &["module.bwl.deadline", "5s"]),
        ("[module.nonsense]\n", &["module.nonsense", "bwl"]),
        ("[unheard]\nof = 1\n", &["unheard"]),
        ("[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:99999\"\nmodules = [\"test\"]\n", &["address", "99999"]),
        ("[[listener]]\nname = \"b\"\naddress = \"nowhere\"\nmodules = [\"test\"]\n", &["address", "nowhere"]),
        ("[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nmodules = [\"tset\"]\n", &["modules", "tset", "test"]),
        ("[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\n", &["modules"]),
        ("[[listener]]\nname = \"b\"\nmodules = [\"test\"]\n", &["address"]),
        ("[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:1\"\nmodules = [\"test\"]\n", &["name", "in"]),
    ];
    for (settings, parts) in cases {
        let home = Home::with(programs!(), &format!("{settings}\n{LISTENER}"));
        refused(&home, "valvula.toml", &[parts]);
    }
}

#[test]
fn bad_toml_names_file_and_line() {
    let home = Home::new(programs!());
    home.write("valvula.toml", format!("{LISTENER}\n[log\nlevel = 1\n"));
    refused(&home, "valvula.toml", &[&["6"]]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let home = Home::new(programs!());
    refused(&home, "valvula.toml", &[&["No such file"]]);
}

#[test]
fn several_faults_in_several_files_are_told_at_once() {
    let home = Home::with(programs!(), &format!("[server]\nwrokers = 2\nworkers = -1\n\n{LISTENER}"));
    home.write("conf.d/10-modules.toml", "[module.bwl]\nobserve = 3\n[module.mquta]\n");
    home.write("conf.d/20-more.toml", "[[listener]]\naddress = \"unix:relative/path\"\nmodules = [\"bwl\"]\n");
    refused(&home, "valvula.toml", &[&["server.wrokers"], &["server.workers"]]);
    refused(&home, "10-modules.toml", &[&["module.bwl.observe"], &["module.mquta"]]);
    refused(&home, "20-more.toml", &[&["address", "relative"]]);
}

#[test]
fn no_listener_at_all_is_a_fault() {
    let home = Home::with(programs!(), "");
    let checked = home.valvulad(&["--check-config"]);
    assert_eq!(checked.code, Some(78), "{checked:?}");
    assert!(format!("{}{}", checked.stdout, checked.stderr).contains("listener"), "{checked:?}");
}

#[test]
fn a_good_configuration_is_good() {
    let home = Home::with(programs!(), LISTENER);
    home.valvulad(&["--check-config"]).ok();
}

#[test]
fn the_environment_overrides_the_files_and_is_named_in_a_fault() {
    let home = Home::with(programs!(), LISTENER);
    let bad = home.valvulad_with(&["--check-config"], &[("VALVULA__LOG__LEVEL", "loud")]);
    assert_eq!(bad.code, Some(78), "{bad:?}");
    let said = format!("{}{}", bad.stdout, bad.stderr);
    assert!(said.contains("VALVULA__LOG__LEVEL") && said.contains("log.level"), "{said}");
    home.valvulad_with(&["--check-config"], &[("VALVULA__LOG__LEVEL", "debug")]).ok();
}

#[test]
fn a_port_in_use_ends_with_69_and_is_named() {
    let taken = TcpListener::bind(support::loopback()).unwrap();
    let address = taken.local_addr().unwrap();
    let home = Home::with(programs!(), &LISTENER.replace("127.0.0.1:0", &address.to_string()));
    home.valvulad(&["--check-config"]).ok(); // it is no fault of the configuration
    let daemon = Daemon::spawn(&home);
    assert_eq!(daemon.wait(), 69, "{}", daemon.log());
    daemon.wait_log(&[&address.to_string()]);
}

#[test]
fn an_address_that_is_not_ours_ends_with_69_and_is_named() {
    let home =
        Home::with(programs!(), &LISTENER.replace("127.0.0.1:0\"", "192.0.2.1:3579\"\nallow = [\"192.0.2.0/24\"]"));
    let daemon = Daemon::spawn(&home);
    assert_eq!(daemon.wait(), 69, "{}", daemon.log());
    daemon.wait_log(&["192.0.2.1:3579"]);
}
