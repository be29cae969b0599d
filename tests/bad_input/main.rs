//! What happens when the daemon and its tools are given what is wrong: each row is done to the real
//! programs, and what they did is held against docs/bad-input.md.
//!
//! After an intended change write the table anew, and read the difference:
//! `VALVULA_WRITE_EXPECTED=1 cargo test --workspace --features panic-module --test bad_input`

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod command_line;
mod configuration;
mod control;
mod document;
mod original;
mod postfix_files;
mod wire;
mod wire_rows;

use document::{Section, write_or_compare};

#[test]
fn the_table_of_bad_input_is_what_happens() {
    let sections: Vec<Section> = vec![
        wire::section(),
        control::section(),
        configuration::section(),
        postfix_files::section(),
        original::section(),
        command_line::section(),
    ];
    let rows: usize = sections.iter().map(|section| section.rows.len()).sum();
    assert!(rows >= 100, "{rows} rows");
    write_or_compare(&sections);
}
