//! The command lines of both programs: their flags, what they print, how they end.

mod asked;
mod connect;
pub mod control;
pub mod database;
mod exceptions;
pub mod exit;
mod explained;
pub mod flags;
mod import;
pub mod local;
mod lookup;
mod orders;
pub mod ping;
mod postfix;
mod quota;
mod request;
mod rule;
pub mod status;
mod table;
mod ticket;
