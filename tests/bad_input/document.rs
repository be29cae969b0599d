//! The document: sections of rows, written as Markdown, and compared with the file.

use std::fmt::Write as _;
use std::path::Path;

use support::{Home, Output};

/// A part of the table.
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// What holds for all of its rows.
    pub about: &'static str,
    /// What is sent, what happens.
    pub rows: Vec<(String, String)>,
}

const HEAD: &str = "# Bad input: what is sent, what happens

Made by `tests/bad_input`, which does each row to the real programs and fails when something else happens than stands
here. After an intended change write it anew and read the difference:

    VALVULA_WRITE_EXPECTED=1 cargo test --workspace --features panic-module --test bad_input
";

/// Writes the document when that is asked for; else fails at the first line that differs.
pub fn write_or_compare(sections: &[Section]) {
    let mut text = HEAD.to_owned();
    for section in sections {
        write!(text, "\n## {}\n\n{}\n\n| what is sent | what happens |\n|---|---|\n", section.title, section.about)
            .unwrap();
        for (sent, happens) in &section.rows {
            writeln!(text, "| {} | {} |", cell(sent), cell(happens)).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bad-input.md");
    if std::env::var_os("VALVULA_WRITE_EXPECTED").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    for (number, (is, was)) in text.lines().zip(written.lines()).enumerate() {
        assert_eq!(is, was, "docs/bad-input.md, line {}", number + 1);
    }
    assert_eq!(text.lines().count(), written.lines().count(), "lines of docs/bad-input.md");
}

/// A text in a cell: one line, and no end of the cell within.
fn cell(text: &str) -> String {
    text.trim_end().replace('|', "\\|").replace('\n', "<br>")
}

/// A text as code. Back-ticks of its own do not end it.
pub fn code(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect();
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// How a program ended and the first `most` lines of what it said, without what differs from run to run.
pub fn ended(output: &Output, home: &Home, most: usize) -> String {
    let exit = output.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    // What follows the first empty line is how the program is used.
    let said = plain(said, home);
    let lines: Vec<_> = said.lines().take_while(|line| !line.trim().is_empty()).take(most).map(code).collect();
    format!("exit {exit}: {}", lines.join("<br>"))
}

/// Without the directory of the test, and what differs from build to build.
pub fn plain(text: &str, home: &Home) -> String {
    // mod-panic is in the programs of tests alone.
    text.replace(&format!("{}/", home.directory().display()), "")
        .replace(" panic,", "")
        .replace(env!("CARGO_PKG_VERSION"), "")
}
