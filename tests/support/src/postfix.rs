//! A private Postfix on loopback: `tests/rig/postfix_rig.py` makes and runs it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running Postfix. Ended when dropped, or when the test's process ends in any way.
pub struct Postfix {
    rig: Child,
    output: BufReader<ChildStdout>,
    facts: serde_json::Value,
}

impl Postfix {
    /// Starts one with the rig's options (`postfix_rig.py serve --help`).
    ///
    /// # Panics
    /// When it can't be started, with the reason: Postfix is not installed, or this is not root.
    #[track_caller]
    pub fn start(options: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../rig/postfix_rig.py");
        let mut rig = Command::new("python3")
            .args(["-B", script, "serve"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed: apt-get install python3");
        let output = BufReader::new(rig.stdout.take().expect("its output is piped"));
        let mut postfix = Self { rig, output, facts: serde_json::Value::Null };
        postfix.facts = postfix.answer("start");
        postfix
    }

    /// One that asks `policy` (`inet:...` or `unix:...`) at `smtpd_recipient_restrictions` and delivers
    /// into a maildir.
    #[track_caller]
    pub fn asking(policy: &str) -> Self {
        Self::start(&["--policy", policy, "--delivery", "maildir"])
    }

    /// The port that stands for port 25: no login.
    pub fn mx(&self) -> u16 {
        self.port("mx")
    }

    /// The port with login (alice:secret, bob@example.com:secret).
    pub fn submission(&self) -> u16 {
        self.port("submission")
    }

    fn port(&self, service: &str) -> u16 {
        let port = self.facts["ports"][service].as_u64().and_then(|port| u16::try_from(port).ok());
        port.unwrap_or_else(|| panic!("no {service} in {}", self.facts))
    }

    /// Its configuration directory.
    pub fn config_directory(&self) -> PathBuf {
        self.path("etc")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.facts[name].as_str().expect("the rig tells its paths").into()
    }

    /// Sets a parameter of main.cf and reloads.
    #[track_caller]
    pub fn set(&mut self, name: &str, value: &str) {
        self.order(&format!("postconf {name}={value}"));
    }

    /// Ends Postfix; its files stay until the drop.
    #[track_caller]
    pub fn stop(&mut self) {
        self.order("stop");
    }

    #[track_caller]
    fn order(&mut self, order: &str) {
        let input = self.rig.stdin.as_mut().expect("open until dropped");
        writeln!(input, "{order}").and_then(|()| input.flush()).expect("the rig takes orders");
        self.answer(order);
    }

    #[track_caller]
    fn answer(&mut self, order: &str) -> serde_json::Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the rig answers");
        let answer: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("the rig said {line:?} to {order}: {error}"));
        if let Some(error) = answer.get("error") {
            panic!("{order}: {error}");
        }
        answer["ok"].clone()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read(self.path("log")).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// The messages that were delivered into the maildir, each whole.
    pub fn delivered(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("dir").join("mail/catchall/new")) else { return Vec::new() };
        entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.facts.is_null() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("---- log of Postfix\n{}", self.log());
            }
        }
        drop(self.rig.stdin.take());
        let _ = self.rig.wait();
    }
}
