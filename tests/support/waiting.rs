//! Waiting for a fact.

use std::time::{Duration, Instant};

/// The time that a fact may take. It is generous: it only keeps a failing test from lasting for ever.
pub const LIMIT: Duration = Duration::from_secs(60);

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where tests look at the clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until there is an answer, and panics with `explain` after the limit.
pub fn eventually<T>(mut look: impl FnMut() -> Option<T>, explain: impl Fn() -> String) -> T {
    let start = now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain for {}", explain());
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place where tests sleep: between two looks"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}
