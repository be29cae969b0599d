//! Answers on their way out, gathered by worker.
//!
//! Postfix's processes, or a load generator's connections, mostly have something to say together. The requests
//! that one look at the sockets found are decided one after the other, and then their answers are written one
//! after the other: to write each before the next is decided has the client's thread woken for each, and on a
//! machine with few cores it then takes the core away. A worker with one request in hand writes its answer at
//! once, as far as anybody can tell: the outbox's turn comes behind all who are to be polled already.
//!
//! A session does not wait for that turn. It goes on to wait for its client's next request, and is called only when its
//! answer could not be written at once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::time::Instant;

use crate::seat::{InHand, Seats};
use crate::session::Record;
use crate::socket::Socket;

/// The answers of a worker that are to be written.
#[derive(Default)]
pub(crate) struct Outbox {
    due: RefCell<Vec<Rc<Outgoing>>>,
    /// Of the task that writes.
    waker: RefCell<Option<Waker>>,
    is_running: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is to be written.
    Written,
    /// In the outbox.
    Due,
    /// The client takes no more at present, or the socket failed: the session's to go on with.
    Stuck,
}

/// A connection's way out. Holds one answer at a time.
pub(crate) struct Outgoing {
    socket: Rc<Socket>,
    record: Rc<Record>,
    seats: Arc<Seats>,
    answer: RefCell<BytesMut>,
    /// How much of it is written.
    written: Cell<usize>,
    state: Cell<State>,
    session: RefCell<Option<Waker>>,
    /// The session has something to do once the answer is written.
    is_waited_for: Cell<bool>,
}

impl Outgoing {
    pub(crate) fn new(socket: Rc<Socket>, record: Rc<Record>, seats: Arc<Seats>) -> Rc<Self> {
        Rc::new(Self {
            socket,
            record,
            seats,
            answer: RefCell::default(),
            written: Cell::new(0),
            state: Cell::new(State::Written),
            session: RefCell::default(),
            is_waited_for: Cell::new(false),
        })
    }

    /// Puts what `write` writes into the outbox, as the answer to the request that is in hand.
    ///
    /// # Errors
    /// That of `write`: then nothing is to be written.
    pub(crate) fn send<E>(
        self: &Rc<Self>,
        outbox: &Rc<Outbox>,
        in_hand: InHand<'_>,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut answer = self.answer.borrow_mut();
        answer.clear();
        write(&mut answer)?;
        in_hand.keep();
        self.state.set(State::Due);
        outbox.add(self.clone());
        Ok(())
    }

    /// Waits until the answer is written, and then until there is something to read. For the conversation alone.
    pub(crate) async fn written_and_readable(&self) -> io::Result<()> {
        loop {
            let readable = poll_fn(|context| match self.state.get() {
                State::Written => self.socket.poll_readable(context).map(Some),
                State::Stuck => Poll::Ready(None),
                State::Due => {
                    let readable = self.socket.poll_readable(context);
                    self.call(context, readable.is_ready());
                    Poll::Pending
                }
            });
            match readable.await {
                Some(readable) => return readable,
                None => self.write_rest().await?,
            }
        }
    }

    /// Waits until the answer is written. For the conversation alone: who else waits, waits for [`Outgoing::is_written`].
    pub(crate) async fn written(&self) -> io::Result<()> {
        self.left(|state| state != State::Due).await;
        self.write_rest().await
    }

    /// Waits until the answer is written by the outbox or the conversation.
    pub(crate) async fn is_written(&self) {
        self.left(|state| state == State::Written).await;
    }

    async fn left(&self, is_left: impl Fn(State) -> bool) {
        poll_fn(|context| {
            if is_left(self.state.get()) {
                return Poll::Ready(());
            }
            self.call(context, true);
            Poll::Pending
        })
        .await;
    }

    /// Calls the session when the outbox is done with the answer: if that is stuck, or in any case.
    fn call(&self, context: &Context<'_>, in_any_case: bool) {
        self.session.replace(Some(context.waker().clone()));
        if in_any_case {
            self.is_waited_for.set(true);
        }
    }

    async fn write_rest(&self) -> io::Result<()> {
        if self.state.get() == State::Stuck {
            let rest = self.answer.borrow().get(self.written.get()..).map(BytesMut::from).unwrap_or_default();
            self.socket.write(&rest).await?;
            self.is_out(Instant::now());
        }
        Ok(())
    }

    /// Writes what the socket takes.
    fn write(&self, now: Instant) {
        let answer = self.answer.borrow();
        match self.socket.try_write(&answer) {
            Ok(count) if count == answer.len() => self.is_out(now),
            // Which error it was the session finds again.
            other => {
                self.written.set(other.unwrap_or_default());
                self.state.set(State::Stuck);
                self.wake();
            }
        }
    }

    fn is_out(&self, now: Instant) {
        self.state.set(State::Written);
        self.seats.answered();
        self.record.wrote(now);
        if self.is_waited_for.replace(false) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(session) = self.session.take() {
            session.wake();
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // Its session was closed.
        if self.state.get() != State::Written {
            self.seats.answered();
        }
    }
}

impl Outbox {
    fn add(self: &Rc<Self>, one: Rc<Outgoing>) {
        let is_first = {
            let mut due = self.due.borrow_mut();
            due.push(one);
            due.len() == 1
        };
        if !self.is_running.replace(true) {
            actix_rt::spawn(run(Running(self.clone())));
        } else if is_first && let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn poll(&self, context: &Context<'_>) {
        if self.waker.borrow().as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            self.waker.replace(Some(context.waker().clone()));
        }
        let due = self.due.take();
        if !due.is_empty() {
            let now = Instant::now();
            due.iter().for_each(|one| one.write(now));
        }
        self.give_room(due);
    }

