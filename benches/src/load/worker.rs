//! One thread of the load generator: an epoll loop over its connections.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::connection::{Connection, Received};
use super::generator::{Generator, Message};
use super::options::Options;
use super::report::Tally;

/// What the threads of a load have in common.
pub(super) struct Shared {
    /// Answers count from when it is set.
    pub is_measuring: AtomicBool,
    pub is_over: AtomicBool,
    /// Requests that may still be begun.
    pub budget: AtomicU64,
    /// Passed when all are connected, again when all may begin, and when all are done.
    pub barrier: Barrier,
    /// Zero of all clocks.
    pub start: Instant,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a connection does when it is free.
enum Pace {
    /// The next request at once, or after a pause; those that pause, with the time when it ends.
    Closed { pausing: VecDeque<(u64, usize)> },
    /// Requests are due by the clock: times that are due and wait for a connection, and free connections.
    Open { gap: f64, next: f64, due: VecDeque<u64>, free: VecDeque<usize> },
}

pub(super) struct Worker<'a> {
    options: &'a Options,
    shared: &'a Shared,
    generator: Generator,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    busy: usize,
    pace: Pace,
    tally: Tally,
}

/// The longest wait without a look at whether the load is over.
const WAIT: u64 = 50_000_000;

impl<'a> Worker<'a> {
    /// Opens `count` connections.
    pub fn new(
        id: usize,
        count: usize,
        options: &'a Options,
        shared: &'a Shared,
        generator: Generator,
    ) -> rustix::io::Result<Self> {
        let threads = options.threads.max(1) as f64;
        let pace = if options.rate > 0.0 {
            let gap = 1e9 * threads / options.rate;
            Pace::Open {
                gap,
                next: gap * (id as f64 + 1.0) / threads,
                due: VecDeque::new(),
                free: (0..count).collect(),
            }
        } else {
            Pace::Closed { pausing: VecDeque::new() }
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut worker = Self {
            options,
            shared,
            generator,
            epoll,
            connections: Vec::with_capacity(count),
            busy: 0,
            pace,
            tally: Tally::new(),
        };
        for index in 0..count {
            let endpoint = (id + index * options.threads) % options.addresses.len();
            let socket = worker.open(index, endpoint, 1)?;
            worker.connections.push(Connection::new(socket, endpoint));
        }
        Ok(worker)
    }

    /// Runs until the load is over.
    pub fn run(mut self) -> rustix::io::Result<Tally> {
        self.shared.barrier.wait(); // all are connected
        self.shared.barrier.wait(); // go
        let begun = self.shared.now();
        if let Pace::Open { next, .. } = &mut self.pace {
            *next += begun as f64;
        } else {
            for index in 0..self.connections.len() {
                self.begin(index, begun)?;
            }
        }
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let mut buffer = [0; 4096];
        let mut answer = Vec::new();
        while !self.shared.is_over.load(Relaxed) {
            if self.options.total > 0 && self.busy == 0 && self.shared.budget.load(Relaxed) == 0 {
                break;
            }
            let wait = self.begin_what_is_due()?;
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.try_into().unwrap_or(0) };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited?,
            };
            for event in events.drain(..) {
                // The struct is packed: its fields can be copied, not borrowed.
                let (index, flags) = (event.data.u64() as usize, event.flags);
                if flags.contains(EventFlags::OUT) {
                    self.send(index)?;
                }
                if flags != EventFlags::OUT {
                    self.receive(index, &mut buffer, &mut answer)?;
                }
            }
        }
        let now = self.shared.now();
        let hangs = |connection: &&Connection| connection.is_busy && now - connection.since.min(now) > 1_000_000_000;
        self.tally.errors.unanswered += self.connections.iter().filter(hangs).count() as u64;
        if let Pace::Open { due, .. } = &self.pace {
            self.tally.backlog = due.len() as u64;
        }
        self.shared.barrier.wait(); // done
        Ok(self.tally)
    }

    /// Begins what the clock asks for, and says how many nanoseconds may pass until it asks again.
    fn begin_what_is_due(&mut self) -> rustix::io::Result<u64> {
        let now = self.shared.now();
        match &mut self.pace {
            Pace::Closed { pausing } => {
                let Some((due, index)) = pausing.front().copied() else { return Ok(WAIT) };
                if due > now {
                    return Ok((due - now).min(WAIT));
                }
                pausing.pop_front();
                self.begin(index, now)?;
                Ok(0)
            }
            Pace::Open { gap, next, due, .. } => {
                while *next <= now as f64 {
                    due.push_back(*next as u64);
                    *next +=
                        if self.options.poisson { -*gap * (1.0 - self.generator.random().unit()).ln() } else { *gap };
                }
                let next = *next;
                self.send_what_is_due()?;
                Ok(((next - self.shared.now() as f64).max(0.0) as u64).min(WAIT))
            }
        }
    }

    /// Open loop: puts requests that are due on connections that are free.
    fn send_what_is_due(&mut self) -> rustix::io::Result<()> {
        while let Pace::Open { due, free, .. } = &mut self.pace {
            if due.is_empty() || free.is_empty() {
                break;
            }
            let (Some(since), Some(index)) = (due.pop_front(), free.pop_front()) else { break };
            self.begin(index, since)?;
        }
        Ok(())
    }

    /// Begins a request on a free connection, if there is one left to begin.
    fn begin(&mut self, index: usize, since: u64) -> rustix::io::Result<()> {
        if self.connections[index].socket.is_none() {
            return Ok(());
        }
        if self.options.total > 0
            && self.shared.budget.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
        {
            return Ok(());
        }
        let connection = &mut self.connections[index];
        self.generator.write(&mut connection.request, &mut connection.message);
        connection.begin(since);
        self.busy += 1;
        self.send(index)
    }

    fn send(&mut self, index: usize) -> rustix::io::Result<()> {
        let connection = &mut self.connections[index];
        let Ok(is_whole) = connection.send(self.options.fragment) else {
            return self.ended(index);
        };
        if connection.waits_to_write == is_whole {
            connection.waits_to_write = !is_whole;
            let flags = if is_whole { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            if let Some(socket) = &connection.socket {
                epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), flags)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8], answer: &mut Vec<u8>) -> rustix::io::Result<()> {
        match self.connections[index].receive(buffer, answer) {
            Received::Nothing => return Ok(()),
            Received::End => return self.ended(index),
            Received::Answer => {}
        }
        let now = self.shared.now();
        let connection = &mut self.connections[index];
        let latency = now.saturating_sub(connection.since);
        let block = &answer[..answer.len() - 2];
        let line = block.strip_prefix(b"action=").filter(|line| connection.is_busy && !line.contains(&b'\n'));
        if line.is_none() {
            self.tally.errors.protocol += 1;
        }
        let line = line.unwrap_or(b"(malformed)");
        let word = line.split(|byte| *byte == b' ').next().unwrap_or(line);
        if self.options.expect.as_ref().is_some_and(|expected| expected.as_bytes() != word) {
            self.tally.errors.unexpected += 1;
        }
        if self.options.total > 0 || self.shared.is_measuring.load(Relaxed) {
            self.tally.answered(if self.options.full_actions { line } else { word }, latency);
        }
        if std::mem::take(&mut connection.is_busy) {
            self.busy -= 1;
        }
        if self.options.reconnect_every > 0 && connection.uses >= self.options.reconnect_every {
            self.tally.reconnects += 1;
            return self.reopen(index);
        }
        self.free(index, now)
    }

    /// The server hung up.
    fn ended(&mut self, index: usize) -> rustix::io::Result<()> {
        if std::mem::take(&mut self.connections[index].is_busy) {
            self.busy -= 1;
            self.tally.errors.closed += 1;
        }
        self.tally.reconnects += 1;
        self.reopen(index)
    }

    fn reopen(&mut self, index: usize) -> rustix::io::Result<()> {
        self.connections[index].reopened(None);
        let socket = self.open(index, self.connections[index].endpoint, 3)?;
        if socket.is_some() {
            self.connections[index].reopened(socket);
            // Begins with the next turn of the loop: a server that hangs up at once must not make this
            // call itself without end.
            match &mut self.pace {
                Pace::Open { free, .. } => free.push_back(index),
                Pace::Closed { pausing } => pausing.push_front((0, index)),
            }
        }
        Ok(())
    }

    /// A connection has nothing to do.
    fn free(&mut self, index: usize, now: u64) -> rustix::io::Result<()> {
        match &mut self.pace {
            Pace::Open { free, .. } => {
                free.push_back(index);
                self.send_what_is_due()
            }
            Pace::Closed { pausing } if self.options.think_us > 0 => {
                pausing.push_back((now + 1000 * self.options.think_us, index));
                Ok(())
            }
            Pace::Closed { .. } => self.begin(index, now),
        }
    }

    /// Connects; what fails is counted, and tried again up to `tries` times.
    fn open(&mut self, index: usize, endpoint: usize, tries: usize) -> rustix::io::Result<Option<OwnedFd>> {
        for attempt in 1..=tries {
            if let Ok(socket) = Connection::connect(&self.options.addresses[endpoint]) {
                epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
                return Ok(Some(socket));
            }
            self.tally.errors.connect += 1;
            if attempt < tries && !self.shared.is_over.load(Relaxed) {
                crate::pause(Duration::from_millis(20));
            }
        }
        Ok(None)
    }
}

/// One request on `connection`, waited for, for connections that are idle afterwards.
pub(super) fn one_request(connection: &mut Connection, generator: &mut Generator) -> bool {
    let mut message = Message::default();
    generator.write(&mut connection.request, &mut message);
    connection.begin(0);
    if !matches!(connection.send(0), Ok(true)) {
        return false;
    }
    let (mut buffer, mut answer) = ([0; 4096], Vec::new());
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let Some(socket) = &connection.socket else { return false };
        let mut wanted = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).is_err() {
            continue;
        }
        match connection.receive(&mut buffer, &mut answer) {
            Received::Nothing => {}
            Received::Answer => return answer.starts_with(b"action="),
            Received::End => return false,
        }
    }
    false
}
