//! The old daemon's side: starts the new one, hands over, and leaves; or stays when anything fails.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::{Connected, Runtime};
use parking_lot::Mutex;
use slog::{Logger, info, warn};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use super::MARK;
use super::channel::{Channel, Message};
use crate::control::Handle as Control;
use crate::systemd::Manager;

/// How long the new daemon may take to load everything: a database that is slow to start, a million rules.
const LOAD: Duration = Duration::from_secs(300);
/// How long requests in hand are waited for before the new daemon begins; those that take longer are
/// answered here, and their connections follow.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the new daemon may take to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// How often it is looked whether all requests in hand are answered.
const POLL: Duration = Duration::from_millis(2);
/// So that whoever ordered it gets the answer before this program ends.
const ANSWER: Duration = Duration::from_millis(100);

/// What is needed to leave, and whether it has come to that.
pub(crate) struct Leaving {
    /// This program by the path it was started by: there the new one is.
    program: io::Result<PathBuf>,
    arguments: Vec<OsString>,
    pub(crate) control: Control,
    /// The listener of `[metrics]`.
    pub(crate) metrics: Option<(std::net::SocketAddr, std::net::TcpListener)>,
    pub(crate) manager: Manager,
    /// One at a time.
    at_work: AtomicBool,
    left: Notify,
    handing: Mutex<Option<std::thread::JoinHandle<u64>>>,
}

impl Leaving {
    pub(crate) fn new(
        control: Control,
        metrics: Option<(std::net::SocketAddr, std::net::TcpListener)>,
        manager: Manager,
    ) -> Self {
        Self {
            // Now: once the file is replaced the kernel calls it deleted.
            program: env::current_exe(),
            arguments: env::args_os().skip(1).collect(),
            control,
            metrics,
            manager,
            at_work: AtomicBool::new(false),
            left: Notify::new(),
            handing: Mutex::default(),
        }
    }

    /// Waits until another daemon has this one's place.
    pub(crate) async fn left(&self) {
        self.left.notified().await;
    }

    /// Waits until all connections are handed over; how many, and none when nobody has this one's place.
    pub(crate) fn handed_over(&self) -> Option<u64> {
        let handing = self.handing.lock().take()?;
        Some(handing.join().unwrap_or_default())
    }
}

/// One upgrade on its way.
pub(crate) struct Upgrade<'a, W> {
    pub(crate) leaving: &'a Arc<Leaving>,
    pub(crate) runtime: &'a Runtime,
    /// Writes what was counted.
    pub(crate) write: W,
    pub(crate) log: &'a Logger,
}

