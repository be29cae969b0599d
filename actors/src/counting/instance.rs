//! What is remembered of a message while it arrives, so that it is charged once for each recipient.
//!
//! Postfix asks about one message many times: once for each recipient, again at DATA and at
//! END-OF-MESSAGE, twice if a service is listed twice, and again on a new connection when an answer was
//! lost. All these requests share `instance`. This memory says what a request still has to charge; it
//! charges nothing itself, and it does no input or output.
//!
//! It is bounded in time (an hour after the last request of the message) and in size (the message not
//! heard of for longest goes first). A message that was forgotten too early is charged anew, never less.

use smallvec::SmallVec;

use super::event::{Event, Worth};
use super::ring::Ring;

/// How long a message is remembered after its last request, in seconds.
pub const REMEMBERED_SECONDS: u64 = 3600;

/// Recipients remembered of one message. Postfix accepts 1,000 (`smtpd_recipient_limit`); those beyond
/// this bound are charged at each request, and DATA sets the charge right.
const MAX_RECIPIENTS: usize = 10_000;

/// What a request has to charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing: it was charged before, or is worth nothing.
    Nothing,
    /// This many more.
    Charge(u32),
    /// This many less than was charged for the message so far.
    GiveBack(u32),
}

/// Part of what was charged for a message: where (`S`: which windows or which ticket) and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged<S> {
    /// Where it was charged.
    pub place: S,
    /// How many recipients.
    pub count: u32,
}

/// The memory of one message.
#[derive(Debug, Clone)]
pub struct Message<S, N> {
    /// When it came to its place in the order.
    placed: u64,
    /// When it was last heard of.
    touched: u64,
    recipients: SmallVec<[u64; 2]>,
    charged: SmallVec<[Charged<S>; 1]>,
    note: Option<N>,
}

impl<S, N> Message<S, N> {
    fn new(now: u64) -> Self {
        Self { placed: now, touched: now, recipients: SmallVec::new(), charged: SmallVec::new(), note: None }
    }

    fn total(&self) -> u32 {
        self.charged.iter().map(|charged| charged.count).sum()
    }
}

/// The messages on their way. `S` says where a charge was made; `N` is what a request that charges
/// nothing is answered with (the answer given before).
#[derive(Debug)]
pub struct Instances<S, N = ()> {
    /// In the order in which they came; one that was heard of since goes to the end when its turn comes.
    messages: Ring<Message<S, N>>,
    capacity: usize,
}

