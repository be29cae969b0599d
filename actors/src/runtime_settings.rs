//! What the runtime is told about listeners and modules: checked values, no text to be read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use libvalvula::{Endpoint, Limits};

use crate::networks::Networks;

/// What is answered for a module that fails (is overloaded, times out, crashes, is unavailable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// No opinion: mail flows, and the log says that it flowed unchecked.
    #[default]
    Dunno,
    /// A temporary refusal: the client tries again later.
    Defer,
    /// No answer and the connection ended: Postfix tries again and then uses
    /// `smtpd_policy_service_default_action`.
    Disconnect,
}

impl OnFailure {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dunno => "dunno",
            Self::Defer => "defer",
            Self::Disconnect => "disconnect",
        }
    }
}

/// What is common to all modules.
#[derive(Debug, Clone)]
pub struct ModuleSettings {
    /// Its name in chains, statistics and logs, without `mod-`.
    pub name: Arc<str>,
    /// Its type: the same as the name unless one chain holds two settings of one module.
    pub kind: Arc<str>,
    /// What is answered for it when it fails.
    pub on_failure: OnFailure,
    /// The longest it may take for one request.
    pub deadline: Duration,
    /// The most requests it may hold on each worker, queued and running.
    pub max_in_flight: usize,
    /// Its verdicts are only counted and logged.
    pub observe: bool,
}

impl ModuleSettings {
    /// Default of [`Self::deadline`].
    pub const DEADLINE: Duration = Duration::from_secs(5);
    /// Default of [`Self::max_in_flight`]: more than `max_connections` connections ever ask of one worker
    /// by default, so that only who sets it meets it.
    pub const MAX_IN_FLIGHT: usize = 4096;

    /// A module of this name with the defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            kind: name.into(),
            on_failure: OnFailure::default(),
            deadline: Self::DEADLINE,
            max_in_flight: Self::MAX_IN_FLIGHT,
            observe: false,
        }
    }
}

/// Mode and owner of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// Permission bits; default 0666: Postfix's smtpd must be able to connect, and who may reach the
    /// socket is decided by its directory.
    pub mode: u32,
    /// User id of the owner; absent: the user the daemon starts as.
    pub uid: Option<u32>,
    /// Group id; absent: the group the daemon starts as.
    pub gid: Option<u32>,
}

impl Default for SocketFile {
    fn default() -> Self {
        Self { mode: 0o666, uid: None, gid: None }
    }
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its name in orders, statistics and logs.
    pub name: Arc<str>,
    /// What it listens on.
    pub endpoint: Endpoint,
    /// Its chain, by module name.
    pub modules: Vec<Arc<str>>,
    /// Whose clients may connect by TCP; a unix socket's are decided by its file.
    pub allow: Networks,
    /// The most connections open at a time; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// The longest a request may take in all.
    pub deadline: Duration,
    /// The longest a request that has begun may take to be complete, and an answer to be taken.
    pub request_timeout: Duration,
    /// How long a connection may be idle. Above Postfix's own 1000 s, so that Postfix closes first.
    pub idle_timeout: Duration,
    /// Limits of one request.
    pub limits: Limits,
    /// For a unix socket.
    pub file: SocketFile,
}

impl ListenerSettings {
    /// Default of [`Self::max_connections`].
    pub const MAX_CONNECTIONS: usize = 2000;
    /// Default of [`Self::deadline`]: far below the 100 s that Postfix waits.
    pub const DEADLINE: Duration = Duration::from_secs(10);
    /// Default of [`Self::request_timeout`].
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of [`Self::idle_timeout`].
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(1100);

    /// A listener at `endpoint` with this chain and the defaults.
    pub fn new(name: &str, endpoint: Endpoint, modules: &[&str]) -> Self {
        Self {
            name: name.into(),
            endpoint,
            modules: modules.iter().map(|&module| module.into()).collect(),
            allow: Networks::private(),
            max_connections: Self::MAX_CONNECTIONS,
            deadline: Self::DEADLINE,
            request_timeout: Self::REQUEST_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
            limits: Limits::default(),
            file: SocketFile::default(),
        }
    }

    /// The socket's path, if it is a unix socket.
    pub fn path(&self) -> Option<&PathBuf> {
        match &self.endpoint {
            Endpoint::Unix(path) => Some(path),
            Endpoint::Tcp(_) => None,
        }
    }
}
