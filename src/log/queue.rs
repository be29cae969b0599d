//! The queue between those who log and the thread that writes: nobody waits for a log target.
//!
//! When the queue is full, because a target hangs or is slower than the lines come, further lines are
//! dropped; so are lines a target refuses. Both are counted, and the count is logged as soon as a line
//! gets through again. Lines that come together are written together.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use slog::{Drain, Level, Never, OwnedKVList, Record};

use super::batch::{Batch, Line};
use super::target::{Lost, Target};

/// Lines that wait at most.
const LENGTH: usize = 16 * 1024;

/// Bytes of text that wait at most.
const BYTES: usize = 16 * 1024 * 1024;

/// Memory of a batch that is kept for the next: more is given back.
const KEPT: usize = 1024 * 1024;

/// How long lines gather before they are written together: nobody reads a log sooner.
const GATHER: Duration = Duration::from_millis(2);

/// The way into the queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    length: usize,
    _open: Arc<Open>,
}

enum Order {
    Reopen,
    Replace(Box<dyn Target>),
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    dropped: AtomicU64,
}

/// What the thread finds when it next looks.
#[derive(Default)]
struct Waiting {
    lines: Batch,
    /// For after the lines.
    orders: Vec<Order>,
    /// The thread waits to be woken.
    asleep: bool,
    /// Nobody can log any more.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that is done under the lock can panic and leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        change(&mut waiting);
        let asleep = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if asleep {
            self.wake.notify_one();
        }
    }
}

/// Held by every way into the queue: the thread ends with the last.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|waiting| waiting.closed = true);
    }
}

thread_local! {
    /// Where a line is put together, so that no thread holds the lock while values are written out.
    static SCRATCH: RefCell<Batch> = RefCell::default();
}

impl Queue {
    /// Starts the thread that writes to `target`.
    pub fn start(target: Box<dyn Target>) -> std::io::Result<Self> {
        Self::with_length(target, LENGTH)
    }

    fn with_length(target: Box<dyn Target>, length: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer { target, shared: shared.clone(), failing: false };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { length, _open: Arc::new(Open(shared.clone())), shared })
    }

    /// Has the target opened again.
    pub fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Has later lines written to `target`.
    pub fn replace(&self, target: Box<dyn Target>) {
        self.order(Order::Replace(target));
    }

    /// Waits until everything logged before was written, but no longer than `timeout`: false then.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.order(Order::Flush(done));
        wait.recv_timeout(timeout).is_ok()
    }

    fn order(&self, order: Order) {
        self.shared.change(|waiting| waiting.orders.push(order));
    }

    fn send(&self, line: &mut Batch) {
        self.shared.change(|waiting| {
            let lines = &mut waiting.lines;
            if lines.lines() < self.length && lines.bytes() + line.bytes() <= BYTES {
                lines.append(line);
            } else {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn put(&self, line: &mut Batch, record: &Record<'_>, values: &OwnedKVList) {
        // A value that panicked may have left something.
        line.clear();
        line.push(Timestamp::now(), record, values);
        self.send(line);
    }
}

impl Drain for Queue {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let done = SCRATCH.try_with(|scratch| {
            // In use when a value logs while it is written out.
            scratch.try_borrow_mut().map(|mut line| self.put(&mut line, record, values)).is_ok()
        });
        // Fails while the thread ends.
        if !done.unwrap_or(false) {
            self.put(&mut Batch::default(), record, values);
        }
        Ok(())
    }
}

/// Lets lines gather. A thread that waits to be woken is woken for each line, and whoever logs pays for it;
/// one that sleeps is not, and finds many lines at once.
#[allow(clippy::disallowed_methods, reason = "a thread of its own, which nothing waits for")]
fn gather() {
    thread::sleep(GATHER);
}

/// The thread.
struct Writer {
    target: Box<dyn Target>,
    shared: Arc<Shared>,
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        let mut lines = Batch::default();
        while let Some(orders) = self.take(&mut lines) {
            lines.iter().for_each(|line| self.write(&line));
            if lines.bytes() > KEPT {
                lines = Batch::default();
            }
            lines.clear();
            let flushed = self.target.flush();
            if flushed.is_err() {
                self.note(flushed);
            }
            orders.into_iter().for_each(|order| self.obey(order));
            gather();
        }
    }

    /// Waits until there is something to do, and takes all of it; none when there will be nothing more.
    fn take(&self, lines: &mut Batch) -> Option<Vec<Order>> {
        let mut waiting = self.shared.lock();
        while waiting.lines.lines() == 0 && waiting.orders.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.asleep = true;
            waiting = self.shared.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.asleep = false;
        std::mem::swap(lines, &mut waiting.lines);
        Some(std::mem::take(&mut waiting.orders))
    }

    /// Carries out an order; all lines logged before it are written.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Reopen => {
                let opened = self.target.reopen();
                self.note(opened);
            }
            Order::Replace(target) => self.target = target,
            // Whoever waited may have given up.
            Order::Flush(done) => drop(done.try_send(())),
        }
    }

    fn write(&mut self, line: &Line<'_>) {
        let written = self.target.write(line);
        self.note(written);
        let dropped = if self.failing { 0 } else { self.shared.dropped.swap(0, Ordering::Relaxed) };
        if dropped > 0 {
            let mut report = Batch::default();
            report.push_own(Level::Warning, "log lines were dropped", "count", dropped);
            for line in report.iter() {
                if let Err(lost) = self.target.write(&line) {
                    self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
                    self.note(Err(lost));
                }
            }
        }
    }

    /// The first failure of a series is told on standard error, the last place left.
    fn note(&mut self, result: Result<(), Lost>) {
        let Err(Lost { lines, error }) = result else {
            self.failing = false;
            return;
        };
        self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
        if !self.failing {
            let _ = writeln!(std::io::stderr(), "valvulad: the log can't be written: {error}");
        }
        self.failing = true;
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
