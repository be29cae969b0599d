//! A daemon with all ways of deciding, the load on it, and everything near it that can break.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Address, Daemon, Engine, Home, MovedClock, Output, Server, SmallDisk, TestDatabase, programs};

use crate::clients::{Clients, get};
use crate::ways::{WAYS, Way, rows, runs_from, sections};

/// How long everything may take to work again after a fault. Nobody does anything for it.
const RECOVERY: Duration = Duration::from_secs(60);

/// What is made before the daemon, and outlives it.
pub struct Stage {
    pub engine: Engine,
    pub home: Home,
    pub database: TestDatabase,
    pub server: Option<Arc<Server>>,
    pub disk: Option<SmallDisk>,
    pub clock: MovedClock,
    pub log: LogPipe,
    addresses: Vec<Address>,
    extra: Address,
    runs_from: String,
}

impl Stage {
    pub fn new(engine: Engine) -> Self {
        let home = Home::new(programs!());
        let (mut server, mut disk) = (None, None);
        let database = if engine == Engine::Sqlite {
            TestDatabase::in_directory(disk.insert(SmallDisk::mount("24m")).path())
        } else {
            TestDatabase::on_server(server.insert(Arc::new(Server::start_new(engine))))
        };
        let clock = MovedClock::new(home.directory());
        let log = LogPipe::new(&home);
        let addresses = WAYS.iter().map(|_| support::loopback().into()).collect();
        let stage = Self {
            engine,
            home,
            database,
            server,
            disk,
            clock,
            log,
            addresses,
            extra: support::loopback().into(),
            runs_from: runs_from(),
        };
        stage.configure(false, "");
        let daemon = stage.home.start();
        stage.database.sql(&rows());
        assert_eq!(daemon.stop(), 0);
        drop(daemon);
        stage
    }

    /// Writes the configuration, with one listener more or not, and `more` at its end.
    pub fn configure(&self, with_extra: bool, more: &str) {
        let mut text = format!("[log]\ntarget = \"file:{}\"\n", self.log.path.display());
        text += &format!("[database]\nurl = \"{}\"\n", self.database.url());
        for (way, address) in WAYS.iter().zip(&self.addresses) {
            text += &listener(&port_of(way), address, way.modules);
        }
        if with_extra {
            text += &listener("extra", &self.extra, &["test"]);
        }
        self.home.configure(&(text + &sections(&self.runs_from) + more));
    }

    pub fn address(&self, name: &str) -> &Address {
        let place = WAYS.iter().position(|way| way.name == name).expect("a way of that name");
        &self.addresses[place]
    }

    pub fn start(&self) -> Daemon<'_> {
        self.home.start_with(&[], &self.clock.environment())
    }
}

/// The name of a way's listener.
pub fn port_of(way: &Way) -> String {
    format!("port-{}", way.name)
}

pub fn listener(name: &str, address: &Address, modules: &[&str]) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = {modules:?}\n")
}

/// The daemon's log target: a named pipe that is read into the home's log, unless the reader stands still.
pub struct LogPipe {
    path: PathBuf,
    blocked: Arc<AtomicBool>,
}

impl LogPipe {
    fn new(home: &Home) -> Self {
        let path = home.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo starts");
        assert!(made.success(), "a named pipe can't be made");
        // For writing too: a pipe without writers would be at its end.
        let pipe = File::options().read(true).write(true).open(&path).expect("the pipe opens");
        let mut log = File::options().create(true).append(true).open(home.path("log")).expect("the log opens");
        let blocked = Arc::new(AtomicBool::new(false));
        let stands_still = blocked.clone();
        // Ends with the test's process: until then another daemon may write to the pipe.
        std::thread::spawn(move || {
            for line in BufReader::with_capacity(64 * 1024, pipe).split(b'\n') {
                while stands_still.load(Ordering::Relaxed) {
                    pause();
                }
                let line = String::from_utf8_lossy(&line.expect("the pipe is read")).into_owned() + "\n";
                // Of the many verdicts those that came about by a fault are of interest.
                if line.contains(" verdict ") && !line.contains("DEFER") {
                    continue;
                }
                if log.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Self { path, blocked }
    }

    /// Whether the reader stands still.
    pub fn block(&self, is_blocked: bool) {
        self.blocked.store(is_blocked, Ordering::Relaxed);
    }
}

/// The running daemon and the load on it.
pub struct Scene<'s> {
    pub stage: &'s Stage,
    pub daemon: Daemon<'s>,
    pub clients: Vec<Clients>,
    /// By way: how often its port was restarted.
    pub restarts: Vec<u64>,
    pub has_extra: bool,
    pub clock_offset: i64,
}

impl<'s> Scene<'s> {
    pub fn start(stage: &'s Stage, seed: u64) -> Self {
        let daemon = stage.start();
        let start = |way: &'static Way| Clients::start(way, stage.address(way.name), seed);
        let clients = WAYS.iter().map(start).collect();
        Self { stage, daemon, clients, restarts: vec![0; WAYS.len()], has_extra: false, clock_offset: 0 }
    }

    pub fn order(&self, arguments: &[&str]) -> Output {
        self.stage.home.valvulactl(arguments)
    }

    /// Lets time pass. Who does not need what is broken is answered meanwhile.
    pub fn lasting(&self, span: Duration) {
        let since = Instant::now();
        self.flows("what needs nothing is answered meanwhile", 3, |way| matches!(way.name, "rules" | "test"));
        while since.elapsed() < span {
            pause();
        }
    }

    /// Everything is answered as ever, by itself.
    pub fn recovers(&self) {
        self.flows("all is as before", 5, |_| true);
    }

    /// Waits until each way that `concerns` has let `more` requests pass (refused them, where it is at its limit).
    fn flows(&self, what: &str, more: u64, concerns: impl Fn(&Way) -> bool) {
        let progress = |place: usize| {
            let told = &self.clients[place].told;
            match WAYS[place].name {
                // Past its restart intensity it is down for a minute, and says so.
                "faulty" => told.answered(),
                _ => get(&told.passed) + get(&told.refused) + get(&told.other),
            }
        };
        let concerned: Vec<_> = (0..WAYS.len()).filter(|place| concerns(&WAYS[*place])).collect();
        let from: Vec<_> = concerned.iter().map(|place| progress(*place)).collect();
        let since = Instant::now();
        loop {
            let mut late = concerned.iter().zip(&from).filter(|(place, from)| progress(**place) < **from + more);
            let Some((late, _)) = late.next() else { return };
            self.assert_right();
            let name = WAYS[*late].name;
            assert!(since.elapsed() < RECOVERY, "{what}: {name} is not within {RECOVERY:?}\n{}", self.daemon.stats());
            pause();
        }
    }

    /// No client was told anything that must not be; no connection was ended but by a restart of its port.
    pub fn assert_right(&self) {
        for (place, clients) in self.clients.iter().enumerate() {
            let name = WAYS[place].name;
            assert_eq!(clients.told.wrong(), Vec::<String>::new(), "{name}");
            let (lost, restarts) = (get(&clients.told.lost), self.restarts[place]);
            assert!(lost <= restarts * crate::clients::CLIENTS, "{name}: {lost} lost, {restarts} restarts of the port");
        }
    }
}

pub fn pause() {
    // Between two looks at what others do; no arbiter runs on a test's thread.
    #[allow(clippy::disallowed_methods)]
    std::thread::sleep(Duration::from_millis(5));
}
