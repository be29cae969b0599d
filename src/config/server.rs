//! `[server]`: whom the daemon runs as, how many workers it has, where it keeps its files.
//!
//! The paths that are not configured are those of a system service for root and for a service started
//! by systemd, and the user's own (XDG) for anybody else, so that the example configuration runs as it is.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::Runtime;
use actors::settings::Section;
use nix::unistd::{Gid, Group, Uid, User, geteuid};

/// Where a system service keeps its state.
const SYSTEM_STATE: &str = "/var/lib/valvula";
/// Where a system service has its control socket.
const SYSTEM_SOCKET: &str = "/run/valvula/control.sock";
/// How long connections may take to finish when the daemon stops.
const GRACE: Duration = Duration::from_secs(10);
/// The least and the most of `max_request_memory`: 1 MiB, 1 TiB.
const MEMORY: (i64, i64) = (1 << 20, 1 << 40);
/// More worker threads than any machine has cores.
const MAX_WORKERS: i64 = 1024;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whom to drop to after binding; absent: stay.
    pub user: Option<Identity>,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Where the embedded database and what else must last is kept.
    pub state_dir: PathBuf,
    /// The control socket, mode 0660.
    pub control_socket: PathBuf,
    /// Group of the control socket; absent: the group of `user`.
    pub control_group: Option<Gid>,
    /// How long connections may take to finish when the daemon stops.
    pub grace: Duration,
    /// Bytes that requests on their way may take, all connections together.
    pub max_request_memory: usize,
}

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, by which its supplementary groups are found.
    pub name: String,
    /// Its user id.
    pub uid: Uid,
    /// Its primary group.
    pub gid: Gid,
}

impl Server {
    pub(super) fn read(mut section: Section) -> Self {
        let user = user(&mut section, "user");
        let workers = section.number("workers", 0, 0..=MAX_WORKERS);
        let state_dir = path(&mut section, "state_dir").unwrap_or_else(default_state_dir);
        let control_socket = path(&mut section, "control_socket").unwrap_or_else(default_control_socket);
        let control_group = group(&mut section, "control_group");
        let grace = section.duration("grace", GRACE);
        let default = i64::try_from(Runtime::REQUEST_MEMORY).unwrap_or(MEMORY.1);
        let memory = section.number("max_request_memory", default, MEMORY.0..=MEMORY.1);
        section.finish();
        Self {
            user,
            workers: workers.unsigned_abs() as usize,
            state_dir,
            control_socket,
            control_group,
            grace,
            max_request_memory: memory.unsigned_abs() as usize,
        }
    }
}

/// Only the control socket's path.
pub(super) fn control_socket(mut section: Section) -> PathBuf {
    path(&mut section, "control_socket").unwrap_or_else(default_control_socket)
}

/// The user named at `key`, who must exist.
pub(super) fn user(section: &mut Section, key: &str) -> Option<Identity> {
    let name: String = section.value(key)?;
    match User::from_name(&name) {
        Ok(Some(user)) => Some(Identity { name, uid: user.uid, gid: user.gid }),
        Ok(None) => {
            section.fault(key, format!("there is no user {name:?} on this machine"));
            None
        }
        Err(error) => {
            section.fault(key, format!("the user {name:?} can't be looked up: {error}"));
            None
        }
    }
}

/// The group named at `key`, which must exist.
pub(super) fn group(section: &mut Section, key: &str) -> Option<Gid> {
    let name: String = section.value(key)?;
    match Group::from_name(&name) {
        Ok(Some(group)) => Some(group.gid),
        Ok(None) => {
            section.fault(key, format!("there is no group {name:?} on this machine"));
            None
        }
        Err(error) => {
            section.fault(key, format!("the group {name:?} can't be looked up: {error}"));
            None
        }
    }
}

/// The path at `key`, made absolute: it means the same after `--detach` and at a reload.
fn path(section: &mut Section, key: &str) -> Option<PathBuf> {
    let text: String = section.value(key)?;
    match std::path::absolute(&text) {
        Ok(path) if !text.contains('\0') => Some(path),
        _ => {
            section.fault(key, format!("{text:?} is no path"));
            None
        }
    }
}

fn default_state_dir() -> PathBuf {
    if is_service() {
        return SYSTEM_STATE.into();
    }
    directory("XDG_STATE_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| SYSTEM_STATE.into(), |base| base.join("valvula"))
}

/// Where the control socket is when the configuration does not say.
fn default_control_socket() -> PathBuf {
    if is_service() {
        return SYSTEM_SOCKET.into();
    }
    let own = directory("XDG_RUNTIME_DIR")
        .map_or_else(|| default_state_dir().join("control.sock"), |base| base.join("valvula/control.sock"));
    // An ordinary user who asks the system's daemon has none of its own.
    if !own.exists() && Path::new(SYSTEM_SOCKET).exists() { SYSTEM_SOCKET.into() } else { own }
}

fn is_service() -> bool {
    geteuid().is_root() || env::var_os("STATE_DIRECTORY").is_some() || env::var_os("NOTIFY_SOCKET").is_some()
}

fn directory(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
