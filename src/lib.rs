//! The daemon `valvulad` as a library: everything its two programs are made of, and the builder by which
//! a third party makes a daemon with modules of its own.

pub mod boot;
pub mod cli;
pub mod config;
pub mod control;
pub mod detach;
pub mod health;
mod limits;
pub mod log;
pub mod privileges;
mod program;
pub mod registry;
pub mod signals;
pub mod systemd;
pub mod upgrade;

pub use program::Builder;
