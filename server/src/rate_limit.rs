//! How often one client may ask for what is guessed at or costs others something. Must not: know what is
//! asked for, or stand in the way of somebody who works fast.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::HashMapStateStore,
};
use media::egress::network;

use crate::{client_addr::ClientAddr, error::Problem};

/// Logins: as many at once, then so many a second.
const LOGINS: (u32, u32) = (20, 1);
/// Signed URLs and steps of uploads. A browser that sends a folder of small files may reach it on a local
/// network; it waits and goes on then.
pub(crate) const TRANSFERS: (u32, u32) = (600, 100);
/// After so many checks clients that have their whole burst again are forgotten.
const SWEEP_EVERY: u32 = 1024;

/// The limit of one kind of requests; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit(Arc<Limit>);

#[derive(Debug)]
struct Limit {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    checks: AtomicU32,
}

impl RateLimit {
    /// For what takes a secret.
    pub(crate) fn logins() -> Self {
        Self::new(LOGINS)
    }

    /// As many at once, then so many a second.
    pub(crate) fn new((burst, per_sec): (u32, u32)) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_sec)).allow_burst(at_least_one(burst));
        Self(Arc::new(Limit { limiter: RateLimiter::hashmap(quota), checks: AtomicU32::new(0) }))
    }

    /// # Errors
    /// In how many whole seconds that client may ask again.
    fn check(&self, client: IpAddr) -> Result<(), u32> {
        let Limit { limiter, checks } = &*self.0;
        if checks.fetch_add(1, Relaxed).is_multiple_of(SWEEP_EVERY) {
            limiter.retain_recent();
        }
        limiter.check_key(&network(client)).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
        })
    }
}

/// Answers 429 with `Retry-After` to a client that asks too often.
pub(crate) async fn apply(
    State(limit): State<RateLimit>,
    ClientAddr(client): ClientAddr,
    request: Request,
    next: Next,
) -> Response {
    match limit.check(client) {
        Ok(()) => next.run(request).await,
        Err(secs) => {
            let path = request.uri().path();
            tracing::warn!(%client, path, "{client} asks too often for {path}");
            let text = "too many requests from this address; try again in a moment";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after_secs(secs).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_burst_and_then_waits_while_others_go_on() {
        let limit = RateLimit::new((3, 1));
        for _ in 0..3 {
            assert_eq!(limit.check(ip("192.0.2.1")), Ok(()));
        }
        assert_eq!(limit.check(ip("192.0.2.1")), Err(1));
        assert_eq!(limit.check(ip("192.0.2.2")), Ok(()));
        // Whoever has an IPv6 network has all of its addresses.
        for host in 1..4 {
            assert_eq!(limit.check(ip(&format!("2001:db8::{host}"))), Ok(()));
        }
        assert_eq!(limit.check(ip("2001:db8::ffff:1")), Err(1));
        assert_eq!(limit.check(ip("2001:db8:0:1::1")), Ok(()));
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        // A million a second: everyone has their whole burst again at once.
        let limit = RateLimit::new((1, 1_000_000));
        for host in 0..4 * SWEEP_EVERY {
            let _ = limit.check(IpAddr::from(host.to_be_bytes()));
        }
        assert!(limit.0.limiter.len() < 2 * SWEEP_EVERY as usize, "{}", limit.0.limiter.len());
    }
}
