//! `kill -9` at random moments of start, migration, load, reload, upgrade and stop: the next start needs no help.
//!
//! Nothing that was left behind is in its way: sockets, locks, a schema that is half changed, connections that the
//! database has not seen end. What was answered by a counter is counted, and what is in the database stays.
//! The moments are drawn: `VALVULA_TEST_SEED` draws the same again.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

#[path = "../counting/mod.rs"]
mod counting;
mod scene;
mod schema;

use std::time::{Duration, Instant};

use counting::Load;
use rustix::process::{Pid, Signal, kill_process_group};
use scene::{RULES, Scene, USER, pass};
use schema::Before;
use support::{Daemon, Engine, Random};

const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the daemon is doing when it is killed; migration is apart.
#[derive(Debug, Clone, Copy)]
enum During {
    Start,
    Load,
    Reload,
    Upgrade,
    Stop,
}

const PHASES: [During; 5] = [During::Start, During::Load, During::Reload, During::Upgrade, During::Stop];

/// How long things take here, so that kills fall all over them.
struct Spans {
    start: Duration,
    reload: Duration,
    upgrade: Duration,
    stop: Duration,
}

impl Spans {
    fn measure(scene: &Scene) -> Self {
        let start = scene.time_to("answering requests");
        let daemon = scene.home.start();
        let timed = |does: &dyn Fn()| {
            let since = Instant::now();
            does();
            since.elapsed()
        };
        let reload = timed(&|| {
            scene.configure(true);
            daemon.control(&["reload"]);
        });
        let stop = timed(&|| assert_eq!(daemon.stop(), 0));
        scene.configure(false);
        Self { start, reload, upgrade: start + start / 2, stop }
    }
}

fn load(scene: &Scene) -> Load {
    let load = Load::start(&scene.strict, CLIENTS, USER, Duration::from_millis(1));
    support::wait_until("there is a load", PATIENCE, || load.passed() >= 10);
    load
}

fn reload(daemon: &Daemon<'_>, scene: &Scene, round: usize) {
    scene.configure(round.is_multiple_of(2));
    daemon.signal(Signal::HUP);
}

/// Kills a running daemon, or one that starts; those of its process group with it, as systemd does.
fn kill_all(daemon: &Daemon<'_>) {
    // The first of the group is not waited for yet, so the number is its own.
    let _ = kill_process_group(Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap(), Signal::KILL);
    daemon.kill();
    support::wait_until("all of them have ended", PATIENCE, || !scene::is_alive(daemon.pid()));
}

fn killed_while_running(engine: Engine, rounds: usize, random: &mut Random) {
    let scene = Scene::new(engine);
    assert_eq!(scene.home.start().stop(), 0);
    scene.fill();
    let spans = Spans::measure(&scene);
    let mut slowest = (Duration::ZERO, String::new());
    let counted = || counting::stored(&scene.database, "strict", USER);
    let mut before = counted();
    for (number, during) in (0..rounds).flat_map(|_| PHASES).enumerate() {
        let what = format!("{engine:?}, kill {number} during {during:?}, seed {}", random.seed());
        let told = match during {
            During::Start => {
                let daemon = Daemon::spawn(&scene.home);
                pass(random.within(spans.start));
                kill_all(&daemon);
                None
            }
            During::Load => {
                let daemon = scene.home.start();
                let load = load(&scene);
                pass(random.within(Duration::from_millis(300)));
                kill_all(&daemon);
                Some(load)
            }
            During::Reload => {
                let daemon = scene.home.start();
                let load = load(&scene);
                reload(&daemon, &scene, number);
                pass(random.within(spans.reload));
                kill_all(&daemon);
                Some(load)
            }
            During::Upgrade => {
                let daemon = scene.home.start();
                let load = load(&scene);
                std::thread::scope(|scope| {
                    // It is killed, so whoever ordered it gets no answer, or was faster.
                    scope.spawn(|| scene.home.valvulactl(&["upgrade"]));
                    pass(random.within(spans.upgrade));
                    kill_all(&daemon);
                });
                Some(load)
            }
            During::Stop => {
                let daemon = scene.home.start();
                let load = load(&scene);
                daemon.signal(Signal::TERM);
                pass(random.within(spans.stop));
                kill_all(&daemon);
                Some(load)
            }
        };
        let since = Instant::now();
        let daemon = scene.next_start(&what, RULES);
        slowest = slowest.max((since.elapsed(), what.clone()));
        if let Some(load) = told {
            let told = load.join();
            let after = counting::settled(counted);
            assert!(after >= before, "{what}: {before} were counted, {after} are left");
            let (now, passed) = (after - before, told.passed());
            assert_eq!((told.refused, told.deferred), (0, 0), "{what}");
            // One for each client may have been charged and its answer not sent.
            assert!(passed <= now && now <= passed + CLIENTS as u64, "{what}: {passed} answered, {now} counted");
            before = after;
        }
        assert_eq!(daemon.stop(), 0, "{what}: {}", daemon.log());
        scene.assert_tidy();
    }
    println!("the slowest start took {:?}: {}", slowest.0, slowest.1);
}

