//! The databases' own command-line clients: what an administrator types into.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A client that stays open: its statements share one connection, so a test can hold a transaction.
///
/// Ended when dropped.
pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    /// Makes the client print the text between the braces on a line of its own.
    echo: fn(&str) -> String,
    marks: u32,
}

impl Client {
    pub(crate) fn open(mut command: Command, echo: fn(&str) -> String) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        Self { child, input, output, echo, marks: 0 }
    }

    /// Runs statements (each ended by `;`), waits until they are done, and returns what was printed.
    pub fn run(&mut self, statements: &str) -> String {
        self.marks += 1;
        let mark = format!("--done-{}--", self.marks);
        let echo = (self.echo)(&mark);
        let input = self.input.as_mut().expect("open until dropped");
        writeln!(input, "{statements}\n{echo}").and_then(|()| input.flush()).expect("the client takes statements");
        let mut printed = String::new();
        loop {
            let before = printed.len();
            let read = self.output.read_line(&mut printed).expect("the client's output is text");
            assert!(read > 0, "the client ended at: {statements}\n{printed}");
            if printed[before..].trim_end() == mark {
                printed.truncate(before);
                return printed;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
