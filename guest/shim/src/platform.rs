//! How the shim leaves to its host on this platform, and how it reaches the firmware: a bell at a port.
//!
//! Owns the one place where a Keep's processor stops being the Keep's.

use gate::ring::{Call, DOORBELL, Kind};

use crate::arch::{self, shared};
use crate::attest::snp::{Message, NoAnswer};
use crate::host;
use crate::syscall::error::EAGAIN;

/// Gives the host its turn.
pub(crate) fn exit() {
    arch::out(DOORBELL, 0);
}

/// Has a message answered by the firmware. The same message is sent again while the firmware is busy, another never.
pub(crate) fn firmware(message: &mut Message) -> Result<(), NoAnswer> {
    const TRIES: u32 = 1000;
    const PAUSE: u64 = 10_000_000;
    let call = Call { length: 4096, ..Call::new(Kind::Firmware, 0) };
    for _ in 0..TRIES {
        shared::block().put(0, message.bytes.get(..message.length).unwrap_or_default());
        match host::call(&call) {
            Ok(_) => {
                shared::block().get(0, &mut message.bytes);
                return Ok(());
            }
            Err(EAGAIN) => {
                _ = host::call(&Call { a: PAUSE, ..Call::new(Kind::Sleep, 0) });
            }
            Err(_) => return Err(NoAnswer),
        }
    }
    Err(NoAnswer)
}
