//! The TOML text: sections in our order, each with its findings as comments above it.

use libvalvula::Printable;

use super::Finding;

/// The text of a configuration, written from top to bottom.
pub(super) struct Toml {
    text: String,
}

impl Toml {
    /// Begins with these lines as comments.
    pub(super) fn new(head: &[&str]) -> Self {
        let mut toml = Self { text: String::new() };
        head.iter().for_each(|line| toml.comment(line));
        toml
    }

    /// A section, after comments about what of it has no counterpart.
    pub(super) fn section(&mut self, header: &str, findings: &[Finding]) {
        self.text.push('\n');
        findings.iter().for_each(|finding| self.comment(&finding.to_string()));
        self.text += &format!("{header}\n");
    }

    /// Comments that belong to no section.
    pub(super) fn remarks(&mut self, findings: &[Finding]) {
        if !findings.is_empty() {
            self.text.push('\n');
            findings.iter().for_each(|finding| self.comment(&finding.to_string()));
        }
    }

    fn comment(&mut self, line: &str) {
        // One line of printable characters, whatever it quotes.
        self.text += &format!("# {}\n", Printable::new(line.as_bytes()));
    }

    /// A key with a text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.text += &format!("{key} = {}\n", quoted(value));
    }

    /// A key with texts.
    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
        self.text += &format!("{key} = [{}]\n", values.join(", "));
    }

    /// A key with a number or a truth value.
    pub(super) fn value(&mut self, key: &str, value: impl std::fmt::Display) {
        self.text += &format!("{key} = {value}\n");
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            other if other.is_control() => out += &format!("\\u{:04X}", u32::from(other)),
            other => out.push(other),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_back_as_it_was() {
        for text in ["", "plain", "a\"b\\c", "tab\tnl\nnul-ish\u{1}del\u{7f}", "é😀'#"] {
            let table = super::super::tests::read(&format!("key = {}", quoted(text)));
            assert_eq!(table["key"], text);
        }
    }

    #[test]
    fn a_comment_stays_one_line() {
        let mut toml = Toml::new(&["a\nb = 1"]);
        toml.remarks(&[Finding { line: 3, what: "x\r\ny".to_owned() }]);
        assert!(toml.finish().lines().all(|line| line.is_empty() || line.starts_with("# ")));
    }
}
