//! Dates in verdicts: what is not yet valid and what is expired are different answers.

use crate::pki::Certificate;
use crate::verdict::{Numbered, Recorder};
use core::time::Duration;

/// First and last second at which something is good, unix time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Dates {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self { from: certificate.not_before(), to: certificate.not_after() }
    }

    /// Both ends belong to it (RFC 5280 section 4.1.2.5).
    pub(crate) fn record(self, recorder: &mut Recorder, early: impl Numbered, expired: impl Numbered, now: u64) {
        let Self { from, to } = self;
        recorder.check(early, from <= now, date(now), format!("from {}", date(from)));
        recorder.check(expired, now <= to, date(now), format!("to {}", date(to)));
    }
}

/// Unix seconds as a date for people.
pub(crate) fn date(seconds: u64) -> String {
    match der::DateTime::from_unix_duration(Duration::from_secs(seconds)) {
        Ok(date) => date.to_string(),
        Err(_) => format!("second {seconds}"),
    }
}
