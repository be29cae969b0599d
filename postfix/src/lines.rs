//! Logical lines, as main.cf, master.cf and Postfix's lookup tables have them.
//!
//! A line that begins with white space continues the one before; empty lines and lines whose first
//! character other than white space is `#` are passed over, also in the middle of a logical line. The
//! text of a continuation is kept with its leading white space, as Postfix does: it separates words.

/// A logical line and where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The line it began on, counted from one.
    pub number: usize,
    /// Its text, without line ends.
    pub text: String,
}

/// Bytes as text. Bytes that are not UTF-8 become U+FFFD: they can be in comments and banners, and
/// nowhere where we would compare them.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Splits `text` into logical lines.
pub(crate) fn logical_lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (index, physical) in text.split('\n').enumerate() {
        let trimmed = physical.trim_start_matches(is_blank);
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some(line) if physical.starts_with(is_blank) => line.text.push_str(physical),
            _ => lines.push(Line { number: index + 1, text: physical.to_owned() }),
        }
    }
    lines
}

/// White space as C's `isspace` has it in the C locale.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_runs_over_comments_and_empty_lines() {
        let lines = logical_lines("# head\na = 1\n  # inside\n\n\t2\nb = 3\n   \n");
        assert_eq!(lines, [Line { number: 2, text: "a = 1\t2".into() }, Line { number: 6, text: "b = 3".into() }]);
    }

    #[test]
    fn a_first_line_that_begins_with_white_space_is_a_line() {
        assert_eq!(logical_lines("  a = 1\n")[0].text, "  a = 1");
    }
}
