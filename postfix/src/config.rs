//! Postfix's configuration as one of its services sees it.
//!
//! main.cf, then the `-o` of the service, over Postfix's defaults; values are expanded when they are
//! asked for. Reading it opens two files and nothing else.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::build::BuildDefaults;
use crate::defaults::default_of;
use crate::expand::{ExpandError, expand};
use crate::fault::Fault;
use crate::maincf::{Assignment, MainCf};
use crate::mastercf::{MasterCf, Service};

/// A parsed configuration directory.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The directory.
    pub directory: PathBuf,
    /// main.cf.
    pub main: MainCf,
    /// master.cf; empty when there is none.
    pub master: MasterCf,
    /// The machine's name, which `myhostname` defaults to.
    pub hostname: String,
    /// Defaults that depend on how Postfix was built.
    pub build: BuildDefaults,
}

/// Why a configuration directory gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no main.cf: Postfix is not installed, or elsewhere.
    #[error("{0}: not found")]
    Absent(PathBuf),
    /// A file is malformed or cannot be read.
    #[error("{}", join(.0))]
    Faulty(Vec<Fault>),
}

fn join(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

impl Configuration {
    /// Reads main.cf and master.cf of `directory`. A master.cf that is absent is empty.
    pub fn read(directory: &Path, hostname: &str, build: BuildDefaults) -> Result<Self, ReadError> {
        let main_path = directory.join("main.cf");
        let master_path = directory.join("master.cf");
        let main = match std::fs::read(&main_path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ReadError::Absent(main_path)),
            Err(error) => return Err(ReadError::Faulty(vec![Fault::of_file(main_path, error.to_string())])),
        };
        let master = match std::fs::read(&master_path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(ReadError::Faulty(vec![Fault::of_file(master_path, error.to_string())])),
        };
        Self::parse(directory, &main, &master, hostname, build)
    }

    /// The configuration that the texts of main.cf and master.cf make.
    pub fn parse(
        directory: &Path,
        main: &[u8],
        master: &[u8],
        hostname: &str,
        build: BuildDefaults,
    ) -> Result<Self, ReadError> {
        let main = MainCf::parse(&directory.join("main.cf"), main);
        let master = MasterCf::parse(&directory.join("master.cf"), master);
        match (main, master) {
            (Ok(main), Ok(master)) => {
                Ok(Self { directory: directory.to_owned(), main, master, hostname: hostname.to_owned(), build })
            }
            (main, master) => {
                let mut faults = main.err().unwrap_or_default();
                faults.extend(master.err().unwrap_or_default());
                Err(ReadError::Faulty(faults))
            }
        }
    }

    /// The parameters of main.cf alone.
    pub fn main(&self) -> View<'_> {
        View { configuration: self, service: None }
    }

    /// The parameters as `service` sees them.
    pub fn service<'a>(&'a self, service: &'a Service) -> View<'a> {
        View { configuration: self, service: Some(service) }
    }
}

/// Where a parameter's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of main.cf or master.cf.
    Written(PathBuf, usize),
    /// Postfix's default.
    Default,
}

/// The parameters of main.cf, or of one service.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    configuration: &'a Configuration,
    service: Option<&'a Service>,
}

