//! Waiting for something that others do: asked again and again until a deadline, never a fixed sleep.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Asks `ready` until it gives something, and returns that with the time it took.
///
/// # Panics
/// When `within` has passed: the message names `what`.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut ready: impl FnMut() -> Option<T>) -> (T, Duration) {
    let since = Instant::now();
    loop {
        if let Some(found) = ready() {
            return (found, since.elapsed());
        }
        assert!(since.elapsed() < within, "{what}: not within {within:?}");
        // No arbiter runs on a thread that waits here: that is what the ban is about.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(PAUSE);
    }
}

/// Asks `ready` until it says yes; returns the time it took.
///
/// # Panics
/// When `within` has passed: the message names `what`.
#[track_caller]
pub fn wait_until(what: &str, within: Duration, mut ready: impl FnMut() -> bool) -> Duration {
    wait_for(what, within, || ready().then_some(())).1
}
