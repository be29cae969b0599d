//! `[database]`: its keys, their defaults and bounds.

use std::time::Duration;

use crate::database::url::DatabaseUrl;
use crate::secret::secret;
use crate::settings::Section;

/// How surely SQLite has written a transaction when it says so (`PRAGMA synchronous`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// Survives the death of the process; the last transactions may be lost with the power.
    Normal,
    /// Survives loss of power too: one more fsync for each transaction.
    Full,
}

/// The settings of the database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub url: DatabaseUrl,
    /// How long a server may be away at start.
    pub start_timeout: Duration,
    /// Connections of the pool. SQLite: readers, besides the one writer.
    pub max_connections: u32,
    /// SQLite only.
    pub synchronous: Synchronous,
    /// How often changed rules are asked for.
    pub poll_interval: Duration,
}

impl Settings {
    /// The defaults, for the database at `url`.
    pub fn new(url: DatabaseUrl) -> Self {
        Self {
            url,
            start_timeout: Duration::from_secs(30),
            max_connections: 8,
            synchronous: Synchronous::Normal,
            poll_interval: Duration::from_millis(200),
        }
    }

    /// Reads the section `[database]`. `default_url` holds when none is written. Faults go to the
    /// section; what is returned with faults is not to be used.
    pub fn read(section: &mut Section, default_url: &str) -> Self {
        let (text, key) = secret(section, "url").unwrap_or_else(|| (default_url.to_owned(), "url".to_owned()));
        let url = text.parse().unwrap_or_else(|fault: String| {
            section.fault(&key, fault);
            DatabaseUrl::sqlite("unusable")
        });
        let mut settings = Self::new(url);
        settings.start_timeout = section.duration("start_timeout", settings.start_timeout);
        let connections = section.number("max_connections", settings.max_connections.into(), 1..=1000);
        settings.max_connections = u32::try_from(connections).unwrap_or(settings.max_connections);
        settings.synchronous = section.one_of(
            "synchronous",
            settings.synchronous,
            &[("normal", Synchronous::Normal), ("full", Synchronous::Full)],
        );
        settings.poll_interval = section.duration("poll_interval", settings.poll_interval);
        if !(Duration::from_millis(20)..=Duration::from_secs(60)).contains(&settings.poll_interval) {
            section.fault("poll_interval", "expected between \"20ms\" and \"60s\"");
        }
        settings
    }
}
