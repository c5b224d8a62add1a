//! Chance that can be had again.

/// xorshift64*: the same seed gives the same numbers.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// A seed of this run's own, or the one that `NFS_SUBDIR_CSI_SEED` asks for.
pub(crate) fn seed() -> u64 {
    std::env::var("NFS_SUBDIR_CSI_SEED")
        .map_or(u64::from(std::process::id()) << 20 | 1, |text| text.parse().unwrap())
}
