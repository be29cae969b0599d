//! What somebody on the machine, or who sends mail, tries: orders, forged log lines, passwords.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use support::{Address, Connection, Daemon, Home, Request, programs};

const SECRET: &str = "Tr0ub4dor-and-3";

fn listener(address: &Address) -> String {
    format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"test\"]\n")
}

/// What the control socket at `path` says to a user and group of this machine that ask for the statistics.
fn asked_as(user: &str, group: &str, path: &Path) -> String {
    let ask = "import socket, sys\n\
               s = socket.socket(socket.AF_UNIX)\n\
               s.connect(sys.argv[1])\n\
               s.sendall(b'{\"v\":1,\"command\":\"log-level\"}\\n')\n\
               print(s.makefile().readline())";
    let output = Command::new("setpriv")
        .args(["--reuid", user, "--regid", group, "--clear-groups", "python3", "-c", ask])
        .arg(path)
        // The system's own: another may be one that only we can run.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn the_control_socket_obeys_root_the_daemons_user_and_its_group_and_nobody_else() {
    let home = Home::new(programs!());
    let is_root = std::fs::metadata(home.directory()).unwrap().uid() == 0;
    assert!(is_root, "this test becomes other users: run it as root (scripts/test does)");
    let server = home.server_section().replace("[server]\n", "[server]\nuser = \"games\"\n");
    home.configure(&(server + &listener(&support::loopback().into())));
    std::os::unix::fs::chown(home.path("state"), Some(5), Some(60)).unwrap(); // Debian's games
    let daemon = home.start();
    let socket = home.control_socket();

    let info = r#""level":"info""#;
    assert!(asked_as("root", "root", &socket).contains(info));
    let answer = asked_as("games", "games", &socket);
    assert!(answer.contains(info), "{answer}");
    assert!(asked_as("nobody", "games", &socket).contains(info), "of its group");
    let refused = asked_as("nobody", "nogroup", &socket);
    assert!(refused.contains("PermissionError"), "its mode keeps others out: {refused}");

    // Somebody has opened it by hand: who asks is still looked at.
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = asked_as("nobody", "nogroup", &socket);
    assert!(refused.contains("not-allowed") && !refused.contains("level"), "{refused}");
    assert!(asked_as("daemon", "daemon", &socket).contains("not-allowed"));
    let line = daemon.wait_log(&["control request refused"]);
    assert!(line.contains("uid=65534") && line.contains("gid=65534"), "{line}");
    assert!(asked_as("games", "games", &socket).contains(info));
}

/// A value that would end a line, begin another, or act on whoever reads it.
const HOSTILE: &[&str] = &[
    "a\r2026-01-01T00:00:00.000Z info     verdict listener=forged action=OK",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "a\u{2028}forged\u{2029}line",
    "a\u{85}forged\u{b}line\u{c}x",
    "\u{202e}desrever\u{2066}",
    "\u{feff}\u{200b}hidden\u{ad}",
    "quote\" forged=\"1",
    "back\\slash\\\" forged=1",
    "\u{7f}\u{9b}31m",
    "\u{1c}\u{1d}\u{1e}\u{1f}",
];

#[test]
fn no_value_of_a_request_can_forge_a_line_or_reach_a_terminal() {
    for format in ["text", "json"] {
        let address = support::loopback().into();
        let home = Home::with(
            programs!(),
            &format!("[log]\ntarget = \"stderr\"\nformat = \"{format}\"\n{}", listener(&address)),
        );
        let daemon = home.start();
        daemon.wait_log(&["answering requests"]);
        let before = daemon.log().lines().count();
        let mut connection = Connection::open(&address).unwrap();
        for hostile in HOSTILE {
            let request = Request::rcpt(hostile, hostile)
                .sasl(hostile)
                .set("client_address", hostile)
                .set("queue_id", hostile)
                .set("instance", hostile)
                .set("protocol_state", hostile);
            assert_eq!(connection.ask(&request).unwrap(), "DUNNO");
        }
        // Bytes that are no text, and a NUL, which is no request.
        let raw = Request::rcpt("a", "b").set("sender", b"\xff\xfe\xc0\x80\x1b[1m");
        assert_eq!(connection.ask(&raw).unwrap(), "DUNNO");
        connection.send(&Request::rcpt("a", "b").set("sender", b"a\0forged\x1b[1m").bytes()).unwrap();
        connection.assert_ended();
        daemon.wait_log(&["malformed"]);

        let log = daemon.log();
        // As everything that reads lines may split it: Unicode's line ends too.
        let ends = |c: char| {
            matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
        };
        let lines = log.split(ends).filter(|line| !line.is_empty()).count();
        assert_eq!(lines - before, HOSTILE.len() + 2, "{format}: a line each:\n{log}");
        let acts = |c: char| {
            c != '\n'
                && (c.is_control()
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}' | '\u{feff}' | '\u{ad}'))
        };
        assert!(!log.contains(acts), "{format}: {:?}", log.chars().find(|c| acts(*c)));
        for line in log.lines().skip(before).filter(|line| line.contains("verdict")) {
            if format == "json" {
                let fields: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!((&fields["listener"], &fields["action"]), (&"in".into(), &"DUNNO".into()), "{line}");
                assert!(fields.get("forged").is_none(), "{line}");
            } else {
                // Outside of quotes there is one listener and one action.
                let outside: String = line.replace("\\\"", "").split('"').step_by(2).collect();
                assert_eq!(outside.matches("listener=").count() + outside.matches("action=").count(), 2, "{line}");
                assert!(outside.contains(" listener=in ") && outside.contains(" action=DUNNO "), "{line}");
            }
        }
        let stats = home.valvulad(&["-s"]).ok().stdout;
        assert!(!stats.contains(acts), "{stats:?}");
    }
}

