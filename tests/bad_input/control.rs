//! The control socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::{Home, programs};

use crate::document::{Section, code};

pub fn section() -> Section {
    let address = support::loopback();
    let home = Home::with(
        programs!(),
        &format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n"),
    );
    let daemon = home.start();
    let deep = format!("{{\"v\":1,\"command\":\"operate\",\"arguments\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("an empty line", b"\n".to_vec()),
        ("no JSON", b"stats\n".to_vec()),
        ("a JSON array", b"[]\n".to_vec()),
        ("a JSON text", b"\"stats\"\n".to_vec()),
        ("JSON that is cut off", b"{\"v\":1,\"command\":\n".to_vec()),
        ("bytes that are no UTF-8", b"{\"v\":1,\"command\":\"\xff\"}\n".to_vec()),
        ("a NUL", b"\0\n".to_vec()),
        ("200 arrays, one in the other", format!("{deep}\n").into_bytes()),
        ("no version", b"{\"command\":\"stats\"}\n".to_vec()),
        ("another version", b"{\"v\":2,\"command\":\"stats\"}\n".to_vec()),
        ("a version that is a text", b"{\"v\":\"1\",\"command\":\"stats\"}\n".to_vec()),
        ("no command", b"{\"v\":1}\n".to_vec()),
        ("an unknown command", b"{\"v\":1,\"command\":\"explode\"}\n".to_vec()),
        ("a command that is a number", b"{\"v\":1,\"command\":7}\n".to_vec()),
        ("a command without what it needs", b"{\"v\":1,\"command\":\"restart\"}\n".to_vec()),
        ("a command with a key it does not know", b"{\"v\":1,\"command\":\"suspend\",\"listener\":\"in\",\"force\":true}\n".to_vec()),
        ("a listener that is not there", b"{\"v\":1,\"command\":\"suspend\",\"listener\":\"nowhere\"}\n".to_vec()),
        ("`restart` of nothing", b"{\"v\":1,\"command\":\"restart\",\"target\":\"\"}\n".to_vec()),
        ("a log level that is not there", b"{\"v\":1,\"command\":\"log-level\",\"level\":\"loud\"}\n".to_vec()),
        ("`explain` with an attribute that no request has", b"{\"v\":1,\"command\":\"explain\",\"request\":{\"colour\":\"red\"}}\n".to_vec()),
        ("`explain` with a newline in a value", b"{\"v\":1,\"command\":\"explain\",\"request\":{\"sender\":\"a\\nb\"}}\n".to_vec()),
        ("`explain` with a size that is no number", b"{\"v\":1,\"command\":\"explain\",\"request\":{\"size\":\"big\"}}\n".to_vec()),
        ("`operate` on a module that is not there", b"{\"v\":1,\"command\":\"operate\",\"module\":\"x\",\"object\":\"rule\",\"verb\":\"list\",\"arguments\":{}}\n".to_vec()),
        ("`operate` with a verb that is not there", b"{\"v\":1,\"command\":\"operate\",\"module\":\"bwl\",\"object\":\"rule\",\"verb\":\"burn\",\"arguments\":{}}\n".to_vec()),
        ("`operate` with arguments of the wrong type", b"{\"v\":1,\"command\":\"operate\",\"module\":\"bwl\",\"object\":\"rule\",\"verb\":\"add\",\"arguments\":{\"table\":7}}\n".to_vec()),
        ("4 MiB without a newline", vec![b' '; 4 * 1024 * 1024]),
        ("a request without its newline, then the end of the stream", b"{\"v\":1,\"command\":\"listeners\"}".to_vec()),
        ("nothing, then the end of the stream", Vec::new()),
        ("no JSON, then a good request", b"x\n{\"v\":1,\"command\":\"log-level\"}\n".to_vec()),
    ];
    let rows = rows.into_iter().map(|(what, bytes)| (what.to_owned(), asked(&home, &bytes))).collect();
    assert!(home.valvulactl(&["listeners"]).ok().stdout.contains("in"), "it still answers");
    assert_eq!(daemon.stop(), 0);
    Section {
        title: "The control socket",
        about: "Written to the control socket of a running daemon with the listener `in`, which has the module bwl. What is \
                shown is the answer's `error` or `ok`. Afterwards it still answers.",
        rows,
    }
}

fn asked(home: &Home, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(home.control_socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.write_all(bytes); // it may be refused before all is taken
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let mut reader = BufReader::new(&stream);
    loop {
        let mut line = String::new();
        match (&mut reader).take(1024 * 1024).read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => said.push(shown(&line)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    if said.is_empty() { "the connection ends".to_owned() } else { said.join("; ") }
}

fn shown(line: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    match answer.get("error") {
        Some(error) => format!("{}: {}", error["code"].as_str().unwrap(), code(error["message"].as_str().unwrap())),
        None => format!("ok: {}", code(&answer["ok"].to_string())),
    }
}
