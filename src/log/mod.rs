//! The daemon's log: lines of key and value, through a queue, to where the configuration says.
//!
//! The level is checked before anything else is done for a line, and can be changed while the daemon runs.
//! A log target that hangs or fails never holds up a worker: lines are dropped then, and counted.

mod batch;
mod bridge;
mod journald;
mod line;
mod queue;
mod syslog;
mod target;

use std::env;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{FileType, fstat, major, minor};
use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};

use crate::config::{Format, Identity, LEVELS, Log, Target as Where};
use queue::Queue;
use target::Target;

/// How long the end of the daemon waits for a log target that is slow.
const FLUSH: Duration = Duration::from_secs(2);

/// What the log depends on besides its configuration, for as long as the daemon runs.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Lines go to standard error whatever is configured, and at least from this level on (`-d`).
    pub on_stderr: Option<Level>,
    /// Lines are logged at least from this level on (`-o`).
    pub at_least: Option<Level>,
    /// Detached from its terminal: standard error leads nowhere.
    pub detached: bool,
    /// Whom a log file shall belong to.
    pub owner: Option<Identity>,
    /// SQL statements are logged (`-q`).
    pub queries: bool,
}

/// The log of the whole daemon. Cheap to clone.
#[derive(Clone)]
pub struct Logging {
    level: Arc<AtomicUsize>,
    queue: Queue,
    logger: Logger,
    setting: Arc<Setting>,
    on_stderr: Arc<AtomicBool>,
}

impl Setting {
    /// The configured log with what the command line says about it.
    fn over(&self, configured: &Log) -> Log {
        let mut log = configured.clone();
        if self.on_stderr.is_some() {
            log.target = Where::Stderr;
        }
        log.level = [self.on_stderr, self.at_least].into_iter().flatten().fold(log.level, |level, least| {
            // The less severe one: everything asked for is logged.
            if least.as_usize() > level.as_usize() { least } else { level }
        });
        log
    }
}

impl Logging {
    /// Opens the log. Lines of the libraries come in with the first one opened in a process.
    pub fn start(config: &Log, setting: Setting) -> anyhow::Result<Self> {
        let config = setting.over(config);
        let target = resolved(&config, &setting);
        let on_stderr = Arc::new(AtomicBool::new(target == Where::Stderr));
        let queue =
            Queue::start(open(target, config.format, &setting)?).context("the log's thread can't be started")?;
        let level = Arc::new(AtomicUsize::new(config.level.as_usize()));
        let logger = Logger::root(Filter { level: level.clone(), queue: queue.clone() }, o!());
        let bridge = bridge::Bridge::new(logger.clone(), setting.queries);
        if log::set_boxed_logger(Box::new(bridge)).is_ok() {
            // Which of them are wanted is decided by the bridge.
            log::set_max_level(log::LevelFilter::Trace);
        }
        Ok(Self { level, queue, logger, setting: Arc::new(setting), on_stderr })
    }

    /// The logger that all others are made from.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// The least severe level that is logged.
    pub fn level(&self) -> Level {
        Level::from_usize(self.level.load(Ordering::Relaxed)).unwrap_or(Level::Info)
    }

    /// Changes what is logged, from the next line on.
    pub fn set_level(&self, level: Level) {
        self.level.store(level.as_usize(), Ordering::Relaxed);
    }

    /// Opens a log file again, after it was moved away.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Goes over to another configuration; on an error nothing changes. What the command line said holds on.
    pub fn change(&self, config: &Log) -> anyhow::Result<()> {
        let config = self.setting.over(config);
        let target = resolved(&config, &self.setting);
        let on_stderr = target == Where::Stderr;
        self.queue.replace(open(target, config.format, &self.setting)?);
        self.on_stderr.store(on_stderr, Ordering::Relaxed);
        self.set_level(config.level);
        Ok(())
    }

    /// Whether lines go to standard error.
    pub fn is_on_stderr(&self) -> bool {
        self.on_stderr.load(Ordering::Relaxed)
    }

    /// Waits until what was logged is written, but not for ever: a target may hang.
    pub fn flush(&self) {
        self.queue.flush(FLUSH);
    }
}

