//! Processes of this machine: whose they are, and signals to them.

use std::process::Command;

/// The processes that `parent` has started.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in brackets, may hold anything; behind it: state and parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Sends `signal` to each of `pids`; one that is gone meanwhile is no fault.
pub(crate) fn signal(pids: &[u32], signal: &str) {
    for pid in pids {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$1\" \"$2\" 2>/dev/null", "sh", signal]).arg(pid.to_string());
        kill.status().expect("sh starts");
    }
}
