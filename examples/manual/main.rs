//! Makes what a package has besides the programs: manual pages and shell completions, from the definitions of
//! the flags. scripts/package runs it; it is part of no package.
//!
//!     manual DIRECTORY

#![allow(clippy::print_stderr)] // a program of the command line

use std::path::PathBuf;
use std::process::ExitCode;

mod pages;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("manual: into which directory?");
        return ExitCode::from(64);
    };
    match pages::write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
