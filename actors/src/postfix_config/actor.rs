//! The actor, and the questions as modules ask them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Supervised};
use arc_swap::ArcSwap;
use libvalvula::AddressKey;
use slog::{Logger, info, warn};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::cache::{Answer, Cache, CacheSettings, Found};
use super::questions::{Address, Delivery, Domain, OwnersOf, Question};
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

/// Those who wait for the answers to questions of one kind, by question.
pub(super) type Waiting<V> = HashMap<Box<[u8]>, Vec<oneshot::Sender<Answer<V>>>>;

/// A question and who waits for its answer.
#[derive(Message)]
#[rtype(result = "()")]
struct Please<Q: Question>(Q, oneshot::Sender<Answer<Q::Value>>);

/// What the sources said to a question that was asked in this epoch of the cache.
#[derive(Message)]
#[rtype(result = "()")]
struct Said<Q: Question>(Q, u64, Answer<Q::Value>);

/// What is remembered, each kind of question by itself.
pub(super) struct Caches {
    pub(super) domain: Cache<bool>,
    pub(super) address: Cache<bool>,
    pub(super) delivery: Cache<bool>,
    pub(super) owners: Cache<Arc<[AddressKey]>>,
    settings: ArcSwap<LocalSettings>,
}

/// The actor: asks the sources, once per question however many wait.
pub(crate) struct PostfixConfig {
    caches: Arc<Caches>,
    pub(super) domain: Waiting<bool>,
    pub(super) address: Waiting<bool>,
    pub(super) delivery: Waiting<bool>,
    pub(super) owners: Waiting<Arc<[AddressKey]>>,
    health: Arc<Health>,
    away: bool,
    log: Logger,
}

impl Actor for PostfixConfig {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // Whoever waited on what the last run was asking is told that it could not be asked.
        self.domain.clear();
        self.address.clear();
        self.delivery.clear();
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

impl<Q: Question> Handler<Please<Q>> for PostfixConfig {
    type Result = ();

    fn handle(&mut self, Please(question, waits): Please<Q>, context: &mut Self::Context) {
        // Down: the sender is dropped, and who waits is told.
        if self.health.is_down() {
            return;
        }
        let waiting = Q::waiting(self);
        if let Some(others) = waiting.get_mut(question.key()) {
            others.push(waits);
            return;
        }
        waiting.insert(question.key().into(), vec![waits]);
        let settings = self.caches.settings.load_full();
        let epoch = Q::cache(&self.caches).epoch();
        let actor = context.address();
        actix_rt::spawn(async move {
            let asked = question.clone().ask(settings.sources.clone());
            let answer = timeout(settings.timeout, asked).await;
            let answer = answer.unwrap_or_else(|_| Err("the question took too long".into()));
            post(&actor, Said(question, epoch, answer));
        });
    }
}

impl<Q: Question> Handler<Said<Q>> for PostfixConfig {
    type Result = ();

    fn handle(&mut self, Said(question, epoch, answer): Said<Q>, _: &mut Self::Context) {
        self.note(answer.as_ref().err());
        let lives = self.caches.settings.load().cache;
        let life = answer.as_ref().map_or(lives.retry, |value| Q::life(value, &lives));
        let answer = Q::cache(&self.caches).learn(question.key(), answer, life, epoch, Instant::now());
        for waits in Q::waiting(self).remove(question.key()).into_iter().flatten() {
            // Who stopped waiting at its deadline is not there to be told.
            let _ = waits.send(answer.clone());
        }
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
    fn configure(&self, settings: CacheSettings) {
        self.domain.configure(settings);
        self.address.configure(settings);
        self.delivery.configure(settings);
        self.owners.configure(settings);
    }

    fn expire(&self) {
        let now = Instant::now();
        self.domain.expire(now);
        self.address.expire(now);
        self.delivery.expire(now);
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
            domain: Cache::new(settings.cache),
            address: Cache::new(settings.cache),
            delivery: Cache::new(settings.cache),
            owners: Cache::new(settings.cache),
            settings: ArcSwap::from_pointee(settings),
        });
        let (actor, health) = supervise("postfix", log, |health| PostfixConfig {
            caches: caches.clone(),
            domain: HashMap::new(),
            address: HashMap::new(),
            delivery: HashMap::new(),
            owners: HashMap::new(),
            health,
            away: false,
            log: log.clone(),
        });
        Self { caches, actor, health }
    }

