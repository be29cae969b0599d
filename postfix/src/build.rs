//! Defaults that depend on how Postfix was built, asked of the installed `postconf`.
//!
//! Debian's `alias_maps` defaults to a hash: and an NIS table, Fedora's to an lmdb: one. `postconf -d`
//! knows. It is asked once, when the configuration is read, within a time limit; where it is not
//! installed or fails, the defaults of a plain build serve.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The parameters whose default is a choice of who built Postfix.
const ASKED: &[&str] = &[
    "alias_database",
    "alias_maps",
    "command_directory",
    "daemon_directory",
    "data_directory",
    "default_database_type",
    "mail_version",
    "queue_directory",
    "smtpd_sasl_type",
];

/// Defaults of the installed Postfix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildDefaults(HashMap<String, String>);

impl BuildDefaults {
    /// Asks `postconf`. Empty when it is not installed, fails or takes longer than `timeout`.
    pub async fn ask(postconf: &Path, timeout: Duration) -> Self {
        let mut command = tokio::process::Command::new(postconf);
        own_environment(&mut command);
        command.args(["-d", "-c", "/"]).args(ASKED).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(timeout, command.output()).await {
            Ok(Ok(output)) if output.status.success() => Self::parse(&String::from_utf8_lossy(&output.stdout)),
            _ => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let assignments = text.lines().filter_map(|line| line.split_once('='));
        Self(assignments.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// The default of `name`, if it was asked.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Variables that Postfix's own programs are meant to see (its parameter `import_environment`), and the path.
const PASSED_ON: [&str; 5] = ["PATH", "TZ", "MAIL_CONFIG", "MAIL_LOGTAG", "LANG"];

/// Gives `command` of our environment only what Postfix's programs need: a database's password may stand in it,
/// and who looks at the list of processes must not find it there.
pub fn own_environment(command: &mut tokio::process::Command) {
    command.env_clear().envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
}

/// Where Postfix's commands are: `command_directory` if it is known, else the first directory of the
/// usual ones and PATH that has `program`.
pub fn find_program(program: &str, command_directory: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let directories =
        command_directory.map(Path::to_owned).into_iter().chain(usual).chain(std::env::split_paths(&path));
    directories.map(|directory| directory.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_postconf_is_read() {
        let build = BuildDefaults::parse("alias_maps = hash:/etc/aliases, nis:mail.aliases\nmail_version = 3.7.11\n");
        assert_eq!(build.get("alias_maps"), Some("hash:/etc/aliases, nis:mail.aliases"));
        assert_eq!(build.get("myorigin"), None);
    }

    #[tokio::test]
    async fn a_program_of_postfix_sees_nothing_of_our_environment_but_what_it_needs() {
        // The tests' own environment has more than this: cargo's variables at least.
        assert!(std::env::vars_os().count() > PASSED_ON.len());
        let mut command = tokio::process::Command::new("env");
        own_environment(&mut command);
        let output = command.output().await.unwrap();
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !seen.is_empty());
        for line in seen.lines() {
            let name = line.split('=').next().unwrap();
            assert!(PASSED_ON.contains(&name), "{line}");
        }
    }

    #[tokio::test]
    async fn a_postconf_that_is_not_there_gives_no_defaults() {
        let build = BuildDefaults::ask(Path::new("/nonexistent/postconf"), Duration::from_secs(1)).await;
        assert_eq!(build, BuildDefaults::default());
    }
}
