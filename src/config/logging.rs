//! `[log]`: where log lines go, in which form, from which level on.

use std::path::PathBuf;

use actors::settings::Section;
use slog::Level;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where lines go.
    pub target: Target,
    /// Their form on standard error and in a file.
    pub format: Format,
    /// The least severe level that is written.
    pub level: Level,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The journal when systemd started the daemon with it, else standard error when it leads anywhere,
    /// else syslog.
    Auto,
    /// Standard error.
    Stderr,
    /// `/dev/log`.
    Syslog,
    /// systemd's journal, with fields.
    Journald,
    /// A file, opened again at SIGHUP.
    File(PathBuf),
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: time, level, message, `key=value`.
    Text,
    /// One JSON object a line.
    Json,
}

/// The names of the levels, the most severe first.
pub const LEVELS: [(&str, Level); 6] = [
    ("critical", Level::Critical),
    ("error", Level::Error),
    ("warning", Level::Warning),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

impl Default for Log {
    fn default() -> Self {
        Self { target: Target::Auto, format: Format::Text, level: Level::Info }
    }
}

impl Log {
    pub(super) fn read(mut section: Section) -> Self {
        let default = Self::default();
        let target = target(&mut section).unwrap_or(default.target);
        let formats = [("text", Format::Text), ("json", Format::Json)];
        let format = section.one_of("format", default.format, &formats);
        let level = section.one_of("level", default.level, &LEVELS);
        section.finish();
        Self { target, format, level }
    }
}

fn target(section: &mut Section) -> Option<Target> {
    let text: String = section.value("target")?;
    match text.as_str() {
        "auto" => Some(Target::Auto),
        "stderr" => Some(Target::Stderr),
        "syslog" => Some(Target::Syslog),
        "journald" => Some(Target::Journald),
        other => match other.strip_prefix("file:") {
            Some(path) if path.starts_with('/') && !path.contains('\0') => Some(Target::File(path.into())),
            Some(path) => {
                section.fault("target", format!("{path:?} is no absolute path: expected \"file:/path\""));
                None
            }
            None => {
                let known = r#""auto", "stderr", "syslog", "journald", "file:/path""#;
                section.fault("target", format!("{other:?} is not known: expected one of {known}"));
                None
            }
        },
    }
}
