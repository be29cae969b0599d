//! valvulad as it is measured: its configuration, and a database with rules that match nobody.
//!
//! As a user would run it: SQLite in a file, one log line for each verdict, written to a file.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::scenario::Daemon;
use super::server::{Server, free_address, program};

/// Senders of the load: as many as the generator makes.
const SENDERS: u32 = 1000;

/// Starts valvulad so set up, in `home`, which must be its own.
pub fn start(daemon: Daemon, home: &Path, cores: Option<&[usize]>, probe: &[u8]) -> anyhow::Result<Server> {
    fs::create_dir_all(home).with_context(|| home.display().to_string())?;
    let address = free_address()?;
    let configuration = home.join("valvula.toml");
    fs::write(&configuration, text(daemon, home, address))?;
    let command = || -> anyhow::Result<Command> {
        let mut command = Command::new(program("valvulad")?);
        command.arg("--config").arg(&configuration);
        Ok(command)
    };
    let checked = command()?.arg("--check-config").output()?;
    if !checked.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    }
    if daemon.rules > 0 && !home.join("filled").exists() {
        // The first start makes the tables.
        Server::start("valvulad", command()?, address, home.join("log"), None, probe)?.stop()?;
        fill(&home.join("valvula.db"), daemon.rules)?;
        fs::write(home.join("filled"), "")?;
    }
    Server::start("valvulad", command()?, address, home.join("log"), cores, probe)
}

fn text(Daemon { workers, chain, .. }: Daemon, home: &Path, address: SocketAddr) -> String {
    let home = home.display();
    let mut text = format!(
        "[server]\nworkers = {workers}\nstate_dir = \"{home}\"\ncontrol_socket = \"{home}/control.sock\"\n\n\
         [log]\ntarget = \"stderr\"\n\n\
         [database]\nurl = \"sqlite://{home}/valvula.db\"\n\n\
         [[listener]]\nname = \"bench\"\naddress = \"{address}\"\nmodules = {chain:?}\nmax_connections = 20000\n\n\
         [postfix]\nautodetect = false\n"
    );
    let quoted = |names: Vec<String>| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if chain.contains(&"slm") {
        // The senders are local addresses, the recipients are not: slm has to look at all it can.
        let domains = quoted((0..97).map(|n| format!("dom{n}.example.org")).collect());
        let addresses = quoted((0..SENDERS).map(|n| format!("user{n}@dom{}.example.org", n % 97)).collect());
        let _ = write!(
            text,
            "local_domains = [{domains}]\nlocal_addresses = [{addresses}]\n\n[module.slm]\nmode = \"same-domain\"\n"
        );
    }
    if chain.contains(&"mquota") {
        text.push_str("\n[module.mquota]\ntimezone = \"UTC\"\ndurability = \"relaxed\"\n\n[[module.mquota.period]]\nlabel = \"day\"\nfrom = \"00:00\"\nto = \"00:00\"\n");
        for limit in ["minute", "hour", "global", "domain_minute", "domain_hour", "domain_global"] {
            let _ = writeln!(text, "{limit} = 2000000000");
        }
    }
    text
}

/// Rules of every form and both groups, made by the database itself; none matches the load.
fn fill(database: &Path, rules: u32) -> anyhow::Result<()> {
    let sql = format!(
        "BEGIN;
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rules})
         INSERT INTO bwl_global (is_active, source, destination, status, description)
         SELECT 1,
             CASE n % 10 WHEN 4 THEN 'spam' || n || '.example.com' WHEN 5 THEN '@junk' || n || '.example.com'
                 WHEN 6 THEN '*.bulk' || n || '.example.net' WHEN 7 THEN 'news' || n || '@'
                 WHEN 8 THEN NULL WHEN 9 THEN 'x' || n || '@dom1.example.org'
                 ELSE 'spam' || n || '@dom' || (n % 97) || '.example.com' END,
             CASE n % 10 WHEN 8 THEN 'trap' || n || '@dst1.example.net' WHEN 9 THEN 'y' || n || '@dst2.example.net' END,
             'reject', 'rule ' || n
         FROM numbers;
         COMMIT;"
    );
    let mut sqlite = Command::new("sqlite3")
        .arg("-bail")
        .arg(database)
        .stdin(Stdio::piped())
        .spawn()
        .context("the client sqlite3 fills the rule table; it is in Debian's package sqlite3")?;
    if let Some(mut input) = sqlite.stdin.take() {
        std::io::Write::write_all(&mut input, sql.as_bytes())?;
    }
    let ended = sqlite.wait()?;
    if !ended.success() {
        bail!("sqlite3 could not fill {} ({ended})", database.display());
    }
    Ok(())
}
