//! Yes, no, or could not ask; and what decided.
//!
//! "Could not ask" is its own answer everywhere in this crate: a table that did not answer never counts
//! as one that has nothing.

use std::fmt;

use serde::Serialize;

/// The answer to a question about a domain or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is.
    Yes,
    /// Everything that could say so was asked, and it is not.
    No,
    /// Something that had to be asked did not answer.
    CouldNotAsk,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CouldNotAsk => "could not ask",
        })
    }
}

/// What one source said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An entry matches, or the table has the key.
    Has,
    /// An entry that begins with `!` matches: the search in this list ends with a no.
    Excludes,
    /// Nothing matches.
    HasNot,
    /// It could not be asked, and why.
    Failed(String),
}

/// One source that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Postfix's parameter, or the key of our own configuration.
    pub parameter: String,
    /// The entry or table of it; empty when the parameter as a whole is meant.
    pub entry: String,
    /// What it was asked for.
    pub key: String,
    /// What it said.
    pub outcome: Outcome,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.parameter)?;
        if !self.entry.is_empty() && self.entry != self.key {
            write!(out, ": {}", self.entry)?;
        }
        match &self.outcome {
            Outcome::Has => write!(out, " has {}", self.key),
            Outcome::Excludes => write!(out, " excludes {}", self.key),
            Outcome::HasNot => write!(out, " does not have {}", self.key),
            Outcome::Failed(why) => write!(out, " could not be asked for {}: {why}", self.key),
        }
    }
}

/// What was asked, in order. The last step is the one that decided a yes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Evidence {
    /// The sources that were asked.
    pub steps: Vec<Step>,
}

impl Evidence {
    /// Records a step.
    pub fn push(&mut self, parameter: impl Into<String>, entry: impl Into<String>, key: &[u8], outcome: Outcome) {
        let key = String::from_utf8_lossy(key).into_owned();
        self.steps.push(Step { parameter: parameter.into(), entry: entry.into(), key, outcome });
    }

    /// Why something could not be asked: the first failure.
    pub fn failure(&self) -> Option<&Step> {
        self.steps.iter().find(|step| matches!(step.outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Evidence {
    /// A short trace, one step to a line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{step}")?;
        }
        Ok(())
    }
}

/// An answer with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The answer.
    pub verdict: Verdict,
    /// What decided.
    pub evidence: Evidence,
}

impl Answer {
    /// The step that decided: the match for a yes, the first failure for "could not ask".
    pub fn decided_by(&self) -> Option<&Step> {
        match self.verdict {
            Verdict::Yes => self.evidence.steps.iter().rev().find(|step| step.outcome == Outcome::Has),
            Verdict::No => self.evidence.steps.iter().rev().find(|step| step.outcome == Outcome::Excludes),
            Verdict::CouldNotAsk => self.evidence.failure(),
        }
    }
}

impl fmt::Display for Answer {
    /// One line: the verdict and what decided.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.verdict)?;
        match self.decided_by() {
            Some(step) => write!(out, " ({step})"),
            None => Ok(()),
        }
    }
}

/// The disjunction of sources: one yes is enough, and a no needs a no from every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnyOf(Verdict);

impl AnyOf {
    pub(crate) fn new() -> Self {
        Self(Verdict::No)
    }

    pub(crate) fn add(&mut self, verdict: Verdict) {
        self.0 = match (self.0, verdict) {
            (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
            (Verdict::CouldNotAsk, _) | (_, Verdict::CouldNotAsk) => Verdict::CouldNotAsk,
            (Verdict::No, Verdict::No) => Verdict::No,
        };
    }

    pub(crate) fn verdict(self) -> Verdict {
        self.0
    }
}
