//! valvulad as it is measured: its configuration, and a database with rules that match nobody.
//!
//! As a user would run it: SQLite in a file, one log line for each verdict, written to a file.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::scenario::{Daemon, Store};
use super::server::{Server, free_address, program};

/// Senders of the load: as many as the generator makes.
const SENDERS: u32 = 1000;

/// Starts valvulad so set up, in `home`, which must be its own, on `database`, where that is no SQLite.
pub fn start(
    daemon: Daemon,
    home: &Path,
    database: Option<&str>,
    cores: Option<&[usize]>,
    probe: &[u8],
) -> anyhow::Result<Server> {
    fs::create_dir_all(home).with_context(|| home.display().to_string())?;
    let (address, other) = (free_address()?, free_address()?);
    let configuration = home.join("valvula.toml");
    let url = database.map_or_else(|| format!("sqlite://{}", database_file(home).display()), str::to_owned);
    fs::write(&configuration, text(daemon, home, &url, [address, other]))?;
    let command = || -> anyhow::Result<Command> {
        let mut command = Command::new(program("valvulad")?);
        command.arg("--config").arg(&configuration);
        Ok(command)
    };
    let checked = command()?.arg("--check-config").output()?;
    if !checked.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    }
    if (daemon.rules > 0 || daemon.plans) && daemon.store == Store::Sqlite && !home.join("filled").exists() {
        // The first start makes the tables.
        Server::start("valvulad", command()?, address, home.join("log"), None, probe)?.stop()?;
        fill(&database_file(home), &rules(daemon.rules))?;
        if daemon.plans {
            fill(&database_file(home), &plans())?;
        }
        fs::write(home.join("filled"), "")?;
    }
    let mut server = Server::start("valvulad", command()?, address, home.join("log"), cores, probe)?;
    server.other = Some(other);
    Ok(server)
}

/// Where its SQLite database is.
pub fn database_file(home: &Path) -> PathBuf {
    home.join("valvula.db")
}

fn text(daemon: Daemon, home: &Path, url: &str, [address, other]: [SocketAddr; 2]) -> String {
    let Daemon { workers, chain, .. } = daemon;
    let home = home.display();
    let synchronous = if daemon.full_sync { "full" } else { "normal" };
    let mut text = format!(
        "[server]\nworkers = {workers}\nstate_dir = \"{home}\"\ncontrol_socket = \"{home}/control.sock\"\n\n\
         [log]\ntarget = \"stderr\"\n\n\
         [database]\nurl = \"{url}\"\nsynchronous = \"{synchronous}\"\n\n\
         [[listener]]\nname = \"bench\"\naddress = \"{address}\"\nmodules = {chain:?}\nmax_connections = 20000\n\n\
         [[listener]]\nname = \"other\"\naddress = \"{other}\"\nmodules = {chain:?}\nmax_connections = 1000\n\n\
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
        let durability = if daemon.strict { "strict" } else { "relaxed" };
        let _ = write!(
            text,
            "\n[module.mquota]\ntimezone = \"UTC\"\ndurability = \"{durability}\"\n\n\
             [[module.mquota.period]]\nlabel = \"day\"\nfrom = \"00:00\"\nto = \"00:00\"\n"
        );
        for limit in ["minute", "hour", "global", "domain_minute", "domain_hour", "domain_global"] {
            let _ = writeln!(text, "{limit} = 2000000000");
        }
    }
    text
}

/// Rules of every form and both groups, made by the database itself; none matches the load.
fn rules(rules: u32) -> String {
    format!(
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
         FROM numbers WHERE n <= {rules};
         COMMIT;"
    )
}

/// A ticket for each sender, with room for all of the load.
fn plans() -> String {
    format!(
        "BEGIN;
         INSERT INTO ticket_plan (id, name, total_limit, day_limit, month_limit)
         VALUES (1, 'bench', 2000000000, 2000000000, 2000000000);
         WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {SENDERS} - 1)
         INSERT INTO domain_ticket (sasl_user, total_used, current_day_usage, current_month_usage, valid_until,
             ticket_plan_id, block_ticket)
         SELECT 'user' || n || '@dom' || (n % 97) || '.example.org', 0, 0, 0, 4102444800, 1, 0 FROM numbers;
         COMMIT;"
    )
}

/// Has the database's own client carry out `sql`.
fn fill(database: &Path, sql: &str) -> anyhow::Result<()> {
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
