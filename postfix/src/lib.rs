//! Postfix's configuration, as Postfix reads it, and what follows from it: which domains and addresses
//! are local, who may use a sender address, and which restriction lists ask which policy service.
//!
//! A plain library, usable by itself: no actors, no configuration format of ours. [`Resolver`] answers
//! the questions from a configuration directory; below it stand the parts, from the bottom up:
//!
//! - [`lines`](MainCf), [`MainCf`], [`MasterCf`]: the two files;
//! - [`expand()`]: `$name` and its conditional forms;
//! - [`Configuration`], [`View`]: parameters over Postfix's defaults, as a service sees them;
//! - [`Tables`], [`Table`]: lookup tables;
//! - [`MatchList`]: lists of patterns;
//! - [`policy`]: which restriction lists ask which policy service;
//! - [`Resolver`]: the questions, each [`Answer`] with its [`Evidence`].
//!
//! Everywhere "no" and "could not ask" are different things: see [`Verdict`].

mod answer;
mod build;
mod config;
mod defaults;
mod expand;
mod fault;
mod interfaces;
mod lines;
mod list;
mod maincf;
mod maps;
mod mastercf;
mod own;
pub mod policy;
mod resolver;
mod settings;
mod tables;

pub use answer::{Answer, Evidence, Outcome, Step, Verdict};
pub use build::{BuildDefaults, find_program};
pub use config::{Configuration, Origin, ReadError, View, machine_name};
pub use defaults::known_parameters;
pub use expand::{ExpandError, expand};
pub use fault::Fault;
pub use list::{MatchList, Reading, Subdomains, split_list};
pub use maincf::{Assignment, MainCf};
pub use mastercf::{MasterCf, Service, ServiceName};
pub use resolver::{Owners, Resolver, State, spellings};
pub use settings::Settings;
pub use tables::{Table, TableCounts, TableError, Tables};
