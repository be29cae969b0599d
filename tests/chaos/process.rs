//! The daemon from outside: its memory, its threads, its descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::scene::pause;

/// What it may hold more of after all that has happened: allocators do not give everything back.
const MEMORY: u64 = 48 << 20;
const DESCRIPTORS: usize = 32;

#[derive(Debug)]
pub struct Process {
    /// Bytes of memory.
    pub resident: u64,
    pub descriptors: usize,
    /// How many threads of each name; of the database's only whether there is one, since some come and go.
    threads: BTreeMap<String, usize>,
}

impl Process {
    pub fn look(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flatten() {
            let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
            if name.starts_with("sqlx") || name.starts_with("tokio") {
                continue;
            }
            let count = threads.entry(name.trim().to_owned()).or_insert(0);
            *count = if name.trim() == "database" { 1 } else { *count + 1 };
        }
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
        Self { resident: kibibytes << 10, descriptors, threads }
    }
}

/// How it is when it has come to rest: as it was `before`.
pub fn settled(pid: u32, before: &Process) -> Process {
    let since = Instant::now();
    loop {
        let after = Process::look(pid);
        let lost: Vec<_> =
            before.threads.iter().filter(|(name, count)| after.threads.get(*name) != Some(count)).collect();
        if lost.is_empty() && after.descriptors <= before.descriptors + DESCRIPTORS {
            assert!(after.resident <= before.resident + MEMORY, "{} bytes, before {}", after.resident, before.resident);
            return after;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "before {before:?}, now {after:?}: {lost:?} are missing");
        pause();
    }
}
