//! What a process has used, from /proc: CPU time, memory, context switches.

use std::fs;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// What a process has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds in user space.
    pub user: f64,
    /// CPU seconds in the kernel.
    pub system: f64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Context switches, wanted and not.
    pub switches: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads it for the process `pid`; all zero when there is none.
    pub fn of(pid: u32) -> Self {
        let directory = Path::new("/proc").join(pid.to_string());
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut usage = Self::default();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = read(&directory.join("stat"));
        if let Some((_, fields)) = stat.rsplit_once(')') {
            let seconds = |index| {
                fields.split_whitespace().nth(index).and_then(|ticks| ticks.parse().ok()).unwrap_or(0.0) / ticks
            };
            // utime and stime, fields 14 and 15 of proc(5); the first behind the bracket is field 3.
            (usage.user, usage.system) = (seconds(11), seconds(12));
        }
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(directory.join("task")).into_iter().flatten().flatten() {
            usage.threads += 1;
            let schedstat = read(&task.path().join("schedstat"));
            nanoseconds += schedstat.split(' ').next().and_then(|time| time.parse::<f64>().ok()).unwrap_or(0.0);
            let status = read(&task.path().join("status"));
            usage.switches +=
                field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
        }
        // stat counts in ticks of 10 ms, schedstat in nanoseconds but without telling user from kernel.
        let by_ticks = usage.user + usage.system;
        let scale = nanoseconds / 1e9 / by_ticks;
        if (0.5..2.0).contains(&scale) {
            usage.user *= scale;
            usage.system *= scale;
        }
        usage.rss_kib = field(&read(&directory.join("status")), "VmRSS:");
        usage
    }

    /// The sum for several processes.
    pub fn of_all(pids: &[u32]) -> Self {
        pids.iter().map(|pid| Self::of(*pid)).fold(Self::default(), |sum, one| Self {
            user: sum.user + one.user,
            system: sum.system + one.system,
            rss_kib: sum.rss_kib + one.rss_kib,
            switches: sum.switches + one.switches,
            threads: sum.threads + one.threads,
        })
    }
}

/// CPU seconds that this process has used.
pub fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds that the whole machine has spent on something, what a hypervisor took away included.
pub fn machine_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    // cpu user nice system idle iowait irq softirq steal ...
    let ticks: f64 =
        [1, 2, 3, 6, 7, 8].iter().filter_map(|field| line.split_whitespace().nth(*field)?.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// The number in a line of /proc/PID/status.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let before = own_cpu();
        let usage = Usage::of(std::process::id());
        assert!(usage.rss_kib > 100 && usage.threads >= 1, "{usage:?}");
        assert!(own_cpu() > before);
        assert!(machine_cpu() > before);
        assert_eq!(Usage::of(u32::MAX), Usage::default());
    }

    #[test]
    fn a_line_of_status_is_found_by_its_whole_name() {
        let status = "VmRSS:\t  1234 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(field(status, "VmRSS:"), 1234);
        assert_eq!((field(status, "voluntary_ctxt_switches:"), field(status, "nonvoluntary_ctxt_switches:")), (7, 2));
        assert_eq!(field(status, "VmHWM:"), 0);
    }
}
