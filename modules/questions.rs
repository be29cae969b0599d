//! The local questions of one request, each asked once, and only when a decision comes to it.
//!
//! A module decides in one plain function that asks as it goes. As long as every answer is known that
//! function runs through and the module answers at once; the first answer that has to be waited for
//! ends it with [`Wait`], and it runs again from its beginning when the answer is there. It must
//! therefore have no effect but its result.

use std::sync::Arc;

use actors::local::{Ask, Local, Truth};
use actors::module::{Decide, Outcome, Query};

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
