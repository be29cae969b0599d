//! A private MariaDB or PostgreSQL: own directory, own unix socket, own loopback address.
//!
//! A small shell stands between test and server. It ends the server and removes the directory when its
//! input ends, which happens however the test ends: returned, panicked or killed.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::{Engine, directory, processes, programs, wait_until};

/// The user that tests log in as, and its password.
const USER: &str = "valvula";
const PASSWORD: &str = "secret";

/// "$1" is the signal that ends the server when nobody says otherwise, "$2" its directory.
const KEEPER: &str = r#"
signal=$1; directory=$2; shift 2
"$@" </dev/null >>"$directory/log" 2>&1 &
server=$!
if read -r order; then kill -s "$order" $server; kill -s CONT $server; wait $server
else kill -s "$signal" $server; kill -s CONT $server; wait $server; rm -rf "$directory"
fi"#;

/// A private database server. Stopped when dropped, or when the test's process ends in any way.
pub struct Server {
    engine: Engine,
    directory: PathBuf,
    address: String,
    port: u16,
    /// What it has committed survives the loss of power, as administrators run it; slower than tests need.
    is_durable: bool,
    /// User and group it runs as, when that is not the test's own.
    run_as: Option<(u32, u32)>,
    running: Mutex<Option<Child>>,
}

impl Server {
    /// Makes and starts a server of the test's own.
    ///
    /// # Panics
    /// When it is not installed or does not start: with its log.
    pub fn start_new(engine: Engine) -> Self {
        Self::start_with(engine, false)
    }

    /// The same, with the engine's own durability, for measuring.
    ///
    /// # Panics
    /// As [`Server::start_new`].
    pub fn start_durable(engine: Engine) -> Self {
        Self::start_with(engine, true)
    }

