//! The control socket: by it `valvulad -s` and `valvulactl` speak to the running daemon.

mod client;
pub mod protocol;
mod server;

pub use client::{Client, ClientError};
pub use server::{BindError, ControlSocket, Handle, Operator};

#[cfg(test)]
mod tests;
