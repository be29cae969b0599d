//! The flags of `valvulad` and their exit codes.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{Address, Connection, Home, Request, programs};

fn home(addresses: &[&Address]) -> Home {
    let listeners =
        addresses.iter().map(|address| format!("[[listener]]\naddress = \"{address}\"\nmodules = [\"test\"]\n"));
    Home::with(
        programs!(),
        &format!(
            "[postfix]\nautodetect = false\nlocal_domains = [\"example.com\", \"bücher.example\"]\n\
             local_addresses = [\"ann@example.com\"]\n{}",
            listeners.collect::<String>()
        ),
    )
}

#[test]
fn version_and_help_need_nothing() {
    let home = Home::new(programs!()); // not even a configuration
    let version = home.valvulad(&["-v"]).ok();
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let help = home.valvulad(&["--help"]).ok();
    for flag in [
        "--config",
        "--debug",
        "--verbose",
        "--detach",
        "--debug-queries",
        "--skip-pid-check",
        "--version",
        "--status",
        "--json",
        "--pingserver",
        "--check-db",
        "--is-local-destination",
        "--check-config",
    ] {
        assert!(help.stdout.contains(flag), "{flag} is missing in:\n{}", help.stdout);
    }
}

#[test]
fn wrong_use_of_flags_ends_with_64() {
    let home = home(&[]);
    for wrong in [&["--nonsense"][..], &["-l"], &["stray"], &["--json"]] {
        let output = home.valvulad(wrong);
        assert_eq!(output.code, Some(64), "{wrong:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn ping_asks_every_listener_and_does_not_wait_for_what_hangs() {
    let good: Address = support::loopback().into();
    let silent = TcpListener::bind(support::loopback()).unwrap(); // takes connections, says nothing
    let silent_address = silent.local_addr().unwrap().into();
    let nobody = support::loopback().into();
    let daemon_home = home(&[&good]);
    let _daemon = daemon_home.start();
    assert_eq!(daemon_home.valvulad(&["-p"]).ok().stdout, "1 of 1 listeners answer\n");

    for broken in [&silent_address, &nobody] {
        let since = Instant::now();
        let output = home(&[&good, broken]).valvulad(&["-p"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stdout.starts_with("1 of 2 listeners answer; "), "for monitors: {output:?}");
        assert_eq!((output.stdout.lines().count(), &*output.stderr), (1, ""), "one line: {output:?}");
        let said = output.stdout;
        assert!(said.contains(&broken.to_string()), "it names the listener that does not answer: {said}");
        assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    }
}

#[test]
fn ping_asks_a_listener_on_port_0_where_the_daemon_says_it_is() {
    let home = home(&[&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()]);
    let output = home.valvulad(&["-p"]);
    assert_eq!(output.code, Some(1), "nobody knows the port: {output:?}");
    assert!(output.stdout.contains("none answers"), "{output:?}");
    let _daemon = home.start();
    assert_eq!(home.valvulad(&["-p"]).ok().stdout, "1 of 1 listeners answer\n");
}

#[test]
fn is_local_destination_says_yes_no_or_could_not_ask_and_what_decided() {
    let local = home(&[&support::loopback().into()]);
    for (name, code, evidence) in [
        ("ann@example.com", 0, "local_addresses"),
        ("example.com", 0, "local_domains"),
        ("EXAMPLE.COM", 0, "local_domains"),
        ("xn--bcher-kva.example", 0, "local_domains"),
        ("kim@elsewhere.example", 1, ""),
        ("elsewhere.example", 1, ""),
    ] {
        let output = local.valvulad(&["-l", name]);
        assert_eq!(output.code, Some(code), "{name}: {output:?}");
        assert!(output.stdout.contains(evidence), "{name}: {output:?}");
    }
    let broken = Home::with(
        programs!(),
        "[postfix]\nautodetect = false\nlocal_domains = [\"/nonexistent/domains\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n",
    );
    let output = broken.valvulad(&["-l", "example.com"]);
    assert_eq!(output.code, Some(75), "a file that can't be read is no \"no\": {output:?}");
    assert!(format!("{}{}", output.stdout, output.stderr).contains("/nonexistent/domains"), "{output:?}");
}

#[test]
fn is_local_destination_reads_the_plain_names_of_main_cf() {
    let home = Home::new(programs!());
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n";
    let directory = home.path("postfix");
    home.configure(&format!("[postfix]\nconfig_directory = \"{}\"\n{listener}", directory.display()));
    let output = home.valvulad(&["-l", "example.org"]);
    assert_eq!(output.code, Some(75), "a main.cf that is not there is no \"no\": {output:?}");

    home.write(
        "postfix/main.cf",
        "# a comment\n\
         mydestination = overridden.example\n\
         mydomain = example.org\n\
         myhostname = mx.$mydomain\n\
         myorigin = origin.example\n\
         mydestination = $myhostname,\n\
         # a comment, and an empty line, within a value\n\
         \n\
         \tlocalhost.${mydomain} $(mydomain)\n\
         virtual_mailbox_domains = Vmail.example\n\
         virtual_alias_domains = alias.example\n\
         relay_domains = relay.example\n",
    );
    for (name, code, evidence) in [
        ("mx.example.org", 0, "mydestination"),
        ("localhost.example.org", 0, "mydestination"),
        ("example.org", 0, "mydestination"),
        ("vmail.example", 0, "virtual_mailbox_domains"),
        ("alias.example", 0, "virtual_alias_domains"),
        ("origin.example", 0, "myorigin"),
        ("overridden.example", 1, ""),
        ("relay.example", 1, ""),
        ("sub.example.org", 1, ""),
    ] {
        let output = home.valvulad(&["-l", name]);
        assert_eq!(output.code, Some(code), "{name}: {output:?}");
        assert!(output.stdout.contains(evidence), "{name}: {output:?}");
    }
}

#[test]
fn the_original_daemons_letters_are_accepted() {
    let address = support::loopback().into();
    let home = home(&[&address]);
    let daemon = home.start_with(&["-d", "-o", "-q", "-f"], &[]);
    assert_eq!(Connection::open(&address).unwrap().ask(&Request::rcpt("a@b.example", "c@d.example")).unwrap(), "DUNNO");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn json_logs_are_json_line_by_line_with_the_fields_of_a_verdict() {
    let address = support::loopback().into();
    let home = home(&[&address]);
    home.configure(&format!(
        "[log]\ntarget = \"stderr\"\nformat = \"json\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"test\"]\n"
    ));
    let daemon = home.start();
    // Bytes that would forge a line of a log.
    let request = Request::rcpt("a\r\"}forged=\u{1b}[1m@b.example", "c@d.example").sasl("ann").set("queue_id", "4F2");
    assert_eq!(Connection::open(&address).unwrap().ask(&request).unwrap(), "DUNNO");
    let line = daemon.wait_log(&["verdict"]);
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(fields["listener"], "in", "{fields}");
    assert_eq!(fields["recipient"], "c@d.example", "{fields}");
    assert_eq!(fields["sasl_user"], "ann", "{fields}");
    assert_eq!(fields["queue_id"], "4F2", "{fields}");
    assert!(fields["sender"].as_str().unwrap().contains("forged"), "{fields}");
    assert_eq!(daemon.stop(), 0);
    for line in daemon.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn detach_returns_when_the_daemon_is_ready_and_its_pid_is_told() {
    let address = support::loopback().into();
    let home = home(&[&address]);
    let output = home.valvulad(&["--detach"]).ok();
    let answer = Connection::open(&address).unwrap().ask(&Request::rcpt("a@b.example", "c@d.example"));
    let stats = home.valvulad(&["-s", "--json"]).ok().stdout;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(stats["pid"].as_i64().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    support::wait_until("it ends", Duration::from_secs(20), || rustix::process::test_kill_process(pid).is_err());
    assert_eq!(answer.unwrap(), "DUNNO", "{output:?}");
}
