//! Places, of which there are only so many, and who has to leave his when somebody waits for one.
//!
//! Owns the choice: of those who hold a place while they wait for their peer, and so for nothing, he goes who did that for
//! the longest time, all his waits together. Who does his work stays, however long it takes; so does everybody as long as
//! there is room.
//!
//! Invariant: a slow or silent peer keeps nobody from being served who is neither.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How soon who waits looks again.
const AGAIN: Duration = Duration::from_millis(250);

/// So many places.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    held: Mutex<Held>,
    /// How long one may have waited for his peer before he has to leave.
    patience: Duration,
}

#[derive(Default)]
struct Held {
    last: u64,
    all: HashMap<u64, Arc<Holder>>,
}

/// Who holds a place.
#[derive(Default)]
pub(crate) struct Holder {
    waits: Mutex<Waits>,
    leave: Notify,
}

/// For how long a holder waited for his peer.
#[derive(Default)]
struct Waits {
    /// For how many things he waits now.
    count: usize,
    since: Option<Instant>,
    before: Duration,
    /// He was asked to leave.
    leaves: bool,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    pub(crate) holder: Arc<Holder>,
    number: u64,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(count: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), held: Mutex::default(), patience })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one, as soon as there is one.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.make_room();
            // The semaphore is never closed, and a clock that is over is looked at again.
            if let Ok(Ok(permit)) = timeout(AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                break permit;
            }
        };
        let holder = Arc::<Holder>::default();
        let mut held = self.held();
        held.last += 1;
        let number = held.last;
        held.all.insert(number, Arc::clone(&holder));
        Place { holder, number, places: Arc::clone(self), _permit: permit }
    }

    /// Asks one to leave, if there is one who should.
    pub(crate) fn make_room(&self) {
        let now = Instant::now();
        let held = self.held();
        let longest = held.all.values().filter_map(|holder| Some((holder.waited(now)?, holder)));
        if let Some((waited, holder)) = longest.max_by_key(|(waited, _)| *waited)
            && waited >= self.patience
        {
            holder.waits().leaves = true;
            holder.leave.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().all.remove(&self.number);
    }
}

impl Holder {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long he waited in all, if he waits and was not asked to leave.
    fn waited(&self, now: Instant) -> Option<Duration> {
        let waits = self.waits();
        let since = waits.since.filter(|_| !waits.leaves)?;
        Some(waits.before.saturating_add(now.saturating_duration_since(since)))
    }

    /// He waits for his peer, in one more thing.
    pub(crate) fn stops(&self) {
        let mut waits = self.waits();
        waits.count += 1;
        if waits.count == 1 {
            waits.since = Some(Instant::now());
        }
    }

    /// One of the things goes on.
    pub(crate) fn goes_on(&self) {
        let mut waits = self.waits();
        waits.count = waits.count.saturating_sub(1);
        if waits.count == 0
            && let Some(since) = waits.since.take()
        {
            waits.before = waits.before.saturating_add(since.elapsed());
        }
    }

    /// Whether he was asked to leave.
    pub(crate) fn leaves(&self) -> bool {
        self.waits().leaves
    }

    /// Returns when he has to leave.
    pub(crate) async fn left(&self) {
        self.leave.notified().await;
    }
}

/// A body that comes from the peer, or goes to it, and notes while that takes its time.
pub(crate) struct Watched<B> {
    body: B,
    way: Way,
    holder: Arc<Holder>,
    stopped: bool,
}

/// Of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It waits for the peer while it is asked for more and has none.
    In,
    /// It waits for the peer from what it gave to when it is asked for more.
    Out,
}

impl<B> Watched<B> {
    pub(crate) fn new(body: B, way: Way, holder: &Arc<Holder>) -> Self {
        Self { body, way, holder: Arc::clone(holder), stopped: false }
    }

    fn note(&mut self, stopped: bool) {
        if self.stopped != stopped {
            self.stopped = stopped;
            if stopped { self.holder.stops() } else { self.holder.goes_on() }
        }
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.note(false);
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let stopped = match self.way {
            Way::In => polled.is_pending(),
            Way::Out => matches!(polled, Poll::Ready(Some(Ok(_)))) && !self.body.is_end_stream(),
        };
        self.note(stopped);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;
    use tokio::time::sleep;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    async fn asked(place: &Place) -> bool {
        timeout(Duration::ZERO, place.holder.left()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_longest_for_his_peer_leaves_when_somebody_comes() {
        let places = Places::new(3, PATIENCE);
        let [works, slow, slower] = [places.take().await, places.take().await, places.take().await];
        slower.holder.stops();
        sleep(Duration::from_secs(1)).await;
        // Little by little, and again.
        for _ in 0..3 {
            slow.holder.stops();
            sleep(Duration::from_secs(1)).await;
            slow.holder.goes_on();
        }
        slow.holder.stops();
        sleep(Duration::from_secs(60)).await;
        assert!(!asked(&works).await && !asked(&slow).await && !asked(&slower).await, "there was nobody");
        let (comes, ()) = tokio::join!(places.take(), async {
            slower.holder.left().await;
            drop(slower);
        });
        assert!(!asked(&works).await && !asked(&slow).await);
        let (_comes, ()) = tokio::join!(places.take(), async {
            slow.holder.left().await;
            drop(slow);
        });
        assert!(!asked(&works).await && !asked(&comes).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_who_works_or_just_began_to_wait() {
        let places = Places::new(2, PATIENCE);
        let [works, waits] = [places.take().await, places.take().await];
        waits.holder.stops();
        let begun = Instant::now();
        let (_comes, ()) = tokio::join!(places.take(), async {
            waits.holder.left().await;
            assert!(begun.elapsed() >= PATIENCE, "he had his time");
            sleep(Duration::from_secs(5)).await;
            assert!(!asked(&works).await, "one is enough");
            drop(waits);
        });
        assert!(timeout(Duration::from_secs(3600), places.take()).await.is_err(), "all work");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_tell_who_waits_for_whom() {
        let places = Places::new(1, PATIENCE);
        let place = places.take().await;
        let waits = || place.holder.waits().since.is_some();
        for way in [Way::In, Way::Out] {
            let (mut sender, body) = Channel::<Bytes>::new(4);
            let mut body = Watched::new(body, way, &place.holder);
            assert!(!waits());
            assert!(timeout(Duration::from_secs(1), body.frame()).await.is_err());
            assert_eq!(waits(), way == Way::In, "asked for what is not there");
            sender.send_data(Bytes::from("one")).await.unwrap();
            body.frame().await.unwrap().unwrap();
            assert_eq!(waits(), way == Way::Out, "nobody asks for more");
            drop(sender);
            assert!(body.frame().await.is_none());
            assert!(!waits());
        }
        let (_sender, body) = Channel::<Bytes>::new(4);
        let mut body = Watched::new(body, Way::In, &place.holder);
        assert!(timeout(Duration::from_secs(1), body.frame()).await.is_err());
        assert!(waits());
        drop(body);
        assert!(!waits(), "it is gone");
    }
}
