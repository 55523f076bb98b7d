//! The present, as far as a Keep knows it.
//!
//! Owns rule 12 of trust.md: the host's time, but never before what was proved. Invariant: it does not go back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970 that were proved, or told already.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// It is not before this, Unix seconds.
pub(crate) fn not_before(seconds: u64) {
    LATEST.fetch_max(seconds.saturating_mul(1_000_000_000), Ordering::Relaxed);
}

/// Since 1970.
pub(crate) fn now() -> Duration {
    // A host whose clock stands before 1970 gets no further with it than with any other lie.
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let host = u64::try_from(host.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(LATEST.fetch_max(host, Ordering::Relaxed).max(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// trust.md rule 12. The years 2000 and 2100 stand for a host that is not behind, and one that is.
    #[test]
    fn a_host_time_below_the_lower_bound_is_ignored() {
        let (earlier, later) = (946_684_800, 4_102_444_800);
        not_before(earlier);
        assert!(now().as_secs() > earlier, "the control: the host's time counts above the bound");
        not_before(later);
        assert_eq!(now().as_secs(), later);
        not_before(earlier);
        assert_eq!(now().as_secs(), later, "it does not go back");
    }
}