fn killed_while_migrating(engine: Engine, rounds: usize, random: &mut Random) {
    let undisturbed: Vec<_> = Before::of(engine)
        .iter()
        .map(|before| {
            let scene = Scene::new(engine);
            before.prepare(&scene);
            let found = schema::steps(&scene.database);
            let took = scene.time_to("database ready");
            (*before, found, took, schema::schema(&scene.database))
        })
        .collect();
    let mut halves = 0;
    for (number, (before, found, took, expected)) in undisturbed.iter().cycle().take(rounds).enumerate() {
        let what = format!("{engine:?}, kill {number} during the migration of {before:?}, seed {}", random.seed());
        let scene = Scene::new(engine);
        before.prepare(&scene);
        let daemon = Daemon::spawn(&scene.home);
        pass(random.within(*took + *took / 10));
        kill_all(&daemon);
        let left = schema::steps(&scene.database);
        let all = schema_steps(expected);
        halves += usize::from(*found < left && left < all);
        assert!(engine == Engine::MariaDb || left == *found || left == all, "{what}: all or nothing, and not {left}");
        let daemon = scene.next_start(&what, before.rules());
        assert_eq!(daemon.stop(), 0, "{what}: {}", daemon.log());
        scene.assert_tidy();
        assert_eq!(schema::schema(&scene.database), *expected, "{what}: as without a kill");
    }
    println!("{engine:?}: {halves} of {rounds} kills during migration left a part of the steps");
}

/// How many steps a schema lists.
fn schema_steps(schema: &str) -> usize {
    schema.lines().filter(|line| line.starts_with("m0")).count()
}

/// So many kills in each of the phases.
fn killed(engine: Engine, rounds: usize) {
    let mut random = Random::seeded();
    let since = Instant::now();
    killed_while_migrating(engine, rounds, &mut random);
    killed_while_running(engine, rounds, &mut random);
    let kills = rounds * (PHASES.len() + 1);
    println!("{engine:?}: {kills} kills, {kills} starts without help, {:.0} s", since.elapsed().as_secs_f64());
}

#[test]
fn on_sqlite_the_next_start_needs_no_help() {
    killed(Engine::Sqlite, 2);
}

#[test]
fn on_mariadb_the_next_start_needs_no_help() {
    killed(Engine::MariaDb, 3);
}

#[test]
fn on_postgresql_the_next_start_needs_no_help() {
    killed(Engine::Postgres, 2);
}

#[test]
#[ignore = "takes minutes: scripts/reliability kills"]
fn at_a_hundred_moments_on_each_engine() {
    for engine in Engine::ALL {
        killed(engine, 20);
    }
}
