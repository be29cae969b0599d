//! The three local questions, as a module asks them.
//!
//! Is this domain ours? Is this address ours? Is this recipient delivered here? Each has three
//! answers; "could not ask" is never a "no". What is known already is answered at once; what is not is
//! asked by the Postfix-config actor, off the workers' threads, once however many wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use libvalvula::AddressKey;

use crate::module::{BoxFuture, Unavailable};

/// The answer to a local question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// It is local.
    Yes,
    /// Everything that could say so was asked, and it is not.
    No,
    /// Something that had to be asked did not answer; why, for the log.
    CouldNotAsk(Arc<str>),
}

impl Truth {
    /// Yes or no; "could not ask" as the error that a module passes on with `?`.
    pub fn known(self) -> Result<bool, Unavailable> {
        match self {
            Self::Yes => Ok(true),
            Self::No => Ok(false),
            Self::CouldNotAsk(why) => Err(Unavailable::new(why.to_string())),
        }
    }
}

/// Who answers the questions: the Postfix-config actor, or a test.
pub trait Answers: Send + Sync + 'static {
    /// Is `domain` (in normal form, see [`AddressKey`]) local?
    fn domain(&self, domain: &[u8]) -> Ask<Truth>;
    /// Is `address` local: its domain is, and a map of the domain's class has it?
    fn address(&self, address: &AddressKey) -> Ask<Truth>;
    /// Is mail for `recipient` delivered here? Asked only of an address without a domain, or whose local
    /// part may name a route ([`is_routed`]). Who knows nothing of routes says no.
    fn delivery(&self, recipient: &AddressKey) -> Ask<Truth> {
        let _ = recipient;
        Ask::ready(Truth::No)
    }
    /// The logins that own `sender` by `smtpd_sender_login_maps`, in normal form.
    fn owners(&self, sender: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>>;
    /// Postfix's `recipient_delimiter`: each of its characters separates an extension.
    fn recipient_delimiter(&self) -> Arc<[u8]>;
}

/// Whether the local part of `address` may name a route that Postfix follows: `user%domain`, `domain!user`,
/// `user@domain`.
pub fn is_routed(address: &AddressKey) -> bool {
    address.local_part().iter().any(|byte| matches!(byte, b'%' | b'!' | b'@'))
}

/// The questions. Cheap to clone.
#[derive(Clone)]
pub struct Local(Arc<dyn Answers>);

impl Local {
    /// Questions that `answers` answers.
    pub fn new(answers: impl Answers) -> Self {
        Self(Arc::new(answers))
    }

    /// Questions that `answers`, shared with somebody else, answers.
    pub fn shared(answers: Arc<dyn Answers>) -> Self {
        Self(answers)
    }

    /// Is `domain` (in normal form) local? The empty domain is not.
    pub fn domain(&self, domain: &[u8]) -> Ask<Truth> {
        if domain.is_empty() { Ask::Ready(Some(Truth::No)) } else { self.0.domain(domain) }
    }

    /// Is `address` a local address? The empty one is not.
    pub fn address(&self, address: &AddressKey) -> Ask<Truth> {
        if address.is_empty() { Ask::Ready(Some(Truth::No)) } else { self.0.address(address) }
    }

    /// Is mail for `recipient` delivered here: is its domain local?
    ///
    /// The domain is what Postfix will make of the address: `victim%elsewhere@here` is sent on to
    /// `elsewhere` (`allow_percent_hack`), `postmaster` belongs to `$myorigin`. Such an address is asked about
    /// whole; a yes by its last domain alone would open a relay.
    pub fn delivery(&self, recipient: &AddressKey) -> Ask<Truth> {
        if recipient.is_empty() {
            Ask::Ready(Some(Truth::No))
        } else if recipient.has_domain() && !is_routed(recipient) {
            self.domain(recipient.domain())
        } else {
            self.0.delivery(recipient)
        }
    }

    /// The logins that own `sender` (`smtpd_sender_login_maps`).
    pub fn owners(&self, sender: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
        self.0.owners(sender)
    }

    /// Postfix's `recipient_delimiter`: a set of characters, empty when there is none.
    pub fn recipient_delimiter(&self) -> Arc<[u8]> {
        self.0.recipient_delimiter()
    }

    /// Fixed answers, for tests and for programs that embed the runtime: `domains` are local, and so is
    /// every address in `addresses`.
    pub fn fixed(domains: &[&str], addresses: &[&str]) -> Self {
        Self::new(Fixed {
            domains: domains.iter().map(|domain| libvalvula::domain_key(domain.as_bytes()).into_owned()).collect(),
            addresses: addresses.iter().map(|address| AddressKey::new(address.as_bytes())).collect(),
        })
    }
}

/// A question under way: ready at once when the answer is known.
pub enum Ask<T> {
    /// Known. `None` once taken.
    Ready(Option<T>),
    /// Being asked.
    Waiting(BoxFuture<T>),
}

impl<T> Ask<T> {
    /// Known without waiting.
    pub fn ready(answer: T) -> Self {
        Self::Ready(Some(answer))
    }
}

impl<T: Unpin> Future for Ask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut *self {
            Self::Ready(answer) => Poll::Ready(answer.take().expect("a future is not polled after it is ready")),
            Self::Waiting(future) => future.as_mut().poll(context),
        }
    }
}

struct Fixed {
    domains: Vec<Vec<u8>>,
    addresses: Vec<AddressKey>,
}

impl Answers for Fixed {
    fn domain(&self, domain: &[u8]) -> Ask<Truth> {
        Ask::ready(if self.domains.iter().any(|known| known == domain) { Truth::Yes } else { Truth::No })
    }

    fn address(&self, address: &AddressKey) -> Ask<Truth> {
        Ask::ready(if self.addresses.contains(address) { Truth::Yes } else { Truth::No })
    }

    fn owners(&self, _: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
        Ask::ready(Ok(Arc::new([])))
    }

    fn recipient_delimiter(&self) -> Arc<[u8]> {
        Arc::from(*b"+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_may_be_sent_on_is_not_delivered_here_by_its_last_domain_alone() {
        let local = Local::fixed(&["here.example"], &[]);
        let delivered = |address: &str| match local.delivery(&AddressKey::new(address.as_bytes())) {
            Ask::Ready(Some(truth)) => truth,
            _ => unreachable!("fixed answers are known"),
        };
        assert_eq!(delivered("ann@here.example"), Truth::Yes);
        assert_eq!(delivered("ann+list@here.example"), Truth::Yes);
        for routed in ["ann%far.example@here.example", "far.example!ann@here.example", "ann@far.example@here.example"] {
            assert_eq!(delivered(routed), Truth::No, "{routed}");
        }
        assert_eq!(delivered("ann@far.example"), Truth::No);
    }
}
