//! What a row says is to be done, and the answer that comes of it.

use libvalvula::{Text, Verdict};

/// A row's `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Reject,
    Discard,
    FilterDiscard,
}

impl Status {
    /// Reads the column, without regard to case and to white space around the word. `None`: a word that means nothing here.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let word = word.trim_ascii();
        [
            ("ok", Self::Ok),
            ("reject", Self::Reject),
            ("discard", Self::Discard),
            ("filter-discard", Self::FilterDiscard),
        ]
        .into_iter()
        .find_map(|(name, status)| word.eq_ignore_ascii_case(name).then_some(status))
    }

    /// The answer to Postfix. Its text is for whoever sent the mail and shows nothing of the rules.
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Ok => Verdict::ok(),
            Self::Reject => Verdict::reject(Text::new("Mail from this sender to this recipient is not accepted here")),
            Self::Discard => Verdict::discard(Text::new("Discarded by the mail server")),
            Self::FilterDiscard => Verdict::filter("discard:").expect("a transport with its colon is a filter"),
        }
    }
}
