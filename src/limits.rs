//! What the process is allowed: files it makes are not for everybody, and it may have as many connections
//! as the system permits.

use nix::sys::stat::{Mode, umask};
use rustix::process::{Resource, getrlimit, setrlimit};
use slog::{Logger, warn};

/// Each connection is a file descriptor; some more are for the database, the log and the like.
const SPARE: u64 = 100;

/// Sets the umask, and raises the limit of open files as far as it goes.
pub fn apply(log: &Logger, connections: usize) {
    umask(Mode::from_bits_truncate(0o027));
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let now = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { before };
    let wanted = connections as u64 + SPARE;
    if now.is_some_and(|now| now < wanted) {
        warn!(log, "fewer open files are allowed than connections are configured";
            "allowed" => now, "wanted" => wanted);
    }
}
