//! What is wrong in a file, and where.
//!
//! Every reader of this crate reports faults of this one type, so that the daemon can show all of them
//! in the form `file:line: what is wrong`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from one; `None` when the file as a whole is at fault.
    pub line: Option<usize>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Fault {
    /// A fault of a file as a whole.
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, message: message.into() }
    }

    /// A fault at a line.
    pub fn at(file: impl AsRef<Path>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.as_ref().to_owned(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(out, "{}: {}", self.file.display(), self.message),
        }
    }
}
