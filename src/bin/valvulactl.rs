//! The operator's tool; see `valvulactl --help`.

use std::process::ExitCode;

use structopt::StructOpt as _;
use valvulad::cli::{control, exit};

fn main() -> ExitCode {
    let flags = match exit::parsed(control::Flags::from_iter_safe(std::env::args_os())) {
        Ok(flags) => flags,
        Err(exit) => return exit.into(),
    };
    match control::run(&flags) {
        Ok((text, exit)) => {
            exit::print(&text);
            exit.into()
        }
        Err(failure) => {
            failure.say("valvulactl");
            failure.exit.into()
        }
    }
}
