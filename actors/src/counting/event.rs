//! What a request is worth, and to which message it belongs.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use libvalvula::{Request, Stage};

/// What a request is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Not counted: asked at a stage where nothing is accepted (CONNECT, HELO, MAIL, VRFY, ETRN).
    Nothing,
    /// One recipient (RCPT).
    Recipient,
    /// The whole message, which has this many recipients (DATA, END-OF-MESSAGE).
    Message(u32),
}

/// A request as counting sees it: message, recipient, worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The message (`instance`, and who is charged for it); `None` when the client sends no instance.
    pub instance: Option<u128>,
    /// The recipient.
    pub recipient: u64,
    /// What the request is worth.
    pub worth: Worth,
}

/// Makes events. Messages and recipients are known by hashes under a secret seed: nobody outside can
/// make two that agree, and by chance two of a million messages agree once in 10^26 such millions.
#[derive(Debug, Clone, Default)]
pub struct Events {
    high: RandomState,
    low: RandomState,
}

impl Events {
    /// The event of `request`, charged to `payer` (a SASL user, or a ticket's name).
    pub fn of(&self, request: &Request, payer: &[u8]) -> Event {
        let worth = match request.stage() {
            Stage::Rcpt => Worth::Recipient,
            Stage::Data | Stage::EndOfMessage => Worth::Message(request.recipient_count()),
            // Not Postfix: what it asks about is one recipient, or as many as it says.
            Stage::Unknown if request.recipient_count() == 0 => Worth::Recipient,
            Stage::Unknown => Worth::Message(request.recipient_count()),
            _ => Worth::Nothing,
        };
        self.event(request.instance(), payer, request.recipient_key().as_bytes(), worth)
    }

    /// The event of its parts; an empty `instance` is none.
    pub fn event(&self, instance: &[u8], payer: &[u8], recipient: &[u8], worth: Worth) -> Event {
        let instance = (!instance.is_empty()).then(|| {
            let half = |state: &RandomState| {
                let mut hasher = state.build_hasher();
                hasher.write_usize(instance.len());
                hasher.write(instance);
                hasher.write(payer);
                hasher.finish()
            };
            u128::from(half(&self.high)) << 64 | u128::from(half(&self.low))
        });
        let mut hasher = self.low.build_hasher();
        hasher.write(recipient);
        Event { instance, recipient: hasher.finish(), worth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_its_instance_and_by_who_pays() {
        let events = Events::default();
        let event = |instance: &str, payer: &str| {
            events.event(instance.as_bytes(), payer.as_bytes(), b"r@x", Worth::Recipient).instance
        };
        assert_eq!(event("1.2", "ann"), event("1.2", "ann"));
        assert_ne!(event("1.2", "ann"), event("1.2", "bob"));
        assert_ne!(event("1.2", "ann"), event("1.", "2ann"));
        assert_eq!(event("", "ann"), None);
    }
}
