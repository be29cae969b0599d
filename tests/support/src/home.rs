//! A directory with a configuration: where a daemon lives, is stopped, and is started again.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Daemon;

/// Where the programs under test are; made by `programs!()`.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// The daemon.
    pub valvulad: &'static str,
    /// The operator's tool.
    pub valvulactl: &'static str,
}

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The same, when it ended with 0.
    ///
    /// # Panics
    /// When it did not, with all it printed.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Names a directory with other programs to test than those that were built with the tests: optimised ones, for
/// figures.
const PROGRAMS: &str = "VALVULA_TEST_PROGRAMS";

/// A private directory with `valvula.toml`, `state/` and the control socket.
pub struct Home {
    programs: Programs,
    directory: tempfile::TempDir,
}

impl Home {
    /// An empty one.
    pub fn new(programs: Programs) -> Self {
        let directory = testkit::directory();
        std::fs::create_dir(directory.path().join("state")).expect("a state directory");
        Self { programs, directory }
    }

    /// One with a configuration: see [`Self::configure`].
    pub fn with(programs: Programs, settings: &str) -> Self {
        let home = Self::new(programs);
        home.configure(settings);
        home
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file or socket in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("its directory");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes `valvula.toml`: `settings`, and what they leave open of where state, log and control
    /// socket are. Without a section `[postfix]` no Postfix is read.
    pub fn configure(&self, settings: &str) {
        let mut text = String::new();
        let has = |section: &str| settings.lines().any(|line| line.trim() == section);
        if !has("[server]") {
            text += &self.server_section();
        }
        if !has("[log]") {
            text += "[log]\ntarget = \"stderr\"\n\n";
        }
        if !has("[postfix]") {
            text += "[postfix]\nautodetect = false\n\n";
        }
        self.write("valvula.toml", text + settings);
    }

    /// The section `[server]` that [`Self::configure`] writes, for tests that add keys to it.
    pub fn server_section(&self) -> String {
        format!(
            "[server]\nstate_dir = \"{}\"\ncontrol_socket = \"{}\"\nworkers = 2\n\n",
            self.path("state").display(),
            self.control_socket().display()
        )
    }

    /// The daemon's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// Runs `valvulad -c valvula.toml ARGUMENTS` to its end.
    pub fn valvulad(&self, arguments: &[&str]) -> Output {
        self.run(self.programs.valvulad, arguments, &[])
    }

    /// The same with more in its environment.
    pub fn valvulad_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.run(self.programs.valvulad, arguments, environment)
    }

    /// Runs `valvulactl -c valvula.toml ARGUMENTS` to its end.
    pub fn valvulactl(&self, arguments: &[&str]) -> Output {
        self.run(self.programs.valvulactl, arguments, &[])
    }

    fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.command(program);
        command.args(arguments).envs(environment.iter().copied());
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the daemon and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it ends instead, with its log.
    #[track_caller]
    pub fn start(&self) -> Daemon<'_> {
        self.start_with(&[], &[])
    }

    /// The same with further flags and a further environment.
    #[track_caller]
    pub fn start_with(&self, flags: &[&str], environment: &[(&str, &str)]) -> Daemon<'_> {
        let daemon = Daemon::spawn_with(self, flags, environment);
        daemon.wait_ready();
        daemon
    }

    /// `valvulad -c valvula.toml`, ready to be run by [`Daemon`].
    pub(crate) fn daemon_command(&self) -> Command {
        self.command(self.programs.valvulad)
    }

    /// The kernel kills the program with the thread of the test that started it, whatever ends that:
    /// `setpriv` becomes the program, so the process id is the program's.
    fn command(&self, program: &str) -> Command {
        let other = std::env::var_os(PROGRAMS).map(PathBuf::from);
        let name = Path::new(program).file_name().expect("a program has a name");
        let program = other.map_or_else(|| PathBuf::from(program), |directory| directory.join(name));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).arg("-c").arg(self.path("valvula.toml"));
        command.stdin(Stdio::null()).current_dir(self.directory()).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("VALVULA__") {
                command.env_remove(name);
            }
        }
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        command
    }
}
