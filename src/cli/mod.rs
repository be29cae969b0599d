//! The command lines of both programs: their flags, what they print, how they end.

pub mod control;
pub mod database;
pub mod exit;
pub mod flags;
pub mod local;
pub mod ping;
pub mod status;
