//! Lines to the system log daemon: datagrams to `/dev/log`, in the form that glibc's syslog(3) writes and
//! that every syslogd reads (RFC 3164 without a host name).
//!
//! A syslogd that is restarted makes a new socket: a line that could not be sent is tried once more on a
//! new connection. While there is none, lines are lost, counted, and the count is reported afterwards.

use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::batch::Line;
use super::line::severity;
use super::target::{Lost, Target};

/// Where the system log daemon listens.
pub(super) const SOCKET: &str = "/dev/log";
/// Facility `mail` (RFC 5424, table 1).
pub(super) const FACILITY: u8 = 2;
/// Longest datagram: what rsyslog takes by default.
const MAX: usize = 8 * 1024;

/// The system log.
pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    zone: TimeZone,
    text: String,
}

impl Syslog {
    /// The system log behind the socket at `path`, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None, zone: TimeZone::system(), text: String::new() }
    }

    fn send(&mut self) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                none.insert(socket)
            }
        };
        socket.send(self.text.as_bytes()).map(drop)
    }
}

impl Target for Syslog {
    fn write(&mut self, line: &Line<'_>) -> Result<(), Lost> {
        self.text.clear();
        let time = line.time.to_zoned(self.zone.clone()).strftime("%b %e %H:%M:%S");
        let priority = FACILITY * 8 + severity(line.level);
        // Writing to a String can't fail.
        let _ = write!(self.text, "<{priority}>{time} valvulad[{}]: ", std::process::id());
        line.write_body(&mut self.text);
        let end = self.text.floor_char_boundary(MAX);
        self.text.truncate(end);
        self.send().or_else(|_| {
            self.socket = None;
            self.send()
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Value, example};
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = vec![0; 64 * 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_line_has_priority_time_tag_and_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog { zone: TimeZone::UTC, ..Syslog::new(&path) };
        syslog.write(&example("port listens", &[("listener", Value::Text("a\nb"))]).first()).unwrap();
        let expected = format!("<20>Jan  1 00:00:00 valvulad[{}]: port listens listener=\"a\\nb\"", std::process::id());
        assert_eq!(receive(&daemon), expected);
    }

    #[test]
    fn a_restarted_syslogd_gets_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut syslog = Syslog::new(&path);
        assert!(syslog.write(&example("nobody there", &[]).first()).is_err());
        let first = UnixDatagram::bind(&path).unwrap();
        syslog.write(&example("one", &[]).first()).unwrap();
        assert!(receive(&first).ends_with("one"));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        assert!(syslog.write(&example("lost", &[]).first()).is_err());
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.write(&example("two", &[]).first()).unwrap();
        assert!(receive(&second).ends_with("two"));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        Syslog::new(&path).write(&example("x", &[("long", Value::Text(&"\u{e4}".repeat(MAX)))]).first()).unwrap();
        assert!(receive(&daemon).len() <= MAX);
    }
}
