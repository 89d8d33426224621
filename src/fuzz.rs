//! Random inputs for tests: texts made of the words of a vocabulary, and seeded numbers.

/// Calls `check` with a million texts of up to eight words each, the same ones every time.
pub(crate) fn random_texts(vocabulary: &[&str], mut check: impl FnMut(&str)) {
    let mut random = Random::new(vocabulary.len() as u64);
    let mut text = String::new();
    for _ in 0..1_000_000 {
        text.clear();
        for _ in 0..random.below(9) {
            text.push_str(vocabulary[random.below(vocabulary.len() as u64) as usize]);
        }
        check(&text);
    }
}

/// A generator of numbers, xorshift64*: small, and the same seed gives the same numbers.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // The multiplication sets neighbouring seeds far apart. The state must not be 0.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number from 0 to `limit - 1`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}
