//! The daemon's side of the control socket.
//!
//! A socket that a killed daemon left behind is taken over, one that a living daemon answers on is not. A
//! lock beside it, which the kernel gives back however a daemon ends, keeps two that start at once apart.
//! Only root, the daemon's own user and members of the socket's group may ask: the socket's mode (0660)
//! sees to that, and the peer's credentials are looked at as well, since a directory or a mode may be
//! changed by hand. What a client does wrong ends its request or its connection, never the server.

use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::module::BoxFuture;
use nix::unistd::{Gid, Uid, User, getegid, geteuid};
use slog::{Logger, debug, warn};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use super::protocol::{Code, Command, MAX_LINE, Refusal, Reply, decode_command, encode_reply};
use crate::config::Identity;

/// Operators at a time. More of them wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may say nothing, or not take its answer.
const IDLE: Duration = Duration::from_secs(60);
/// How long, and for how many bytes, one who may not ask is listened to before it is told.
const REFUSED: Duration = Duration::from_secs(1);
const MAX_REFUSED: u64 = 64 * 1024;
/// Out of file descriptors and the like: time for some to come free.
const PAUSE: Duration = Duration::from_millis(100);
/// `sun_path` has 108 bytes, the last of which is NUL.
const LONGEST_PATH: usize = 107;

/// Carries out what operators ask for.
pub trait Operator: Send + Sync + 'static {
    /// Carries out `command`.
    fn operate(&self, command: Command) -> BoxFuture<Reply>;
}

/// Why the control socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers on it.
    #[error("another daemon answers at {}: stop it, or set [server] control_socket", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is in its place.
    #[error("{} is there and is no socket: it is left alone; set [server] control_socket", .0.display())]
    NoSocket(PathBuf),
    /// The path does not fit into a socket address.
    #[error("{}: the path of a unix socket can have {LONGEST_PATH} bytes at most", .0.display())]
    LongPath(PathBuf),
    /// The system refused.
    #[error("the control socket {} can't be made: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A control socket that listens. Its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    allowed: Allowed,
    lock: File,
    left: Arc<Left>,
}

/// Whether the socket is another daemon's now.
#[derive(Debug, Default)]
struct Left {
    is_left: AtomicBool,
    told: Notify,
}

/// What is needed to give the socket to another daemon.
#[derive(Debug)]
pub struct Handle {
    path: PathBuf,
    socket: OwnedFd,
    lock: OwnedFd,
    left: Arc<Left>,
}

impl Handle {
    /// Where the socket is, the socket, and its lock.
    pub fn parts(&self) -> (&Path, BorrowedFd<'_>, BorrowedFd<'_>) {
        (&self.path, self.socket.as_fd(), self.lock.as_fd())
    }

    /// The socket that was adopted is this daemon's now: its file goes with it.
    pub fn claim(&self) {
        self.left.is_left.store(false, Ordering::Relaxed);
    }

    /// The socket is another daemon's: this one accepts nobody any more, and leaves its file where it is.
    pub fn leave(&self) {
        self.left.is_left.store(true, Ordering::Relaxed);
        self.left.told.notify_one();
    }
}

/// Who may ask besides root.
#[derive(Debug, Clone)]
struct Allowed {
    user: Uid,
    group: Gid,
}

