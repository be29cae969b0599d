//! What breaks: each fault is made, lasts for a while, and ends. Nothing is done for the daemon.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use support::{Connection, Engine, Random, Request};

use crate::scene::{Scene, listener, port_of};
use crate::ways::{WAYS, is_server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A module panics, at once or after it has waited.
    ModulePanics,
    RestartPort,
    RestartModule,
    RestartStats,
    RestartPostfix,
    RestartStore,
    /// A port is suspended, and resumed.
    Suspend,
    /// A configuration with a listener more, or less.
    Reload,
    /// A configuration with a fault: the old one stays.
    BadReload,
    /// No file can be opened, no connection accepted.
    NoDescriptors,
    /// Who reads the log stands still.
    LogBlocked,
    /// The clock jumps by an hour or two.
    ClockMoved,
    DatabaseStopped,
    DatabaseKilled,
    /// SIGSTOP.
    DatabaseHangs,
    /// The file system of SQLite is full.
    DiskFull,
    /// Another process holds the SQLite file.
    DatabaseLocked,
}

use Fault::*;

/// The faults that an operator or a program makes in a moment.
const QUICK: [Fault; 9] = [
    ModulePanics,
    RestartPort,
    RestartModule,
    RestartStats,
    RestartPostfix,
    RestartStore,
    Suspend,
    BadReload,
    ClockMoved,
];

impl Fault {
    /// All that can happen on `engine`.
    pub fn all(engine: Engine) -> Vec<Self> {
        let mut all = [&QUICK[..], &[Reload, NoDescriptors, LogBlocked]].concat();
        all.extend(match is_server(engine) {
            true => [DatabaseStopped, DatabaseKilled, DatabaseHangs].as_slice(),
            false => &[DiskFull, DatabaseLocked],
        });
        all
    }

    /// `count` of them in the order that `random` gives: each once before one comes twice.
    pub fn script(engine: Engine, count: usize, random: &mut Random) -> Vec<Self> {
        let mut script = Vec::new();
        while script.len() < count {
            let mut all = Self::all(engine);
            random.shuffle(&mut all);
            script.append(&mut all);
        }
        script.truncate(count);
        script
    }

    /// Makes it happen, and end. How many faults that were, and what exactly.
    pub fn strike(self, scene: &mut Scene<'_>, random: &mut Random) -> (usize, String) {
        let mut span = |from, to| Duration::from_millis(random.between(from, to));
        let what = match self {
            ModulePanics => panic_module(scene, random.choose::<&str>(&["panic", "panic-later"])),
            RestartPort => {
                let place = usize::try_from(random.between(0, WAYS.len() as u64 - 1)).expect("a place");
                scene.restarts[place] += 1;
                scene.order(&["restart", &port_of(&WAYS[place])]).ok().stdout
            }
            RestartModule => {
                let modules: Vec<&str> = WAYS.iter().flat_map(|way| way.modules).copied().collect();
                scene.order(&["restart", random.choose::<&str>(&modules)]).ok().stdout
            }
            RestartStats => scene.order(&["restart", "stats"]).ok().stdout,
            RestartPostfix => scene.order(&["restart", "postfix"]).ok().stdout,
            RestartStore => scene.order(&["restart", "store"]).ok().stdout,
            Suspend => {
                let span = span(100, 1500);
                let port = port_of(random.choose(&WAYS));
                scene.order(&["suspend", &port]).ok();
                scene.lasting(span);
                scene.order(&["resume", &port]).ok();
                format!("{port} for {span:?}")
            }
            Reload => {
                scene.has_extra = !scene.has_extra;
                scene.stage.configure(scene.has_extra, "");
                scene.order(&["reload"]).ok().stdout
            }
            BadReload => bad_reload(scene, random),
            NoDescriptors => {
                let span = span(300, 2000);
                let pid = scene.daemon.pid().to_string();
                let before = limit(&["--pid", &pid, "--nofile", "--noheadings", "--output=SOFT"]);
                let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
                limit(&["--pid", &pid, &format!("--nofile={open}:")]);
                scene.lasting(span);
                limit(&["--pid", &pid, &format!("--nofile={}:", before.trim())]);
                format!("{open} may be open for {span:?}")
            }
            LogBlocked => {
                let span = span(300, 3000);
                scene.stage.log.block(true);
                scene.lasting(span);
                scene.recovers();
                scene.stage.log.block(false);
                format!("for {span:?}")
            }
            ClockMoved => {
                let others: Vec<i64> =
                    [-3600, 0, 3600].into_iter().filter(|offset| *offset != scene.clock_offset).collect();
                let offset = *random.choose(&others);
                let from = std::mem::replace(&mut scene.clock_offset, offset);
                scene.stage.clock.set(offset);
                format!("from {from} to {offset} seconds off")
            }
            DatabaseStopped | DatabaseKilled => {
                let server = scene.stage.server.clone().expect("a server");
                let span = span(0, 3000);
                if self == DatabaseKilled {
                    server.kill()
                } else {
                    server.stop()
                }
                let meanwhile = meanwhile(scene, random, span);
                server.start();
                return (1 + meanwhile.0, format!("for {span:?}{}", meanwhile.1));
            }
            DatabaseHangs => {
                let server = scene.stage.server.clone().expect("a server");
                let span = span(100, 7000);
                server.hang();
                let meanwhile = meanwhile(scene, random, span);
                server.go_on();
                return (1 + meanwhile.0, format!("for {span:?}{}", meanwhile.1));
            }
            DiskFull => {
                let disk = scene.stage.disk.as_ref().expect("a disk");
                let span = span(0, 3000);
                let noticed = || scene.daemon.count_log(&["disk is full"]);
                let before = noticed();
                support::wait_until("it is noticed", Duration::from_secs(20), || {
                    // What the log of the database holds already is written over: it has to grow.
                    let shrink = "PRAGMA busy_timeout = 2000; PRAGMA wal_checkpoint(TRUNCATE);";
                    let _ = scene.stage.database.try_sql(shrink);
                    disk.fill();
                    noticed() >= before + 10
                });
                let meanwhile = meanwhile(scene, random, span);
                disk.free();
                return (1 + meanwhile.0, format!("for {span:?}{}", meanwhile.1));
            }
            DatabaseLocked => {
                let span = span(100, 7000);
                let mut other = scene.stage.database.open_client();
                // The daemon leaves it alone for moments only.
                other.run("PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE;");
                let meanwhile = meanwhile(scene, random, span);
                other.run("COMMIT;");
                return (1 + meanwhile.0, format!("for {span:?}{}", meanwhile.1));
            }
        };
        (1, what.trim().to_owned())
    }
}