    /// Keeps the memory of `used` for the next time.
    fn give_room(&self, mut used: Vec<Rc<Outgoing>>) {
        used.clear();
        let mut due = self.due.borrow_mut();
        if due.is_empty() {
            *due = used;
        }
    }
}

/// The task that writes, until the worker's thread ends. Should it end before that, the next answer begins another.
struct Running(Rc<Outbox>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.is_running.set(false);
    }
}

async fn run(running: Running) {
    poll_fn(|context| {
        running.0.poll(context);
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use actix_rt::System;
    use tokio::task::yield_now;

    use super::*;
    use crate::networks::Networks;
    use crate::seat::Seat;
    use crate::socket::Accepted;

    /// The way out of a connection that has asked, its seat, and its client, who does not wait for what is not there.
    async fn connection(seats: &Arc<Seats>) -> (Rc<Outgoing>, Seat, UnixStream) {
        let (ours, mut client) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("a socket that does not block");
        client.set_nonblocking(true).expect("a socket that does not block");
        let socket = Rc::new(Socket::adopt(Accepted::Unix(ours)).expect("a socket"));
        client.write_all(b"request").expect("room in the socket");
        let read = socket.read(&mut BytesMut::new()).await;
        assert_eq!(read.expect("the client is there"), 7);
        let out = Outgoing::new(socket, Record::new(), seats.clone());
        (out, seats.take().await, client)
    }

    fn send(out: &Rc<Outgoing>, outbox: &Rc<Outbox>, seat: &Seat, answer: &str) {
        let sent = out.send(outbox, seat.request(), |to| {
            to.extend_from_slice(answer.as_bytes());
            Ok::<_, ()>(())
        });
        assert_eq!(sent, Ok(()));
    }

    /// What the client finds.
    fn found(mut client: &UnixStream) -> String {
        let mut found = vec![0; 1 << 20];
        let count = client.read(&mut found).unwrap_or_default();
        String::from_utf8_lossy(&found[..count]).into_owned()
    }

    fn run(test: impl Future<Output = ()>) {
        System::new().block_on(test);
    }

    #[test]
    fn answers_that_are_due_together_are_written_together() {
        run(async {
            let (outbox, seats) = (Rc::default(), Seats::new(9, Networks::private()));
            let (first, first_seat, first_client) = connection(&seats).await;
            let (second, second_seat, second_client) = connection(&seats).await;
            for round in ["1", "2", "3"] {
                send(&first, &outbox, &first_seat, round);
                send(&second, &outbox, &second_seat, round);
                assert_eq!((found(&first_client), seats.pending()), (String::new(), 2), "not before their turn");
                first.written().await.expect("the client is there");
                assert_eq!((found(&first_client), found(&second_client)), (round.to_owned(), round.to_owned()));
                assert_eq!(seats.pending(), 0);
            }
        });
    }

    #[test]
    fn the_next_request_is_not_looked_at_before_the_answer_is_written() {
        run(async {
            let (outbox, seats) = (Rc::default(), Seats::new(9, Networks::private()));
            let (out, seat, mut client) = connection(&seats).await;
            client.write_all(b"the next one").expect("room in the socket");
            send(&out, &outbox, &seat, "answer");
            out.written_and_readable().await.expect("the client is there");
            assert_eq!(found(&client), "answer");
        });
    }

    #[test]
    fn what_a_client_does_not_take_at_once_is_written_when_it_does() {
        run(async {
            let (outbox, seats) = (Rc::default(), Seats::new(9, Networks::private()));
            let (out, seat, mut client) = connection(&seats).await;
            // A little room is left, or none.
            let mut filled = 0;
            while let Ok(count) = out.socket.try_write(&[b'x'; 1000]) {
                filled += count;
            }
            let answer = "y".repeat(100_000);
            send(&out, &outbox, &seat, &answer);
            let waiting = out.clone();
            let session = actix_rt::spawn(async move { waiting.written_and_readable().await });
            while out.state.get() != State::Stuck {
                yield_now().await;
            }
            assert_eq!(seats.pending(), 1, "it is in hand as long as it is not written");
            let waiting = out.clone();
            let other = actix_rt::spawn(async move { waiting.is_written().await });
            let mut all = String::new();
            while all.len() < filled + answer.len() {
                all += &found(&client);
                yield_now().await;
            }
            assert!(all.ends_with(&answer), "all of it, once");
            other.await.expect("who else waits is called");
            assert_eq!(seats.pending(), 0);
            client.write_all(b"next").expect("room in the socket");
            session.await.expect("the session goes on").expect("the client is there");
        });
    }

    #[test]
    fn a_client_that_is_gone_leaves_nothing_in_hand() {
        run(async {
            let (outbox, seats) = (Rc::default(), Seats::new(9, Networks::private()));
            let (out, seat, client) = connection(&seats).await;
            let (other, other_seat, other_client) = connection(&seats).await;
            drop(client);
            send(&out, &outbox, &seat, "answer");
            send(&other, &outbox, &other_seat, "answer");
            out.written_and_readable().await.expect_err("the session is told");
            assert_eq!(found(&other_client), "answer", "others are not disturbed");
            drop(out);
            assert_eq!(seats.pending(), 0);
        });
    }
}