/// The level of that name.
pub fn level_named(name: &str) -> Option<Level> {
    LEVELS.iter().find(|(word, _)| *word == name).map(|(_, level)| *level)
}

/// The name of a level.
pub fn level_name(level: Level) -> &'static str {
    line::word(level)
}

/// The outermost part: a line below the level costs one load.
struct Filter {
    level: Arc<AtomicUsize>,
    queue: Queue,
}

impl Drain for Filter {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if self.is_enabled(record.level()) { self.queue.log(record, values) } else { Ok(()) }
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.as_usize() <= self.level.load(Ordering::Relaxed)
    }
}

/// Where lines go, with `auto` decided.
fn resolved(config: &Log, setting: &Setting) -> Where {
    match &config.target {
        Where::Auto => automatic(setting.detached),
        other => other.clone(),
    }
}

fn open(target: Where, format: Format, setting: &Setting) -> anyhow::Result<Box<dyn Target>> {
    Ok(match target {
        Where::Auto | Where::Stderr => Box::new(target::Stream::new(io::stderr(), format)),
        Where::Syslog => Box::new(syslog::Syslog::new(Path::new(syslog::SOCKET))),
        Where::Journald => Box::new(journald::Journald::new(Path::new(journald::SOCKET))?),
        Where::File(path) => Box::new(
            target::LogFile::open(&path, format, setting.owner.as_ref())
                .with_context(|| format!("the file {} can't be opened", path.display()))?,
        ),
    })
}

/// What `auto` means here.
fn automatic(detached: bool) -> Where {
    if stderr_is_journal() {
        Where::Journald
    } else if !detached && stderr_leads_somewhere() {
        Where::Stderr
    } else {
        Where::Syslog
    }
}

/// systemd names the journal's stream in JOURNAL_STREAM as `device:inode`; a child that has its standard
/// error elsewhere inherits the variable too.
fn stderr_is_journal() -> bool {
    let Some(stream) = env::var_os("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino).as_str())
}

/// Not `/dev/null` (1:3 on Linux) and not closed.
fn stderr_leads_somewhere() -> bool {
    fstat(io::stderr()).is_ok_and(|stat| {
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        !(device && major(stat.st_rdev) == 1 && minor(stat.st_rdev) == 3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{debug, info};

    fn to_file(path: &Path, level: Level) -> Log {
        Log { target: Where::File(path.to_owned()), format: Format::Text, level }
    }

    #[test]
    fn the_level_can_be_changed_while_lines_are_logged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logging = Logging::start(&to_file(&path, Level::Info), Setting::default()).unwrap();
        debug!(logging.logger(), "unheard");
        logging.set_level(Level::Debug);
        debug!(logging.logger(), "heard");
        logging.flush();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("heard") && !text.contains("unheard"), "{text}");
    }

    #[test]
    fn a_change_that_fails_leaves_the_log_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logging = Logging::start(&to_file(&path, Level::Info), Setting::default()).unwrap();
        assert!(logging.change(&to_file(&dir.path().join("no/such"), Level::Error)).is_err());
        info!(logging.logger(), "still here");
        logging.flush();
        assert!(std::fs::read_to_string(path).unwrap().contains("still here"));
    }

    #[test]
    fn the_command_line_asks_for_more_than_the_configuration_and_never_for_less() {
        let configured = Log { level: Level::Info, ..Log::default() };
        let over = |on_stderr, at_least| Setting { on_stderr, at_least, ..Setting::default() }.over(&configured);
        assert_eq!(over(None, None), configured);
        assert_eq!(
            over(Some(Level::Debug), None),
            Log { target: Where::Stderr, level: Level::Debug, ..Log::default() }
        );
        assert_eq!(over(Some(Level::Debug), Some(Level::Trace)).level, Level::Trace);
        assert_eq!(over(None, Some(Level::Error)).level, Level::Info);
    }

    #[test]
    fn every_level_has_a_name() {
        for (name, level) in LEVELS {
            assert_eq!((level_named(name), level_name(level)), (Some(level), name));
        }
        assert_eq!(level_named("loud"), None);
    }
}
