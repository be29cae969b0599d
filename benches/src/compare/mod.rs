//! Starts servers in turn, A B A B, and puts medians and ratios into a table.
//!
//! Both servers of a scenario run at the same time, one of them idle, so that a round of one is followed
//! at once by a round of the other: what else the machine does then meets both. A run with errors (a
//! wrong answer, a lost connection) fails the whole: such a figure is none.

mod beside;
mod daemon;
mod machine;
pub mod scenario;
mod server;
pub mod table;

use std::cell::{Cell, OnceCell};
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;
use structopt::StructOpt;

use self::beside::Company;
use self::scenario::{Beside, Measure, SCENARIOS, Scenario, Store, Subject};
use self::server::{Server, free_address, on_cores, program};
use self::table::{Line, Rounds};
use crate::load::{self, IdleReport, Report};
use crate::process::Usage;

/// Compares policy servers under load and prints a table in Markdown.
#[derive(Debug, Clone, StructOpt)]
pub struct Options {
    /// Scenario to run (see --list); may be repeated; absent: the usual ones; `all`: all of them
    #[structopt(long = "scenario", number_of_values = 1)]
    pub scenarios: Vec<String>,
    /// Rounds of each server
    #[structopt(long, default_value = "7")]
    pub rounds: usize,
    /// Seconds of a round
    #[structopt(long = "secs", default_value = "2")]
    pub seconds: f64,
    /// Seconds of load before each round
    #[structopt(long, default_value = "0.5")]
    pub warmup: f64,
    /// Leaves it to the kernel where server and generator run
    #[structopt(long)]
    pub no_pin: bool,
    /// Another server, NAME=COMMAND with {addr} for its address: compared with the floor, in place of the
    /// scenarios; may be repeated
    #[structopt(long = "server", number_of_values = 1)]
    pub servers: Vec<String>,
    /// Connections for --server; may be repeated
    #[structopt(long = "conns", number_of_values = 1, default_value = "64")]
    pub connections: Vec<usize>,
    /// Also puts the table between the two lines `<!-- table -->` of this file
    #[structopt(long, parse(from_os_str))]
    pub write: Option<PathBuf>,
    /// Says which scenarios there are
    #[structopt(long)]
    pub list: bool,
}

impl Options {
    fn is_pinned(&self) -> bool {
        !self.no_pin && std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2)
    }
}

/// Runs what was asked for and gives the text of the table, with what it was measured on.
pub fn run(options: &Options, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    ensure!(options.rounds > 0, "--rounds: at least one");
    let directory = tempfile::tempdir()?;
    let about = machine::describe(options);
    let comparison = Comparison {
        options,
        directory: directory.path(),
        progress,
        template: template(directory.path())?,
        databases: Cell::new(0),
        mariadb: OnceCell::new(),
        postgres: OnceCell::new(),
    };
    let table = if options.servers.is_empty() { comparison.scenarios()? } else { comparison.servers()? };
    let text = format!("{about}\n{table}");
    if let Some(path) = &options.write {
        write_between_marks(path, &text)?;
    }
    Ok(text)
}

/// The generator's own request, with the user logged in by the whole address as mail services do it.
fn template(directory: &Path) -> anyhow::Result<PathBuf> {
    let path = directory.join("request");
    let plain = include_str!("request.txt");
    std::fs::write(&path, plain)?;
    Ok(path)
}

struct Comparison<'a> {
    options: &'a Options,
    directory: &'a Path,
    progress: &'a dyn Fn(&str),
    template: PathBuf,
    /// How many were made on the servers.
    databases: Cell<u32>,
    mariadb: OnceCell<testkit::Server>,
    postgres: OnceCell<testkit::Server>,
}

