//! The log lines of the libraries (crate `log`: actix, sea-orm, sqlx) in the daemon's own log.
//!
//! The libraries say much more than an administrator wants to read: below warning they are heard only from
//! level debug on, and SQL statements only with `-q/--debug-queries`.

use slog::{Drain as _, Level, Logger, RecordLocation, RecordStatic, b};

/// Hands lines of the crate `log` to slog.
pub(super) struct Bridge {
    log: Logger,
    queries: bool,
}

impl Bridge {
    /// Lines go to `log`; SQL statements only with `queries`.
    pub fn new(log: Logger, queries: bool) -> Self {
        Self { log, queries }
    }

    /// The level at which a line of a library is logged, if at all.
    fn level(&self, target: &str, level: log::Level) -> Option<Level> {
        let query = target == "sqlx::query" || target.starts_with("sea_orm");
        match level {
            log::Level::Error => Some(Level::Error),
            log::Level::Warn => Some(Level::Warning),
            // Asked for by name, so shown at the ordinary level.
            _ if query && self.queries => Some(Level::Info),
            _ if query => None,
            log::Level::Info | log::Level::Debug => Some(Level::Debug),
            log::Level::Trace => Some(Level::Trace),
        }
    }
}

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.level(metadata.target(), metadata.level()).is_some_and(|level| self.log.is_enabled(level))
    }

    fn log(&self, record: &log::Record<'_>) {
        let Some(level) = self.level(record.target(), record.level()).filter(|level| self.log.is_enabled(*level))
        else {
            return;
        };
        let location = RecordLocation { file: "", line: 0, column: 0, function: "", module: "" };
        let fixed = RecordStatic { location: &location, tag: "", level };
        let target = record.target();
        self.log.log(&slog::Record::new(&fixed, record.args(), b!("library" => target)));
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(queries: bool, target: &str, level: log::Level) -> Option<Level> {
        Bridge::new(Logger::root(slog::Discard, slog::o!()), queries).level(target, level)
    }

    #[test]
    fn statements_are_shown_only_when_asked_for() {
        assert_eq!(level(false, "sqlx::query", log::Level::Debug), None);
        assert_eq!(level(true, "sqlx::query", log::Level::Debug), Some(Level::Info));
    }

    #[test]
    fn a_slow_statement_and_a_librarys_warning_are_always_shown() {
        assert_eq!(level(false, "sqlx::query", log::Level::Warn), Some(Level::Warning));
        assert_eq!(level(false, "actix::x", log::Level::Error), Some(Level::Error));
        assert_eq!(level(false, "actix::x", log::Level::Info), Some(Level::Debug));
    }
}
