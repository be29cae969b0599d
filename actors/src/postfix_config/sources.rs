//! Who can answer the local questions: Postfix's configuration, our own, and what modules add.

use std::sync::Arc;

use libvalvula::AddressKey;

use crate::local::Truth;
use crate::module::{BoxFuture, Unavailable};

/// The logins that own a sender address.
pub type Owners = Result<Arc<[AddressKey]>, Unavailable>;

/// One source of answers. Asked on the system arbiter: it may wait, it must not block.
pub trait Source: Send + Sync + 'static {
    /// Its name, for logs and evidence: `postfix`, `object-resolver`.
    fn name(&self) -> &str;

    /// Where it looks, without a password: a file, a database.
    fn place(&self) -> String {
        String::new()
    }

    /// Is `domain` (in normal form) local?
    fn domain(self: Arc<Self>, domain: Arc<[u8]>) -> BoxFuture<Truth>;

    /// Is `address` local?
    fn address(self: Arc<Self>, address: AddressKey) -> BoxFuture<Truth>;

    /// Is mail for `recipient`, which has no domain or may name a route, delivered here? A source that does
    /// not know where Postfix would send it says no.
    fn delivery(self: Arc<Self>, recipient: AddressKey) -> BoxFuture<Truth> {
        let _ = recipient;
        Box::pin(async { Truth::No })
    }

    /// The logins that own `sender`. A source that knows of none says so by an empty list.
    fn owners(self: Arc<Self>, sender: AddressKey) -> BoxFuture<Owners> {
        let _ = sender;
        Box::pin(async { Ok(Arc::from([])) })
    }
}

/// All sources, in the order they are asked.
#[derive(Clone, Default)]
pub struct Sources(Arc<[Arc<dyn Source>]>);

impl Sources {
    /// These sources.
    pub fn new(sources: impl IntoIterator<Item = Arc<dyn Source>>) -> Self {
        Self(sources.into_iter().collect())
    }

    /// The first yes; else "could not ask" if any source could not be asked; else no.
    async fn any(&self, ask: impl Fn(Arc<dyn Source>) -> BoxFuture<Truth>) -> Truth {
        let mut away = None;
        for source in &*self.0 {
            match ask(source.clone()).await {
                Truth::Yes => return Truth::Yes,
                Truth::No => {}
                Truth::CouldNotAsk(why) => {
                    let _ = away.get_or_insert(why);
                }
            }
        }
        away.map_or(Truth::No, Truth::CouldNotAsk)
    }

    pub(super) async fn domain(&self, domain: &Arc<[u8]>) -> Truth {
        self.any(|source| source.domain(domain.clone())).await
    }

    pub(super) async fn address(&self, address: &AddressKey) -> Truth {
        self.any(|source| source.address(address.clone())).await
    }

    pub(super) async fn delivery(&self, recipient: &AddressKey) -> Truth {
        self.any(|source| source.delivery(recipient.clone())).await
    }

    /// The owners that all sources name together.
    pub(super) async fn owners(&self, sender: &AddressKey) -> Owners {
        let mut owners = Vec::new();
        for source in &*self.0 {
            owners.extend(source.clone().owners(sender.clone()).await?.iter().cloned());
        }
        Ok(owners.into())
    }
}
