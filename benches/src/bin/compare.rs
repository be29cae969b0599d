//! The comparison, see `benches::compare`. `benches/compare` builds and runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line tool

use benches::compare::scenario::SCENARIOS;
use benches::compare::{Options, run};
use structopt::StructOpt;

fn main() -> anyhow::Result<()> {
    let options = Options::from_args();
    if options.list {
        for scenario in SCENARIOS {
            println!("{:14} {}{}", scenario.name, scenario.title, if scenario.is_default { " (usual)" } else { "" });
        }
        return Ok(());
    }
    benches::raise_file_limit();
    print!("{}", run(&options, &|step| eprintln!("{step}"))?);
    Ok(())
}
