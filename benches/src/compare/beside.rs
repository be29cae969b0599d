//! What goes on while a server is measured: a flood at another of its listeners, or rules that change.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Comparison;
use super::scenario::Beside;
use super::server::{Server, program};

/// Between two changes of a rule.
const CHANGE: Duration = Duration::from_millis(100);

/// What is to go on besides, and where.
pub(super) struct Company<'a> {
    pub(super) comparison: &'a Comparison<'a>,
    pub(super) kind: Beside,
    pub(super) server: &'a Server,
    pub(super) database: PathBuf,
}

/// What goes on. Ends when dropped.
pub(super) enum Running {
    Flood(Child),
    Changes { client: Child, stop: Arc<AtomicBool>, writer: Option<JoinHandle<std::io::Result<u64>>> },
}

impl Company<'_> {
    /// Begins it.
    pub(super) fn begin(&self) -> anyhow::Result<Option<Running>> {
        Ok(match self.kind {
            Beside::Nothing => None,
            Beside::Flood(connections) => {
                let address = self.server.other.context("it has one listener")?;
                let mut command = Command::new(program("policyload")?);
                command.args(["--addr", &address.to_string(), "--conns", &connections.to_string()]);
                command.args(["--secs", "3600", "--template"]).arg(&self.comparison.template);
                Some(Running::Flood(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
            }
            Beside::RuleChanges => {
                let mut client = Command::new("sqlite3").arg(&self.database).stdin(Stdio::piped()).spawn()?;
                let mut input = client.stdin.take().context("its input")?;
                let stop = Arc::new(AtomicBool::new(false));
                let stopped = stop.clone();
                let writer = thread::spawn(move || {
                    writeln!(input, ".timeout 10000")?;
                    let mut changes = 0;
                    while !stopped.load(Ordering::Relaxed) {
                        changes += 1;
                        writeln!(
                            input,
                            "UPDATE bwl_global SET source = 'changed' || abs(random()) || '@example.com' WHERE id = {};",
                            1 + changes % 1000
                        )?;
                        input.flush()?;
                        crate::pause(CHANGE);
                    }
                    Ok(changes)
                });
                Some(Running::Changes { client, stop, writer: Some(writer) })
            }
        })
    }
}

impl Running {
    /// Ends it; an error if it did not go on all the time.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Flood(load) => ensure!(load.try_wait()?.is_none(), "the flood ended by itself"),
            Self::Changes { client, stop, writer } => {
                stop.store(true, Ordering::Relaxed);
                let changes = writer.take().and_then(|writer| writer.join().ok()).context("the changes")??;
                ensure!(client.wait()?.success() && changes > 0, "sqlite3 could not change the rules");
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Flood(child) | Self::Changes { client: child, .. } => {
                // Has ended already where it ends by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
