//! `$name` in parameter values.
//!
//! The forms are `$name`, `${name}`, `$(name)`, `${name?text}`, `${name:text}`, `${name?{a}:{b}}`,
//! `${{x} == {y} ? {a} : {b}}` with `== != < <= > >=` (numbers when both sides are numbers) and their
//! `level` counterparts (`<level`, ...: compatibility levels), and `$$`. Values that are substituted are
//! expanded in turn. An undefined name is empty; a malformed expression is an error, with which Postfix
//! itself does not start.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use crate::lines::is_blank;

/// How deeply values may refer to values.
const MAX_DEPTH: usize = 100;

/// The most that the references of one value may bring in, in bytes and names. Values that refer twice to
/// values that refer twice, and so on, are short to write and would never end.
const MAX_WORK: usize = 1024 * 1024;

/// Why a value cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A value refers to itself, or values refer to values too deeply.
    #[error("unreasonable nesting at {0:?}: does a parameter refer to itself?")]
    Nesting(String),
    /// Values that refer to values come to more than anybody means.
    #[error(
        "its references come to more than {MAX_WORK} bytes and names: do parameters refer to each other many times?"
    )]
    TooLarge,
    /// `${` or `$(` without its end, or `{` without `}`.
    #[error("unbalanced parentheses or braces in {0:?}")]
    Unbalanced(String),
    /// A `$` that no name follows.
    #[error("empty parameter name in {0:?}")]
    EmptyName(String),
    /// A name with a character other than letters, digits and `_`.
    #[error("malformed parameter name {0:?}")]
    BadName(String),
    /// Something else than an operator after `{x}` or `{text}`.
    #[error("expected {expected} before {found:?}")]
    Expected {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// Not `major`, `major.minor` or `major.minor.patch`.
    #[error("malformed compatibility level {0:?}")]
    BadLevel(String),
    /// A number that is too large to compare.
    #[error("number out of range: {0:?}")]
    BadNumber(String),
}

/// Expands `value`. `lookup` gives the unexpanded value of a parameter, `None` if it is not defined.
pub fn expand<'a>(value: &str, lookup: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(value.len());
    Expander { lookup, work: Cell::new(0) }.text(value, 0, &mut out)?;
    Ok(out)
}

struct Expander<'l, 'a> {
    lookup: &'l dyn Fn(&str) -> Option<Cow<'a, str>>,
    /// What was written and followed so far.
    work: Cell<usize>,
}

impl Expander<'_, '_> {
    fn text(&self, value: &str, depth: usize, out: &mut String) -> Result<(), ExpandError> {
        if depth > 0 {
            self.work.set(self.work.get().saturating_add(value.len() + 1));
            if self.work.get() > MAX_WORK {
                return Err(ExpandError::TooLarge);
            }
        }
        let mut rest = value;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let (expression, after) = match rest.as_bytes().first() {
                Some(b'{') => enclosed(rest, b'{', b'}').ok_or_else(|| ExpandError::Unbalanced(value.to_owned()))?,
                Some(b'(') => enclosed(rest, b'(', b')').ok_or_else(|| ExpandError::Unbalanced(value.to_owned()))?,
                _ => rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())),
            };
            if expression.is_empty() {
                return Err(ExpandError::EmptyName(value.to_owned()));
            }
            self.expression(expression, depth + 1, out)?;
            rest = after;
        }
        out.push_str(rest);
        Ok(())
    }

    /// What stands between `${` and `}`.
    fn expression(&self, expression: &str, depth: usize, out: &mut String) -> Result<(), ExpandError> {
        if depth > MAX_DEPTH {
            return Err(ExpandError::Nesting(expression.to_owned()));
        }
        let trimmed = expression.trim_start_matches(is_blank);
        let (value, rest) = if trimmed.starts_with('{') {
            let (truth, rest) = self.comparison(trimmed, depth)?;
            (Some(Cow::Borrowed(if truth { "true" } else { "" })), rest)
        } else {
            let end = trimmed.find(['?', ':']).unwrap_or(trimmed.len());
            let name = trimmed[..end].trim_end_matches(is_blank);
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(ExpandError::BadName(trimmed[..end].to_owned()));
            }
            ((self.lookup)(name), &trimmed[end..])
        };
        // A test looks at the value as it is written: one that expands to nothing is not empty.
        let set = value.as_ref().is_some_and(|value| !value.is_empty());
        match rest.as_bytes().first() {
            None => match value {
                Some(value) => self.text(&value, depth, out),
                None => Ok(()),
            },
            Some(b'?') => {
                let (then, rest) = operand(&rest[1..])?;
                if set {
                    self.text(then, depth, out)?;
                }
                match rest.as_bytes().first() {
                    None => Ok(()),
                    Some(b':') => self.otherwise(&rest[1..], !set, depth, out),
                    Some(_) => Err(ExpandError::Expected { expected: "\":\"", found: rest.to_owned() }),
                }
            }
            Some(b':') => self.otherwise(&rest[1..], !set, depth, out),
            Some(_) => Err(ExpandError::Expected { expected: "\"?\" or \":\"", found: rest.to_owned() }),
        }
    }

    fn otherwise(&self, rest: &str, chosen: bool, depth: usize, out: &mut String) -> Result<(), ExpandError> {
        let (text, rest) = operand(rest)?;
        if !rest.is_empty() {
            return Err(ExpandError::Expected { expected: "\"}\"", found: rest.to_owned() });
        }
        if chosen { self.text(text, depth, out) } else { Ok(()) }
    }

    /// `{x} operator {y}`: its truth, and what follows.
    fn comparison<'t>(&self, text: &'t str, depth: usize) -> Result<(bool, &'t str), ExpandError> {
        let (left, rest) = braced(text)?;
        let (operator, rest) = Operator::parse(rest)?;
        if !rest.starts_with('{') {
            return Err(ExpandError::Expected { expected: "\"{expression}\"", found: rest.to_owned() });
        }
        let (right, rest) = braced(rest)?;
        let (mut x, mut y) = (String::new(), String::new());
        self.text(left, depth, &mut x)?;
        self.text(right, depth, &mut y)?;
        Ok((operator.holds(&x, &y)?, rest))
    }
}

