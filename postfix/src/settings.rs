//! What our own configuration says about what is local.

use std::path::PathBuf;
use std::time::Duration;

/// How the answers are found: where Postfix's configuration is, and what counts besides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Postfix's configuration directory.
    pub config_directory: PathBuf,
    /// Whether Postfix's configuration is read at all.
    pub autodetect: bool,
    /// Whether there must be a main.cf: without one "could not ask" is said, and not that nothing is local.
    pub required: bool,
    /// Domains that are local besides: names, or `/path` of a file with one name to a line and `#`
    /// comments.
    pub local_domains: Vec<String>,
    /// Addresses that are local besides: `user@domain`, `@domain` for all of a domain, or `/path` of a file
    /// as above.
    pub local_addresses: Vec<String>,
    /// Whether addresses are also listed elsewhere: then not every address of a domain of `local_domains`
    /// exists, though `local_addresses` is empty.
    pub addresses_elsewhere: bool,
    /// Whether `relay_domains` count as local.
    pub relay_domains: bool,
    /// The machine's name; `None`: asked of the system.
    pub hostname: Option<String>,
    /// The longest time that one look-up in a table may take.
    pub table_timeout: Duration,
    /// How many `postmap` processes may run at a time; 0: none is started.
    pub max_children: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config_directory: PathBuf::from("/etc/postfix"),
            autodetect: true,
            required: false,
            local_domains: Vec::new(),
            local_addresses: Vec::new(),
            addresses_elsewhere: false,
            relay_domains: false,
            hostname: None,
            table_timeout: Duration::from_secs(4),
            max_children: 8,
        }
    }
}
