//! Numbers by chance, the same for the same seed.

use std::env;
use std::time::SystemTime;

use crate::peer::report;

/// SplitMix64, as [`Pattern`](crate::Pattern) uses it.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Those of another seed in each run, which is printed, or of that which `VMSGR_SEED` says.
    ///
    /// # Panics
    ///
    /// When `VMSGR_SEED` is no number.
    pub fn of_this_run() -> Self {
        let said = env::var("VMSGR_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let seed = said.unwrap_or(since.as_micros() as u64);
        report(&format!("VMSGR_SEED={seed}"));
        Self::new(seed)
    }

    /// A number of `0..below`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// A length of `1..=most`.
    ///
    /// # Panics
    ///
    /// When `most` is 0.
    pub fn length(&mut self, most: usize) -> usize {
        1 + self.below(most as u64) as usize
    }
}
