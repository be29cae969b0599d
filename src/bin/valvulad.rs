//! The daemon; see `valvulad --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    valvulad::Builder::new().run()
}