impl<S: Clone, N: Clone> Instances<S, N> {
    /// A memory of at most `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        Self { messages: Ring::default(), capacity: capacity.max(1) }
    }

    /// How many messages are remembered.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `event` has to charge at `now` (seconds since 1970). Changes nothing.
    pub fn due(&self, now: u64, event: &Event) -> Due {
        let known = event.instance.and_then(|instance| self.known(now, instance));
        match (event.worth, known) {
            (Worth::Nothing, _) => Due::Nothing,
            (Worth::Recipient, Some(message)) if message.recipients.contains(&event.recipient) => Due::Nothing,
            (Worth::Recipient, _) => Due::Charge(1),
            (Worth::Message(count), known) => {
                let charged = known.map_or(0, Message::total);
                match count.cmp(&charged) {
                    std::cmp::Ordering::Equal => Due::Nothing,
                    std::cmp::Ordering::Greater => Due::Charge(count - charged),
                    std::cmp::Ordering::Less => Due::GiveBack(charged - count),
                }
            }
        }
    }

    /// What the message's earlier requests were answered with, if that was noted.
    pub fn note(&self, now: u64, event: &Event) -> Option<&N> {
        event.instance.and_then(|instance| self.known(now, instance)).and_then(|message| message.note.as_ref())
    }

    /// Remembers that `event` was charged `count` at `place`. Without an instance there is nothing to
    /// remember.
    pub fn charged(&mut self, now: u64, event: &Event, place: S, count: u32, note: Option<N>)
    where
        S: PartialEq,
    {
        let Some(instance) = event.instance else { return };
        let message = self.touch(now, instance);
        if event.worth == Worth::Recipient && message.recipients.len() < MAX_RECIPIENTS {
            message.recipients.push(event.recipient);
        }
        match message.charged.last_mut() {
            Some(last) if last.place == place => last.count += count,
            _ => message.charged.push(Charged { place, count }),
        }
        if note.is_some() {
            message.note = note;
        }
    }

    /// Takes `count` off what the message was charged, the latest first; returns where it has to be
    /// given back.
    pub fn given_back(&mut self, now: u64, event: &Event, mut count: u32) -> SmallVec<[Charged<S>; 1]> {
        let mut places = SmallVec::new();
        let Some(instance) = event.instance else { return places };
        let message = self.touch(now, instance);
        while count > 0 {
            let Some(last) = message.charged.last_mut() else { break };
            let taken = last.count.min(count);
            last.count -= taken;
            count -= taken;
            places.push(Charged { place: last.place.clone(), count: taken });
            if last.count == 0 {
                message.charged.pop();
            }
        }
        places
    }

    /// Takes off all that the message was charged: it was refused as a whole.
    pub fn refused(&mut self, now: u64, event: &Event) -> SmallVec<[Charged<S>; 1]> {
        let known = event.instance.and_then(|instance| self.known(now, instance));
        match known.map_or(0, Message::total) {
            0 => SmallVec::new(),
            charged => self.given_back(now, event, charged),
        }
    }

    /// Takes back what [`Instances::charged`] noted of `event`; returns where it has to be given back.
    pub fn revoked(&mut self, now: u64, event: &Event, count: u32) -> SmallVec<[Charged<S>; 1]> {
        let places = self.given_back(now, event, count);
        if let Some(message) = event.instance.and_then(|instance| self.messages.get_mut(instance)) {
            message.recipients.retain(|recipient| *recipient != event.recipient);
        }
        places
    }

    /// The memory of `event`'s message as it stands, to be put back by [`Instances::restore`].
    pub fn image(&self, event: &Event) -> Option<Message<S, N>> {
        event.instance.and_then(|instance| self.messages.get(instance)).cloned()
    }

    /// Puts back what [`Instances::image`] gave: what was remembered since did not come about.
    pub fn restore(&mut self, event: &Event, image: Option<Message<S, N>>) {
        let Some(instance) = event.instance else { return };
        match image {
            Some(message) => self.messages.put(instance, message),
            None => drop(self.messages.remove(instance)),
        }
    }

    /// Forgets up to `steps` messages whose time has passed. Called now and then, so that memory is
    /// given back also when no mail comes.
    pub fn forget_old(&mut self, now: u64, steps: usize) {
        for _ in 0..steps {
            match self.messages.front() {
                Some(message) if expired(now, message.placed) => self.turn_oldest(now),
                _ => return,
            }
        }
    }

    /// Forgets all messages whose time has passed, and gives their memory back.
    pub fn forget_all_old(&mut self, now: u64) {
        self.forget_old(now, usize::MAX);
        self.messages.shrink();
    }

    fn known(&self, now: u64, instance: u128) -> Option<&Message<S, N>> {
        self.messages.get(instance).filter(|message| !expired(now, message.touched))
    }

    fn touch(&mut self, now: u64, instance: u128) -> &mut Message<S, N> {
        // Each request of a message makes room for what it may add: constant work, bounded memory.
        self.forget_old(now, 2);
        while self.len() >= self.capacity && self.messages.get(instance).is_none() {
            self.drop_oldest();
        }
        let message = self.messages.get_or_push(instance, || Message::new(now));
        if expired(now, message.touched) {
            *message = Message { placed: message.placed, ..Message::new(now) };
        }
        message.touched = now;
        message
    }

    /// Forgets the first in order if its time has passed; one that was heard of since moves to the end.
    fn turn_oldest(&mut self, now: u64) {
        if let Some((instance, message)) = self.messages.pop_front()
            && !expired(now, message.touched)
        {
            self.put_last(instance, message);
        }
    }

    /// Forgets the message not heard of for longest (as nearly as the order knows).
    fn drop_oldest(&mut self) {
        while let Some((instance, message)) = self.messages.pop_front() {
            if message.touched <= message.placed {
                return;
            }
            self.put_last(instance, message);
        }
    }

    fn put_last(&mut self, instance: u128, message: Message<S, N>) {
        self.messages.put(instance, Message { placed: message.touched, ..message });
    }
}

fn expired(now: u64, touched: u64) -> bool {
    now > touched.saturating_add(REMEMBERED_SECONDS)
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
