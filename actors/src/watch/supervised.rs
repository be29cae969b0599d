//! A task that outlives its own panics: its state stays, its loop begins anew.
//!
//! For tasks that are no actors. Restart intensity and back-off are those of the actors.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use slog::{Logger, error};
use tokio::time::Instant;

use crate::restart::{Intensity, Next};

/// A task with a loop.
pub(super) trait Task {
    /// Runs until there is nothing to do any more.
    fn run(&mut self) -> impl Future<Output = ()> + Send;

    /// Makes the state sound again after a panic somewhere in the loop.
    fn recover(&mut self);
}

/// Runs `task` to its end, through its panics.
pub(super) async fn supervise(mut task: impl Task, what: &str, log: &Logger) {
    let mut intensity = Intensity::default();
    while AssertUnwindSafe(task.run()).catch_unwind().await.is_err() {
        let (Next::Again(pause) | Next::Down(pause)) = intensity.crashed(Instant::now());
        let milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        error!(log, "task crashed, beginning anew"; "task" => what, "after_milliseconds" => milliseconds);
        tokio::time::sleep(pause).await;
        task.recover();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::kept_log::kept_log;

    struct Stumbles {
        runs: u32,
        recovered: u32,
    }

    impl Task for &mut Stumbles {
        async fn run(&mut self) {
            self.runs += 1;
            assert!(self.runs > 3, "as the test asked");
        }

        fn recover(&mut self) {
            self.recovered += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_said_and_the_loop_begins_anew_with_its_state() {
        let (log, lines) = kept_log();
        let mut task = Stumbles { runs: 0, recovered: 0 };
        supervise(&mut task, "stumbling", &log).await;
        assert_eq!((task.runs, task.recovered), (4, 3));
        assert_eq!(lines.count("task crashed, beginning anew task=stumbling"), 3, "{:#?}", lines.all());
    }
}
