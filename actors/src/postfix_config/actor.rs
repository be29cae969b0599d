//! The actor, and the questions as modules ask them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Supervised};
use arc_swap::ArcSwap;
use libvalvula::AddressKey;
use slog::{Logger, info, warn};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::cache::{Answer, Cache, CacheSettings, Found};
use super::sources::Sources;
use crate::local::{Answers, Ask, Truth};
use crate::mail::post;
use crate::module::Unavailable;
use crate::supervise::{Health, Restart, supervise};

/// What the actor is told; changed by a reload.
#[derive(Clone)]
pub struct LocalSettings {
    /// Who answers.
    pub sources: Sources,
    /// Postfix's `recipient_delimiter`.
    pub recipient_delimiter: Arc<[u8]>,
    /// Lifetimes and bounds of the cache.
    pub cache: CacheSettings,
    /// The longest one question may take.
    pub timeout: Duration,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            sources: Sources::default(),
            recipient_delimiter: Arc::from([]),
            cache: CacheSettings::default(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Those who wait for the answers to questions, by question.
type Waiting<K, V> = HashMap<K, Vec<oneshot::Sender<Answer<V>>>>;

/// A question and who waits for its answer.
#[derive(Message)]
#[rtype(result = "()")]
enum Please {
    Domain(Box<[u8]>, oneshot::Sender<Answer<bool>>),
    Address(AddressKey, oneshot::Sender<Answer<bool>>),
    Delivery(AddressKey, oneshot::Sender<Answer<bool>>),
    Owners(AddressKey, oneshot::Sender<Answer<Arc<[AddressKey]>>>),
}

/// What a source said.
#[derive(Message)]
#[rtype(result = "()")]
enum Said {
    Domain(Box<[u8]>, u64, Answer<bool>),
    Address(AddressKey, u64, Answer<bool>),
    Delivery(AddressKey, u64, Answer<bool>),
    Owners(AddressKey, u64, Answer<Arc<[AddressKey]>>),
}

struct Caches {
    domains: Cache<bool>,
    addresses: Cache<bool>,
    deliveries: Cache<bool>,
    owners: Cache<Arc<[AddressKey]>>,
    settings: ArcSwap<LocalSettings>,
}

/// The actor: asks the sources, once per question however many wait.
pub(crate) struct PostfixConfig {
    caches: Arc<Caches>,
    domains: Waiting<Box<[u8]>, bool>,
    addresses: Waiting<AddressKey, bool>,
    deliveries: Waiting<AddressKey, bool>,
    owners: Waiting<AddressKey, Arc<[AddressKey]>>,
    health: Arc<Health>,
    away: bool,
    log: Logger,
}

impl Actor for PostfixConfig {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // Whoever waited on what the last run was asking is told that it could not be asked.
        self.domains.clear();
        self.addresses.clear();
        self.deliveries.clear();
        self.owners.clear();
    }
}

impl Supervised for PostfixConfig {}

impl Handler<Restart> for PostfixConfig {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        self.caches.expire();
        context.stop();
    }
}

impl Handler<Please> for PostfixConfig {
    type Result = ();

    fn handle(&mut self, please: Please, context: &mut Self::Context) {
        // Down: the senders are dropped, and who waits is told.
        if self.health.is_down() {
            return;
        }
        let settings = self.caches.settings.load_full();
        let actor = context.address();
        match please {
            Please::Domain(domain, waits) => {
                let epoch = self.caches.domains.epoch();
                if first(&mut self.domains, &domain, waits) {
                    actix_rt::spawn(async move {
                        let answer = bounded(settings.timeout, settings.sources.domain(&domain)).await;
                        post(&actor, Said::Domain(domain, epoch, answer));
                    });
                }
            }
            Please::Address(address, waits) => {
                let epoch = self.caches.addresses.epoch();
                if first(&mut self.addresses, &address, waits) {
                    actix_rt::spawn(async move {
                        let answer = bounded(settings.timeout, settings.sources.address(&address)).await;
                        post(&actor, Said::Address(address, epoch, answer));
                    });
                }
            }
            Please::Delivery(recipient, waits) => {
                let epoch = self.caches.deliveries.epoch();
                if first(&mut self.deliveries, &recipient, waits) {
                    actix_rt::spawn(async move {
                        let answer = bounded(settings.timeout, settings.sources.delivery(&recipient)).await;
                        post(&actor, Said::Delivery(recipient, epoch, answer));
                    });
                }
            }
            Please::Owners(sender, waits) => {
                let epoch = self.caches.owners.epoch();
                if first(&mut self.owners, &sender, waits) {
                    actix_rt::spawn(async move {
                        let ask = async {
                            settings.sources.owners(&sender).await.map_err(|away| Arc::from(away.what.as_ref()))
                        };
                        let answer = timeout(settings.timeout, ask).await.unwrap_or_else(|_| Err(too_late()));
                        post(&actor, Said::Owners(sender, epoch, answer));
                    });
                }
            }
        }
    }
}

