//! Two daemons that start at the same moment on one empty database: one makes the schema, both serve, and
//! neither finds anything to complain of.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use support::{Address, Connection, Daemon, Engine, Home, Request, TestDatabase, programs};

const REFUSE: &str = "INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');";

fn settings(address: &Address, database: &TestDatabase) -> String {
    format!(
        "[database]\nurl = \"{}\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"ticket\", \"mquota\"]\n\
         [[module.mquota.period]]\nlabel = \"day\"\nfrom = \"00:00\"\nto = \"23:59\"\n",
        database.url()
    )
}

/// The value of `key` in a line of the log.
fn field(line: &str, key: &str) -> u64 {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{key}=")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
}

fn two_at_once(engine: Engine, rounds: usize) {
    let since = Instant::now();
    for round in 0..rounds {
        let database = TestDatabase::new(engine);
        let addresses = [(); 2].map(|()| Address::from(support::loopback()));
        let homes = addresses.each_ref().map(|address| Home::with(programs!(), &settings(address, &database)));
        for home in &homes {
            // With a password in it: nobody else may read it, which would be warned of.
            std::fs::set_permissions(home.path("valvula.toml"), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let daemons = homes.each_ref().map(Daemon::spawn);
        daemons.iter().for_each(Daemon::wait_ready);
        let mut steps = daemons.each_ref().map(|daemon| field(&daemon.wait_log(&["database ready"]), "steps"));
        steps.sort_unstable();
        let what = format!("{engine:?}, round {round}");
        assert!(steps[0] == 0 && steps[1] > 0, "{what}: exactly one does the work: {steps:?}");
        let noted = database.sql("SELECT count(*) FROM valvula_migration;");
        assert_eq!(noted, steps[1].to_string(), "{what}: each step is noted once");
        database.sql(REFUSE);
        for address in &addresses {
            let mut connection = Connection::open(address).unwrap();
            let mut ask = |sender| connection.ask(&Request::rcpt(sender, "ann@example.com")).unwrap();
            support::wait_until("the rule is loaded by each", Duration::from_secs(20), || {
                ask("bad@away.example").starts_with("REJECT")
            });
            assert_eq!(ask("good@away.example"), "DUNNO", "{what}");
        }
        for daemon in &daemons {
            assert_eq!(daemon.complaints(true), Vec::<String>::new(), "{what}");
            assert_eq!(daemon.stop(), 0, "{what}");
        }
    }
    println!("{engine:?}: {rounds} times two daemons at once in {:.1} s", since.elapsed().as_secs_f64());
}

#[test]
fn on_sqlite_one_migrates_and_both_serve() {
    two_at_once(Engine::Sqlite, 3);
}

#[test]
fn on_mariadb_one_migrates_and_both_serve() {
    two_at_once(Engine::MariaDb, 3);
}

#[test]
fn on_postgresql_one_migrates_and_both_serve() {
    two_at_once(Engine::Postgres, 3);
}

#[test]
#[ignore = "takes minutes: scripts/reliability double-start"]
fn twenty_times_on_each_engine() {
    for engine in Engine::ALL {
        two_at_once(engine, 20);
    }
}
