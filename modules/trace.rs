//! What a module looked at, line by line, for `explain`; nothing and free of cost for a decision.

/// Lines for people, when somebody wants them.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<String>>);

impl Trace {
    /// Keeps what is noted.
    pub fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Whether notes are kept.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Notes a line, which is made only if it is kept.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }

    /// The lines.
    pub fn into_lines(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}