    fn start_with(engine: Engine, is_durable: bool) -> Self {
        let directory = directory().keep();
        // An address of its own within 127.0.0.0/8, so that a port that is free now stays free.
        let id = std::process::id();
        let address = format!("127.{}.{}.{}", 1 + id % 250, 1 + (id / 250) % 250, 1 + (id / 62_500) % 250);
        let port = TcpListener::bind((address.as_str(), 0))
            .and_then(|socket| socket.local_addr())
            .expect("a loopback address to listen on")
            .port();
        let run_as = match engine {
            // PostgreSQL refuses to run as root.
            Engine::Postgres if programs::is_root(&directory) => {
                Some(programs::user("postgres").expect("the user postgres, which Debian's package makes"))
            }
            _ => None,
        };
        if let Some((user, group)) = run_as {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).expect("the directory's owner is set");
        }
        let server = Self { engine, directory, address, port, is_durable, run_as, running: Mutex::new(None) };
        server.make();
        server.start();
        server.make_user();
        server
    }

    /// The server that the tests of this process share.
    pub fn shared(engine: Engine) -> &'static Self {
        static MARIADB: OnceLock<Server> = OnceLock::new();
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        match engine {
            Engine::MariaDb => &MARIADB,
            Engine::Postgres => &POSTGRES,
            Engine::Sqlite => panic!("SQLite has no server"),
        }
        .get_or_init(|| Self::start_new(engine))
    }

    /// The engine it runs.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Its unix socket (MariaDB), or the directory that holds it (PostgreSQL).
    pub fn socket(&self) -> PathBuf {
        match self.engine {
            Engine::MariaDb => self.directory.join("socket"),
            _ => self.directory.clone(),
        }
    }

    /// Address and port it listens on besides.
    pub fn tcp(&self) -> (&str, u16) {
        (&self.address, self.port)
    }

    /// User and password that tests log in with.
    pub fn login() -> (&'static str, &'static str) {
        (USER, PASSWORD)
    }

    /// `[database] url` of one of its databases, over the unix socket.
    pub fn url(&self, database: &str) -> String {
        let socket = self.socket().display().to_string().replace('/', "%2F");
        match self.engine {
            Engine::MariaDb => format!("mysql://{USER}:{PASSWORD}@localhost/{database}?socket={socket}"),
            _ => format!("postgres://{USER}:{PASSWORD}@localhost:{}/{database}?host={socket}", self.port),
        }
    }

    /// `[database] url` of one of its databases, over TCP.
    pub fn url_tcp(&self, database: &str) -> String {
        let scheme = if self.engine == Engine::MariaDb { "mysql" } else { "postgres" };
        format!("{scheme}://{USER}:{PASSWORD}@{}:{}/{database}", self.address, self.port)
    }

    /// The command-line client for one of its databases, as the test user.
    pub fn client(&self, database: &str) -> Command {
        self.client_as(USER, database)
    }

    fn client_as(&self, user: &str, database: &str) -> Command {
        match self.engine {
            Engine::MariaDb => {
                let mut command = Command::new(programs::find("mariadb", "mariadb-client"));
                command.args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered"]);
                command.args(["--default-character-set=utf8mb4", "--user", user, "--socket"]).arg(self.socket());
                if user == USER {
                    command.env("MYSQL_PWD", PASSWORD);
                }
                command.arg(database);
                command
            }
            _ => {
                let mut command = Command::new(programs::find("psql", "postgresql-client"));
                command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", user, "-p"]);
                command.arg(self.port.to_string()).arg("-h").arg(self.socket()).arg(database);
                command.env("PGPASSWORD", PASSWORD).env("PGCLIENTENCODING", "UTF8");
                command
            }
        }
    }

    /// Runs statements as the server's administrator; returns what the client printed.
    ///
    /// # Panics
    /// When the client fails.
    pub fn administer(&self, database: &str, statements: &str) -> String {
        self.try_administer(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    fn try_administer(&self, database: &str, statements: &str) -> Result<String, String> {
        let (administrator, option, empty) = match self.engine {
            Engine::MariaDb => ("root", "-e", "mysql"),
            _ => ("postgres", "-c", "postgres"),
        };
        let database = if database.is_empty() { empty } else { database };
        let mut command = self.client_as(administrator, database);
        command.arg(option).arg(statements).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
        }
    }

    /// Makes an empty database that belongs to the test user.
    pub fn create_database(&self, name: &str) {
        match self.engine {
            Engine::MariaDb => self.administer("", &format!("CREATE DATABASE {name}")),
            _ => self.administer("", &format!("CREATE DATABASE {name} OWNER {USER} TEMPLATE template0")),
        };
    }

    /// Stops it as its administrator would; its data stays.
    pub fn stop(&self) {
        self.end(if self.engine == Engine::MariaDb { "TERM" } else { "INT" });
    }

    /// Kills it; its data stays as it is on disk.
    pub fn kill(&self) {
        self.end(if self.engine == Engine::MariaDb { "KILL" } else { "QUIT" });
    }

    /// Stops it where it stands (SIGSTOP): connections stay, new ones are made by the kernel, and nobody gets an
    /// answer until [`Server::go_on`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn hang(&self) {
        self.signal_all("STOP");
    }

    /// The end of [`Server::hang`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn go_on(&self) {
        self.signal_all("CONT");
    }

    /// Signals the server's process, and then its children: PostgreSQL has one for each connection.
    fn signal_all(&self, signal: &str) {
        let keeper = self.running().as_ref().expect("the server runs").id();
        for server in processes::children(keeper) {
            processes::signal(&[server], signal);
            processes::signal(&processes::children(server), signal);
        }
    }

    fn end(&self, signal: &str) {
        let Some(mut keeper) = self.running().take() else { return };
        let mut input = keeper.stdin.take().expect("its input is piped");
        writeln!(input, "{signal}").expect("the keeper takes orders");
        let _ = keeper.wait();
    }

    /// Starts it again after a stop.
    ///
    /// # Panics
    /// When it does not answer within a minute: with its log.
    pub fn start(&self) {
        let mut running = self.running();
        assert!(running.is_none(), "the server runs already");
        let signal = if self.engine == Engine::MariaDb { "KILL" } else { "QUIT" };
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper", signal]).arg(&self.directory);
        command.args(self.as_user(self.server_command()));
        // A process group of its own: Ctrl-C ends the test, and the keeper then ends the server.
        let keeper = command.stdin(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn().expect("sh starts");
        *running = Some(keeper);
        drop(running);
        let answers = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("the database server answers", Duration::from_secs(60), || {
                self.try_administer("", "SELECT 1").is_ok()
            })
        }));
        assert!(answers.is_ok(), "{:?} did not start: {}", self.engine, self.log());
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_else(|error| error.to_string())
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn server_command(&self) -> Vec<String> {
        let data = self.directory.join("data").display().to_string();
        let directory = self.directory.display();
        let (address, port) = (&self.address, self.port);
        match self.engine {
            Engine::MariaDb => {
                let mut words = vec![programs::find("mariadbd", "mariadb-server").display().to_string()];
                words.push("--no-defaults".into());
                if programs::is_root(&self.directory) {
                    words.push("--user=root".into());
                }
                words.extend([
                    format!("--datadir={data}"),
                    format!("--socket={directory}/socket"),
                    format!("--pid-file={directory}/pid"),
                    // A server that starts removes what others left in a temporary directory they share.
                    format!("--tmpdir={directory}"),
                    format!("--bind-address={address}"),
                    format!("--port={port}"),
                ]);
                let fixed = "--skip-name-resolve --max-connections=1000 --innodb-buffer-pool-size=64M \
                    --character-set-server=utf8mb4";
                words.extend(fixed.split_whitespace().map(str::to_owned));
                words.push(format!("--innodb-flush-log-at-trx-commit={}", if self.is_durable { 1 } else { 2 }));
                words
            }
            _ => {
                let mut words = vec![programs::find("postgres", "postgresql").display().to_string()];
                words.extend(["-D".into(), data, "-k".into(), directory.to_string()]);
                words.extend(["-h".into(), address.clone(), "-p".into(), port.to_string()]);
                let fsync = if self.is_durable { "fsync=on" } else { "fsync=off" };
                for setting in ["max_connections=500", fsync, "shared_buffers=64MB"] {
                    words.extend(["-c".into(), setting.into()]);
                }
                words
            }
        }
    }

    /// Makes the data directory.
    fn make(&self) {
        let data = self.directory.join("data");
        let words = match self.engine {
            Engine::MariaDb => {
                let install = programs::find("mariadb-install-db", "mariadb-server");
                let mut words = vec![install.display().to_string(), "--no-defaults".into()];
                if programs::is_root(&self.directory) {
                    words.push("--user=root".into());
                }
                words.push(format!("--datadir={}", data.display()));
                words.push(format!("--tmpdir={}", self.directory.display()));
                words.extend(["--auth-root-authentication-method=normal".into(), "--skip-test-db".into()]);
                words
            }
            _ => {
                let initdb = programs::find("initdb", "postgresql").display().to_string();
                let mut words = vec![initdb, "-D".into(), data.display().to_string()];
                words.extend("-U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync".split(' ').map(str::to_owned));
                words
            }
        };
        run_logged(&self.directory, &self.as_user(words));
    }

    fn make_user(&self) {
        match self.engine {
            Engine::MariaDb => {
                for host in ["%", "localhost"] {
                    let user = format!("'{USER}'@'{host}'");
                    self.administer("", &format!("CREATE USER {user} IDENTIFIED BY '{PASSWORD}'"));
                    self.administer("", &format!("GRANT ALL ON *.* TO {user}"));
                }
            }
            _ => {
                self.administer("", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"));
            }
        }
    }

    fn as_user(&self, words: Vec<String>) -> Vec<String> {
        let Some((user, group)) = self.run_as else { return words };
        let setpriv = programs::find("setpriv", "util-linux").display().to_string();
        let mut all = vec![setpriv, format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()];
        all.extend(words);
        all
    }
}

fn run_logged(directory: &Path, words: &[String]) {
    let log = File::create(directory.join("make.log")).expect("a log for the server's making");
    let other = log.try_clone().expect("a second handle of the log");
    let status = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(other)
        .status()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    if !status.success() {
        let log = std::fs::read_to_string(directory.join("make.log")).unwrap_or_default();
        let _ = std::fs::remove_dir_all(directory);
        panic!("{words:?}: {status}\n{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.running().take() {
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => {
                let _ = std::fs::remove_dir_all(&self.directory);
            }
        }
    }
}
