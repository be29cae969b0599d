//! How often an actor may crash: restart intensity, back-off, and when to give up for a while.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// What a supervisor does after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Restart after this pause.
    Again(Duration),
    /// Too many crashes: down for this long, then one more try.
    Down(Duration),
}

/// Restart intensity: at most `most` crashes in `within` are followed by a restart.
#[derive(Debug, Clone)]
pub struct Intensity {
    most: usize,
    within: Duration,
    down: Duration,
    crashes: VecDeque<Instant>,
    on_probation: bool,
}

impl Default for Intensity {
    /// 5 crashes in 60 s; then down, tried again each 60 s.
    fn default() -> Self {
        Self::new(5, Duration::from_secs(60), Duration::from_secs(60))
    }
}

impl Intensity {
    /// At most `most` restarts `within` a span of time; past it the actor is down and tried again each `down`.
    pub fn new(most: usize, within: Duration, down: Duration) -> Self {
        Self { most, within, down, crashes: VecDeque::with_capacity(most + 1), on_probation: false }
    }

    /// Counts a crash at `now`.
    pub fn crashed(&mut self, now: Instant) -> Next {
        while self.crashes.front().is_some_and(|first| now.duration_since(*first) > self.within) {
            self.crashes.pop_front();
        }
        if self.crashes.is_empty() {
            self.on_probation = false;
        }
        self.crashes.push_back(now);
        if self.on_probation || self.crashes.len() > self.most {
            self.crashes.clear();
            self.crashes.push_back(now);
            self.on_probation = true;
            return Next::Down(self.down);
        }
        let exponent = u32::try_from(self.crashes.len().min(8)).unwrap_or(8) - 1;
        Next::Again(jittered(Duration::from_millis(10) * 2_u32.pow(exponent)))
    }

    /// Forgets all crashes: an operator has restarted the actor.
    pub fn forgive(&mut self) {
        self.crashes.clear();
        self.on_probation = false;
    }
}

/// `pause`, give or take half of it, so that replicas that crashed together do not come back together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1000;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_sixth_crash_in_a_minute_is_one_too_many() {
        let start = Instant::now();
        let mut intensity = Intensity::default();
        for n in 0..5 {
            assert!(matches!(intensity.crashed(start + second(n)), Next::Again(_)), "crash {n}");
        }
        assert_eq!(intensity.crashed(start + second(6)), Next::Down(second(60)));
    }

    #[test]
    fn crashes_far_apart_are_always_followed_by_a_restart() {
        let start = Instant::now();
        let mut intensity = Intensity::default();
        for n in 0..100 {
            assert!(matches!(intensity.crashed(start + second(13 * n)), Next::Again(_)), "crash {n}");
        }
    }

    #[test]
    fn a_crash_right_after_the_one_more_try_is_down_again_and_a_quiet_minute_forgives() {
        let start = Instant::now();
        let mut intensity = Intensity::new(1, second(60), second(60));
        assert!(matches!(intensity.crashed(start), Next::Again(_)));
        assert!(matches!(intensity.crashed(start), Next::Down(_)));
        assert!(matches!(intensity.crashed(start + second(60)), Next::Down(_)));
        assert!(matches!(intensity.crashed(start + second(200)), Next::Again(_)));
    }

    #[test]
    fn pauses_grow_and_stay_within_half_of_their_length() {
        for _ in 0..100 {
            let pause = jittered(second(2));
            assert!(pause >= second(1) && pause <= second(3), "{pause:?}");
        }
    }
}
