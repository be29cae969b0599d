//! The policy protocol over TCP. Each row has a listener of its own, since log lines about clients are
//! limited for each; all of them stand in one daemon, and after each row another client is answered.

use std::time::Duration;

use support::{Address, Connection, Daemon, Home, Request, programs};

use crate::document::{Section, code};
use crate::wire_rows::{Row, Then, rows};

/// Long enough for the daemon to find time on a busy machine, short enough to wait for.
const REQUEST_TIMEOUT: &str = "700ms";

pub fn section() -> Section {
    let rows = rows();
    let addresses: Vec<Address> = rows.iter().map(|_| support::loopback().into()).collect();
    let neighbour: Address = support::loopback().into();
    let home = Home::new(programs!());
    let mut settings = String::from(
        "[postfix]\nautodetect = false\nlocal_domains = [\"home.example\"]\nlocal_addresses = [\"ann@home.example\"]\n\
         [module.bwl]\ndeny_unknown_local_mail_from = true\n[module.slm]\nmode = \"full\"\n",
    );
    for (number, address) in addresses.iter().chain([&neighbour]).enumerate() {
        settings += &format!(
            "[[listener]]\nname = \"row-{number}\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"slm\"]\n\
             max_connections = 8\nrequest_timeout = \"{REQUEST_TIMEOUT}\"\n"
        );
    }
    home.configure(&settings);
    let daemon = home.start();
    let mut neighbour = Connection::open(&neighbour).unwrap();
    let good = Request::rcpt("a@away.example", "b@away.example");
    let done = rows
        .iter()
        .zip(&addresses)
        .enumerate()
        .map(|(number, (row, address))| {
            let happened = done(row, address, &daemon, number);
            assert_eq!(neighbour.ask(&good).unwrap(), "DUNNO", "another client after {}", row.what);
            (row.what.to_owned(), happened)
        })
        .collect();
    assert_eq!(daemon.stop(), 0);
    Section {
        title: "The policy protocol",
        about: "Sent to a listener with the modules bwl and slm (`deny_unknown_local_mail_from`, `mode = \"full\"`), `home.example` being local and \
                `ann@home.example` the only address there; where nothing else is said, as the attributes of a request at \
                RCPT. `request_timeout` is 700 ms. After each row another connection is answered as before.",
        rows: done,
    }
}

/// Does a row, and says what happened.
fn done(row: &Row, address: &Address, daemon: &Daemon<'_>, number: usize) -> String {
    let mut connection = Connection::open(address).unwrap();
    for piece in &row.pieces {
        // The daemon may end the connection before it has read all.
        if connection.send(piece).is_err() {
            break;
        }
        if row.pieces.len() > 1 {
            pause();
        }
    }
    match row.then {
        Then::Wait => {}
        Then::HalfClose => {
            let _ = connection.half_close();
        }
        Then::Leave => {
            drop(connection);
            let gone = || daemon.listener(&format!("row-{number}"))["connections"] == 0;
            support::wait_until("the connection is forgotten", Duration::from_secs(20), gone);
            return "the connection is forgotten".to_owned();
        }
    }
    let mut happened = Vec::new();
    let end = loop {
        match connection.answer() {
            Ok(Some(answer)) => happened.push(code(&answer)),
            Ok(None) => break "ended".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break "ended".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    happened.push(if happened.is_empty() { format!("no answer, {end}") } else { end });
    let mut text = happened.join(", ");
    let listener = daemon.listener(&format!("row-{number}"));
    let ends = ["malformed", "request_timeout"].into_iter().find(|kind| counted(&listener, kind) > 0);
    if let Some(kind) = ends {
        let parts = [
            format!("listener=row-{number} "),
            if kind == "malformed" { "malformed".to_owned() } else { "why=".to_owned() },
        ];
        let line = daemon.wait_log(&[&parts[0], &parts[1]]);
        let field = if kind == "malformed" { "fault=" } else { "why=" };
        text += &format!("; log: {}", code(&value(&line, field)));
    }
    text
}

/// The pause between the pieces of a slow client.
#[allow(clippy::disallowed_methods)] // it is what is tested; no arbiter runs on a test's thread
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

fn counted(listener: &serde_json::Value, kind: &str) -> u64 {
    listener["ended"][kind].as_u64().unwrap_or(0)
}

/// The value of a field of a text log line, without its quotes.
fn value(line: &str, field: &str) -> String {
    let rest = line.split_once(field).map_or("", |(_, rest)| rest);
    let Some(quoted) = rest.strip_prefix('"') else { return rest.split(' ').next().unwrap_or("").to_owned() };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    value
}
