//! The running daemon.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Home, Output};

/// How long a daemon may take to be ready or to end: far more than it needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `valvulad`. Killed when dropped.
pub struct Daemon<'a> {
    home: &'a Home,
    child: Mutex<Child>,
    notify: UnixDatagram,
    /// Where the log of this run begins.
    log_start: usize,
}

impl<'a> Daemon<'a> {
    /// Starts it without waiting.
    pub fn spawn(home: &'a Home) -> Self {
        Self::spawn_with(home, &[], &[])
    }

    /// The same with further flags and a further environment.
    pub fn spawn_with(home: &'a Home, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn_command(home, home.daemon_command(), flags, environment)
    }

    /// Starts it as systemd does with a socket unit: `socket` is its descriptor 3.
    pub fn spawn_activated(home: &'a Home, socket: &UnixListener) -> Self {
        // A shell puts it there, and becomes the daemon.
        let mut command = Command::new("sh");
        let daemon = home.daemon_command();
        command.args([
            "-c",
            "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=policy; exec \"$@\" 3<&0 </dev/null",
            "sh",
        ]);
        command.arg(daemon.get_program()).args(daemon.get_args()).current_dir(home.directory()).process_group(0);
        command.stdin(socket.try_clone().map(OwnedFd::from).expect("a second handle"));
        Self::spawn_command(home, command, &[], &[])
    }

    fn spawn_command(home: &'a Home, mut command: Command, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        // Readiness as systemd learns it: the daemon says so after its ports listen.
        let socket = home.path("notify.sock");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("a notify socket");
        // As systemd's own: a daemon that has dropped its privileges must reach it too.
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).expect("its mode can be set");
        notify.set_read_timeout(Some(Duration::from_millis(20))).expect("a read timeout");
        let log = File::options().create(true).append(true).open(home.path("log")).expect("a log file");
        let log_start = std::fs::read(home.path("log")).map_or(0, |text| text.len());
        command.args(flags).envs(environment.iter().copied()).env("NOTIFY_SOCKET", &socket);
        command.stdout(log.try_clone().expect("the log's second handle")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { home, child: Mutex::new(child), notify, log_start }
    }

    /// Waits until it says `READY=1`.
    ///
    /// # Panics
    /// When it ends instead, or does not say so within a minute.
    #[track_caller]
    pub fn wait_ready(&self) {
        let since = Instant::now();
        while !self.notified("READY=1") {
            if let Some(status) = self.ended() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            assert!(since.elapsed() < PATIENCE, "the daemon is not ready:\n{}", self.log());
        }
    }

    /// Whether the next message to systemd, if there is one within 20 ms, holds `line`.
    pub fn notified(&self, line: &str) -> bool {
        self.told().iter().any(|found| found == line)
    }

    /// The lines of the next message to systemd, if there is one within 20 ms.
    pub fn told(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.notify.recv(&mut message).unwrap_or(0);
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("its status can be asked")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id")).expect("not 0");
        kill_process(pid, signal).expect("the daemon takes signals");
    }

    /// Waits until it ends by itself; gives its exit code, or 128 and the signal that ended it.
    ///
    /// # Panics
    /// When it does not within a minute, with its log.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        let ended = testkit::wait_for("the daemon ends", PATIENCE, || self.ended());
        ended.0.code().unwrap_or_else(|| 128 + ended.0.signal().unwrap_or_default())
    }

    /// Ends it as systemd does and gives its exit code.
    #[track_caller]
    pub fn stop(&self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// `kill -9`.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// What it logged in this run so far.
    pub fn log(&self) -> String {
        let text = std::fs::read(self.home.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&text[self.log_start.min(text.len())..]).into_owned()
    }

    /// Waits for a line of the log that holds each of `parts`, and gives it.
    ///
    /// # Panics
    /// When there is none within ten seconds, with the log.
    #[track_caller]
    pub fn wait_log(&self, parts: &[&str]) -> String {
        let since = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.to_owned();
            }
            assert!(since.elapsed() < Duration::from_secs(10), "no line with {parts:?} in the log:\n{log}");
            #[allow(clippy::disallowed_methods)] // no arbiter runs on a test's thread
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many lines of the log hold each of `parts`.
    pub fn count_log(&self, parts: &[&str]) -> usize {
        self.log().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// The lines of the log in which it complains: of level error and worse, or from warning on.
    pub fn complaints(&self, warnings_too: bool) -> Vec<String> {
        let levels: &[&str] = if warnings_too { &["warning", "error", "critical"] } else { &["error", "critical"] };
        let of_level = |line: &&str| line.split_whitespace().nth(1).is_some_and(|level| levels.contains(&level));
        self.log().lines().filter(of_level).map(str::to_owned).collect()
    }

    /// Asks it through `valvulactl`, which must succeed.
    #[track_caller]
    pub fn control(&self, arguments: &[&str]) -> Output {
        self.home.valvulactl(arguments).ok()
    }

    /// `valvulad -s --json`.
    #[track_caller]
    pub fn stats(&self) -> serde_json::Value {
        let output = self.home.valvulad(&["-s", "--json"]).ok();
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
    }

    /// What the statistics say of the listener `name`.
    #[track_caller]
    pub fn listener(&self, name: &str) -> serde_json::Value {
        named(&self.stats()["listeners"], name)
    }

    /// What the statistics say of the module `name`.
    #[track_caller]
    pub fn module(&self, name: &str) -> serde_json::Value {
        named(&self.stats()["modules"], name)
    }

    /// What the module `name` says of itself under `fact`.
    #[track_caller]
    pub fn fact(&self, name: &str, fact: &str) -> serde_json::Value {
        let module = self.module(name);
        let facts = module["facts"].as_array().expect("a list of facts");
        let found = facts.iter().find(|entry| entry[0] == fact);
        found.unwrap_or_else(|| panic!("no {fact} in {module}"))[1].clone()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[track_caller]
fn named(list: &serde_json::Value, name: &str) -> serde_json::Value {
    let found = list.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == name));
    found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.kill();
        // A test that fails shows what the daemon saw.
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("---- log of the daemon\n{}", self.log());
            }
        }
    }
}