/// Adds one who waits for `key`; whether it is the first, so that the question must be asked.
fn first<K: std::hash::Hash + Eq + Clone, V>(waiting: &mut HashMap<K, Vec<V>>, key: &K, waits: V) -> bool {
    match waiting.get_mut(key) {
        Some(others) => {
            others.push(waits);
            false
        }
        None => {
            waiting.insert(key.clone(), vec![waits]);
            true
        }
    }
}

async fn bounded(limit: Duration, ask: impl Future<Output = Truth>) -> Answer<bool> {
    match timeout(limit, ask).await {
        Ok(Truth::Yes) => Ok(true),
        Ok(Truth::No) => Ok(false),
        Ok(Truth::CouldNotAsk(why)) => Err(why),
        Err(_) => Err(too_late()),
    }
}

fn too_late() -> Arc<str> {
    "the question took too long".into()
}

impl Handler<Said> for PostfixConfig {
    type Result = ();

    fn handle(&mut self, said: Said, _: &mut Self::Context) {
        let now = Instant::now();
        let lives = self.caches.settings.load().cache;
        let life = |answer: &Answer<bool>| if *answer == Ok(true) { lives.positive } else { lives.negative };
        match said {
            Said::Domain(domain, epoch, answer) => {
                self.note(answer.as_ref().err());
                let life = life(&answer);
                let answer = self.caches.domains.learn(&domain, answer, life, epoch, now);
                tell(self.domains.remove(&domain), &answer);
            }
            Said::Address(address, epoch, answer) => {
                self.note(answer.as_ref().err());
                let life = life(&answer);
                let answer = self.caches.addresses.learn(address.as_bytes(), answer, life, epoch, now);
                tell(self.addresses.remove(&address), &answer);
            }
            Said::Delivery(recipient, epoch, answer) => {
                self.note(answer.as_ref().err());
                let life = life(&answer);
                let answer = self.caches.deliveries.learn(recipient.as_bytes(), answer, life, epoch, now);
                tell(self.deliveries.remove(&recipient), &answer);
            }
            Said::Owners(sender, epoch, answer) => {
                self.note(answer.as_ref().err());
                let answer = self.caches.owners.learn(sender.as_bytes(), answer, lives.negative, epoch, now);
                tell(self.owners.remove(&sender), &answer);
            }
        }
    }
}

fn tell<V: Clone>(waiting: Option<Vec<oneshot::Sender<Answer<V>>>>, answer: &Answer<V>) {
    for waits in waiting.into_iter().flatten() {
        // Who stopped waiting at its deadline is not there to be told.
        let _ = waits.send(answer.clone());
    }
}

impl PostfixConfig {
    /// One line when local questions begin to fail, and one when they are answered again.
    fn note(&mut self, failure: Option<&Arc<str>>) {
        match (failure, self.away) {
            (Some(why), false) => {
                self.away = true;
                warn!(self.log, "a local question could not be asked, the last known answers serve"; "why" => &**why);
            }
            (None, true) => {
                self.away = false;
                info!(self.log, "local questions are answered again");
            }
            _ => {}
        }
    }
}

impl Caches {
    fn expire(&self) {
        let now = Instant::now();
        self.domains.expire(now);
        self.addresses.expire(now);
        self.deliveries.expire(now);
        self.owners.expire(now);
    }
}

/// The local questions, answered from the cache or by the actor. Cheap to clone.
#[derive(Clone)]
pub struct LocalQuestions {
    caches: Arc<Caches>,
    actor: Addr<PostfixConfig>,
    health: Arc<Health>,
}

impl LocalQuestions {
    /// Starts the actor on the current arbiter.
    pub fn start(settings: LocalSettings, log: &Logger) -> Self {
        let caches = Arc::new(Caches {
            domains: Cache::new(settings.cache),
            addresses: Cache::new(settings.cache),
            deliveries: Cache::new(settings.cache),
            owners: Cache::new(settings.cache),
            settings: ArcSwap::from_pointee(settings),
        });
        let (actor, health) = supervise("postfix", log, |health| PostfixConfig {
            caches: caches.clone(),
            domains: HashMap::new(),
            addresses: HashMap::new(),
            deliveries: HashMap::new(),
            owners: HashMap::new(),
            health,
            away: false,
            log: log.clone(),
        });
        Self { caches, actor, health }
    }

