//! One daemon with a database, rules, a counter and sockets of every kind, killed and started again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::{Address, Connection, Daemon, Engine, Home, Request, TestDatabase, programs};

use crate::counting;

pub const USER: &str = "ann@example.com";
/// Rules that nobody may lose, one of which refuses.
pub const RULES: u32 = 300;

/// Lets time pass: the moment of a kill is drawn by chance, nothing is waited for.
pub fn pass(span: Duration) {
    #[allow(clippy::disallowed_methods)] // no arbiter runs on a test's thread
    std::thread::sleep(span);
}

/// Whether a process of this group runs.
pub fn is_alive(group: u32) -> bool {
    let group = group.to_string();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name: state, parent, group.
        let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().take(3).collect();
        matches!(fields[..], [state, _, of] if of == group && state != "Z" && state != "X")
    })
}

pub struct Scene {
    pub home: Home,
    pub database: TestDatabase,
    pub tcp: Address,
    pub strict: Address,
    more: Address,
    /// The same in each configuration: its period begins when it was written first.
    quota: String,
}

impl Scene {
    /// With a new, empty database.
    pub fn new(engine: Engine) -> Self {
        let [tcp, strict, more] = [(); 3].map(|()| Address::from(support::loopback()));
        let quota = counting::quota("strict", "durability = \"strict\"", "");
        let (home, database) = (Home::new(programs!()), TestDatabase::new(engine));
        let scene = Self { home, database, tcp, strict, more, quota };
        scene.configure(false);
        scene
    }

    /// Writes the configuration; with `more` there are two listeners more, and another limit.
    pub fn configure(&self, more: bool) {
        let listener = |name: &str, address: &Address, module: &str| {
            format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [\"{module}\"]\n")
        };
        let mut text = format!("[database]\nurl = \"{}\"\n", self.database.url());
        text += &listener("tcp", &self.tcp, "bwl");
        text += &listener("unix", &self.unix("policy"), "bwl");
        text += &listener("strict", &self.strict, "strict");
        if more {
            text += &listener("more", &self.more, "bwl");
            text += &listener("more-unix", &self.unix("more"), "ticket");
        }
        text += &self.quota;
        self.home.configure(&text);
    }

    fn unix(&self, name: &str) -> Address {
        Address::Unix(self.home.path(name))
    }

    /// Rows in the rules' table.
    pub fn fill(&self) {
        let rows: Vec<_> = (0..RULES).map(|row| format!("(1, 'bad{row}@away.example', 'reject')")).collect();
        self.database.sql(&format!("INSERT INTO bwl_global (is_active, source, status) VALUES {};", rows.join(", ")));
    }

    /// The start after a kill: ready without help and without complaint, and all is there.
    #[track_caller]
    pub fn next_start(&self, what: &str, rules: u32) -> Daemon<'_> {
        let daemon = Daemon::spawn(&self.home);
        daemon.wait_ready();
        assert_eq!(daemon.complaints(false), Vec::<String>::new(), "{what}");
        for address in [&self.tcp, &self.unix("policy")] {
            let mut connection = Connection::open(address).unwrap();
            let mut ask = |sender: &str| connection.ask(&Request::rcpt(sender, USER)).unwrap();
            assert_eq!(ask("good@away.example"), "DUNNO", "{what}");
            if let Some(last) = rules.checked_sub(1) {
                assert!(ask(&format!("bad{last}@away.example")).starts_with("REJECT"), "{what}: the rules are loaded");
            }
        }
        let stats = daemon.stats();
        assert_eq!(stats["pid"], daemon.pid(), "{what}: it has the control socket");
        let count = self.database.sql("SELECT count(*) FROM bwl_global;");
        assert_eq!(count, rules.to_string(), "{what}: rules in the database");
        daemon
    }

    /// How long a start takes until `line` is in the log.
    pub fn time_to(&self, line: &str) -> Duration {
        let since = Instant::now();
        let daemon = Daemon::spawn(&self.home);
        daemon.wait_log(&[line]);
        let took = since.elapsed();
        daemon.wait_ready();
        assert_eq!(daemon.stop(), 0);
        took
    }

    /// What a daemon that was stopped in good order leaves; nothing else may be there.
    #[track_caller]
    pub fn assert_tidy(&self) {
        let mut left: Vec<PathBuf> = [self.home.directory().to_owned(), self.home.path("state")]
            .iter()
            .flat_map(|directory| std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()))
            // A socket of a listener that the configuration has no longer is nobody's.
            .filter(|path| !path.is_dir() && *path != self.home.path("more"))
            .collect();
        left.sort();
        let known = ["control.sock.lock", "log", "notify.sock", "valvula.toml"].map(|name| self.home.path(name));
        assert_eq!(left, known, "nothing else is left behind");
        if self.database.engine() == Engine::Sqlite {
            let file = PathBuf::from(self.database.name());
            let beside: Vec<_> =
                std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(beside, [file], "no journal is left behind");
        }
    }
}
