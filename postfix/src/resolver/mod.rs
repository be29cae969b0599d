//! What is local: the answers that Postfix would give.
//!
//! A [`Resolver`] is made from Postfix's configuration and our own settings, and does not change: after a
//! change of a file a new one is made. What is wrong in Postfix's configuration is kept as its
//! [`State`]; a resolver of a faulty configuration says "could not ask" to whatever our own settings do
//! not answer.

mod ask;
mod classes;
mod parameters;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::answer::{Evidence, Outcome, Verdict};
use crate::build::{BuildDefaults, find_program};
use crate::config::{Configuration, ReadError, machine_name};
use crate::fault::Fault;
use crate::own::Own;
use crate::settings::Settings;
use crate::tables::Tables;

pub use ask::Owners;
pub use classes::spellings;
use parameters::Parameters;

/// Whether Postfix's configuration stands behind the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was read.
    Read,
    /// `autodetect` is off: our own settings alone answer.
    Off,
    /// There is no main.cf here, nor need there be one: our own settings alone answer.
    Absent(PathBuf),
    /// It is malformed or cannot be read: what our own settings do not answer could not be asked.
    Faulty(Vec<Fault>),
}

/// Answers what is local.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    state: State,
    own: Own,
    postfix: Option<Postfix>,
    files: BTreeSet<PathBuf>,
    warnings: Vec<Fault>,
}

#[derive(Debug)]
struct Postfix {
    configuration: Configuration,
    parameters: Parameters,
    tables: Tables,
}

impl Resolver {
    /// Reads Postfix's configuration and the files of our own settings.
    pub async fn load(settings: Settings) -> Self {
        Self::load_service(settings, None).await
    }

    /// The same, as the service `name` (or `name/type`) of master.cf sees it, with its `-o` overrides.
    pub async fn load_service(settings: Settings, service: Option<&str>) -> Self {
        let build = match find_program("postconf", None) {
            Some(postconf) if settings.autodetect => BuildDefaults::ask(&postconf, settings.table_timeout).await,
            _ => BuildDefaults::default(),
        };
        let mut files = BTreeSet::new();
        let mut warnings = Vec::new();
        let own = Own::read(&settings.local_domains, &settings.local_addresses, &mut files, &mut warnings);
        let mut resolver = Self { settings, state: State::Off, own, postfix: None, files, warnings };
        if resolver.settings.autodetect {
            resolver.state = resolver.read_postfix(build, service);
        }
        resolver
    }

    fn read_postfix(&mut self, build: BuildDefaults, service: Option<&str>) -> State {
        let directory = self.settings.config_directory.clone();
        self.files.extend(["main.cf", "master.cf"].map(|file| directory.join(file)));
        let hostname = self.settings.hostname.clone().unwrap_or_else(machine_name);
        let configuration = match Configuration::read(&directory, &hostname, build) {
            Ok(configuration) => configuration,
            Err(ReadError::Absent(path)) if self.settings.required => {
                return State::Faulty(vec![Fault::of_file(&path, "not found")]);
            }
            Err(ReadError::Absent(path)) => {
                self.warnings.push(Fault::of_file(&path, "not found: only our own settings say what is local"));
                return State::Absent(path);
            }
            Err(ReadError::Faulty(faults)) => return State::Faulty(faults),
        };
        let service = match service {
            None => None,
            Some(name) => match configuration.master.service(name) {
                Some(service) => Some(service),
                None => {
                    let fault = Fault::of_file(&configuration.master.path, format!("there is no service {name:?}"));
                    return State::Faulty(vec![fault]);
                }
            },
        };
        let view = service.map_or(configuration.main(), |service| configuration.service(service));
        let utf8 = match view.flag("smtputf8_enable") {
            Ok(utf8) => utf8,
            Err(fault) => return State::Faulty(vec![fault]),
        };
        let (timeout, children) = (self.settings.table_timeout, self.settings.max_children);
        let tables = Tables::new(directory.clone(), timeout, children, utf8);
        match Parameters::read(view, &tables, self.settings.relay_domains) {
            Ok((parameters, reading)) => {
                self.files.extend(reading.files);
                self.files.extend(tables.files());
                self.warnings.extend(reading.faults);
                self.postfix = Some(Postfix { parameters, configuration, tables });
                State::Read
            }
            Err(faults) => State::Faulty(faults),
        }
    }

    /// Whether Postfix's configuration stands behind the answers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What is odd, but no obstacle: files that cannot be read, a main.cf that is not there.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The files that were read, also those that were not found: when one changes, load again.
    pub fn files(&self) -> &BTreeSet<PathBuf> {
        &self.files
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Postfix's configuration, if it was read.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.postfix.as_ref().map(|postfix| &postfix.configuration)
    }

    /// The tables that the parameters name.
    pub fn tables(&self) -> Option<&Tables> {
        self.postfix.as_ref().map(|postfix| &postfix.tables)
    }

    /// Postfix's `recipient_delimiter`: each of its characters separates an extension.
    pub fn recipient_delimiter(&self) -> &[u8] {
        self.postfix.as_ref().map_or(b"", |postfix| &postfix.parameters.recipient_delimiter)
    }

    /// Whether somebody lists addresses beside Postfix: then a domain of `local_domains` does not have all.
    pub fn lists_addresses(&self) -> bool {
        self.settings.addresses_elsewhere || self.own.has_addresses()
    }

    /// What is said where Postfix's configuration would have to be asked and is not there.
    fn without_postfix(&self, key: &[u8], evidence: &mut Evidence) -> Verdict {
        let why = match &self.state {
            State::Read | State::Off | State::Absent(_) => return Verdict::No,
            State::Faulty(faults) => faults.first().map_or(Cow::Borrowed("faulty"), |fault| fault.to_string().into()),
        };
        evidence.push("main.cf", "", key, Outcome::Failed(why.into_owned()));
        Verdict::CouldNotAsk
    }
}

#[cfg(test)]
mod tests;
