//! Options of sockets, as `wasi:sockets` has them: times in nanoseconds, sizes in bytes, 0 and 1 for no and yes.
//!
//! Refuses what WASI refuses (nothing where something must be); what is more than the system has is as much as it has.

use std::time::Duration;

use rustix::fd::BorrowedFd;
use rustix::net::sockopt;
use wasmtime_wasi::sockets::ErrorCode;

type Result<T> = std::result::Result<T, ErrorCode>;

/// What one asks of an option, and what one sets.
#[derive(Clone, Copy)]
pub(crate) enum Choice {
    KeepAlive,
    Idle,
    Interval,
    Count,
    Hops,
    Receive,
    Send,
}

pub(super) fn get(socket: BorrowedFd<'_>, v6: bool, choice: Choice) -> Result<u64> {
    Ok(match choice {
        Choice::KeepAlive => sockopt::socket_keepalive(socket)?.into(),
        Choice::Idle => nanoseconds(sockopt::tcp_keepidle(socket)?),
        Choice::Interval => nanoseconds(sockopt::tcp_keepintvl(socket)?),
        Choice::Count => sockopt::tcp_keepcnt(socket)?.into(),
        Choice::Hops if v6 => sockopt::ipv6_unicast_hops(socket)?.into(),
        Choice::Hops => sockopt::ip_ttl(socket)?.into(),
        // Linux tells twice of what was set, for its own needs (socket(7)).
        Choice::Receive => (sockopt::socket_recv_buffer_size(socket)? / 2) as u64,
        Choice::Send => (sockopt::socket_send_buffer_size(socket)? / 2) as u64,
    })
}

pub(super) fn set(socket: BorrowedFd<'_>, v6: bool, choice: Choice, value: u64) -> Result<()> {
    if value == 0 && !matches!(choice, Choice::KeepAlive) {
        return Err(ErrorCode::InvalidArgument);
    }
    // Whole seconds, of which there are at most so many.
    let seconds = Duration::from_secs(value.div_ceil(1_000_000_000).min(32767));
    let size = usize::try_from(value.min(i32::MAX as u64)).unwrap_or(usize::MAX);
    match choice {
        Choice::KeepAlive => sockopt::set_socket_keepalive(socket, value != 0)?,
        Choice::Idle => sockopt::set_tcp_keepidle(socket, seconds)?,
        Choice::Interval => sockopt::set_tcp_keepintvl(socket, seconds)?,
        Choice::Count => sockopt::set_tcp_keepcnt(socket, u32::try_from(value.min(127)).unwrap_or(127))?,
        Choice::Hops => {
            let hops = u8::try_from(value).map_err(|_| ErrorCode::InvalidArgument)?;
            if v6 {
                sockopt::set_ipv6_unicast_hops(socket, Some(hops))?;
            } else {
                sockopt::set_ip_ttl(socket, hops.into())?;
            }
        }
        Choice::Receive => sockopt::set_socket_recv_buffer_size(socket, size)?,
        Choice::Send => sockopt::set_socket_send_buffer_size(socket, size)?,
    }
    Ok(())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
