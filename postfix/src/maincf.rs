//! main.cf: the assignments in it.
//!
//! `name = value`, one to a logical line; the last assignment of a name wins. There is no include. A
//! line that is no assignment is a fault: Postfix itself would not start with it, so the caller keeps
//! what it had.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::lines::{is_blank, logical_lines, text_of};

/// The value that main.cf (or a `-o` of master.cf) gives to a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The value as written, not expanded, without white space at its ends.
    pub value: String,
    /// The line it begins on.
    pub line: usize,
}

/// A main.cf.
#[derive(Debug, Clone, Default)]
pub struct MainCf {
    /// Where it was read from.
    pub path: PathBuf,
    assignments: HashMap<String, Assignment>,
}

impl MainCf {
    /// Reads the text of `path`. All faults are reported, not the first alone.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut main = Self { path: path.to_owned(), assignments: HashMap::new() };
        let mut faults = Vec::new();
        for line in logical_lines(&text_of(bytes)) {
            // A NUL ends the line for Postfix, which is written in C.
            let text = line.text.split('\0').next().unwrap_or_default();
            match split_assignment(text) {
                Ok((name, value)) => {
                    let value = value.to_owned();
                    main.assignments.insert(name.to_owned(), Assignment { value, line: line.number });
                }
                Err(why) => faults.push(Fault::at(path, line.number, format!("{why}: {text:?}"))),
            }
        }
        if faults.is_empty() { Ok(main) } else { Err(faults) }
    }

    /// The last assignment of `name`.
    pub fn get(&self, name: &str) -> Option<&Assignment> {
        self.assignments.get(name)
    }

    /// The names that are assigned, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.assignments.keys().map(String::as_str)
    }
}

/// `name = value` apart, white space at both ends of both gone.
pub(crate) fn split_assignment(text: &str) -> Result<(&str, &str), &'static str> {
    let text = text.trim_matches(is_blank);
    let end = text.find(|c: char| c == '=' || is_blank(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err("missing attribute name");
    }
    match rest.trim_start_matches(is_blank).strip_prefix('=') {
        Some(value) => Ok((name, value.trim_matches(is_blank))),
        None => Err("missing '=' after attribute name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MainCf, Vec<Fault>> {
        MainCf::parse(Path::new("/etc/postfix/main.cf"), text.as_bytes())
    }

    #[test]
    fn the_last_assignment_wins() {
        let main = parse("a = 1\nb=2\na =\n  3 4\n").unwrap();
        assert_eq!(main.get("a"), Some(&Assignment { value: "3 4".into(), line: 3 }));
        assert_eq!(main.get("b").unwrap().value, "2");
        assert_eq!(main.get("c"), None);
    }

    #[test]
    fn every_fault_has_its_line() {
        let faults = parse("a = 1\nb c = 2\n= 3\nd\n").unwrap_err();
        let lines: Vec<_> = faults.iter().map(|fault| fault.line.unwrap()).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(faults[0].to_string(), "/etc/postfix/main.cf:2: missing '=' after attribute name: \"b c = 2\"");
        assert!(faults[1].message.starts_with("missing attribute name"));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let main = MainCf::parse(Path::new("m"), b"# caf\xe9\na = b\r\nc = x\xff\n").unwrap();
        assert_eq!(main.get("a").unwrap().value, "b");
        assert_eq!(main.get("c").unwrap().value, "x\u{fffd}");
    }
}
