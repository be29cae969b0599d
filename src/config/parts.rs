//! `[database]` and `[postfix]`: sections whose meaning belongs to other parts.

use std::path::Path;
use std::time::Duration;

use actors::database;
use actors::postfix_config::{CacheSettings, QuerySettings};
use actors::settings::Section;

use super::server::Server;

/// The embedded database in the state directory.
const FILE: &str = "valvula.db";

/// Reads `[database]`. By default the database is a file in the state directory.
pub(super) fn database(mut section: Section, server: &Server) -> database::Settings {
    let settings = database::Settings::read(&mut section, &sqlite_url(&server.state_dir.join(FILE)));
    section.finish();
    settings
}

/// In a URL `%` and `?` have a meaning of their own.
fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display().to_string().replace('%', "%25").replace('?', "%3F"))
}

/// `[postfix]`: how it is found out what is local.
#[derive(Debug, Clone)]
pub struct Local {
    /// Where Postfix's configuration is, and what counts besides it.
    pub postfix: postfix::Settings,
    /// A database that is asked besides.
    pub queries: Option<QuerySettings>,
    /// Lifetimes and bounds of what is remembered.
    pub cache: CacheSettings,
    /// The longest one question may take.
    pub timeout: Duration,
}

impl Local {
    /// Reads it; `own` is the daemon's database.
    pub(super) fn read(mut section: Section, own: &database::Settings) -> Self {
        let default = postfix::Settings::default();
        // Whoever names a directory means that there is a Postfix; the default one is only tried.
        let required = section.has("config_directory");
        let table_timeout = section.duration("table_timeout", default.table_timeout);
        let queries = QuerySettings::read(&mut section, &own.url, table_timeout);
        let postfix = postfix::Settings {
            config_directory: section.or("config_directory", default.config_directory),
            autodetect: section.or("autodetect", default.autodetect),
            required,
            local_domains: section.or("local_domains", default.local_domains),
            local_addresses: section.or("local_addresses", default.local_addresses),
            addresses_elsewhere: queries.as_ref().is_some_and(QuerySettings::lists_addresses),
            relay_domains: section.or("relay_domains", default.relay_domains),
            hostname: section.value("hostname"),
            table_timeout,
            max_children: bounded(&mut section, "max_children", default.max_children, 1..=1000),
        };
        if !postfix.config_directory.is_absolute() {
            section.fault("config_directory", "expected an absolute path, for example \"/etc/postfix\"");
        }
        let default = CacheSettings::default();
        let cache = CacheSettings {
            entries: bounded(&mut section, "cache_entries", default.entries, 16..=100_000_000),
            positive: section.duration("cache_positive", default.positive),
            negative: section.duration("cache_negative", default.negative),
            stale: section.duration("cache_stale", default.stale),
            retry: section.duration("cache_retry", default.retry),
            patience: section.duration("cache_patience", default.patience),
        };
        let timeout = section.duration("timeout", Duration::from_secs(10));
        section.finish();
        Self { postfix, queries, cache, timeout }
    }
}

fn bounded(section: &mut Section, key: &str, default: usize, bounds: std::ops::RangeInclusive<i64>) -> usize {
    let default = i64::try_from(default).unwrap_or(*bounds.end());
    section.number(key, default, bounds).unsigned_abs() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_url_leads_to_the_file_whatever_the_path_holds() {
        for path in ["/var/lib/valvula/valvula.db", "/a b/50%/what?/x.db"] {
            let url: database::DatabaseUrl = sqlite_url(Path::new(path)).parse().unwrap();
            assert_eq!(url.file(), Some(Path::new(path)));
        }
    }
}
