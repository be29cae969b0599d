//! The local questions of one request, each asked once, and only when a decision comes to it.
//!
//! A module decides in one plain function that asks as it goes. As long as every answer is known that
//! function runs through and the module answers at once; the first answer that has to be waited for
//! ends it with [`Wait`], and it runs again from its beginning when the answer is there. It must
//! therefore have no effect but its result.

use std::sync::Arc;

use actors::local::{Ask, Local, Truth};
use actors::module::{Decide, Explanation, Outcome, Query};

use crate::trace::Trace;

/// What can be asked of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Is mail for the recipient delivered here?
    Delivery,
    /// Is the recipient a local address?
    Recipient,
    /// Is the sender's domain local?
    SenderDomain,
    /// Is the sender a local address?
    Sender,
    /// Is the SASL user among the owners of the sender (`smtpd_sender_login_maps`)?
    SenderOwned,
}

impl Question {
    /// What is asked, for people: `whether the delivery is local`.
    pub fn asked(self) -> &'static str {
        match self {
            Self::Delivery => "whether the delivery is local",
            Self::Recipient => "whether the recipient is a local address",
            Self::SenderDomain => "whether the sender's domain is local",
            Self::Sender => "whether the sender is a local address",
            Self::SenderOwned => "whether the SASL user owns the sender",
        }
    }

    /// The answer, for people: `the delivery is not local`.
    pub fn told(self, yes: bool) -> &'static str {
        match (self, yes) {
            (Self::Delivery, true) => "the delivery is local",
            (Self::Delivery, false) => "the delivery is not local",
            (Self::Recipient, true) => "the recipient is a local address",
            (Self::Recipient, false) => "the recipient is not a local address",
            (Self::SenderDomain, true) => "the sender's domain is local",
            (Self::SenderDomain, false) => "the sender's domain is not local",
            (Self::Sender, true) => "the sender is a local address",
            (Self::Sender, false) => "the sender is not a local address",
            (Self::SenderOwned, true) => "the SASL user owns the sender",
            (Self::SenderOwned, false) => "the SASL user does not own the sender",
        }
    }
}

/// What several answers, any one of which clears a request, come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Clearing {
    /// This answer clears it, whatever else could not be asked.
    By(&'static str),
    /// All were asked, and none clears it.
    None,
    /// None that was asked clears it, and one could not be: what, and why not.
    Unknown(&'static str, Arc<str>),
}

/// The answer is not known yet.
#[derive(Debug)]
pub struct Wait;

/// The questions about one request, and the answers so far.
pub struct Questions {
    local: Local,
    query: Arc<Query>,
    known: [Option<Truth>; 5],
    waiting: Option<(Question, Ask<Truth>)>,
}

impl Questions {
    /// Nothing asked yet.
    pub fn new(local: Local, query: Arc<Query>) -> Self {
        Self { local, query, known: [const { None }; 5], waiting: None }
    }

    /// The answer to `question`.
    ///
    /// # Errors
    /// When it has to be waited for.
    pub fn ask(&mut self, question: Question) -> Result<Truth, Wait> {
        if let Some(known) = &self.known[question as usize] {
            return Ok(known.clone());
        }
        match self.put(question) {
            Ask::Ready(Some(answer)) => {
                self.known[question as usize] = Some(answer.clone());
                Ok(answer)
            }
            ask => {
                self.waiting = Some((question, ask));
                Err(Wait)
            }
        }
    }

    /// Whether one of `answers` (a question, and the answer to it that clears) is given.
    ///
    /// # Errors
    /// When one has to be waited for.
    pub fn clearing(&mut self, answers: &[(Question, bool)]) -> Result<Clearing, Wait> {
        let mut unknown = None;
        for &(question, clears) in answers {
            match (self.ask(question)?, clears) {
                (Truth::Yes, true) | (Truth::No, false) => return Ok(Clearing::By(question.told(clears))),
                (Truth::Yes, false) | (Truth::No, true) => {}
                (Truth::CouldNotAsk(why), _) => {
                    unknown.get_or_insert((question.asked(), why));
                }
            }
        }
        Ok(unknown.map_or(Clearing::None, |(what, why)| Clearing::Unknown(what, why)))
    }

    fn put(&self, question: Question) -> Ask<Truth> {
        let query = &self.query;
        match question {
            Question::Delivery => self.local.delivery(query.recipient_key()),
            Question::Recipient => self.local.address(query.recipient_key()),
            Question::SenderDomain => self.local.domain(query.sender_key().domain()),
            Question::Sender => self.local.address(query.sender_key()),
            Question::SenderOwned => {
                let user = query.sasl_key().clone();
                let owned = move |owners: Result<Arc<[_]>, actors::module::Unavailable>| match owners {
                    Ok(owners) if owners.contains(&user) => Truth::Yes,
                    Ok(_) => Truth::No,
                    Err(unavailable) => Truth::CouldNotAsk(unavailable.what.into()),
                };
                match self.local.owners(query.sender_key()) {
                    Ask::Ready(Some(owners)) => Ask::ready(owned(owners)),
                    ask => Ask::Waiting(Box::pin(async move { owned(ask.await) })),
                }
            }
        }
    }

    /// Waits for the answer that the last [`Wait`] was about.
    pub async fn answered(&mut self) {
        if let Some((question, ask)) = self.waiting.take() {
            self.known[question as usize] = Some(ask.await);
        }
    }
}

/// Runs `evaluate` until it need not wait: at once, if every answer it comes to is known.
pub fn decide(
    local: &Local,
    query: Arc<Query>,
    evaluate: impl Fn(&mut Questions) -> Result<Outcome, Wait> + Send + 'static,
) -> Decide {
    let mut questions = Questions::new(local.clone(), query);
    match evaluate(&mut questions) {
        Ok(outcome) => Decide::Now(outcome),
        Err(Wait) => Decide::Later(Box::pin(async move {
            loop {
                questions.answered().await;
                if let Ok(outcome) = evaluate(&mut questions) {
                    return outcome;
                }
            }
        })),
    }
}

/// The same with a trace of what was looked at, which begins anew with each run.
pub async fn explain(
    local: Local,
    query: Arc<Query>,
    evaluate: impl Fn(&mut Questions, &mut Trace) -> Result<Outcome, Wait>,
) -> Explanation {
    let mut questions = Questions::new(local, query);
    loop {
        let mut trace = Trace::kept();
        match evaluate(&mut questions, &mut trace) {
            Ok(outcome) => return Explanation { outcome, trace: trace.into_lines() },
            Err(Wait) => questions.answered().await,
        }
    }
}
