//! Load on real daemons that count, and what their database then says was counted.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{Address, Connection, Engine, Request, TestDatabase};

/// A listener of its own for each way of counting, by its module's name.
pub struct Listeners(Vec<(&'static str, Address)>);

impl Listeners {
    pub fn new(modules: &[&'static str]) -> Self {
        Self(modules.iter().map(|module| (*module, support::loopback().into())).collect())
    }

    pub fn address(&self, module: &str) -> &Address {
        &self.0.iter().find(|(known, _)| *known == module).expect("a listener of that name").1
    }

    /// `valvula.toml`: the listeners, and `modules` as they are.
    pub fn settings(&self, database: &TestDatabase, modules: &str) -> String {
        let mut text = format!("[database]\nurl = \"{}\"\n", database.url());
        for (module, address) in &self.0 {
            text += &format!("[[listener]]\nname = \"{module}\"\naddress = \"{address}\"\nmodules = [\"{module}\"]\n");
        }
        text + modules
    }
}

/// The section of a setting of mquota with one period, whose run lasts from a minute ago for a day: no
/// test sees it end.
pub fn quota(name: &str, keys: &str, limits: &str) -> String {
    let minute_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
    let from = minute_ago.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M").to_string();
    format!(
        "[module.{name}]\ntype = \"mquota\"\ntimezone = \"UTC\"\n{keys}\n\
         [[module.{name}.period]]\nlabel = \"day\"\nfrom = \"{from}\"\nto = \"{from}\"\n{limits}\n"
    )
}

/// What `user` has used by the counters called `store`, as the database has it.
pub fn stored(database: &TestDatabase, store: &str, user: &str) -> u64 {
    let literal = |text: &str| {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        if database.engine() == Engine::Postgres { format!("'\\x{hex}'") } else { format!("x'{hex}'") }
    };
    let (store, user) = (literal(store), literal(user));
    let sql = format!("SELECT run_used FROM valvula_counter WHERE kind = 0 AND store = {store} AND name = {user};");
    // No row: nothing was counted yet.
    database.sql(&sql).parse().unwrap_or(0)
}

/// What is charged to ticket `id` in all.
pub fn ticket(database: &TestDatabase, id: u32) -> u64 {
    database.sql(&format!("SELECT COALESCE(total_used, 0) FROM domain_ticket WHERE id = {id};")).parse().unwrap()
}

/// What `read` gives once it stands still: statements of a daemon that was killed may still be on their
/// way in the server.
pub fn settled<T: PartialEq + Clone>(read: impl Fn() -> T) -> T {
    let (mut last, mut still) = (None, 0);
    support::wait_until("the counters stand still", Duration::from_secs(60), || {
        let now = Some(read());
        still = if last == now { still + 1 } else { 0 };
        last = now;
        still == 5
    });
    last.expect("it was read")
}

/// What the clients of a load were told.
#[derive(Default)]
pub struct Told {
    /// When each `DUNNO` came.
    pub passed: Vec<Instant>,
    pub refused: u64,
    pub deferred: u64,
    /// Why connections ended, or what else was said.
    pub faults: Vec<String>,
    /// The longest that an answer took.
    pub longest: Duration,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.passed.extend(other.passed);
        self.refused += other.refused;
        self.deferred += other.deferred;
        self.faults.extend(other.faults);
        self.longest = self.longest.max(other.longest);
    }

    pub fn passed(&self) -> u64 {
        self.passed.len() as u64
    }
}

/// Clients that ask until they are told to stop, their connection ends, or (if so asked) they are refused.
pub struct Load {
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Told>>,
}

impl Load {
    /// `clients` connections on which `user` sends mail, each message to one recipient, as fast as every `pause`.
    pub fn start(address: &Address, clients: usize, user: &str, pause: Duration) -> Self {
        Self::start_with(address, clients, user, pause, false)
    }

    /// The same, each client until it is refused.
    pub fn until_refused(address: &Address, clients: usize, user: &str) -> Self {
        Self::start_with(address, clients, user, Duration::ZERO, true)
    }

    fn start_with(address: &Address, clients: usize, user: &str, pause: Duration, ends: bool) -> Self {
        let (stop, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        // Without an instance each request is a message of its own.
        let request = Request::rcpt(user, "r@away.example").sasl(user).set("instance", "");
        let client = |_| {
            let (address, request) = (address.clone(), request.clone());
            let (stop, passed) = (Arc::clone(&stop), Arc::clone(&passed));
            std::thread::spawn(move || ask(&address, &request, pause, ends, &stop, &passed))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, passed, clients }
    }

    /// How many requests have passed so far.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Lets the clients finish the request in hand, and gives what they were told.
    pub fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until every client has ended by itself.
    pub fn join(self) -> Told {
        let mut told = Told::default();
        for client in self.clients {
            told.add(client.join().expect("a client does not panic"));
        }
        told
    }
}

fn ask(
    address: &Address,
    request: &Request,
    pause: Duration,
    ends: bool,
    stop: &AtomicBool,
    passed: &AtomicU64,
) -> Told {
    let mut told = Told::default();
    let mut connection = match Connection::open(address) {
        Ok(connection) => connection,
        Err(error) => {
            told.faults.push(error.to_string());
            return told;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let since = Instant::now();
        match connection.ask(request) {
            Ok(answer) if answer == "DUNNO" => {
                passed.fetch_add(1, Ordering::Relaxed);
                told.passed.push(Instant::now());
            }
            Ok(answer) if answer.starts_with("REJECT ") => {
                told.refused += 1;
                if ends {
                    return told;
                }
            }
            Ok(answer) if answer.starts_with("DEFER") => told.deferred += 1,
            Ok(answer) => told.faults.push(answer),
            Err(error) => {
                told.faults.push(error.to_string());
                return told;
            }
        }
        told.longest = told.longest.max(since.elapsed());
        // A client that sends mail, not one that burns the processor. No arbiter runs on its thread.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(pause);
    }
    told
}