    /// Other sources or lifetimes from now on; nothing is believed any more without asking again.
    pub fn configure(&self, settings: LocalSettings) {
        self.caches.configure(settings.cache);
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
        fn counts<V: Clone>(kind: &str, cache: &Cache<V>) -> [(String, serde_json::Value); 4] {
            use std::sync::atomic::Ordering::Relaxed;
            [
                (format!("{kind} cached"), cache.len().into()),
                (format!("{kind} hits"), cache.hits.load(Relaxed).into()),
                (format!("{kind} misses"), cache.misses.load(Relaxed).into()),
                (format!("{kind} served stale"), cache.stale.load(Relaxed).into()),
            ]
        }
        let mut facts = Vec::new();
        facts.extend(counts("domain", &self.caches.domain));
        facts.extend(counts("address", &self.caches.address));
        facts.extend(counts("delivery", &self.caches.delivery));
        facts.extend(counts("owner", &self.caches.owners));
        facts.push(("restarts".to_owned(), self.health.restarts().into()));
        facts
    }

    /// From the cache what it knows; else the actor asks. While a source is away nobody waits for what was known
    /// before, and a source that hangs is waited for briefly where the last known answer serves.
    fn answer<Q: Question, T: 'static>(
        &self,
        key: &[u8],
        question: impl FnOnce() -> Q,
        say: fn(Answer<Q::Value>) -> T,
    ) -> Ask<T> {
        let known = match Q::cache(&self.caches).look_up(key, Instant::now()) {
            Found::Fresh(answer) => return Ask::ready(say(answer)),
            Found::Stale { known, ask } => {
                if ask {
                    // Nobody waits for the answer: it is for the cache.
                    drop(self.post(question()));
                }
                return Ask::ready(say(Ok(known)));
            }
            Found::Ask(known) => known,
        };
        let epoch = Q::cache(&self.caches).epoch();
        let answer = self.post(question());
        let crashed = |_| Err("the actor that answers local questions crashed".into());
        if known.is_none() {
            return Ask::Waiting(Box::pin(async move { say(answer.await.unwrap_or_else(crashed)) }));
        }
        let (caches, key) = (self.caches.clone(), Box::<[u8]>::from(key));
        Ask::Waiting(Box::pin(async move {
            let lives = caches.settings.load().cache;
            if let Ok(answer) = timeout(lives.patience, answer).await {
                return say(answer.unwrap_or_else(crashed));
            }
            // It goes on being asked; meanwhile nobody else waits for it.
            let late = Err("no answer for a while".into());
            say(Q::cache(&caches).learn(&key, late, lives.retry, epoch, Instant::now()))
        }))
    }

    fn post<Q: Question>(&self, question: Q) -> oneshot::Receiver<Answer<Q::Value>> {
        let (waits, answer) = oneshot::channel();
        post(&self.actor, Please(question, waits));
        answer
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
        self.answer(domain, || Domain(domain.into()), truth)
    }

    fn address(&self, address: &AddressKey) -> Ask<Truth> {
        self.answer(address.as_bytes(), || Address(address.clone()), truth)
    }

    fn delivery(&self, recipient: &AddressKey) -> Ask<Truth> {
        self.answer(recipient.as_bytes(), || Delivery(recipient.clone()), truth)
    }

    fn owners(&self, sender: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
        self.answer(sender.as_bytes(), || OwnersOf(sender.clone()), owners)
    }

    fn recipient_delimiter(&self) -> Arc<[u8]> {
        self.caches.settings.load().recipient_delimiter.clone()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
