//! Answers that one thread gives to many who wait on others.
//!
//! Stands between a writer of counters, which commits for many requests at once, and their sessions. To wake
//! a thread costs a system call each time. So those who wait on one thread are woken together: one from
//! outside, who wakes the rest when its turn comes, or when it gives up. Nobody waits for ever: a reply that
//! is dropped without an answer says so.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use parking_lot::Mutex;

/// Who was to answer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("who was to answer has ended")]
pub struct Ended;

#[derive(Debug)]
struct Slot<T> {
    /// The thread that asked, where most likely it waits too.
    thread: ThreadId,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    answer: Option<Result<T, Ended>>,
    waker: Option<Waker>,
    /// Has its answer, or gave up.
    is_done: bool,
    /// To be woken by this one.
    others: Vec<Waker>,
}

/// The end that answers.
#[derive(Debug)]
pub struct Reply<T>(Option<Arc<Slot<T>>>);

/// The end that waits.
#[derive(Debug)]
pub struct Awaited<T>(Arc<Slot<T>>);

/// A place for one answer.
pub fn reply<T>() -> (Reply<T>, Awaited<T>) {
    let state = State { answer: None, waker: None, is_done: false, others: Vec::new() };
    let slot = Arc::new(Slot { thread: std::thread::current().id(), state: Mutex::new(state) });
    (Reply(Some(slot.clone())), Awaited(slot))
}

impl<T> Reply<T> {
    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|slot| slot.state.lock().is_done)
    }

    /// Answers. Nobody may be waiting any more.
    pub fn send(self, answer: T) {
        Replies::default().add(self, answer);
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.state.lock().answer = Some(Err(Ended));
            Replies { groups: vec![(slot.thread, vec![slot])] }.give();
        }
    }
}

/// Answers given together: who waits is woken when this is dropped.
#[derive(Debug)]
pub struct Replies<T> {
    /// By thread.
    groups: Vec<(ThreadId, Vec<Arc<Slot<T>>>)>,
}

impl<T> Default for Replies<T> {
    fn default() -> Self {
        Self { groups: Vec::new() }
    }
}

impl<T> Replies<T> {
    /// Adds one.
    pub fn add(&mut self, mut reply: Reply<T>, answer: T) {
        let Some(slot) = reply.0.take() else { return };
        slot.state.lock().answer = Some(Ok(answer));
        match self.groups.iter_mut().find(|(thread, _)| *thread == slot.thread) {
            Some((_, slots)) => slots.push(slot),
            None => self.groups.push((slot.thread, vec![slot])),
        }
    }

    fn give(&mut self) {
        for (_, slots) in self.groups.drain(..) {
            let mut waiting = Vec::with_capacity(slots.len());
            for slot in slots {
                let waker = slot.state.lock().waker.take();
                waiting.extend(waker.map(|waker| (waker, slot)));
            }
            // The first that still waits wakes the others.
            while let Some((waker, slot)) = waiting.pop() {
                let mut state = slot.state.lock();
                if !state.is_done {
                    state.others = waiting.drain(..).map(|(waker, _)| waker).collect();
                    drop(state);
                    waker.wake();
                }
            }
        }
    }
}

impl<T> Drop for Replies<T> {
    fn drop(&mut self) {
        self.give();
    }
}

