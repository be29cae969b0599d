//! A server under test: started, waited for, stopped.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Loading a million rules takes its time.
const START: Duration = Duration::from_secs(180);
/// More than the grace a daemon has.
const STOP: Duration = Duration::from_secs(30);

/// A process that serves. Killed when dropped.
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where it answers.
    pub address: SocketAddr,
    /// Where it answers besides.
    pub other: Option<SocketAddr>,
    /// From the start of the process to the first answer.
    pub cold_start: Duration,
}

/// An address that was free a moment ago.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Server {
    /// Starts `command`, which is to answer `probe` at `address`, and waits until it does.
    pub fn start(
        name: &str,
        mut command: Command,
        address: SocketAddr,
        log: PathBuf,
        cores: Option<&[usize]>,
        probe: &[u8],
    ) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let started = Instant::now();
        let child = on_cores(cores, || command.spawn()).with_context(|| format!("can't start {name}"))?;
        let mut server = Self { name: name.to_owned(), child, log, address, other: None, cold_start: Duration::ZERO };
        while !answers(address, probe) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended with {status}:\n{}", server.last_lines());
            }
            if started.elapsed() > START {
                bail!("{name} does not answer at {address}:\n{}", server.last_lines());
            }
            crate::pause(Duration::from_millis(5));
        }
        server.cold_start = started.elapsed();
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits for it.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > STOP {
                bail!("{} does not stop:\n{}", self.name, self.last_lines());
            }
            crate::pause(Duration::from_millis(5));
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned();
        if text.is_empty() { "(it has said nothing)".to_owned() } else { text }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Has ended already when it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(address: SocketAddr, probe: &[u8]) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(probe)?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    answer().is_ok_and(|answer| answer == *b"action=")
}

/// Runs `start` while this thread is bound to `cores`, which what it starts inherits.
pub fn on_cores<T>(cores: Option<&[usize]>, start: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let Some(cores) = cores else { return start() };
    let before = sched_getaffinity(None)?;
    let mut wanted = CpuSet::new();
    cores.iter().for_each(|core| wanted.set(*core));
    sched_setaffinity(None, &wanted)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

/// The program of that name beside this one.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.parent().unwrap_or(Path::new(".")).join(name);
    if !path.exists() {
        bail!("{name} is not built; benches/compare builds it");
    }
    Ok(path)
}