impl<'a> View<'a> {
    /// The configuration that this is a view of.
    pub fn configuration(&self) -> &'a Configuration {
        self.configuration
    }

    fn written(&self, name: &str) -> Option<(&'a Path, &'a Assignment)> {
        let own = self.service.and_then(|service| service.get(name));
        own.map(|value| (self.configuration.master.path.as_path(), value)).or_else(|| {
            let main = &self.configuration.main;
            main.get(name).map(|value| (main.path.as_path(), value))
        })
    }

    /// Whether main.cf or the service sets `name`.
    pub fn is_set(&self, name: &str) -> bool {
        self.written(name).is_some()
    }

    /// Where the value of `name` comes from.
    pub fn origin(&self, name: &str) -> Origin {
        match self.written(name) {
            Some((path, value)) => Origin::Written(path.to_owned(), value.line),
            None => Origin::Default,
        }
    }

    /// The value of `name`, not expanded; `None` if it is neither set nor known to Postfix.
    pub fn raw(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_or(name, &|name| self.default(name))
    }

    fn raw_or(&self, name: &str, default: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        match self.written(name) {
            Some((_, value)) => Some(Cow::Borrowed(value.value.as_str())),
            None => default(name),
        }
    }

    fn default(&self, name: &str) -> Option<Cow<'a, str>> {
        let configuration = self.configuration;
        match name {
            "myhostname" => Some(Cow::Owned(self.default_hostname())),
            "mydomain" => Some(Cow::Owned(self.default_domain())),
            "config_directory" => Some(configuration.directory.to_string_lossy()),
            "process_name" => self.service.map(|service| Cow::Borrowed(service.command.as_str())),
            "service_name" => Some(self.service.map_or(Cow::Borrowed(""), |service| service.name.as_str().into())),
            "syslog_name" | "multi_instance_name" => default_of(name).map(Cow::Borrowed),
            _ => configuration.build.get(name).map(Cow::Borrowed).or_else(|| default_of(name).map(Cow::Borrowed)),
        }
    }

    /// The machine's name; one without a dot is completed with `mydomain`.
    fn default_hostname(&self) -> String {
        let hostname = &self.configuration.hostname;
        match self.written("mydomain") {
            _ if hostname.contains('.') => hostname.clone(),
            Some((_, domain)) => format!("{hostname}.{}", self.expand_written(&domain.value)),
            None => format!("{hostname}.localdomain"),
        }
    }

    /// `myhostname` without its first label.
    fn default_domain(&self) -> String {
        let hostname = match self.written("myhostname") {
            Some((_, value)) => self.expand_written(&value.value),
            None => self.default_hostname(),
        };
        match hostname.split_once('.') {
            Some((_, domain)) => domain.to_owned(),
            None => "localdomain".to_owned(),
        }
    }

    /// Expands with what is written alone: Postfix makes these two defaults before it has any other.
    fn expand_written(&self, text: &str) -> String {
        let written = |name: &str| self.written(name).map(|(_, value)| Cow::Borrowed(value.value.as_str()));
        expand(text, &written).unwrap_or_default()
    }

    /// The value of `name`, expanded; empty if it is not known. The fault names the line of the value.
    pub fn get(&self, name: &str) -> Result<String, Fault> {
        let Some(raw) = self.raw(name) else { return Ok(String::new()) };
        self.expand_text(&raw).map_err(|error| {
            let message = format!("{name}: {error}");
            match self.written(name) {
                Some((path, value)) => Fault::at(path, value.line, message),
                None => Fault::of_file(&self.configuration.main.path, message),
            }
        })
    }

    /// Expands any text with these parameters.
    pub fn expand_text(&self, text: &str) -> Result<String, ExpandError> {
        expand(text, &|name| self.raw(name))
    }

    /// A parameter of type yes/no.
    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        let value = self.get(name)?;
        match value.to_ascii_lowercase().as_str() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(self.fault(name, format!("{value:?} is neither yes nor no"))),
        }
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<u64, Fault> {
        let value = self.get(name)?;
        value.parse().map_err(|_| self.fault(name, format!("{value:?} is not a number")))
    }

    /// A span of time: a number and one of `s m h d w`; without a unit, seconds.
    pub fn time(&self, name: &str) -> Result<std::time::Duration, Fault> {
        let value = self.get(name)?;
        parse_time(&value).ok_or_else(|| self.fault(name, format!("{value:?} is not a time")))
    }

    /// A fault of the value of `name`, at its line.
    pub fn fault(&self, name: &str, message: String) -> Fault {
        let message = format!("{name}: {message}");
        match self.origin(name) {
            Origin::Written(path, line) => Fault::at(path, line, message),
            Origin::Default => Fault::of_file(&self.configuration.main.path, message),
        }
    }
}

/// Postfix's time values: `10`, `10s`, `5m`, `1h`, `2d`, `1w`.
pub(crate) fn parse_time(text: &str) -> Option<std::time::Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit = match &text[end..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.checked_mul(unit).map(std::time::Duration::from_secs)
}

/// The machine's name, as Postfix asks for it.
pub fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