impl<T> Future for Awaited<T> {
    type Output = Result<T, Ended>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        let Some(answer) = state.answer.take() else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        state.is_done = true;
        let others = std::mem::take(&mut state.others);
        drop(state);
        others.into_iter().for_each(Waker::wake);
        Poll::Ready(answer)
    }
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_done = true;
        let others = std::mem::take(&mut state.others);
        drop(state);
        others.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    type Waiter = (Awaited<usize>, Arc<Woken>);

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T>(awaited: &mut Awaited<T>, woken: &Arc<Woken>) -> Poll<Result<T, Ended>> {
        Pin::new(awaited).poll(&mut Context::from_waker(&woken.clone().into()))
    }

    /// Ten who wait, and their ends that answer.
    fn ten() -> (Vec<Reply<usize>>, Vec<Waiter>) {
        let (replies, awaited): (Vec<_>, Vec<_>) = (0..10).map(|_| reply::<usize>()).unzip();
        let mut awaited: Vec<_> = awaited.into_iter().map(|awaited| (awaited, Arc::<Woken>::default())).collect();
        for (awaited, woken) in &mut awaited {
            assert!(poll(awaited, woken).is_pending());
        }
        (replies, awaited)
    }

    fn woken(awaited: &[Waiter]) -> Vec<usize> {
        (0..awaited.len()).filter(|index| awaited[*index].1.0.load(Ordering::Relaxed) > 0).collect()
    }

    fn answer_all(replies: Vec<Reply<usize>>) {
        let mut given = Replies::default();
        replies.into_iter().enumerate().for_each(|(number, reply)| given.add(reply, number));
    }

    #[test]
    fn one_is_woken_and_wakes_the_others() {
        let (replies, mut awaited) = ten();
        answer_all(replies);
        let first = woken(&awaited);
        assert_eq!(first.len(), 1);
        let (one, its) = &mut awaited[first[0]];
        assert_eq!(poll(one, its), Poll::Ready(Ok(first[0])));
        assert_eq!(woken(&awaited), (0..10).collect::<Vec<_>>());
        for (number, (one, its)) in awaited.iter_mut().enumerate().filter(|(number, _)| *number != first[0]) {
            assert_eq!(poll(one, its), Poll::Ready(Ok(number)));
        }
    }

    #[test]
    fn one_that_gives_up_before_its_turn_wakes_the_others() {
        let (replies, mut awaited) = ten();
        answer_all(replies);
        let first = woken(&awaited)[0];
        awaited.remove(first);
        assert_eq!(woken(&awaited), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn one_that_gave_up_or_took_its_answer_early_is_not_relied_on() {
        let (replies, mut awaited) = ten();
        let mut given = Replies::default();
        replies.into_iter().enumerate().for_each(|(number, reply)| given.add(reply, number));
        // Any of them might have been the one.
        for (one, its) in awaited.iter_mut().skip(5) {
            assert!(poll(one, its).is_ready());
        }
        awaited.truncate(5);
        awaited.remove(4);
        drop(given);
        let first = woken(&awaited);
        assert_eq!(first.len(), 1);
        let (one, its) = &mut awaited[first[0]];
        assert!(poll(one, its).is_ready());
        assert_eq!(woken(&awaited), (0..4).collect::<Vec<_>>());
    }

    #[test]
    fn a_reply_that_is_dropped_says_so_and_one_nobody_waits_for_is_known() {
        let (replies, mut awaited) = ten();
        drop(replies);
        for (one, its) in &mut awaited {
            assert_eq!(its.0.load(Ordering::Relaxed), 1);
            assert_eq!(poll(one, its), Poll::Ready(Err(Ended)));
        }
        let (unasked, gone) = reply::<usize>();
        assert!(!unasked.is_closed());
        drop(gone);
        assert!(unasked.is_closed());
        unasked.send(1);
        let (early, mut awaited) = reply();
        early.send(7);
        assert_eq!(poll(&mut awaited, &Arc::default()), Poll::Ready(Ok(7)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn thousands_on_many_threads_all_get_their_own_answer() {
        let (sender, receiver) = std::sync::mpsc::channel::<(Reply<usize>, usize)>();
        let writer = std::thread::spawn(move || {
            while let Ok(first) = receiver.recv() {
                let mut given = Replies::default();
                for (reply, number) in std::iter::once(first).chain(receiver.try_iter().take(100)) {
                    if !number.is_multiple_of(7) {
                        given.add(reply, number);
                    }
                }
            }
        });
        let asking: Vec<_> = (0..64)
            .map(|task| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    for number in (0..500).map(|number| number * 64 + task) {
                        let (reply, awaited) = reply();
                        sender.send((reply, number)).unwrap();
                        if number.is_multiple_of(5) {
                            // gives up
                            let _ = tokio::time::timeout(std::time::Duration::ZERO, awaited).await;
                            continue;
                        }
                        let expected = if number.is_multiple_of(7) { Err(Ended) } else { Ok(number) };
                        assert_eq!(awaited.await, expected);
                    }
                })
            })
            .collect();
        for asking in asking {
            tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.unwrap().unwrap();
        }
        drop(sender);
        writer.join().unwrap();
    }
}
