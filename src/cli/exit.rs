//! How the programs end, and what they say then.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use structopt::clap;

/// Exit codes; scripts and service managers rely on them. From 64 on they are those of sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Yes; done; good.
    Good = 0,
    /// No; something was not as it should be, or an order was refused.
    No = 1,
    /// Wrong use of flags.
    Usage = 64,
    /// No daemon there; a port that can't be bound; a database that does not come.
    Unavailable = 69,
    /// A fault of this program, or of the system under it.
    Software = 70,
    /// Could not ask.
    CouldNotAsk = 75,
    /// The configuration has a fault.
    Config = 78,
}

impl Exit {
    /// The end that another process of this program came to.
    pub fn from_code(code: u8) -> Self {
        let known = [Self::Good, Self::No, Self::Usage, Self::Unavailable, Self::CouldNotAsk, Self::Config];
        known.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Software)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An end that is no success: what is said on standard error, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is said, a line each.
    pub lines: Vec<String>,
}

impl Failure {
    /// One line.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, lines: vec![message.to_string()] }
    }

    /// The faults of a configuration, a line each.
    pub fn config(faults: &[actors::settings::Fault]) -> Self {
        Self { exit: Exit::Config, lines: faults.iter().map(ToString::to_string).collect() }
    }

    /// Says it on standard error, each line with the program's name, as the tools of a system do.
    pub fn say(&self, program: &str) {
        let mut stderr = std::io::stderr().lock();
        for line in &self.lines {
            // Nobody is left who could be told that this fails.
            let _ = writeln!(stderr, "{program}: {line}");
        }
    }
}

/// What came of reading the command line: flags, or the end it leads to. `--help` and `--version` are
/// answered here; anything wrong ends with 64 (structopt itself would end with 1).
pub fn parsed<T>(result: Result<T, clap::Error>) -> Result<T, Exit> {
    result.map_err(|error| match error.kind {
        clap::ErrorKind::HelpDisplayed | clap::ErrorKind::VersionDisplayed => {
            print(&error.message);
            Exit::Good
        }
        _ => {
            let _ = writeln!(std::io::stderr(), "{}", error.message);
            Exit::Usage
        }
    })
}

/// Says what is no failure and should be mended all the same, on standard error.
pub fn warn(program: &str, lines: &[String]) {
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        let _ = writeln!(stderr, "{program}: warning: {line}");
    }
}

/// Prints a text on standard output. A reader that went away (`| head`) is no fault.
pub fn print(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut stdout = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
}