struct Operator {
    test: fn(Ordering) -> bool,
    levels: bool,
}

impl Operator {
    fn parse(text: &str) -> Result<(Self, &str), ExpandError> {
        let end = text.find(|c| !"<>!=?+-*/~&|%".contains(c)).unwrap_or(text.len());
        let (sign, rest) = text.split_at(end);
        let test: fn(Ordering) -> bool = match sign {
            "==" => Ordering::is_eq,
            "!=" => Ordering::is_ne,
            "<" => Ordering::is_lt,
            "<=" => Ordering::is_le,
            ">" => Ordering::is_gt,
            ">=" => Ordering::is_ge,
            _ => {
                let expected = "one of \"==\" \"!=\" \"<\" \"<=\" \">\" \">=\"";
                return Err(ExpandError::Expected { expected, found: text.to_owned() });
            }
        };
        let (levels, rest) = match rest.strip_prefix("level") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        Ok((Self { test, levels }, rest.trim_start_matches(is_blank)))
    }

    fn holds(&self, x: &str, y: &str) -> Result<bool, ExpandError> {
        let ordering = if self.levels {
            level(x)?.cmp(&level(y)?)
        } else if is_number(x) && is_number(y) {
            number(x)?.cmp(&number(y)?)
        } else {
            x.cmp(y)
        };
        Ok((self.test)(ordering))
    }
}

/// A compatibility level: `major[.minor[.patch]]`.
fn level(text: &str) -> Result<[u32; 3], ExpandError> {
    let bad = || ExpandError::BadLevel(text.to_owned());
    let mut level = [0; 3];
    for (index, part) in text.split('.').enumerate() {
        let place = level.get_mut(index).ok_or_else(bad)?;
        if !is_number(part) {
            return Err(bad());
        }
        *place = part.parse().map_err(|_| bad())?;
    }
    Ok(level)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(text: &str) -> Result<i64, ExpandError> {
    text.parse().map_err(|_| ExpandError::BadNumber(text.to_owned()))
}

/// `{text}` with white space around it, or all there is.
fn operand(text: &str) -> Result<(&str, &str), ExpandError> {
    let trimmed = text.trim_start_matches(is_blank);
    if trimmed.starts_with('{') { braced(trimmed) } else { Ok((text, "")) }
}

/// The inside of `{...}`, and what follows it, white space passed over.
fn braced(text: &str) -> Result<(&str, &str), ExpandError> {
    let (inside, rest) = enclosed(text, b'{', b'}').ok_or_else(|| ExpandError::Unbalanced(text.to_owned()))?;
    Ok((inside, rest.trim_start_matches(is_blank)))
}

/// The inside of the pair that `text` begins with, and what follows it; `None` if it begins with none.
pub(crate) fn enclosed(text: &str, open: u8, close: u8) -> Option<(&str, &str)> {
    if text.as_bytes().first() != Some(&open) {
        return None;
    }
    let mut depth = 0usize;
    for (index, byte) in text.bytes().enumerate() {
        if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return Some((&text[1..index], &text[index + 1..]));
            }
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
