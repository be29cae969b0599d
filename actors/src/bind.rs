//! Binding: a listener's address is taken before privileges are dropped, and listened on only when the
//! modules are ready.
//!
//! A socket that is bound and does not listen refuses connections, so Postfix falls back to its default
//! action at once instead of waiting for a daemon that still loads.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libvalvula::Endpoint;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::runtime_settings::{ListenerSettings, SocketFile};

/// Connections that may wait to be accepted; the kernel bounds it by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why a listener has no socket.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot {what} {endpoint}: {why}")]
pub struct BindError {
    /// The listener's name.
    pub name: Arc<str>,
    /// What it was to listen on.
    pub endpoint: String,
    /// What failed: `bind`, `listen on`, `take over the socket of`.
    pub what: &'static str,
    /// Why.
    pub why: String,
}

/// A bound socket, not yet listened on.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    endpoint: Endpoint,
    file: Option<OwnFile>,
    name: Arc<str>,
    suspended: bool,
}

/// A unix socket's file, removed when the listener ends, if it is still this listener's.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    inode: u64,
}

/// The number of no file.
const NO_FILE: u64 = 0;

impl Drop for OwnFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).map(|file| file.ino())
}

impl Bound {
    /// Takes the address of `settings`.
    ///
    /// # Errors
    /// The address is in use or may not be bound; a unix socket's file is in the way, or its owner and
    /// mode cannot be set.
    pub fn new(settings: &ListenerSettings) -> Result<Self, BindError> {
        let failed = |why: String| BindError {
            name: settings.name.clone(),
            endpoint: settings.endpoint.to_string(),
            what: "bind",
            why,
        };
        match &settings.endpoint {
            Endpoint::Tcp(address) => {
                let bind = || -> io::Result<(Socket, Endpoint)> {
                    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                    if address.is_ipv6() {
                        // So that 0.0.0.0 and [::] can be listened on side by side.
                        socket.set_only_v6(true)?;
                    }
                    // A restart must not wait for the last daemon's connections to leave TIME_WAIT.
                    socket.set_reuse_address(true)?;
                    socket.set_nonblocking(true)?;
                    socket.bind(&SockAddr::from(*address))?;
                    let bound = socket.local_addr()?.as_socket().unwrap_or(*address);
                    Ok((socket, Endpoint::Tcp(bound)))
                };
                let (socket, endpoint) = bind().map_err(|error| failed(error.to_string()))?;
                Ok(Self { socket, endpoint, file: None, name: settings.name.clone(), suspended: false })
            }
            Endpoint::Unix(path) => {
                let (socket, file) = bind_file(path, &settings.file).map_err(failed)?;
                let endpoint = settings.endpoint.clone();
                Ok(Self { socket, endpoint, file: Some(file), name: settings.name.clone(), suspended: false })
            }
        }
    }

    /// Takes a socket that is listened on already: by the service manager, or by the daemon whose place this
    /// one takes. With `own_file` the file of a unix socket is removed when the listener ends; `suspended`
    /// is what an operator has ordered.
    ///
    /// # Errors
    /// It is not the socket of this address.
    pub fn adopt(
        settings: &ListenerSettings,
        socket: OwnedFd,
        own_file: bool,
        suspended: bool,
    ) -> Result<Self, BindError> {
        let socket = Socket::from(socket);
        let take = || -> io::Result<(Endpoint, Option<OwnFile>)> {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            match &settings.endpoint {
                Endpoint::Tcp(wanted) => {
                    let found = address.as_socket().filter(|found| wanted.port() == 0 || found == wanted);
                    let found = found.ok_or_else(|| io::Error::other("it is bound elsewhere"))?;
                    Ok((Endpoint::Tcp(found), None))
                }
                Endpoint::Unix(path) => {
                    if address.as_pathname() != Some(path) {
                        return Err(io::Error::other("it is bound elsewhere"));
                    }
                    let file = match own_file {
                        // Not before it is listened on: until then it is the other daemon's.
                        true => Some(OwnFile { path: path.clone(), inode: NO_FILE }),
                        false => None,
                    };
                    Ok((settings.endpoint.clone(), file))
                }
            }
        };
        match take() {
            Ok((endpoint, file)) => Ok(Self { socket, endpoint, file, name: settings.name.clone(), suspended }),
            Err(error) => Err(BindError {
                name: settings.name.clone(),
                endpoint: settings.endpoint.to_string(),
                what: "take over the socket of",
                why: error.to_string(),
            }),
        }
    }