/// Lets time pass while the database is away; one time in two something else happens too.
fn meanwhile(scene: &mut Scene<'_>, random: &mut Random, span: Duration) -> (usize, String) {
    scene.lasting(span / 2);
    let second = match random.between(0, 1) {
        0 => (0, String::new()),
        _ => {
            let fault = *random.choose(&QUICK);
            let (count, what) = fault.strike(scene, random);
            (count, format!(", meanwhile {fault:?} {what}"))
        }
    };
    scene.lasting(span / 2);
    second
}

fn panic_module(scene: &Scene<'_>, how: &'static str) -> String {
    let place = WAYS.iter().position(|way| way.name == "faulty").expect("a way of that name");
    let told = &scene.clients[place].told;
    let mut connection = Connection::open(scene.stage.address("faulty")).expect("the port listens");
    told.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let request = Request::rcpt("good@away.example", &format!("{how}@example.com"));
    let answer = connection.ask(&request).expect("an answer by on_failure");
    told.note(&answer, &["DEFER "]);
    how.to_owned()
}

fn bad_reload(scene: &Scene<'_>, random: &mut Random) -> String {
    let stage = scene.stage;
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a socket of somebody else");
    let address = taken.local_addr().expect("its address").into();
    let faults = [
        ("an unknown key", "[module.test]\nsurprise = 1\n".to_owned(), "surprise"),
        ("an unknown module", listener("bad", &address, &["nothing"]), "nothing"),
        ("broken TOML", "[[listener\n".to_owned(), "valvula.toml"),
        ("an address that is taken", listener("bad", &address, &["test"]), "address"),
    ];
    let (what, text, named) = random.choose(&faults);
    stage.configure(scene.has_extra, text);
    let output = scene.order(&["reload"]);
    stage.configure(scene.has_extra, "");
    assert_eq!(output.code, Some(1), "{what}: {output:?}");
    let said = output.stdout + &output.stderr;
    assert!(said.to_lowercase().contains(named), "{what}: {said}");
    (*what).to_owned()
}

fn limit(arguments: &[&str]) -> String {
    let output =
        Command::new("prlimit").args(arguments).output().expect("prlimit is installed: apt-get install util-linux");
    assert!(output.status.success(), "prlimit {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
