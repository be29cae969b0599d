//! Many connections on one thread, of which some ask again and again: each answer is held against what was asked,
//! and whatever else comes, or a connection that ends, is a fault.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use crate::{Address, Request};

/// Faults that are told; all are counted.
const TOLD: usize = 20;
/// How long an answer may take before it counts as missing.
const MISSING: Duration = Duration::from_secs(60);

/// What came of asking.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests sent.
    pub asked: u64,
    /// Answers that came, each the right one.
    pub answered: u64,
    /// How many things went wrong.
    pub faults: u64,
    /// The first of them.
    pub told: Vec<String>,
    micros: Vec<u32>,
}

impl Seen {
    fn fault(&mut self, connection: usize, what: impl std::fmt::Display) {
        self.faults += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("connection {connection}: {what}"));
        }
    }

    /// The time that so much of all answers, 0.99 for example, took at most.
    pub fn quantile(&mut self, part: f64) -> Duration {
        self.micros.sort_unstable();
        let last = self.micros.len().saturating_sub(1);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let place = (part * last as f64).round() as usize;
        Duration::from_micros(self.micros.get(place).copied().unwrap_or_default().into())
    }

    /// Every request had its answer, and nothing else happened.
    ///
    /// # Panics
    /// When it is not so, with the first faults.
    #[track_caller]
    pub fn assert_good(&self) {
        assert!(self.faults == 0 && self.asked == self.answered && self.asked > 0, "{self}: {:#?}", self.told);
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} asked, {} answered, {} faults", self.asked, self.answered, self.faults)
    }
}

struct Member {
    stream: TcpStream,
    /// When it asked, and which of the questions.
    asked: Option<(Instant, usize)>,
    read: Vec<u8>,
    /// Nothing more is to be had from it.
    is_gone: bool,
}

/// Connections to one listener.
pub struct Crowd {
    members: Vec<Member>,
    epoll: std::os::fd::OwnedFd,
    /// What is asked in turn, and the answer's beginning.
    questions: Vec<(Vec<u8>, String)>,
    turn: usize,
}

