//! What a table was measured on: without it a figure says nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Options;
use super::server::program;

/// Machine, versions and settings, as a list in Markdown.
pub fn describe(options: &Options) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let load = read("/proc/loadavg");
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        text,
        "- {}, {cores} cores of {model}, {} MiB memory, Linux {kernel}, load average at the start {}",
        jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z"),
        memory.unwrap_or(0) / 1024,
        load.split(' ').next().unwrap_or("unknown"),
    );
    let valvulad = program("valvulad").ok().map(|path| said_by(Command::new(path).arg("--version")));
    let dirty = if said_by(&mut git(&["status", "--porcelain"])).is_empty() { "" } else { ", changed" };
    let _ = writeln!(
        text,
        "- {} (commit {}{dirty}), {}, `{}` profile",
        valvulad.unwrap_or_else(|| "valvulad not built".to_owned()),
        said_by(&mut git(&["rev-parse", "--short", "HEAD"])),
        said_by(Command::new("rustc").arg("--version")),
        profile(),
    );
    let _ = writeln!(
        text,
        "- {} rounds of {} s after {} s of warm-up, servers in turn; server and load generator {}",
        options.rounds,
        options.seconds,
        options.warmup,
        if options.is_pinned() {
            "on a core each where the server has one thread"
        } else {
            "wherever the kernel puts them"
        },
    );
    text
}

/// The folder that this program was built into is named after its profile.
fn profile() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name);
    folder.map_or_else(|| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn git(arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn said_by(command: &mut Command) -> String {
    let said = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}
