//! The queue between those who log and the thread that writes: nobody waits for a log target.
//!
//! When the queue is full, because a target hangs or is slower than the lines come, further lines are
//! dropped; so are lines a target refuses. Both are counted, and the count is logged as soon as a line
//! gets through again. Lines that come together are written together.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use slog::{Drain, Level, Never, OwnedKVList, Record};
use slog_async::AsyncRecord;

use super::line::Line;
use super::target::{Lost, Target};

/// Lines that wait at most. With the longest values a request can have this is some tens of MiB.
const LENGTH: usize = 8192;

/// How long lines gather before they are written together: nobody reads a log sooner.
const GATHER: Duration = Duration::from_millis(2);

/// The way into the queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    to: SyncSender<Entry>,
    shared: Arc<Shared>,
}

enum Entry {
    // Boxed: the queue's memory is allocated whole.
    Line(Box<(Timestamp, AsyncRecord)>),
    Order,
}

enum Order {
    Reopen,
    Replace(Box<dyn Target>),
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Shared {
    /// Orders overtake lines: a queue that is full of lines for a target that hangs must not block them.
    orders: Mutex<Vec<Order>>,
    dropped: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Starts the thread that writes to `target`.
    pub fn start(target: Box<dyn Target>) -> std::io::Result<Self> {
        Self::with_length(target, LENGTH)
    }

    fn with_length(target: Box<dyn Target>, length: usize) -> std::io::Result<Self> {
        let (to, lines) = sync_channel(length);
        let shared = Arc::new(Shared::default());
        let writer = Writer { target, lines, shared: shared.clone(), flushes: Vec::new(), failing: false };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { to, shared })
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
        self.shared.lock().push(order);
        // Full: the thread looks for orders after each line anyway. Closed: the thread is gone.
        let _ = self.to.try_send(Entry::Order);
    }
}

impl Drain for Queue {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let entry = Entry::Line(Box::new((Timestamp::now(), AsyncRecord::from(record, values))));
        if let Err(TrySendError::Full(_)) = self.to.try_send(entry) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Lets lines gather. A thread that waits in the channel is woken for each line, and whoever logs pays for
/// it; one that sleeps is not, and finds many lines at once.
#[allow(clippy::disallowed_methods, reason = "a thread of its own, which nothing waits for")]
fn gather() {
    thread::sleep(GATHER);
}

/// The thread.
struct Writer {
    target: Box<dyn Target>,
    lines: Receiver<Entry>,
    shared: Arc<Shared>,
    /// Who waits until the queue is empty.
    flushes: Vec<SyncSender<()>>,
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let entry = match self.lines.try_recv() {
                Ok(entry) => entry,
                Err(TryRecvError::Empty) => {
                    self.rest();
                    gather();
                    match self.lines.recv() {
                        Ok(entry) => entry,
                        Err(_) => return,
                    }
                }
                Err(TryRecvError::Disconnected) => return self.rest(),
            };
            if let Entry::Line(line) = entry {
                let (time, record) = *line;
                let mut line = None;
                record.as_record_values(|record, values| line = Some(Line::new(time, record, values)));
                if let Some(line) = line {
                    self.write(&line);
                }
            }
            self.obey();
        }
    }

    fn obey(&mut self) {
        let orders = std::mem::take(&mut *self.shared.lock());
        for order in orders {
            match order {
                Order::Reopen => {
                    let opened = self.target.reopen();
                    self.note(opened);
                }
                Order::Replace(target) => {
                    let flushed = self.target.flush();
                    self.note(flushed);
                    self.target = target;
                }
                Order::Flush(done) => self.flushes.push(done),
            }
        }
    }

    fn write(&mut self, line: &Line) {
        let written = self.target.write(line);
        self.note(written);
        let dropped = if self.failing { 0 } else { self.shared.dropped.swap(0, Ordering::Relaxed) };
        if dropped > 0 {
            let report = Line::own(Level::Warning, "log lines were dropped", vec![("count", dropped.into())]);
            if let Err(lost) = self.target.write(&report) {
                self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
                self.note(Err(lost));
            }
        }
    }

    /// The queue is empty.
    fn rest(&mut self) {
        let flushed = self.target.flush();
        if flushed.is_err() {
            self.note(flushed);
        }
        for done in self.flushes.drain(..) {
            // Whoever waited may have given up.
            let _ = done.try_send(());
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