    /// Other sources or lifetimes from now on; nothing is believed any more without asking again.
    pub fn configure(&self, settings: LocalSettings) {
        self.caches.domains.configure(settings.cache);
        self.caches.addresses.configure(settings.cache);
        self.caches.deliveries.configure(settings.cache);
        self.caches.owners.configure(settings.cache);
        self.caches.settings.store(Arc::new(settings));
        self.caches.expire();
    }

    /// Postfix's configuration is another one: nothing is believed any more without asking again.
    pub fn configuration_changed(&self, recipient_delimiter: &[u8]) {
        let settings = self.settings();
        self.configure(LocalSettings { recipient_delimiter: recipient_delimiter.into(), ..(*settings).clone() });
    }

    /// The settings now.
    pub fn settings(&self) -> Arc<LocalSettings> {
        self.caches.settings.load_full()
    }

    /// Restarts the actor; all is asked again.
    pub fn restart(&self) {
        post(&self.actor, Restart);
    }

    /// Names and values for the report.
    pub fn status(&self) -> Vec<(String, serde_json::Value)> {
        use std::sync::atomic::Ordering::Relaxed;
        let mut facts: Vec<(String, serde_json::Value)> = Vec::new();
        let mut add = |kind: &str, entries: usize, hits: u64, misses: u64, stale: u64| {
            facts.push((format!("{kind} cached"), entries.into()));
            facts.push((format!("{kind} hits"), hits.into()));
            facts.push((format!("{kind} misses"), misses.into()));
            facts.push((format!("{kind} served stale"), stale.into()));
        };
        let Caches { domains, addresses, owners, .. } = &*self.caches;
        let of =
            |cache: &Cache<bool>| (cache.hits.load(Relaxed), cache.misses.load(Relaxed), cache.stale.load(Relaxed));
        let (hits, misses, stale) = of(domains);
        add("domain", domains.len(), hits, misses, stale);
        let (hits, misses, stale) = of(addresses);
        add("address", addresses.len(), hits, misses, stale);
        add("owner", owners.len(), owners.hits.load(Relaxed), owners.misses.load(Relaxed), owners.stale.load(Relaxed));
        facts.push(("restarts".to_owned(), self.health.restarts().into()));
        facts
    }

    fn asked<V, T>(&self, please: impl FnOnce(oneshot::Sender<Answer<V>>) -> Please, say: fn(Answer<V>) -> T) -> Ask<T>
    where
        V: Send + 'static,
        T: 'static,
    {
        let (waits, answer) = oneshot::channel();
        post(&self.actor, please(waits));
        Ask::Waiting(Box::pin(async move {
            say(answer.await.unwrap_or_else(|_| Err("the actor that answers local questions crashed".into())))
        }))
    }
}

fn truth(answer: Answer<bool>) -> Truth {
    match answer {
        Ok(true) => Truth::Yes,
        Ok(false) => Truth::No,
        Err(why) => Truth::CouldNotAsk(why),
    }
}

fn owners(answer: Answer<Arc<[AddressKey]>>) -> Result<Arc<[AddressKey]>, Unavailable> {
    answer.map_err(|why| Unavailable::new(why.to_string()))
}

impl Answers for LocalQuestions {
    fn domain(&self, domain: &[u8]) -> Ask<Truth> {
        match self.caches.domains.look_up(domain, Instant::now()) {
            Found::Fresh(answer) => Ask::ready(truth(answer)),
            Found::Ask => self.asked(|waits| Please::Domain(domain.into(), waits), truth),
        }
    }

    fn address(&self, address: &AddressKey) -> Ask<Truth> {
        match self.caches.addresses.look_up(address.as_bytes(), Instant::now()) {
            Found::Fresh(answer) => Ask::ready(truth(answer)),
            Found::Ask => self.asked(|waits| Please::Address(address.clone(), waits), truth),
        }
    }

    fn delivery(&self, recipient: &AddressKey) -> Ask<Truth> {
        match self.caches.deliveries.look_up(recipient.as_bytes(), Instant::now()) {
            Found::Fresh(answer) => Ask::ready(truth(answer)),
            Found::Ask => self.asked(|waits| Please::Delivery(recipient.clone(), waits), truth),
        }
    }

    fn owners(&self, sender: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
        match self.caches.owners.look_up(sender.as_bytes(), Instant::now()) {
            Found::Fresh(answer) => Ask::ready(owners(answer)),
            Found::Ask => self.asked(|waits| Please::Owners(sender.clone(), waits), owners),
        }
    }

    fn recipient_delimiter(&self) -> Arc<[u8]> {
        self.caches.settings.load().recipient_delimiter.clone()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
