//! Postfix's own `postmap -q`, as a child process.
//!
//! For every type that we do not read ourselves, and wherever one of our readers is not sure. The number
//! of children is bounded; the caller bounds the time, and a child whose answer is no longer waited for is
//! killed. `postmap` ends with 1 both for "no such key" and for an error: an error is told by what it writes.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::build::{find_program, own_environment};

use super::TableError;

/// How `postmap` is run.
#[derive(Debug)]
pub(super) struct Postmap {
    program: Option<PathBuf>,
    config_directory: PathBuf,
    children: Semaphore,
}

impl Postmap {
    pub fn new(config_directory: PathBuf, max_children: usize) -> Self {
        let program = if max_children == 0 { None } else { find_program("postmap", None) };
        Self { program, config_directory, children: Semaphore::new(max_children) }
    }

    /// The value of `key` in `table`.
    pub async fn ask(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let Some(program) = &self.program else {
            return Err(TableError("postmap has to be asked, and is not found or not allowed".to_owned()));
        };
        if key.contains(&b'\n') || key.contains(&0) {
            return Err(TableError("a key with a line end cannot be asked of postmap".to_owned()));
        }
        let _permit = self.children.acquire().await.map_err(TableError::new)?;
        let mut command = tokio::process::Command::new(program);
        // The key goes through standard input: as an argument, everybody on the machine could read it.
        command.arg("-c").arg(&self.config_directory).args(["-q", "-", table]);
        own_environment(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let failed = |error: std::io::Error| TableError(format!("postmap: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            // A child that ends before it reads tells why on standard error.
            let _ = input.write_all(&[key, b"\n"].concat()).await;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        read_output(key, output.status, &output.stdout, &output.stderr)
    }
}

fn read_output(key: &[u8], status: ExitStatus, out: &[u8], err: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
    let err = String::from_utf8_lossy(err);
    let error = err.lines().find(|line| ["fatal:", "panic:", "error:"].iter().any(|word| line.contains(word)));
    if let Some(error) = error {
        return Err(TableError(error.to_owned()));
    }
    match status.code() {
        Some(0) => {
            // `key<TAB>value`.
            let line = out.strip_suffix(b"\n").unwrap_or(out);
            match line.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"\t")) {
                Some(value) => Ok(Some(value.to_vec())),
                None => Err(TableError(format!("unexpected answer of postmap: {:?}", String::from_utf8_lossy(out)))),
            }
        }
        Some(1) if out.is_empty() => Ok(None),
        _ => Err(TableError(format!("postmap ended with {status}: {}", err.trim()))),
    }
}