impl ControlSocket {
    /// Listens at `path` with mode 0660, for the user the daemon will run as and for `group`, by default
    /// that user's own. Its directory is made when it is not there.
    pub fn bind(path: &Path, user: Option<&Identity>, group: Option<Gid>) -> Result<Self, BindError> {
        let allowed = Allowed::new(user, group);
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(BindError::LongPath(path.to_owned()));
        }
        let io = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            fs::create_dir_all(directory).map_err(io)?;
            own(directory, &allowed, 0o755).map_err(io)?;
        }
        let lock = lock(path)?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(io)?;
        let socket = Self { listener, path: path.to_owned(), allowed, lock, left: Arc::default() };
        own(path, &socket.allowed, 0o660).map_err(io)?;
        Ok(socket)
    }

    /// Goes on with the socket and the lock of the daemon whose place this one takes: its own once it is
    /// claimed by its handle.
    ///
    /// # Errors
    /// The socket can't be used.
    pub fn adopt(
        path: &Path,
        user: Option<&Identity>,
        group: Option<Gid>,
        (socket, lock): (OwnedFd, OwnedFd),
    ) -> Result<Self, BindError> {
        let listener = StdListener::from(socket);
        let adopted = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
        let listener = adopted.map_err(|source| BindError::Io { path: path.to_owned(), source })?;
        let allowed = Allowed::new(user, group);
        // The other daemon's until it is claimed.
        let left = Arc::new(Left { is_left: AtomicBool::new(true), told: Notify::new() });
        Ok(Self { listener, path: path.to_owned(), allowed, lock: lock.into(), left })
    }

    /// What is needed to give it to another daemon.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn handle(&self) -> io::Result<Handle> {
        Ok(Handle {
            path: self.path.clone(),
            socket: self.listener.as_fd().try_clone_to_owned()?,
            lock: self.lock.as_fd().try_clone_to_owned()?,
            left: self.left.clone(),
        })
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, operator: Arc<dyn Operator>, log: Logger) {
        let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let seat = seats.clone().acquire_owned().await.expect("the semaphore is never closed");
            let accepted = tokio::select! {
                biased;
                () = self.left.told.notified() => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(log, "control socket can't accept"; "error" => %error);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let (operator, log, allowed) = (operator.clone(), log.clone(), self.allowed.clone());
            tokio::spawn(async move {
                let _seat = seat;
                if let Err(error) = converse(stream, &allowed, &*operator, &log).await {
                    debug!(log, "control connection ended"; "error" => %error);
                }
            });
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if !self.left.is_left.load(Ordering::Relaxed) {
            // It may be gone, or its directory not ours any more: the next daemon takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn own(path: &Path, allowed: &Allowed, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if geteuid().is_root() {
        chown(path, Some(allowed.user.as_raw()), Some(allowed.group.as_raw()))?;
    } else if allowed.group != getegid() {
        chown(path, None, Some(allowed.group.as_raw()))?;
    }
    Ok(())
}

/// The lock file stays: who removes one may remove that of another.
fn lock(path: &Path) -> Result<File, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).write(true).truncate(false).mode(0o600).open(name).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Removes a socket that nobody answers on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        // Nobody has it open any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io),
        // It went away between the two looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Somebody's backlog is full: it lives.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BindError::InUse(path.to_owned())),
        Err(error) => Err(io(error)),
    }
}

/// Answers the requests of one connection until it is closed.
async fn converse(stream: UnixStream, allowed: &Allowed, operator: &dyn Operator, log: &Logger) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (Uid::from_raw(peer.uid()), Gid::from_raw(peer.gid()));
    let (read, mut write) = stream.into_split();
    if !allowed.admits(uid, gid) {
        warn!(log, "control request refused"; "uid" => uid.as_raw(), "gid" => gid.as_raw());
        // Whoever writes its request after we have hung up would not read why. What it asks is not looked at.
        let mut request = BufReader::new(read).take(MAX_REFUSED);
        let _ = within(REFUSED, request.read_until(b'\n', &mut Vec::new())).await;
        let refusal = Refusal::new(Code::NotAllowed, "only root and the daemon's user and group may ask");
        return send(&mut write, &Err(refusal)).await;
    }
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut read).take(MAX_LINE as u64);
        if within(IDLE, bounded.read_until(b'\n', &mut line)).await? == 0 {
            return Ok(());
        }
        if line.pop() != Some(b'\n') {
            let refusal = Refusal::new(Code::BadRequest, format!("a request is one line of at most {MAX_LINE} bytes"));
            return send(&mut write, &Err(refusal)).await;
        }
        let reply = match decode_command(&line) {
            Ok(command) => operator.operate(command).await,
            Err(refusal) => Err(refusal),
        };
        send(&mut write, &reply).await?;
    }
}

async fn send(write: &mut (impl tokio::io::AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    let line = encode_reply(reply) + "\n";
    within(IDLE, write.write_all(line.as_bytes())).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Allowed {
    fn new(user: Option<&Identity>, group: Option<Gid>) -> Self {
        Self {
            user: user.map_or_else(geteuid, |user| user.uid),
            group: group.or_else(|| user.map(|user| user.gid)).unwrap_or_else(getegid),
        }
    }

    /// A member of the group may have it as a supplementary one, which the socket does not tell.
    fn admits(&self, uid: Uid, gid: Gid) -> bool {
        uid.is_root() || uid == self.user || gid == self.group || self.is_member(uid)
    }

    fn is_member(&self, uid: Uid) -> bool {
        let Ok(Some(user)) = User::from_uid(uid) else { return false };
        let Ok(name) = std::ffi::CString::new(user.name) else { return false };
        nix::unistd::getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&self.group))
    }
}
