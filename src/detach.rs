//! `--detach`: the daemon in the background, in a session of its own.
//!
//! A process with threads can't fork and go on, so the program starts itself a second time. The child keeps
//! the terminal's standard error until it is ready, so that a fault is seen where the command was typed; the
//! parent waits until then and ends with 0, or with the child's exit code when there was no being ready.
//! The current directory stays: relative paths mean the same on both sides.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

/// Marks the second start.
const MARK: &str = "VALVULAD_DETACHED";
/// What the child says when it is ready.
const READY: u8 = b'R';

/// Whether this is the process that shall become the daemon.
pub fn is_child() -> bool {
    env::var_os(MARK).is_some()
}

/// Starts the daemon and waits until it is ready: `None`, or its exit code when it ended instead.
pub fn start_child() -> io::Result<Option<u8>> {
    let mut child = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut from) = child.stdout.take() {
        // Ends with the byte, or when the child does.
        let mut byte = [0];
        if from.read(&mut byte)? == 1 {
            said.push(byte[0]);
        }
    }
    if said == [READY] {
        return Ok(None);
    }
    let status = child.wait()?;
    // As a shell says it: 128 and the signal.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Leaves the terminal's session. To be called first in the child.
pub fn leave_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Tells the parent that the daemon is ready, and lets go of the terminal.
pub fn ready() -> io::Result<()> {
    let mut parent = io::stdout();
    // The parent may have been ended meanwhile; that is no reason not to run.
    let _ = parent.write_all(&[READY]).and_then(|()| parent.flush());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
