//! The load generator, see `benches::load`.
#![allow(clippy::print_stdout)] // a command line tool

use std::process::ExitCode;

use benches::load::{self, Options};
use structopt::StructOpt;

/// Prints what the load came to; 1 when there were errors, so that a script notices.
fn main() -> anyhow::Result<ExitCode> {
    let options = Options::from_args();
    benches::raise_file_limit();
    if options.print_request {
        print!("{}", String::from_utf8_lossy(&load::sample(&options)?));
        return Ok(ExitCode::SUCCESS);
    }
    let errors = if options.idle || options.idle_warm {
        let report = load::idle(&options)?;
        if options.json {
            println!("{}", serde_json::to_string(&report)?)
        } else {
            print!("{report}")
        }
        report.errors
    } else {
        let report = load::run(&options)?;
        if options.json {
            println!("{}", serde_json::to_string(&report)?)
        } else {
            print!("{report}")
        }
        report.errors
    };
    Ok(if errors.sum() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
