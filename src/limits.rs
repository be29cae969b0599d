//! What the process is allowed: files it makes are not for everybody, it may have as many connections as the
//! system permits, and nobody gets a copy of its memory, in which passwords are.

use nix::sys::stat::{Mode, umask};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use slog::{Logger, warn};

/// Each connection is a file descriptor; some more are for the database, the log and the like.
const SPARE: u64 = 100;

/// Sets the umask, forbids core dumps, and raises the limit of open files as far as it goes.
pub fn apply(log: &Logger, connections: usize) {
    umask(Mode::from_bits_truncate(0o027));
    forbid_core_dumps(log);
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

/// No core file; and none for a program that the kernel would hand the memory to, nor for a debugger of the
/// same user (PR_SET_DUMPABLE, prctl(2)).
fn forbid_core_dumps(log: &Logger) {
    let none = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let not_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = none.and(not_dumpable) {
        warn!(log, "core dumps can't be forbidden"; "error" => %error);
    }
}
