//! Chance that can be had again: a test that draws says its seed, and takes it from the environment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Always the same for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// With the seed in `VALVULA_TEST_SEED`, or another one each time; it is printed, and shown with a test that
    /// fails.
    ///
    /// # Panics
    /// When there is no number in it.
    #[allow(clippy::print_stdout)]
    pub fn seeded() -> Self {
        let seed = match std::env::var("VALVULA_TEST_SEED") {
            Ok(seed) => seed.parse().expect("VALVULA_TEST_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs(),
        };
        println!("VALVULA_TEST_SEED={seed}");
        Self::new(seed)
    }

    /// What it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// One of `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// One of them.
    pub fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).expect("below a length")]
    }

    /// Puts them in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, usize::try_from(self.between(0, last as u64)).expect("below a length"));
        }
    }

    /// A time shorter than `span`.
    pub fn within(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(span.as_micros()).expect("no test takes that long")))
    }
}
