use super::*;
use crate::counting::event::Events;

const T: u64 = 1_000_000;

struct Memory {
    events: Events,
    instances: Instances<u8, ()>,
}

impl Memory {
    fn new(capacity: usize) -> Self {
        Self { events: Events::default(), instances: Instances::new(capacity) }
    }

    fn event(&self, instance: &str, recipient: &str, worth: Worth) -> Event {
        self.events.event(instance.as_bytes(), b"ann@example.com", recipient.as_bytes(), worth)
    }

    /// Asks and charges what is due, as if there were room for all.
    fn ask(&mut self, now: u64, instance: &str, recipient: &str, worth: Worth) -> Due {
        let event = self.event(instance, recipient, worth);
        let due = self.instances.due(now, &event);
        match due {
            Due::Charge(count) => self.instances.charged(now, &event, 0, count, None),
            Due::GiveBack(count) => {
                self.instances.given_back(now, &event, count);
            }
            Due::Nothing => {}
        }
        due
    }
}

#[test]
fn a_second_request_at_rcpt_for_the_same_instance_and_recipient_is_charged_nothing() {
    let mut memory = Memory::new(10);
    assert_eq!(memory.ask(T, "i", "a@x", Worth::Recipient), Due::Charge(1));
    assert_eq!(memory.ask(T, "i", "a@x", Worth::Recipient), Due::Nothing);
    assert_eq!(memory.ask(T, "i", "a@x", Worth::Recipient), Due::Nothing);
    assert_eq!(memory.ask(T, "i", "b@x", Worth::Recipient), Due::Charge(1));
    assert_eq!(memory.ask(T, "j", "a@x", Worth::Recipient), Due::Charge(1));
}

#[test]
fn at_data_and_end_of_message_the_charge_is_set_to_recipient_count() {
    let mut memory = Memory::new(10);
    for recipient in ["a@x", "b@x", "c@x"] {
        memory.ask(T, "i", recipient, Worth::Recipient);
    }
    assert_eq!(memory.ask(T, "i", "", Worth::Message(2)), Due::GiveBack(1));
    assert_eq!(memory.ask(T, "i", "", Worth::Message(2)), Due::Nothing);
    assert_eq!(memory.ask(T, "i", "", Worth::Message(5)), Due::Charge(3));
    assert_eq!(memory.ask(T, "i", "", Worth::Message(0)), Due::GiveBack(5));
}

#[test]
fn a_message_first_seen_at_data_is_charged_whole() {
    let mut memory = Memory::new(10);
    assert_eq!(memory.ask(T, "i", "", Worth::Message(7)), Due::Charge(7));
    assert_eq!(memory.ask(T, "i", "", Worth::Message(7)), Due::Nothing);
}

#[test]
fn without_instance_every_request_is_charged_what_it_is_worth() {
    let mut memory = Memory::new(10);
    for _ in 0..3 {
        assert_eq!(memory.ask(T, "", "a@x", Worth::Recipient), Due::Charge(1));
        assert_eq!(memory.ask(T, "", "", Worth::Message(4)), Due::Charge(4));
    }
    assert!(memory.instances.is_empty());
}

#[test]
fn an_instance_is_forgotten_an_hour_after_it_was_last_heard_of() {
    let mut memory = Memory::new(10);
    memory.ask(T, "i", "a@x", Worth::Recipient);
    memory.ask(T + 3000, "i", "b@x", Worth::Recipient);
    assert_eq!(memory.ask(T + 3000 + 3600, "i", "a@x", Worth::Recipient), Due::Nothing);
    assert_eq!(memory.ask(T + 3000 + 3601, "i", "a@x", Worth::Recipient), Due::Charge(1));
    assert_eq!(memory.ask(T + 3000 + 3601, "i", "b@x", Worth::Recipient), Due::Charge(1));
}

#[test]
fn memory_is_bounded_and_the_message_not_heard_of_for_longest_goes_first() {
    let mut memory = Memory::new(3);
    for (at, instance) in [(0, "1"), (1, "2"), (2, "3")] {
        memory.ask(T + at, instance, "a@x", Worth::Recipient);
    }
    memory.ask(T + 3, "1", "b@x", Worth::Recipient);
    memory.ask(T + 4, "4", "a@x", Worth::Recipient);
    assert_eq!(memory.instances.len(), 3);
    assert_eq!(memory.ask(T + 5, "1", "a@x", Worth::Recipient), Due::Nothing, "heard of since");
    assert_eq!(memory.ask(T + 5, "2", "a@x", Worth::Recipient), Due::Charge(1), "the oldest");
    for number in 0..10_000 {
        memory.ask(T + 6 + number, &format!("n{number}"), "a@x", Worth::Recipient);
    }
    assert_eq!(memory.instances.len(), 3);
    assert_eq!(memory.instances.messages.places(), 3);
}

#[test]
fn memory_is_given_back_when_no_mail_comes() {
    let mut memory = Memory::new(1000);
    for number in 0..500 {
        memory.ask(T, &format!("n{number}"), "a@x", Worth::Recipient);
    }
    memory.instances.forget_all_old(T + 3601);
    assert!(memory.instances.is_empty());
    assert_eq!(memory.instances.messages.places(), 0);
}

#[test]
fn what_did_not_come_about_is_put_back() {
    let mut memory = Memory::new(10);
    let event = memory.event("i", "a@x", Worth::Recipient);
    let before = memory.instances.image(&event);
    memory.ask(T, "i", "a@x", Worth::Recipient);
    memory.instances.restore(&event, before);
    assert_eq!(memory.instances.due(T, &event), Due::Charge(1));
    assert_eq!(memory.instances.messages.places(), 0);

    memory.ask(T, "i", "b@x", Worth::Recipient);
    let before = memory.instances.image(&event);
    memory.ask(T, "i", "a@x", Worth::Recipient);
    memory.instances.restore(&event, before);
    assert_eq!(memory.ask(T, "i", "", Worth::Message(1)), Due::Nothing);
}

#[test]
fn charges_are_given_back_where_they_were_made_the_latest_first() {
    let mut memory = Memory::new(10);
    let event = memory.event("i", "a@x", Worth::Recipient);
    memory.instances.charged(T, &event, 1, 2, None);
    memory.instances.charged(T, &event, 2, 3, None);
    let back = memory.instances.given_back(T, &event, 4);
    assert_eq!(back.as_slice(), [Charged { place: 2, count: 3 }, Charged { place: 1, count: 1 }]);
}
