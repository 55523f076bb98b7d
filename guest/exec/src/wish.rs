//! The host's wish that the Keep ends, on descriptor 4 (`spec/gate.md`).
//!
//! Owns what is heard there, not what is done about it. The host may end a Keep at any time without asking: what it says
//! here is believed because nothing is to be won by not believing it.
//!
//! Invariant: a host that is gone, or says nothing, wishes nothing.

use std::fs::File;
use std::future::{Future, pending};
use std::io::{ErrorKind, Read};

use gate::end::Signal;
use tokio::io::unix::AsyncFd;

use crate::refusal::{Refusal, Step};
use crate::sys;

/// Where it is heard.
pub(crate) struct Wish(AsyncFd<File>);

impl Wish {
    /// Must be called inside the runtime, once.
    pub(crate) fn new() -> Result<Self, Refusal> {
        sys::end().map(Self).map_err(|error| {
            Refusal::new(
                Step::Launch,
                "gate.end",
                format_args!("descriptor {} cannot be watched: {error}", gate::end::DESCRIPTOR),
                "start exec through `donjon`; it does not run by itself",
            )
        })
    }

    /// Waits for it.
    pub(crate) async fn heard(&self) -> Signal {
        let mut byte = [0];
        while let Ok(mut ready) = self.0.readable().await {
            match ready.try_io(|end| end.get_ref().read(&mut byte)) {
                Ok(Ok(1)) => return Signal::of(byte[0]),
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) => break,
                // The reactor was wrong, or was told wrong.
                Err(_) => {}
            }
        }
        pending().await
    }

    /// Does this work, unless the host wants an end before it is done.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            biased;
            signal = self.heard() => Err(signal),
            done = work => Ok(done),
        }
    }
}
