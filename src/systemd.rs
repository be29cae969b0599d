//! What the service manager is told: ready, reloading, stopping, alive.
//!
//! Without a service manager (no `NOTIFY_SOCKET`) every call does nothing. A message that can't be sent is
//! only logged: systemd has its own time-outs.

use std::env;
use std::time::Duration;

use sd_notify::NotifyState;
use slog::{Logger, warn};

/// The way to the service manager. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    log: Logger,
}

impl Manager {
    /// Failures go to `log`.
    pub fn new(log: Logger) -> Self {
        Self { log }
    }

    /// Requests are answered from now on.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready, NotifyState::Status("answering requests")]);
    }

    /// The configuration is being read again; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
            Err(error) => warn!(self.log, "service manager not told"; "error" => %error),
        }
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("finishing requests")]);
    }

    /// The daemon is alive: to be called more often than [`watchdog`] says.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        // The variable stays: it is read at each call, and taking it away would need `unsafe`.
        if let Err(error) = sd_notify::notify(false, state) {
            warn!(self.log, "service manager not told"; "error" => %error);
        }
    }
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
