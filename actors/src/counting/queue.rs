//! Requests that wait for a commit: any worker adds one, one writer takes all that wait.
//!
//! A worker that finds many requests at its sockets decides them one after the other. The writer is woken when it has
//! come to the end of them: if it were woken by the first, its batch would be that one, and a commit costs the same
//! for sixty.

use std::cell::RefCell;
use std::sync::Arc;

use actix_rt::Arbiter;
use parking_lot::Mutex;
use tokio::sync::Notify;

thread_local! {
    /// Writers that this worker has something for.
    static DUE: RefCell<Vec<Arc<Notify>>> = const { RefCell::new(Vec::new()) };
}

/// Wakes `writer` when all have had their turn who are to be polled on this worker already; at once where there is no
/// worker.
fn wake_after_turn(writer: &Arc<Notify>) {
    if Arbiter::try_current().is_none() {
        return writer.notify_one();
    }
    let is_first = DUE.with_borrow_mut(|due| {
        if due.iter().any(|other| Arc::ptr_eq(other, writer)) {
            return false;
        }
        due.push(writer.clone());
        due.len() == 1
    });
    if is_first {
        actix_rt::spawn(async { wake_all(DUE.with_borrow_mut(std::mem::take)) });
    }
}

fn wake_all(writers: Vec<Arc<Notify>>) {
    writers.iter().for_each(|writer| writer.notify_one());
}

/// The queue. Adding never waits.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: Mutex<Vec<T>>,
    wake: Arc<Notify>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), wake: Arc::default() }
    }
}

impl<T> Queue<T> {
    /// Adds one, and sees to it that the writer is woken.
    pub fn add(&self, one: T) {
        self.waiting.lock().push(one);
        wake_after_turn(&self.wake);
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
        if waiting.len() > most {
            return waiting.drain(..most).collect();
        }
        // About as many will come again: they find room.
        let room = Vec::with_capacity(waiting.len());
        std::mem::replace(&mut *waiting, room)
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

#[cfg(test)]
mod tests {
    use actix_rt::System;
    use futures_util::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;

    fn is_woken(queue: &Queue<u8>) -> bool {
        queue.woken().now_or_never().is_some()
    }

    #[test]
    fn the_writer_is_woken_when_the_worker_has_come_to_the_end_of_what_it_found() {
        System::new().block_on(async {
            let (one, other) = (Arc::<Queue<u8>>::default(), Arc::<Queue<u8>>::default());
            for round in 0..3 {
                let found: Vec<_> = (0..5)
                    .map(|number| {
                        let (one, other) = (one.clone(), other.clone());
                        actix_rt::spawn(async move {
                            one.add(number);
                            other.add(number);
                            is_woken(&one) || is_woken(&other)
                        })
                    })
                    .collect();
                for found in found {
                    assert!(!found.await.unwrap(), "too early in round {round}");
                }
                yield_now().await;
                assert!(is_woken(&one) && is_woken(&other), "round {round}");
                assert_eq!((one.take(9), other.take(3)), (vec![0, 1, 2, 3, 4], vec![0, 1, 2]));
                assert_eq!(other.take(9), [3, 4]);
            }
        });
    }

    #[test]
    fn where_there_is_no_worker_it_is_woken_at_once() {
        let queue = Queue::default();
        queue.add(1);
        assert!(is_woken(&queue));
    }
}