/// All that somebody could read of it: its log, its statistics, what it prints.
#[track_caller]
fn keeps_the_secret(said: &str) {
    assert!(!said.contains(SECRET), "the password is in:\n{said}");
}

#[test]
fn a_database_password_is_in_no_error_and_no_log() {
    let port = support::loopback();
    let urls = [
        format!("mysql://panel:{SECRET}@{port}/mail"),
        format!("postgres://panel:{SECRET}@{port}/mail"),
        format!("postgres://panel@{port}/mail?password={SECRET}"),
        format!("mysql://panel:{SECRET}@{}:notaport/mail", port.ip()),
        format!("mysql://panel:{SECRET}@[::1/mail"),
        format!("oracle://panel:{SECRET}@{port}/mail"),
        format!("panel:{SECRET}@{port}"),
        format!("mysql://panel:{SECRET}@{port}/mail?nonsense=1"),
    ];
    std::thread::scope(|scope| {
        // At once: each waits for a server that is not there.
        for url in &urls {
            scope.spawn(|| database_at(url));
        }
    });
}

fn database_at(url: &str) {
    let home = Home::new(programs!());
    let with = |database: &str| {
        let listener = listener(&support::loopback().into());
        home.configure(&format!("[database]\n{database}\nstart_timeout = \"300ms\"\n{listener}"));
    };
    with(&format!("url = \"{url}\""));
    for arguments in [&["--check-config"][..], &["-b"], &["-d", "-o", "-q"]] {
        let output = home.valvulad(arguments);
        keeps_the_secret(&format!("{output:?}"));
    }
    // The same from a file of its own.
    home.write("url", url);
    with(&format!("url_file = \"{}\"", home.path("url").display()));
    let output = home.valvulad(&["-d", "-o"]);
    assert!(matches!(output.code, Some(69 | 78)), "{output:?}");
    keeps_the_secret(&format!("{output:?}"));
    // And from the environment.
    with("");
    keeps_the_secret(&format!("{:?}", home.valvulad_with(&["-d", "-o"], &[("VALVULA__DATABASE__URL", url)])));
}

#[test]
fn a_credential_of_systemd_is_the_databases_url() {
    let home = Home::new(programs!());
    let address = support::loopback().into();
    home.write("credentials/database-url", format!("sqlite://{}\n", home.path("state/other.db").display()));
    home.configure(&format!("[database]\nurl_file = \"database-url\"\n{}", listener(&address)));
    let output = home.valvulad(&["--check-config"]);
    assert_eq!(output.code, Some(78), "without systemd: {output:?}");
    let credentials = home.path("credentials");
    let daemon = home.start_with(&[], &[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]);
    assert!(home.path("state/other.db").exists() && !home.path("state/valvula.db").exists());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_password_that_everybody_can_read_is_warned_of() {
    let home = Home::new(programs!());
    let with =
        |database: &str| home.configure(&format!("[database]\n{database}\n{}", listener(&support::loopback().into())));
    let mode =
        |name: &str, mode| std::fs::set_permissions(home.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    let checked = || home.valvulad(&["--check-config"]).ok().stderr;
    let url = format!("mysql://panel:{SECRET}@127.0.0.1:1/mail");

    with(&format!("url = \"{url}\""));
    mode("valvula.toml", 0o644);
    let warning = checked();
    assert!(
        warning.contains("valvula.toml") && warning.contains("database.url") && warning.contains("0644"),
        "{warning}"
    );
    keeps_the_secret(&warning);
    mode("valvula.toml", 0o640);
    assert_eq!(checked(), "");

    home.write("url", &url);
    with(&format!("url_file = \"{}\"", home.path("url").display()));
    mode("valvula.toml", 0o644);
    mode("url", 0o604);
    assert!(checked().contains("database.url_file"));
    mode("url", 0o600);
    assert_eq!(checked(), "", "a name of a file is no secret");

    // The daemon says it too, and works.
    home.write("url", format!("sqlite://{}", home.path("state/valvula.db").display()));
    mode("url", 0o644);
    let daemon = home.start();
    daemon.wait_log(&["configuration", "everybody"]);
}

#[test]
fn no_memory_of_it_is_left_in_a_core_file() {
    let home = Home::new(programs!());
    home.configure(&listener(&support::loopback().into()));
    let daemon: Daemon<'_> = home.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    daemon.signal(Signal::ABORT);
    let (status, _) = support::wait_for("it is ended", Duration::from_secs(20), || daemon.ended());
    assert!(status.signal() == Some(6) && !status.core_dumped(), "{status:?}");
}

#[test]
fn a_log_that_is_a_pipe_nobody_reads_does_not_hold_up_the_start() {
    let home = Home::new(programs!());
    let pipe = home.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    home.configure(&format!("[log]\ntarget = \"file:{}\"\n{}", pipe.display(), listener(&support::loopback().into())));
    let output = home.valvulad(&[]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("log.target") && output.stderr.contains("pipe that nobody reads"), "{output:?}");

    // With a reader it is a log like any other.
    let reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
    let daemon = home.start();
    assert_eq!(daemon.stop(), 0);
    let heard = reader.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&heard.stdout).contains("answering requests"));
}
