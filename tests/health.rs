//! `/healthz`, `/metrics` and the watchdog: well only while every listener answers itself.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Address, Connection, Home, Request, programs};

struct Scene {
    home: Home,
    metrics: SocketAddr,
    address: Address,
}

impl Scene {
    fn new(more: &str) -> Self {
        let (metrics, address) = (support::loopback(), Address::from(support::loopback()));
        let home = Home::new(programs!());
        home.configure(&format!(
            "[metrics]\naddress = \"{metrics}\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n{more}\n"
        ));
        Self { home, metrics, address }
    }

    /// Status and body.
    fn get(&self, page: &str) -> (u16, String) {
        http(self.metrics, &format!("GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}

fn request(recipient: &str) -> Request {
    Request::rcpt("secret-sender@away.example", recipient)
}

#[test]
fn healthz_is_200_only_while_every_listener_answers_itself() {
    let scene = Scene::new(
        "max_connections = 1\n[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\nmodules = [\"bwl\"]",
    );
    let daemon = scene.home.start();
    assert_eq!(scene.get("/healthz"), (200, "ok\n".to_owned()));

    daemon.control(&["suspend", "more"]);
    let unhealthy = |line: &str| {
        support::wait_until(line, Duration::from_secs(10), || scene.get("/healthz") == (503, format!("{line}\n")));
    };
    unhealthy("more: suspended");
    daemon.control(&["resume", "more"]);
    let healthy = || {
        support::wait_until("well again", Duration::from_secs(10), || scene.get("/healthz").0 == 200);
    };
    healthy();

    let connection = Connection::open(&scene.address).unwrap();
    unhealthy("in: full");
    drop(connection);
    healthy();
    assert_eq!(daemon.listener("in")["accepted"], 1, "self-checks are no clients");
}

#[test]
fn a_listener_that_lets_in_others_only_still_answers_itself() {
    let scene = Scene::new("allow = [\"192.0.2.0/24\"]");
    let daemon = scene.home.start();
    assert_eq!(scene.get("/healthz"), (200, "ok\n".to_owned()), "{}", daemon.log());
    Connection::open(&scene.address).unwrap().assert_ended();
    daemon.wait_log(&["not allowed"]);
}

#[test]
fn metrics_show_what_the_statistics_show_and_no_address_of_anybodys_mail() {
    let scene = Scene::new("");
    let daemon = scene.home.start();
    let mut connection = Connection::open(&scene.address).unwrap();
    for number in 0..7 {
        assert_eq!(connection.ask(&request(&format!("secret-{number}@example.com"))).unwrap(), "DUNNO");
    }
    let (status, text) = scene.get("/metrics");
    assert_eq!(status, 200);
    let value = |series: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    };
    let stats = daemon.stats();
    for (series, expected) in [
        ("valvula_handled_total", &stats["requests"]["count"]),
        ("valvula_pid", &stats["pid"]),
        ("valvula_workers", &stats["workers"]),
        ("valvula_modules", &stats["handlers"]),
        ("valvula_connections{listener=\"in\"}", &stats["listeners"][0]["connections"]),
        ("valvula_connections_max{listener=\"in\"}", &stats["listeners"][0]["max_connections"]),
        ("valvula_answers_total{listener=\"in\",action=\"DUNNO\"}", &stats["listeners"][0]["requests"]["count"]),
        ("valvula_request_duration_seconds_count{listener=\"in\"}", &stats["requests"]["count"]),
        ("valvula_module_duration_seconds_count{module=\"bwl\"}", &stats["modules"][0]["requests"]["count"]),
        ("valvula_module_in_flight_max{module=\"bwl\"}", &stats["modules"][0]["max_in_flight"]),
        ("valvula_module_actors{module=\"bwl\",state=\"up\"}", &stats["workers"]),
    ] {
        assert_eq!(value(series), expected.as_f64().unwrap(), "{series}");
    }
    assert_eq!(value("valvula_handled_total"), 7.0);
    // Every number that `-s` shows of a module or a part has its series.
    for fact in stats["modules"][0]["facts"].as_array().unwrap() {
        if fact[1].is_number() {
            value(&format!("valvula_module_fact{{module=\"bwl\",fact={}}}", fact[0]));
        }
    }
    for part in ["database", "stats"] {
        for fact in stats["parts"][part].as_array().unwrap().iter().filter(|fact| fact[1].is_number()) {
            value(&format!("valvula_part_fact{{part=\"{part}\",fact={}}}", fact[0]));
        }
    }
    assert!(!text.contains("secret-") && !text.contains("192.0.2.9"), "{text}");
    for line in text.lines() {
        assert!(line.starts_with('#') || line.starts_with("valvula_"), "no line of the format: {line}");
    }
}

#[test]
fn other_pages_methods_and_garbage_are_refused() {
    let scene = Scene::new("");
    let daemon = scene.home.start();
    assert_eq!(scene.get("/").0, 404);
    assert_eq!(scene.get("/metrics/../etc").0, 404);
    let post = "POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(http(scene.metrics, post).0, 405);
    assert_eq!(http(scene.metrics, "checkserver\n\r\n\r\n").0, 400);
    let mut endless = TcpStream::connect(scene.metrics).unwrap();
    // More than the buffers of both sides hold.
    let sent = (0..65_536).take_while(|_| endless.write_all(&[b'x'; 1024]).is_ok()).count();
    assert!(sent < 65_536, "64 MiB of a head were taken");
    assert_eq!(scene.get("/healthz").0, 200);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_page_that_everybody_could_read_is_refused_at_start() {
    for (address, allow, good) in [
        ("0.0.0.0:9579", "", false),
        ("[::]:9579", "", false),
        ("192.0.2.1:9579", "", false),
        ("10.0.0.1:9579", "", false),
        ("127.0.0.1:9579", "", true),
        ("0.0.0.0:9579", "allow = [\"10.0.0.0/8\"]", true),
        ("0.0.0.0:9579", "allow = []", false),
        ("localhost:9579", "", false),
    ] {
        let home = Home::new(programs!());
        let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nmodules = [\"bwl\"]\n";
        home.configure(&format!("[metrics]\naddress = \"{address}\"\n{allow}\n{listener}"));
        let output = home.valvulad(&["--check-config"]);
        assert_eq!(output.code, Some(if good { 0 } else { 78 }), "{address} {allow}: {output:?}");
        assert!(good || output.stderr.contains("metrics.a"), "{output:?}");
    }
}

#[test]
fn the_watchdog_starves_when_a_listener_is_silent_and_not_when_it_is_suspended_or_full() {
    let scene = Scene::new("max_connections = 1");
    let daemon = scene.home.start_with(&[], &[("WATCHDOG_USEC", "300000")]);
    let fed = |times: usize| {
        for _ in 0..times {
            let since = Instant::now();
            while !daemon.notified("WATCHDOG=1") {
                assert!(since.elapsed() < Duration::from_secs(10), "the watchdog is hungry:\n{}", daemon.log());
            }
        }
    };
    fed(2);
    daemon.control(&["suspend", "in"]);
    fed(10);
    daemon.control(&["resume", "in"]);
    let full = Connection::open(&scene.address).unwrap();
    fed(10);
    drop(full);

    // A whole process that hangs says nothing: what systemd would see.
    daemon.signal(Signal::STOP);
    while daemon.notified("WATCHDOG=1") {}
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        assert!(!daemon.notified("WATCHDOG=1"));
    }
    daemon.signal(Signal::CONT);
    fed(2);
    assert_eq!(daemon.stop(), 0);
}
