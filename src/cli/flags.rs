//! The flags of `valvulad`. Letters and long names are those users' scripts know.

use std::path::PathBuf;

use structopt::StructOpt;

use crate::config::DEFAULT_PATH;

const MODES: &[&str] = &["status", "pingserver", "check-db", "is-local-destination", "check-config"];

/// Policy server for Postfix: ordered modules decide each recipient and message.
#[derive(Debug, Clone, PartialEq, Eq, StructOpt)]
#[structopt(
    name = "valvulad",
    version_short = "v",
    help_message = "Prints this help",
    version_message = "Prints the version"
)]
pub struct Flags {
    /// Configuration file; conf.d/*.toml beside it and VALVULA__SECTION__KEY in the environment are read too
    #[structopt(short, long, value_name = "FILE", parse(from_os_str), default_value = DEFAULT_PATH)]
    pub config: PathBuf,

    /// Logs to standard error, from level debug on
    #[structopt(short, long)]
    pub debug: bool,

    /// Logs from level trace on
    #[structopt(short = "o", long)]
    pub verbose: bool,

    /// Runs in the background; returns when the daemon answers requests
    #[structopt(long, conflicts_with_all = MODES)]
    pub detach: bool,

    /// Logs SQL statements (never their values)
    #[structopt(short = "q", long)]
    pub debug_queries: bool,

    /// Accepted for old scripts; there is no pid file
    #[structopt(short = "f", long)]
    pub skip_pid_check: bool,

    /// Prints the statistics of the running daemon; exit code 69 when there is none
    #[structopt(short, long, conflicts_with_all = &["pingserver", "check-db", "is-local-destination", "check-config"])]
    pub status: bool,

    /// With --status: as JSON
    #[structopt(long, requires = "status")]
    pub json: bool,

    /// Asks every listener; exit code 1 when one does not answer within 3 seconds
    #[structopt(short, long, conflicts_with_all = &["check-db", "is-local-destination", "check-config"])]
    pub pingserver: bool,

    /// Checks the connection to the database; exit code 1 when it is not usable
    #[structopt(short = "b", long, conflicts_with_all = &["is-local-destination", "check-config"])]
    pub check_db: bool,

    /// Says whether an address or a domain is local, and why; exit code 1: no, 75: could not ask
    #[structopt(
        short = "l",
        long,
        value_name = "ADDR",
        allow_hyphen_values = true,
        empty_values = false,
        conflicts_with = "check-config"
    )]
    pub is_local_destination: Option<String>,

    /// Reads the whole configuration and shows every fault; exit code 78 when there is one
    #[structopt(long)]
    pub check_config: bool,
}

/// What `valvulad` is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Be the daemon.
    Serve,
    /// `-s`.
    Status,
    /// `-p`.
    Ping,
    /// `-b`.
    CheckDatabase,
    /// `-l ADDR`.
    IsLocal(String),
    /// `--check-config`.
    CheckConfig,
}

impl Flags {
    /// Which of them this is; flags that exclude each other were refused before.
    pub fn mode(&self) -> Mode {
        match &self.is_local_destination {
            Some(address) => Mode::IsLocal(address.clone()),
            None if self.status => Mode::Status,
            None if self.pingserver => Mode::Ping,
            None if self.check_db => Mode::CheckDatabase,
            None if self.check_config => Mode::CheckConfig,
            None => Mode::Serve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::{Exit, parsed};

    fn read(arguments: &[&str]) -> Result<Flags, Exit> {
        parsed(Flags::from_iter_safe([&["valvulad"], arguments].concat()))
    }

    #[test]
    fn every_letter_means_what_its_long_name_means() {
        for (letter, long) in [
            ("-d", "--debug"),
            ("-o", "--verbose"),
            ("-q", "--debug-queries"),
            ("-f", "--skip-pid-check"),
            ("-s", "--status"),
            ("-p", "--pingserver"),
            ("-b", "--check-db"),
        ] {
            assert_eq!(read(&[letter]), read(&[long]));
            assert_ne!(read(&[letter]).unwrap(), read(&[]).unwrap(), "{letter}");
        }
        assert_eq!(read(&["-c", "x"]), read(&["--config=x"]));
        assert_eq!(read(&["-l", "a@b"]), read(&["--is-local-destination", "a@b"]));
        assert_eq!(read(&["-v"]), Err(Exit::Good));
        assert_eq!(read(&["--version"]), Err(Exit::Good));
        assert_eq!(read(&["--help"]), Err(Exit::Good));
    }

    #[test]
    fn the_mode_is_what_was_asked_for() {
        assert_eq!(read(&[]).unwrap().mode(), Mode::Serve);
        assert_eq!(read(&["-s", "--json"]).unwrap().mode(), Mode::Status);
        assert_eq!(read(&["-p"]).unwrap().mode(), Mode::Ping);
        assert_eq!(read(&["-b"]).unwrap().mode(), Mode::CheckDatabase);
        assert_eq!(read(&["-l", "-odd@x"]).unwrap().mode(), Mode::IsLocal("-odd@x".to_owned()));
        assert_eq!(read(&["--check-config"]).unwrap().mode(), Mode::CheckConfig);
        assert_eq!(read(&[]).unwrap().config, PathBuf::from(DEFAULT_PATH));
    }

    #[test]
    fn wrong_use_is_64() {
        for wrong in [
            &["--nonsense"][..],
            &["stray"],
            &["-l"],
            &["-l", ""],
            &["--json"],
            &["-s", "-p"],
            &["-s", "-s"],
            &["--detach", "-b"],
            &["-l", "x", "--check-config"],
        ] {
            assert_eq!(read(wrong), Err(Exit::Usage), "{wrong:?}");
        }
    }
}
