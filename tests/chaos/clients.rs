//! The load: clients that know the right answers and keep count of what they were told.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{Address, Connection, Random};

use crate::ways::Way;

/// Clients of each listener. Every second one connects anew now and then, as smtpd processes come and go.
pub const CLIENTS: u64 = 2;
/// Requests on a connection of those that connect anew.
const SHORT: u32 = 25;

/// What the clients of a listener were told so far.
#[derive(Default)]
pub struct Told {
    pub passed: AtomicU64,
    pub refused: AtomicU64,
    pub deferred: AtomicU64,
    pub other: AtomicU64,
    /// Requests whose connection was ended before their answer.
    pub lost: AtomicU64,
    pub connections: AtomicU64,
    /// How long each answer took.
    pub took: Mutex<Vec<Duration>>,
    /// The longest of them, in milliseconds.
    pub longest: AtomicU64,
    /// What must not be.
    wrong: Mutex<Vec<String>>,
}

impl Told {
    pub fn answered(&self) -> u64 {
        [&self.passed, &self.refused, &self.deferred, &self.other].map(get).iter().sum()
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    fn wrong_is(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// Counts an answer to a request whose answer must begin with one of `right`.
    pub fn note(&self, answer: &str, right: &[&str]) {
        if !right.iter().any(|right| answer.starts_with(right)) {
            return self.wrong_is(format!("{answer:?} in place of one of {right:?}"));
        }
        let count = match answer.split(' ').next() {
            Some("DUNNO") => &self.passed,
            Some("REJECT") => &self.refused,
            Some("DEFER") => &self.deferred,
            _ => &self.other,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// The clients of one listener.
pub struct Clients {
    pub told: Arc<Told>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub fn start(way: &'static Way, address: &Address, seed: u64) -> Self {
        let (told, stop) = (Arc::new(Told::default()), Arc::new(AtomicBool::new(false)));
        let threads = (0..CLIENTS).map(|number| {
            let client = Client {
                way,
                address: address.clone(),
                told: told.clone(),
                stop: stop.clone(),
                random: Random::new(seed ^ number << 32),
                stays: number % 2 == 0,
            };
            std::thread::spawn(move || client.run())
        });
        let threads = threads.collect();
        Self { told, stop, threads }
    }

    /// Lets the clients finish the request in hand and leave.
    pub fn end(self) -> Arc<Told> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
        self.told
    }
}

struct Client {
    way: &'static Way,
    address: Address,
    told: Arc<Told>,
    stop: Arc<AtomicBool>,
    random: Random,
    stays: bool,
}

impl Client {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.told.connections.fetch_add(1, Ordering::Relaxed);
            match Connection::open(&self.address) {
                Ok(connection) => self.talk(connection),
                // The port listens all the time: who connects waits, and is not refused.
                Err(error) => return self.told.wrong_is(format!("connecting: {error}")),
            }
        }
    }

    fn talk(&mut self, mut connection: Connection) {
        let mut asked = 0;
        while !self.stop.load(Ordering::Relaxed) && (self.stays || asked < SHORT) {
            asked += 1;
            let (request, right) = self.way.question(&mut self.random);
            let since = Instant::now();
            match connection.ask(&request) {
                Ok(answer) => self.told.note(&answer, &right),
                Err(error) if is_end(&error) => {
                    self.told.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                // Silence, or what is no answer.
                Err(error) => return self.told.wrong_is(error.to_string()),
            }
            let took = since.elapsed();
            self.told.took.lock().unwrap().push(took);
            let millis = u64::try_from(took.as_millis()).expect("not for ever");
            self.told.longest.fetch_max(millis, Ordering::Relaxed);
            // Clients that send mail, not clients that burn the processor. No arbiter runs on this thread.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(Duration::from_millis(self.random.between(5, 25)));
        }
        // An answer too many would stand here.
        match connection.half_close().and_then(|()| connection.rest()) {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => self.told.wrong_is(format!("answered twice: {:?}", String::from_utf8_lossy(&rest))),
            Err(error) if is_end(&error) => {}
            Err(error) => self.told.wrong_is(format!("after the end: {error}")),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof)
}
