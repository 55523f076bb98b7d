//! A Keep as a child process: the exec ELF from memory, descriptor 3, the call table as a seccomp filter, no environment
//! and nothing of the host's file system. Shared by `nil` and `sim`, which differ only in who attests.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::Attester;
use crate::launch::{Host, Launch, Running, StartError};
use crate::service::Service;
use crate::sys;

pub(super) fn start(launch: &Launch, host: Host, attester: Arc<dyn Attester>) -> Result<Running, StartError> {
    let (ours, theirs) =
        UnixStream::pair().map_err(|source| StartError::System { what: "make the Keep's descriptor 3", source })?;
    let stdio = host.stdio;
    let process = sys::spawn(launch.image.exec(), theirs, stdio)?;
    let service = Service::new(launch.clone(), host, attester);
    let service = std::thread::Builder::new()
        .name("keep-gate".to_owned())
        .spawn(move || service.serve(ours))
        .map_err(|source| StartError::System { what: "start a thread", source })?;
    Ok(Running { process, service })
}
