//! Requests that wait for a commit: any worker adds one, one writer takes all that wait.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The queue. Adding never waits.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: Mutex<Vec<T>>,
    wake: Notify,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), wake: Notify::new() }
    }
}

impl<T> Queue<T> {
    /// Adds one, and wakes the writer.
    pub fn add(&self, one: T) {
        self.waiting.lock().push(one);
        self.wake.notify_one();
    }

    /// Wakes the writer.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something was added since this was last called.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// At most `most` of what waits, the oldest first.
    pub fn take(&self, most: usize) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        if waiting.len() <= most { std::mem::take(&mut *waiting) } else { waiting.drain(..most).collect() }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
