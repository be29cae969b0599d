//! One empty database for one test, on any of the three engines, and the engine's own client for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::client::Client;
use crate::{Server, directory, programs};

/// A database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// MariaDB, which speaks for MySQL too.
    MariaDb,
    /// PostgreSQL.
    Postgres,
}

impl Engine {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::MariaDb, Self::Postgres];
}

/// An empty database. Its server is shared by the tests of one process unless the test brings its own.
pub struct TestDatabase {
    engine: Engine,
    place: Place,
}

enum Place {
    File { _directory: Option<tempfile::TempDir>, path: PathBuf },
    Server { server: ServerRef, name: String },
}

enum ServerRef {
    Shared(&'static Server),
    Own(Arc<Server>),
}

impl std::ops::Deref for ServerRef {
    type Target = Server;
    fn deref(&self) -> &Server {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

impl TestDatabase {
    /// A database of its own on the server that the tests of this process share (or in a file).
    pub fn new(engine: Engine) -> Self {
        let place = match engine {
            Engine::Sqlite => {
                let directory = directory();
                let path = directory.path().join("valvula.db");
                Place::File { path, _directory: Some(directory) }
            }
            _ => Self::on(ServerRef::Shared(Server::shared(engine))),
        };
        Self { engine, place }
    }

    /// An SQLite file in `directory`, which must outlive it.
    pub fn in_directory(directory: &Path) -> Self {
        Self { engine: Engine::Sqlite, place: Place::File { _directory: None, path: directory.join("valvula.db") } }
    }

    /// A database on a server of the test's own, which it may stop and start.
    pub fn on_server(server: &Arc<Server>) -> Self {
        Self { engine: server.engine(), place: Self::on(ServerRef::Own(Arc::clone(server))) }
    }

    fn on(server: ServerRef) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name);
        Place::Server { server, name }
    }

    /// The server it is on.
    ///
    /// # Panics
    /// For SQLite.
    pub fn server(&self) -> &Server {
        match &self.place {
            Place::Server { server, .. } => server,
            Place::File { .. } => panic!("SQLite has no server"),
        }
    }

    /// The engine it is on.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// `[database] url` for it: the file, or the server's unix socket.
    pub fn url(&self) -> String {
        match &self.place {
            Place::File { path, .. } => format!("sqlite://{}", path.display()),
            Place::Server { server, name } => server.url(name),
        }
    }

    /// The same over TCP (a server), for what can't use a unix socket.
    pub fn url_tcp(&self) -> String {
        match &self.place {
            Place::File { .. } => self.url(),
            Place::Server { server, name } => server.url_tcp(name),
        }
    }

    /// The name of the database on its server; the path of the file.
    pub fn name(&self) -> String {
        match &self.place {
            Place::File { path, .. } => path.display().to_string(),
            Place::Server { name, .. } => name.clone(),
        }
    }

    /// The engine's own client, ready to read statements from its input: prints rows without
    /// headings, columns separated by `|` (SQLite, PostgreSQL) or a tab (MariaDB); ends at the first error.
    pub fn command(&self) -> Command {
        match &self.place {
            Place::File { path, .. } => {
                let mut command = Command::new(programs::find("sqlite3", "sqlite3"));
                command.args(["-bail", "-cmd", ".timeout 20000"]).arg(path);
                command
            }
            Place::Server { server, name } => server.client(name),
        }
    }

    /// Runs statements with the engine's own client, as an administrator would; returns what it printed.
    ///
    /// # Panics
    /// When the client fails.
    pub fn sql(&self, statements: &str) -> String {
        self.try_sql(statements).unwrap_or_else(|error| panic!("{:?}: {statements}: {error}", self.engine))
    }

    /// The same, giving the client's message when it fails.
    pub fn try_sql(&self, statements: &str) -> Result<String, String> {
        use std::io::Write as _;
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut input = child.stdin.take().expect("its input is piped");
        let statements = statements.to_owned();
        // Written beside reading: a client that prints while it reads would else wait for us for ever.
        let writer = std::thread::spawn(move || {
            // A client that ended at an error reads no further: its message says more than ours would.
            let _ = input.write_all(statements.as_bytes());
        });
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        writer.join().expect("the writer does not panic");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// A client that stays open, for transactions over several steps.
    pub fn open_client(&self) -> Client {
        let echo: fn(&str) -> String = match self.engine {
            Engine::Sqlite => |mark| format!(".print {mark}"),
            Engine::MariaDb => |mark| format!("SELECT '{mark}';"),
            Engine::Postgres => |mark| format!("\\echo {mark}"),
        };
        Client::open(self.command(), echo)
    }
}
