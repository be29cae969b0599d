//! Texts and reply codes that can't break an answer.

use std::fmt;
use std::sync::Arc;

use super::parse::VerdictError;

/// The longest text in bytes: an SMTP reply line has 512 (RFC 5321, section 4.5.3.1.5), and Postfix folds
/// what does not fit with its code into another line.
pub(super) const LONGEST: usize = 512;

/// One line of valid UTF-8 without control bytes, of at most 512 bytes.
///
/// Made from anything: line ends and other control characters become one blank, what is too long is cut at
/// a character. May be empty; a [`Verdict`](super::Verdict) then puts its own words.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Arc<str>);

impl Text {
    /// Makes a text of `text`.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let is_clean = text.len() <= LONGEST && text.trim().len() == text.len() && !text.contains(breaks_line);
        if is_clean { Self(text.into()) } else { Self(sanitise(text).into()) }
    }

    /// Makes a text of bytes; what is no UTF-8 becomes U+FFFD.
    pub fn from_bytes(text: &[u8]) -> Self {
        Self::new(String::from_utf8_lossy(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text made fit to follow an action: `default` if it is empty, and behind an enhanced status code
    /// (RFC 3463) that stands alone, on which some versions of Postfix crash.
    pub(super) fn or(self, default: &str) -> Self {
        if self.is_empty() {
            Self(default.into())
        } else if is_status_code(&self.0) {
            Self(format!("{} {default}", self.0).into())
        } else {
            self
        }
    }
}

fn breaks_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

fn sanitise(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    let mut broken = false;
    for character in text.trim_matches(|character: char| character.is_whitespace() || breaks_line(character)).chars() {
        if breaks_line(character) {
            broken = true;
            continue;
        }
        let character_bytes = character.len_utf8() + usize::from(broken);
        if clean.len() + character_bytes > LONGEST {
            break;
        }
        if broken {
            clean.push(' ');
            broken = false;
        }
        clean.push(character);
    }
    clean.truncate(clean.trim_end().len());
    clean
}

/// `4.7.1` and the like: class 2, 4 or 5, two numbers of one to three digits.
fn is_status_code(text: &str) -> bool {
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.split('.');
    matches!(parts.next(), Some("2" | "4" | "5"))
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", &*self.0)
    }
}

/// A reply code that refuses: 400 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u16);

impl Code {
    /// The code, if it refuses. Postfix knows no other: 2NN would permit.
    pub const fn new(code: u16) -> Result<Self, VerdictError> {
        if code >= 400 && code <= 599 { Ok(Self(code)) } else { Err(VerdictError::Code(code)) }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether the client may try again: 4NN.
    pub const fn is_temporary(self) -> bool {
        self.0 < 500
    }

    pub(super) fn digits(self) -> [u8; 3] {
        [100, 10, 1].map(|place| b'0' + u8::try_from(self.0 / place % 10).expect("a digit"))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
