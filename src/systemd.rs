//! What the service manager is told: ready, reloading, stopping, alive (sd_notify(3)).
//!
//! Without a service manager (no `NOTIFY_SOCKET`) every call does nothing. The socket is opened once, before
//! privileges are dropped, and never waited for: a manager that hangs must not stop the thread on which ports
//! accept, which is why this is not the crate sd-notify. A message that can't be sent is only logged: systemd
//! has its own time-outs.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use slog::{Logger, warn};

/// The way to the service manager. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    log: Logger,
}

impl Manager {
    /// Failures go to `log`.
    pub fn new(log: Logger) -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                warn!(log, "service manager can't be told anything"; "error" => %error);
                None
            }
        });
        Self { socket, log }
    }

    /// Requests are answered from now on.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=answering requests");
    }

    /// The configuration is being read again; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reloading"));
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing requests");
    }

    /// Another process is the service from now on.
    pub fn main_process(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    /// The daemon is alive: to be called more often than [`watchdog`] says.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            warn!(self.log, "service manager not told"; "error" => %error);
        }
    }
}

/// A path, or after `@` a name in the abstract namespace.
fn open(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// How long the service manager waits for a sign of life, if it does (sd_watchdog_enabled(3)).
pub fn watchdog() -> Option<Duration> {
    limit(env::var("WATCHDOG_USEC").ok().as_deref(), env::var("WATCHDOG_PID").ok().as_deref(), std::process::id())
}

fn limit(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None; // meant for another process
    }
    usec?.parse().ok().filter(|usec| *usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(socket: UnixDatagram) -> Manager {
        Manager { socket: Some(Arc::new(socket)), log: Logger::root(slog::Discard, slog::o!()) }
    }

    fn receive(from: &UnixDatagram) -> String {
        let mut buffer = [0; 1000];
        let length = from.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn states_are_told_as_systemd_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let manager = manager(open(path.as_os_str()).unwrap());
        manager.ready();
        assert!(receive(&systemd).starts_with("READY=1\n"));
        manager.reloading();
        let reloading = receive(&systemd);
        let stamp = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
        assert!(reloading.starts_with("RELOADING=1\n") && stamp.parse::<u64>().unwrap() > 0, "{reloading}");
        manager.alive();
        assert_eq!(receive(&systemd), "WATCHDOG=1");
        manager.main_process(42);
        assert_eq!(receive(&systemd), "MAINPID=42");
    }

    #[test]
    fn a_service_manager_that_hangs_is_not_waited_for() {
        let (ours, _never_read) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let manager = manager(ours);
        for _ in 0..10_000 {
            manager.alive();
        }
    }

    #[test]
    fn a_name_in_the_abstract_namespace_is_one() {
        let name = format!("valvula-test-{}", std::process::id());
        let systemd = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(open(OsStr::new(&format!("@{name}"))).unwrap()).stopping();
        assert!(receive(&systemd).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn the_watchdog_is_fed_only_when_it_is_ours() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(limit(Some("1000000"), None, 7), second);
        assert_eq!(limit(Some("1000000"), Some("7"), 7), second);
        assert_eq!(limit(Some("1000000"), Some("8"), 7), None);
        assert_eq!(limit(Some("0"), None, 7), None);
        assert_eq!(limit(Some("soon"), None, 7), None);
        assert_eq!(limit(None, None, 7), None);
    }
}