impl<W: AsyncFn() -> Result<(), String>> Upgrade<'_, W> {
    /// Puts another program in this one's place. What came of it; on an error this one serves on.
    pub(crate) async fn run(self) -> Result<String, String> {
        if self.leaving.at_work.swap(true, Ordering::Relaxed) {
            return Err("an upgrade is under way already".to_owned());
        }
        let outcome = self.hand_over().await;
        match &outcome {
            Ok(_) => {
                let leaving = self.leaving.clone();
                leaving.control.leave();
                actix_rt::spawn(async move {
                    sleep(ANSWER).await;
                    leaving.left.notify_one();
                });
            }
            Err(why) => {
                warn!(self.log, "upgrade failed, this daemon serves on"; "error" => why);
                self.leaving.at_work.store(false, Ordering::Relaxed);
            }
        }
        outcome
    }

    async fn hand_over(&self) -> Result<String, String> {
        // What can't be written now would be unknown to the new daemon.
        (self.write)().await.map_err(|error| format!("what was counted can't be written: {error}"))?;
        let (channel, theirs) = Channel::pair().map_err(text)?;
        let channel = Arc::new(channel);
        let mut new = New { process: self.start(theirs)?, is_kept: false };
        let pid = new.process.id();
        info!(self.log, "upgrade: another program is getting ready"; "pid" => pid);
        self.give_sockets(&channel).await.map_err(|error| format!("it can't be given the sockets: {error}"))?;
        heard(&channel, LOAD, Message::Ready).await?;

        self.runtime.pause().await;
        let (to, mut parked) = mpsc::unbounded_channel();
        self.runtime.park(to);
        let since = Instant::now();
        while self.runtime.connections() > 0 && since.elapsed() < SETTLE {
            sleep(POLL).await;
        }
        let began = async {
            (self.write)().await.map_err(|error| format!("what was counted can't be written: {error}"))?;
            self.leaving.manager.main_process(pid);
            channel.send(&Message::Go, &[]).map_err(text)?;
            heard(&channel, BEGIN, Message::Serving).await
        };
        if let Err(why) = began.await {
            new.end();
            self.leaving.manager.main_process(std::process::id());
            self.runtime.unpark();
            parked.close();
            while let Some(connection) = parked.recv().await {
                self.runtime.adopt(connection);
            }
            self.runtime.resume_all().await;
            return Err(why);
        }
        new.is_kept = true;
        self.runtime.disown_files();
        let handing = std::thread::Builder::new()
            .name("hand over".to_owned())
            .spawn(move || give_connections(&channel, &mut parked))
            .map_err(text)?;
        *self.leaving.handing.lock() = Some(handing);
        info!(self.log, "another program has taken over"; "pid" => pid, "paused_ms" => since.elapsed().as_millis());
        Ok(format!("process {pid} has taken over"))
    }

    fn start(&self, theirs: std::os::fd::OwnedFd) -> Result<Child, String> {
        let program = self.leaving.program.as_ref().map_err(|error| format!("which program this is: {error}"))?;
        let mut command = Command::new(program);
        command.args(&self.leaving.arguments).env(MARK, "1").stdin(Stdio::from(theirs));
        // They speak of this process.
        for variable in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(variable);
        }
        command.spawn().map_err(|error| format!("{} can't be started: {error}", program.display()))
    }

    async fn give_sockets(&self, channel: &Channel) -> io::Result<()> {
        for socket in self.runtime.sockets().await? {
            let about = Message::Listener {
                name: socket.name.to_string(),
                address: socket.endpoint.to_string(),
                suspended: socket.suspended,
                own_file: socket.own_file,
            };
            channel.send(&about, &[socket.socket.as_fd()])?;
        }
        if let Some((address, socket)) = &self.leaving.metrics {
            channel.send(&Message::Metrics { address: address.to_string() }, &[socket.as_fd()])?;
        }
        let (path, socket, lock) = self.leaving.control.parts();
        channel.send(&Message::Control { path: path.display().to_string() }, &[socket, lock])?;
        channel.send(&Message::Begin, &[])
    }
}

/// Waits for `expected` from the new daemon.
async fn heard(channel: &Arc<Channel>, patience: Duration, expected: Message) -> Result<(), String> {
    let channel = channel.clone();
    let received = tokio::task::spawn_blocking(move || {
        channel.set_patience(patience)?;
        channel.receive()
    });
    match received.await.map_err(text)? {
        Ok(Some((message, _))) if message == expected => Ok(()),
        Ok(Some((Message::Failed { lines }, _))) => Err(lines.join("\n")),
        Ok(Some((other, _))) => Err(format!("the new program said {other:?}")),
        Ok(None) => Err("the new program ended; its log says why".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(format!("the new program was not ready within {} s", patience.as_secs()))
        }
        Err(error) => Err(text(error)),
    }
}

/// Hands over each connection until there is none any more; how many.
fn give_connections(channel: &Channel, parked: &mut mpsc::UnboundedReceiver<Connected>) -> u64 {
    let mut count = 0;
    while let Some(Connected { listener, endpoint, socket }) = parked.blocking_recv() {
        let about = Message::Connection { name: listener.to_string(), address: endpoint.to_string() };
        if channel.send(&about, &[socket.as_fd()]).is_ok() {
            count += 1;
        }
    }
    count
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The new daemon's process: ended and waited for, unless it is kept.
struct New {
    process: Child,
    is_kept: bool,
}

impl New {
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.is_kept {
            self.end();
        }
    }
}
