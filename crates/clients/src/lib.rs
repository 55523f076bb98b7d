//! Who asks a service how often: for Steward and Drawbridge, which do not know each other.
//!
//! Owns a count for each client: an IPv4 address, or the network of an IPv6 address that a customer gets. Refuses who asks more often
//! than the rate, over ten seconds. Invariant: what it remembers is bounded by how many clients ask within those ten seconds.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use governor::{
    Quota, RateLimiter, clock::MonotonicClock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore,
};

/// Whoever sends from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            // RFC 6177: a site has a /64 at least, and each of its hosts has many addresses.
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            four @ IpAddr::V4(_) => four,
        })
    }
}

/// How many seconds' worth of requests may come at once.
const BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// After how many requests those are forgotten who have not asked for long.
const SWEEP: u32 = 4096;

/// How often each has asked.
pub struct Clients {
    limiter: RateLimiter<Client, HashMapStateStore<Client>, MonotonicClock, NoOpMiddleware<std::time::Instant>>,
    asked: AtomicU32,
}

impl fmt::Debug for Clients {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// So many requests a second of each.
    #[must_use]
    pub fn new(rate: NonZeroU32) -> Self {
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST));
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock);
        Self { limiter, asked: AtomicU32::new(0) }
    }

    /// Whether this one may ask now.
    pub fn admit(&self, client: Client) -> bool {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP) {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&client).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn each_client_has_its_own_count() {
        let clients = Clients::new(NonZeroU32::MIN);
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let admitted = (0..50).filter(|_| clients.admit(one)).count();
        // More only if this test takes seconds.
        assert!((10..50).contains(&admitted), "{admitted}");
        assert!(clients.admit(other));
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_version_6() {
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn who_does_not_ask_any_more_is_forgotten() {
        let clients = Clients::new(NonZeroU32::new(1_000_000).unwrap());
        for number in 0..3 * SWEEP {
            assert!(clients.admit(Client(std::net::Ipv4Addr::from_bits(number).into())));
        }
        assert!(clients.limiter.len() <= 2 * SWEEP as usize, "{}", clients.limiter.len());
    }
}
