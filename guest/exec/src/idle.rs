//! When a connection has served its time: as long as no request runs on it, a clock does.
//!
//! Owns the count of a connection's requests and the deadline that follows from it. HTTP has no timer for a peer that
//! sends nothing, or only what keeps a connection alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::places::Holder;

/// The requests that run on a connection. Without any it holds its place for nothing.
#[derive(Clone)]
pub(crate) struct Requests {
    running: Arc<watch::Sender<usize>>,
    holder: Arc<Holder>,
}

impl Requests {
    pub(crate) fn new(holder: &Arc<Holder>) -> Self {
        holder.stops();
        Self { running: Arc::new(watch::Sender::new(0)), holder: Arc::clone(holder) }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.running.subscribe()
    }

    pub(crate) fn begin(&self) -> Busy {
        self.running.send_modify(|running| *running += 1);
        if *self.running.borrow() == 1 {
            self.holder.goes_on();
        }
        Busy(self.clone())
    }
}

/// A request that runs, counted as long as this lives.
pub(crate) struct Busy(Requests);

impl Drop for Busy {
    fn drop(&mut self) {
        let Requests { running, holder } = &self.0;
        running.send_modify(|running| *running -= 1);
        if *running.borrow() == 0 {
            holder.stops();
        }
    }
}

/// Returns once no request ran and none was begun for `patience`.
pub(crate) async fn after(patience: Duration, mut requests: watch::Receiver<usize>) {
    loop {
        let changed = if *requests.borrow_and_update() > 0 {
            requests.changed().await.is_ok()
        } else {
            // Each change counts, also that of a request which is over already: the clock begins anew.
            tokio::time::timeout(patience, requests.changed()).await.is_ok_and(|changed| changed.is_ok())
        };
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// The deadline of a connection whose requests are counted here, and when it passed: on tokio's paused clock, which
    /// moves only when everybody waits.
    fn deadline() -> (Requests, tokio::task::JoinHandle<Duration>) {
        let requests = Requests::new(&Arc::default());
        let watched = requests.watch();
        let begun = Instant::now();
        let passed = tokio::spawn(async move {
            after(PATIENCE, watched).await;
            begun.elapsed()
        });
        (requests, passed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_has_this_long() {
        let (_requests, passed) = deadline();
        assert_eq!(passed.await.unwrap(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_as_long_as_it_likes() {
        let (requests, passed) = deadline();
        let (first, second) = (requests.begin(), requests.begin());
        sleep(PATIENCE * 7).await;
        drop(first);
        sleep(PATIENCE * 2).await;
        assert!(!passed.is_finished());
        drop(second);
        assert_eq!(passed.await.unwrap(), PATIENCE * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_gives_new_time_however_short_it_is() {
        let (requests, passed) = deadline();
        for _ in 0..3 {
            sleep(PATIENCE / 2).await;
            drop(requests.begin());
        }
        assert_eq!(passed.await.unwrap(), PATIENCE / 2 * 3 + PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_gone_waits_for_nobody() {
        let (requests, passed) = deadline();
        drop(requests);
        advance(Duration::ZERO).await;
        assert_eq!(passed.await.unwrap(), Duration::ZERO);
    }
}