    /// What it is bound to; a port of 0 has become the one the kernel chose.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Begins to listen: from here on the kernel takes connections.
    pub(crate) fn listen(self) -> Result<Listening, BindError> {
        let Self { socket, endpoint, mut file, name, suspended } = self;
        if let Some(file) = &mut file {
            file.inode = inode(&file.path).unwrap_or(NO_FILE);
        }
        match socket.listen(BACKLOG) {
            Ok(()) => Ok(Listening { socket, endpoint, name, file, suspended }),
            Err(error) => {
                Err(BindError { name, endpoint: endpoint.to_string(), what: "listen on", why: error.to_string() })
            }
        }
    }
}

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) struct Listening {
    socket: Socket,
    endpoint: Endpoint,
    name: Arc<str>,
    file: Option<OwnFile>,
    suspended: bool,
}

/// What accepts.
pub(crate) enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The name of its listener.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is not to be accepted on until an operator says so.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// A second handle, and whether the file of a unix socket goes with this one.
    pub(crate) fn duplicate(&self) -> io::Result<(OwnedFd, bool)> {
        Ok((self.socket.try_clone()?.into(), self.file.is_some()))
    }

    /// Leaves the file of a unix socket where it is.
    pub(crate) fn disown(&mut self) {
        if let Some(file) = &mut self.file {
            file.inode = NO_FILE;
        }
    }

    /// An acceptor on the current thread's reactor. Each restart of the port makes a new one.
    pub(crate) fn acceptor(&self) -> io::Result<Acceptor> {
        let socket = self.socket.try_clone()?;
        match self.endpoint {
            Endpoint::Tcp(_) => tokio::net::TcpListener::from_std(socket.into()).map(Acceptor::Tcp),
            Endpoint::Unix(_) => tokio::net::UnixListener::from_std(socket.into()).map(Acceptor::Unix),
        }
    }
}

/// Binds a unix socket at `path`. A file left by a daemon that was killed is replaced; one that somebody
/// answers on, or that is no socket, is not.
fn bind_file(path: &Path, file: &SocketFile) -> Result<(Socket, OwnFile), String> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err("there is a file that is not a socket".to_owned());
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err("another program listens there".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|error| format!("a stale socket cannot be removed: {error}"))?;
            }
            Err(error) => return Err(format!("there is a socket that cannot be asked: {error}")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.to_string()),
    }
    let bind = || -> io::Result<(Socket, OwnFile)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let own = OwnFile { path: path.to_owned(), inode: inode(path)? };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(file.mode))?;
        if file.uid.is_some() || file.gid.is_some() {
            std::os::unix::fs::chown(path, file.uid, file.gid)?;
        }
        Ok((socket, own))
    };
    bind().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> ListenerSettings {
        ListenerSettings::new("test", Endpoint::Unix(path.to_owned()), &[])
    }

    #[test]
    fn a_port_of_zero_becomes_the_one_the_kernel_chose_and_taken_it_cannot_be_bound_again() {
        let endpoint = "127.0.0.1:0".parse().expect("an address");
        let bound = Bound::new(&ListenerSettings::new("a", endpoint, &[])).expect("a free port");
        let again = ListenerSettings::new("b", bound.endpoint().clone(), &[]);
        let _listening = bound.listen().expect("listens");
        let error = Bound::new(&again).expect_err("in use").to_string();
        assert!(error.starts_with("listener b: cannot bind 127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let bound = Bound::new(&at(&path)).expect("replaced").listen().expect("listens");
        assert!(Bound::new(&at(&path)).expect_err("live").to_string().contains("another program listens there"));
        drop(bound);
        assert!(!path.exists(), "removed at the end");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy");
        std::fs::write(&path, "precious").expect("written");
        assert!(Bound::new(&at(&path)).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[test]
    fn mode_of_the_socket_is_as_configured() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy");
        let mut settings = at(&path);
        settings.file.mode = 0o620;
        let _bound = Bound::new(&settings).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o620);
    }
}