impl Comparison<'_> {
    fn scenarios(&self) -> anyhow::Result<String> {
        let chosen = choose(&self.options.scenarios)?;
        let mut lines = Vec::new();
        for scenario in chosen {
            (self.progress)(scenario.title);
            let cores = if scenario.is_pinned() { self.cores() } else { (None, None) };
            if matches!(scenario.measure, Measure::Loading) {
                lines.push(self.loading(&scenario)?);
                continue;
            }
            let servers = self
                .start(scenario.base, "base", &cores.0)
                .and_then(|base| Ok((base, self.start(scenario.subject, "subject", &cores.0)?)));
            let (base, subject) = match servers {
                Ok(servers) => servers,
                Err(error) => {
                    // What is private to this run is left out of a table that may be published.
                    let why = format!("{error:#}").replace(&format!("{}/", self.directory.display()), "");
                    (self.progress)(&format!("can't be measured: {why}"));
                    lines.push(Line::Skipped(scenario, why));
                    continue;
                }
            };
            lines.push(match scenario.measure {
                Measure::IdleMemory => {
                    let kib = |server: &Server| -> anyhow::Result<String> {
                        let report: IdleReport = self.generator(server, scenario.load, cores.1.as_deref(), false)?;
                        ensure!(report.errors.sum() == 0, "{report}");
                        Ok(format!("{:.2} KiB", report.kib_per_connection))
                    };
                    // Memory once taken is kept: only the first round tells.
                    Line::Still(scenario, kib(&base)?, kib(&subject)?, None)
                }
                Measure::Memory => {
                    let mib = |server: &Server| Usage::of(server.pid()).rss_kib as f64 / 1024.0;
                    let more = format!("{:.0} MiB", mib(&subject) - mib(&base));
                    Line::Still(scenario, format!("{:.0} MiB", mib(&base)), more, None)
                }
                _ => {
                    let database = daemon::database_file(&self.home(scenario.subject, "subject"));
                    let beside = Company { comparison: self, kind: scenario.beside, server: &subject, database };
                    Line::Load(scenario, self.rounds(&base, &subject, &beside, scenario.load, cores.1.as_deref())?)
                }
            });
            subject.stop()?;
            base.stop()?;
        }
        Ok(table::markdown(&lines))
    }

    /// Other servers against the floor.
    fn servers(&self) -> anyhow::Result<String> {
        let cores = self.cores();
        let mut lines = Vec::new();
        for server in &self.options.servers {
            let (name, command) = server.split_once('=').context("--server NAME=COMMAND")?;
            for connections in &self.options.connections {
                let address = free_address()?;
                let words = command.replace("{addr}", &address.to_string());
                let mut words = words.split_whitespace();
                let mut command = Command::new(words.next().context("--server NAME=COMMAND: no command")?);
                command.args(words);
                let base = self.start(Subject::Floor(1), "base", &cores.0)?;
                let subject = Server::start(
                    name,
                    command,
                    address,
                    self.directory.join("log"),
                    cores.0.as_deref(),
                    &self.probe()?,
                )?;
                let title: &'static str = Box::leak(format!("{name}, {connections} connections").into_boxed_str());
                (self.progress)(title);
                let load = ["--conns", &connections.to_string()];
                let alone = Company {
                    comparison: self,
                    kind: Beside::Nothing,
                    server: &subject,
                    database: self.directory.join("none"),
                };
                let rounds = self.rounds(&base, &subject, &alone, &load, cores.1.as_deref())?;
                let scenario =
                    Scenario { name: "server", title, load: &[], measure: Measure::Rate, goal: None, ..SCENARIOS[0] };
                lines.push(Line::Load(scenario, rounds));
            }
        }
        Ok(table::markdown(&lines))
    }

    /// Cores of the server and of the generator.
    fn cores(&self) -> (Option<Vec<usize>>, Option<Vec<usize>>) {
        if self.options.is_pinned() { (Some(vec![1]), Some(vec![0])) } else { (None, None) }
    }

    fn probe(&self) -> anyhow::Result<Vec<u8>> {
        let template = self.template.display().to_string();
        load::sample(&load::Options::from_iter(["policyload", "--template", &template]))
    }

    /// What only this server uses.
    fn home(&self, subject: Subject, role: &str) -> PathBuf {
        // Short: the path of a control socket has 107 bytes.
        let mut hasher = std::hash::DefaultHasher::new();
        format!("{subject:?}").hash(&mut hasher);
        self.directory.join(format!("{role}-{:016x}", hasher.finish()))
    }

    fn start(&self, subject: Subject, role: &str, cores: &Option<Vec<usize>>) -> anyhow::Result<Server> {
        let (cores, probe) = (cores.as_deref(), self.probe()?);
        match subject {
            Subject::Floor(threads) => {
                let address = free_address()?;
                let mut command = Command::new(program("floor")?);
                command.args(["--mode", "tokio", "--threads", &threads.to_string(), "--addr", &address.to_string()]);
                Server::start("floor", command, address, self.directory.join("floor.log"), cores, &probe)
            }
            Subject::Transactions(store, work) => {
                let address = free_address()?;
                let mut command = Command::new(program("transactions")?);
                let url = self.database(store, role).context("a server")?;
                command.args(["--database", &url, "--addr", &address.to_string(), "--work", work.name()]);
                let log = self.directory.join("transactions.log");
                Server::start("transactions", command, address, log, cores, &probe)
            }
            Subject::Daemon(daemon) => {
                let database = self.database(daemon.store, role);
                daemon::start(daemon, &self.home(subject, role), database.as_deref(), cores, &probe)
            }
        }
    }

    /// The address of an empty database of a server's; none for SQLite.
    fn database(&self, store: Store, role: &str) -> Option<String> {
        let (server, engine) = match store {
            Store::Sqlite => return None,
            Store::MariaDb => (&self.mariadb, testkit::Engine::MariaDb),
            Store::Postgres => (&self.postgres, testkit::Engine::Postgres),
        };
        let server = server.get_or_init(|| testkit::Server::start_durable(engine));
        let number = self.databases.get() + 1;
        self.databases.set(number);
        let name = format!("{role}{number}");
        server.create_database(&name);
        Some(server.url(&name))
    }

    /// How long a start takes with the subject's rules, less one with the base's, over the database's own client.
    fn loading(&self, scenario: &Scenario) -> anyhow::Result<Line> {
        let start = |subject, role| -> anyhow::Result<f64> {
            let server = self.start(subject, role, &None)?;
            let took = server.cold_start.as_secs_f64();
            server.stop()?;
            Ok(took)
        };
        let mut ratios = Vec::new();
        let mut times = (Vec::new(), Vec::new());
        // The first start fills the table.
        start(scenario.subject, "subject")?;
        for _ in 0..self.options.rounds {
            let loading = start(scenario.subject, "subject")? - start(scenario.base, "base")?;
            let began = std::time::Instant::now();
            let database = daemon::database_file(&self.home(scenario.subject, "subject"));
            let dumped = Command::new("sqlite3")
                .arg("-readonly")
                .arg("-csv")
                .arg(database)
                .arg("SELECT * FROM bwl_global")
                .stdout(std::process::Stdio::null())
                .status()?;
            ensure!(dumped.success(), "sqlite3 could not dump the rules");
            let dumping = began.elapsed().as_secs_f64();
            ratios.push(loading / dumping);
            times.0.push(dumping);
            times.1.push(loading);
        }
        let shown = |times| format!("{:.0} ms", table::median(times) * 1000.0);
        Ok(Line::Still(*scenario, shown(times.0), shown(times.1), Some(table::median(ratios))))
    }

    fn rounds(
        &self,
        base: &Server,
        subject: &Server,
        company: &Company<'_>,
        load: &[&str],
        cores: Option<&[usize]>,
    ) -> anyhow::Result<Rounds> {
        let mut rounds = Rounds { base: Vec::new(), subject: Vec::new() };
        let times = ["--secs", &self.options.seconds.to_string(), "--warmup", &self.options.warmup.to_string()];
        let load = [&["--expect", "DUNNO"], &times[..], load].concat();
        for round in 1..=self.options.rounds {
            // The same seed again would send the same messages again: a daemon remembers them, and charges nothing.
            let seed = round.to_string();
            let load = [&load[..], &["--seed", &seed]].concat();
            for (server, reports, is_subject) in [(base, &mut rounds.base, false), (subject, &mut rounds.subject, true)]
            {
                let beside = if is_subject { company.begin()? } else { None };
                let is_flooded = matches!(company.kind, Beside::Flood(_));
                let report: Report = self.generator(server, &load, cores, is_flooded)?;
                if let Some(beside) = beside {
                    beside.end()?;
                }
                ensure!(
                    report.errors.sum() == 0 && report.done > 0,
                    "round {round} against {}:\n{report}",
                    server.address
                );
                reports.push(report);
            }
        }
        Ok(rounds)
    }

    /// One run of the load generator, a process of its own so that its CPU time is its own. `is_first`: before
    /// others where there are more threads than cores (as root), so that it waits for the server and not for its
    /// turn to look at the clock.
    fn generator<R: DeserializeOwned>(
        &self,
        server: &Server,
        load: &[&str],
        cores: Option<&[usize]>,
        is_first: bool,
    ) -> anyhow::Result<R> {
        let mut command = Command::new(program("policyload")?);
        if is_first {
            let program = std::mem::replace(&mut command, Command::new("nice"));
            command.args(["-n", "-20"]).arg(program.get_program());
        }
        command.args(["--addr", &server.address.to_string(), "--pid", &server.pid().to_string(), "--json"]);
        command.arg("--template").arg(&self.template).args(load);
        let output = on_cores(cores, || command.output())?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "policyload said {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }
}

