//! The XML of a configuration, read so that no element and no attribute is passed over in silence: whoever
//! reads an element takes what it knows, and what is left is reported with its line.

use std::cell::RefCell;

use roxmltree::{Document, Node};

use super::Finding;

/// The text of a file: UTF-8, or ISO 8859-1 when its first line says so.
///
/// # Errors
/// When it is neither.
pub(super) fn decode(bytes: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_start_matches('\u{feff}').to_owned()),
        Err(_) if says_latin1(bytes) => Ok(bytes.iter().map(|&byte| char::from(byte)).collect()),
        Err(error) => Err(format!("is no UTF-8 (byte {})", error.valid_up_to() + 1)),
    }
}

fn says_latin1(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_ascii_lowercase();
    head.split("?>").next().is_some_and(|head| head.contains("iso-8859-1") || head.contains("latin1"))
}

/// What was found so far; shared by all elements of a file.
#[derive(Default)]
pub(super) struct Report {
    /// Has no counterpart, or another meaning.
    pub(super) findings: RefCell<Vec<Finding>>,
    /// Can't be understood.
    pub(super) faults: RefCell<Vec<Finding>>,
}

/// An element on its way to be read.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    node: Node<'a, 'a>,
    report: &'a Report,
}

impl<'a> Element<'a> {
    /// The outermost element.
    pub(super) fn root(document: &'a Document<'a>, report: &'a Report) -> Self {
        Self { node: document.root_element(), report }
    }

    pub(super) fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub(super) fn line(&self) -> u32 {
        self.node.document().text_pos_at(self.node.range().start).row
    }

    /// The text of an attribute, white space around it dropped.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.node.attribute(name).map(str::trim)
    }

    /// `yes` or `no`; anything else is reported, and reads as `default`.
    pub(super) fn yes(&self, name: &str, default: bool) -> bool {
        match self.text(name) {
            None => default,
            Some(word) if word.eq_ignore_ascii_case("yes") => true,
            Some(word) if word.eq_ignore_ascii_case("no") => false,
            Some(word) => {
                let holds = if default { "yes" } else { "no" };
                self.find(format!("{name}={word:?}: expected yes or no; {holds} holds"));
                default
            }
        }
    }

    /// Reports each attribute that is not among `known`, and text between the elements.
    pub(super) fn knows(&self, known: &[&str]) -> Self {
        for attribute in self.node.attributes().filter(|attribute| !known.contains(&attribute.name())) {
            let line = self.node.document().text_pos_at(attribute.range().start).row;
            self.note(
                line,
                format!("<{} {}={:?}> is not known: left out", self.name(), attribute.name(), attribute.value()),
            );
        }
        let texts = self.node.children().filter(|child| child.is_text());
        for text in texts.filter(|child| child.text().is_some_and(|text| !text.trim().is_empty())) {
            let line = self.node.document().text_pos_at(text.range().start).row;
            self.note(line, format!("text inside <{}>: left out", self.name()));
        }
        *self
    }

    /// The elements inside, in their order.
    pub(super) fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        let report = self.report;
        self.node.children().filter(Node::is_element).map(move |node| Self { node, report })
    }

    /// Reports every element inside: none is known here.
    pub(super) fn has_none(&self) {
        self.children().for_each(|child| child.unknown());
    }

    /// Reports the element as one that is not known, with all that is inside.
    pub(super) fn unknown(&self) {
        let with = if self.children().next().is_some() { ", with all that is inside" } else { "" };
        self.find(format!("is not known{with}: left out"));
    }

    /// Reports something about the element.
    pub(super) fn find(&self, what: impl std::fmt::Display) {
        self.note(self.line(), format!("<{}> {what}", self.name()));
    }

    fn note(&self, line: u32, what: String) {
        self.report.findings.borrow_mut().push(Finding { line, what });
    }

    /// Reports something without which there is no result.
    pub(super) fn fault(&self, what: impl std::fmt::Display) {
        let what = format!("<{}> {what}", self.name());
        self.report.faults.borrow_mut().push(Finding { line: self.line(), what });
    }
}
