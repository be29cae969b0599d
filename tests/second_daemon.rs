//! Two daemons that want the same: the second is refused, the first does not notice.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use support::{Address, Connection, Daemon, Home, Request, programs};

fn settings(address: &Address) -> String {
    format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"test\"]\n")
}

#[track_caller]
fn answers(address: &Address) {
    let answer = Connection::open(address).unwrap().ask(&Request::rcpt("a@away.example", "ann@example.com"));
    assert_eq!(answer.unwrap(), "DUNNO");
}

/// The second ends with a code that is no success, and a line that names what is taken.
#[track_caller]
fn refused(second: &Daemon<'_>, taken: &str) {
    assert_eq!(second.wait(), 69, "{}", second.log());
    second.wait_log(&[taken]);
}

#[test]
fn on_the_same_port_the_second_is_refused() {
    let address = support::loopback().into();
    let (first, second) = (Home::with(programs!(), &settings(&address)), Home::with(programs!(), &settings(&address)));
    let daemon = first.start();
    refused(&Daemon::spawn(&second), &address.to_string());
    answers(&address);
    assert_eq!(daemon.stats()["pid"], daemon.pid());
}

#[test]
fn on_the_same_unix_socket_the_second_is_refused_and_the_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy");
    let address = Address::Unix(path.clone());
    let (first, second) = (Home::with(programs!(), &settings(&address)), Home::with(programs!(), &settings(&address)));
    let _daemon = first.start();
    refused(&Daemon::spawn(&second), path.to_str().unwrap());
    answers(&address);
}

#[test]
fn on_the_same_control_socket_the_second_is_refused_and_the_first_still_obeys() {
    let (one, other) = (support::loopback().into(), support::loopback().into());
    let first = Home::with(programs!(), &settings(&one));
    let second = Home::new(programs!());
    let server = second
        .server_section()
        .replace(second.control_socket().to_str().unwrap(), first.control_socket().to_str().unwrap());
    second.configure(&(server + &settings(&other)));
    let daemon = first.start();
    refused(&Daemon::spawn(&second), first.control_socket().to_str().unwrap());
    assert_eq!(daemon.stats()["pid"], daemon.pid());
    answers(&one);
    assert!(Connection::open(&other).is_err(), "the second must not answer mail that nobody can control");
}

#[test]
fn what_is_no_socket_at_the_control_sockets_path_is_left_alone() {
    let address: Address = support::loopback().into();
    let home = Home::with(programs!(), &settings(&address));
    std::fs::write(home.control_socket(), "precious").unwrap();
    let daemon = Daemon::spawn(&home);
    assert_ne!(daemon.wait(), 0, "{}", daemon.log());
    daemon.wait_log(&[home.control_socket().to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(home.control_socket()).unwrap(), "precious");
}
