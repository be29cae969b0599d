//! Answers that administrators write, and texts that go into answers.

use bytes::BytesMut;
use libvalvula::{Code, Text, Verdict};

use crate::input::{first_line, text};

/// Longer than any answer: the longest text, its action, and the words put behind a lone status code.
const LONGEST: usize = 600;

/// Whatever is accepted is written as one answer of one line, and read back as the same.
pub fn verdict(data: &[u8]) {
    let (first, rest) = first_line(data);
    let (whole, first, rest) = (text(data), text(first), text(rest));
    for said in [&whole, &first] {
        if let Ok(verdict) = Verdict::parse(said) {
            is_written_safely(&verdict);
        }
    }
    let clean = Text::from_bytes(data);
    assert!(clean.as_str().len() <= 512 && clean.as_str().trim() == clean.as_str());
    assert!(!clean.as_str().contains(char::is_control));
    assert_eq!(Text::new(clean.as_str()), clean, "cleaning twice");
    let text = || clean.clone();
    for verdict in [
        Verdict::reject(text()),
        Verdict::defer(text()),
        Verdict::defer_if_permit(text()),
        Verdict::discard(text()),
        Verdict::warn(text()),
        Verdict::code(Code::new(451).expect("it refuses"), text()),
    ] {
        is_written_safely(&verdict);
        assert!(verdict.text().is_some_and(|text| !text.is_empty()));
    }
    let made =
        [Verdict::filter(&whole), Verdict::redirect(&whole), Verdict::bcc(&whole), Verdict::prepend(&first, &rest)];
    made.iter().flatten().for_each(is_written_safely);
    if let Ok(number) = first.parse() {
        assert_eq!(Code::new(number).is_ok(), (400..600).contains(&number));
    }
}

fn is_written_safely(verdict: &Verdict) {
    let mut answer = BytesMut::new();
    verdict.encode(&mut answer);
    let answer = std::str::from_utf8(&answer).expect("UTF-8");
    let line = answer.strip_prefix("action=").and_then(|rest| rest.strip_suffix("\n\n")).expect("framed");
    assert!(!line.contains(char::is_control) && line.len() <= LONGEST, "{line:?}");
    // Postfix passes over no blank before the action, and takes a bare number for a permit.
    let (action, said) = line.split_once(' ').unwrap_or((line, ""));
    assert!(action.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line:?}");
    assert!(!action.starts_with(|c: char| c.is_ascii_digit()) || !said.is_empty(), "{line:?}");
    assert!(!action.starts_with('2'), "{line:?}");
    assert_eq!(Verdict::parse(line).as_ref(), Ok(verdict));
    assert_eq!(verdict.to_string(), line);
}
