//! The kinds of questions: what each is asked by, whom it asks, and how long its answer is believed.

use std::sync::Arc;
use std::time::Duration;

use libvalvula::AddressKey;

use super::actor::{Caches, PostfixConfig, Waiting};
use super::cache::{Answer, Cache, CacheSettings};
use super::sources::Sources;
use crate::local::Truth;
use crate::module::BoxFuture;

/// A question, whose answer is a `Value`.
pub(super) trait Question: Clone + Send + 'static {
    /// What an answer is.
    type Value: Clone + Send + Sync + 'static;

    /// What it is remembered by, in normal form.
    fn key(&self) -> &[u8];

    /// Asks the sources.
    fn ask(self, sources: Sources) -> BoxFuture<Answer<Self::Value>>;

    /// How long the answer is believed.
    fn life(value: &Self::Value, settings: &CacheSettings) -> Duration;

    /// Where answers to questions of this kind are kept.
    fn cache(caches: &Caches) -> &Cache<Self::Value>;

    /// Who waits for answers to questions of this kind.
    fn waiting(actor: &mut PostfixConfig) -> &mut Waiting<Self::Value>;
}

/// Is this domain local?
#[derive(Clone)]
pub(super) struct Domain(pub Arc<[u8]>);

/// Is this address local?
#[derive(Clone)]
pub(super) struct Address(pub AddressKey);

/// Is mail for this recipient delivered here?
#[derive(Clone)]
pub(super) struct Delivery(pub AddressKey);

/// Who owns this sender address?
#[derive(Clone)]
pub(super) struct OwnersOf(pub AddressKey);

/// A question that is answered with yes or no.
macro_rules! yes_or_no {
    ($question:ident, $kept:ident, $key:expr) => {
        impl Question for $question {
            type Value = bool;

            fn key(&self) -> &[u8] {
                let key: fn(&Self) -> &[u8] = $key;
                key(self)
            }

            fn ask(self, sources: Sources) -> BoxFuture<Answer<bool>> {
                Box::pin(async move { known(sources.$kept(&self.0).await) })
            }

            fn life(yes: &bool, settings: &CacheSettings) -> Duration {
                if *yes { settings.positive } else { settings.negative }
            }

            fn cache(caches: &Caches) -> &Cache<bool> {
                &caches.$kept
            }

            fn waiting(actor: &mut PostfixConfig) -> &mut Waiting<bool> {
                &mut actor.$kept
            }
        }
    };
}

yes_or_no!(Domain, domain, |question| &question.0);
yes_or_no!(Address, address, |question| question.0.as_bytes());
yes_or_no!(Delivery, delivery, |question| question.0.as_bytes());

impl Question for OwnersOf {
    type Value = Arc<[AddressKey]>;

    fn key(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn ask(self, sources: Sources) -> BoxFuture<Answer<Self::Value>> {
        Box::pin(async move { sources.owners(&self.0).await.map_err(|away| Arc::from(away.what.as_ref())) })
    }

    fn life(_: &Self::Value, settings: &CacheSettings) -> Duration {
        settings.negative
    }

    fn cache(caches: &Caches) -> &Cache<Self::Value> {
        &caches.owners
    }

    fn waiting(actor: &mut PostfixConfig) -> &mut Waiting<Self::Value> {
        &mut actor.owners
    }
}

fn known(truth: Truth) -> Answer<bool> {
    match truth {
        Truth::Yes => Ok(true),
        Truth::No => Ok(false),
        Truth::CouldNotAsk(why) => Err(why),
    }
}
