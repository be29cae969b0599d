//! A thread with a runtime of its own, for everything that waits for the database.
//!
//! A connection is bound to the runtime it was opened in. On a worker's, it would be served when the
//! worker has time, and die with it.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread. Ends, with all that runs on it, when this is dropped.
pub(super) struct OwnThread {
    handle: Handle,
    /// Dropped with this: the thread's only reason to go on.
    _alive: oneshot::Sender<()>,
}

impl OwnThread {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name(name).build()?;
        let handle = runtime.handle().clone();
        let (alive, gone) = oneshot::channel::<()>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error is what is waited for: the sender is gone.
            let _ = runtime.block_on(gone);
            // A load that is under way must not keep the process from ending.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _alive: alive })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