fn choose(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    if names.iter().any(|name| name == "all") {
        return Ok(SCENARIOS.to_vec());
    }
    if names.is_empty() {
        return Ok(SCENARIOS.iter().filter(|scenario| scenario.is_default).copied().collect());
    }
    let find = |name: &String| {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name).copied();
        found.with_context(|| format!("no scenario {name:?}: see --list"))
    };
    names.iter().map(find).collect()
}

/// Replaces what stands between the two marks in the file.
fn write_between_marks(path: &Path, text: &str) -> anyhow::Result<()> {
    const MARK: &str = "<!-- table -->\n";
    let old = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parts: Vec<_> = old.split(MARK).collect();
    let [before, _, after] = parts[..] else { bail!("{}: expected two lines {}", path.display(), MARK.trim()) };
    std::fs::write(path, format!("{before}{MARK}{text}{MARK}{after}")).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("page.md");
        std::fs::write(&path, "before\n<!-- table -->\nold\n<!-- table -->\nafter\n").expect("written");
        for text in ["new\n", "newer\n"] {
            write_between_marks(&path, text).expect("two marks");
            let page = std::fs::read_to_string(&path).expect("a page");
            assert_eq!(page, format!("before\n<!-- table -->\n{text}<!-- table -->\nafter\n"));
        }
        std::fs::write(&path, "<!-- table -->\n").expect("written");
        assert!(write_between_marks(&path, "new\n").is_err());
    }

    #[test]
    fn scenarios_are_chosen_by_name() {
        let names = |names: &[&str]| choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["full", "test"]).expect("known").len(), 2);
        assert_eq!(names(&["all"]).expect("known").len(), SCENARIOS.len());
        assert!(names(&["fool"]).expect_err("unknown").to_string().contains("fool"));
    }
}