impl Crowd {
    /// Opens `connections` of them. They ask `questions` in turn, whose answers begin as said.
    ///
    /// # Errors
    /// One could not be opened.
    ///
    /// # Panics
    /// The address is no TCP address.
    pub fn open(address: &Address, connections: usize, questions: &[(Request, &str)]) -> io::Result<Self> {
        let Address::Tcp(address) = address else { panic!("a crowd comes by TCP") };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut members = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = TcpStream::connect_timeout(address, Duration::from_secs(20))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
            members.push(Member { stream, asked: None, read: Vec::new(), is_gone: false });
        }
        let questions = questions.iter().map(|(request, answer)| (request.bytes(), (*answer).to_owned())).collect();
        Ok(Self { members, epoll, questions, turn: 0 })
    }

    /// The first `active` of the connections ask, each again `pause` after its answer, until `is_over` says so, which
    /// is asked some ten times a second; then what is on its way is waited for.
    pub fn ask(&mut self, active: usize, pause: Duration, mut is_over: impl FnMut() -> bool) -> Seen {
        let mut seen = Seen::default();
        let begun = Instant::now();
        // Spread over the first pause.
        let step =
            |number: usize| pause * u32::try_from(number).expect("a number") / u32::try_from(active).expect("one");
        let mut due: VecDeque<(Instant, usize)> = (0..active).map(|number| (begun + step(number), number)).collect();
        let (mut look, mut over) = (begun, false);
        let mut on_the_way = 0;
        while !over || on_the_way > 0 {
            let now = Instant::now();
            if now >= look {
                look = now + Duration::from_millis(100);
                over = over || is_over();
                on_the_way -= self.give_up(now, &mut seen);
            }
            while let Some((_, number)) = due.front().filter(|(at, _)| !over && *at <= now).copied() {
                due.pop_front();
                on_the_way += usize::from(self.send(number, now, &mut seen));
            }
            if over && on_the_way == 0 {
                break;
            }
            let until = due.front().filter(|_| !over).map_or(look, |(at, _)| look.min(*at));
            self.wait(until.saturating_duration_since(now), &mut seen, |number, at| {
                on_the_way -= 1;
                due.push_back((at + pause, number));
            });
        }
        seen
    }

    /// Each connection asks once.
    pub fn ask_each(&mut self) -> Seen {
        let mut seen = Seen::default();
        for first in (0..self.members.len()).step_by(200) {
            let mut on_the_way = 0;
            for number in first..self.members.len().min(first + 200) {
                on_the_way += usize::from(self.send(number, Instant::now(), &mut seen));
            }
            while on_the_way > 0 {
                self.wait(Duration::from_millis(100), &mut seen, |_, _| on_the_way -= 1);
                on_the_way -= self.give_up(Instant::now(), &mut seen);
            }
        }
        seen
    }

    /// Whether it was sent.
    fn send(&mut self, number: usize, now: Instant, seen: &mut Seen) -> bool {
        let member = &mut self.members[number];
        if member.is_gone {
            return false;
        }
        self.turn = (self.turn + 1) % self.questions.len();
        // One small write: the kernel takes it whole or the connection is of no use.
        match member.stream.write(&self.questions[self.turn].0) {
            Ok(length) if length == self.questions[self.turn].0.len() => {
                seen.asked += 1;
                member.asked = Some((now, self.turn));
                true
            }
            Ok(length) => {
                seen.fault(number, format!("{length} bytes were taken"));
                false
            }
            Err(error) => {
                seen.fault(number, error);
                false
            }
        }
    }

    fn wait(&mut self, longest: Duration, seen: &mut Seen, mut answered: impl FnMut(usize, Instant)) {
        let mut events: Vec<Event> = Vec::with_capacity(512);
        let longest = Timespec { tv_sec: 0, tv_nsec: longest.min(Duration::from_millis(100)).subsec_nanos().into() };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("epoll: {error}"),
        }
        for event in events {
            let number = usize::try_from(event.data.u64()).expect("it was one");
            if self.read(number, seen) {
                answered(number, Instant::now());
            }
        }
    }

    /// Reads what has come; whether a request is done with.
    fn read(&mut self, number: usize, seen: &mut Seen) -> bool {
        let member = &mut self.members[number];
        let mut bytes = [0; 4096];
        let ended = match member.stream.read(&mut bytes) {
            Ok(0) => Some("ended by the daemon".to_owned()),
            Ok(length) => {
                member.read.extend_from_slice(&bytes[..length]);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = ended {
            seen.fault(number, why);
            member.is_gone = true;
            let _ = epoll::delete(&self.epoll, &member.stream);
            return member.asked.take().is_some();
        }
        let Some((since, question)) = member.asked else {
            seen.fault(number, format!("unasked: {:?}", String::from_utf8_lossy(&member.read)));
            member.read.clear();
            return false;
        };
        if !member.read.ends_with(b"\n\n") {
            return false;
        }
        let read = std::mem::take(&mut member.read);
        member.asked = None;
        let is_one = read.windows(2).filter(|pair| pair == b"\n\n").count() == 1;
        if is_one && read.starts_with(format!("action={}", self.questions[question].1).as_bytes()) {
            seen.answered += 1;
            seen.micros.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            let wanted = &self.questions[question].1;
            seen.fault(number, format!("{wanted} expected, came {:?}", String::from_utf8_lossy(&read)));
        }
        true
    }

    /// Gives up answers that do not come; how many.
    fn give_up(&mut self, now: Instant, seen: &mut Seen) -> usize {
        let mut given_up = 0;
        for (number, member) in self.members.iter_mut().enumerate() {
            if member.asked.is_some_and(|(since, _)| now.saturating_duration_since(since) > MISSING) {
                seen.fault(number, format!("no answer within {MISSING:?}"));
                member.asked = None;
                member.is_gone = true;
                let _ = epoll::delete(&self.epoll, &member.stream);
                given_up += 1;
            }
        }
        given_up
    }
}
