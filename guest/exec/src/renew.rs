//! A certificate after the other: new key, new nonce, new evidence, same brief (trust.md rule 16).
//!
//! Owns when: before two thirds of a certificate's life are over, and again until it works. Refuses nothing by itself: as long
//! as there is no new certificate the old one is shown, and nobody believes it after its end.

use std::sync::Arc;
use std::time::Duration;

use workload::brief::StewardRef;

use crate::clock;
use crate::enrol::{self, Identity};
use crate::platform::Platform;
use crate::refusal::{Refusal, Step};

/// The longest sleep: the time may be another when it is over.
const LOOK: Duration = Duration::from_secs(60);
/// The pauses between attempts: the first, which doubles, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Renews the certificate for as long as the Keep runs.
pub(crate) async fn keep(identity: Arc<Identity>, mut platform: Platform, brief: Vec<u8>, steward: StewardRef) {
    let [first, longest] = PAUSES;
    let mut pause = first;
    loop {
        let (begins, ends) = identity.dates();
        // Three fifths: what is left of two thirds is for attempts.
        let due = begins.saturating_add(ends.saturating_sub(begins).saturating_mul(3) / 5);
        let left = due.saturating_sub(clock::now());
        if left > Duration::ZERO {
            tokio::time::sleep(left.min(LOOK)).await;
            continue;
        }
        // A platform that is not there any more ends the Keep where it is asked for more than this.
        match renew(&identity, &mut platform, &brief, &steward).await {
            Ok(()) => {
                pause = first;
                _ = platform.milestone(Step::Certificate, "the certificate is renewed");
            }
            Err(refusal) => {
                let seconds = pause.as_secs();
                let told =
                    format!("the certificate is not renewed, next attempt in {seconds} s: {}", refusal.message());
                _ = platform.milestone(Step::Steward, &told);
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(longest);
            }
        }
    }
}

async fn renew(
    identity: &Identity,
    platform: &mut Platform,
    brief: &[u8],
    steward: &StewardRef,
) -> Result<(), Refusal> {
    let credential = enrol::certify(platform, brief, steward, identity.papers.clone(), false).await?;
    identity.replace(credential)
}
