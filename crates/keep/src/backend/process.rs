//! A Keep as a child process of this one, with descriptor 3 as the way to its platform: exec itself under `nil` and `sim`,
//! or the monitor of a micro-VM. They differ in what the child is and in who attests.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::Attester;
use crate::launch::{Host, Launch, Running, StartError};
use crate::service::Service;
use crate::sys;

/// Ends a Keep when its platform is gone: after the Keep's last message, after a breach of the protocol, after a panic.
struct EndsWith(Arc<sys::Process>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.signal();
    }
}

/// What the child is.
pub(super) enum Child {
    /// exec, with the call table as a seccomp filter.
    Exec,
    /// The monitor of a micro-VM that has shim and exec, and the firmware that measures them.
    Monitor(Option<sys::Firmware>),
}

pub(super) fn start(
    launch: &Launch,
    host: Host,
    child: Child,
    attester: Arc<dyn Attester>,
) -> Result<Running, StartError> {
    let (ours, theirs) =
        UnixStream::pair().map_err(|source| StartError::System { what: "make the Keep's descriptor 3", source })?;
    let stdio = host.stdio;
    let process = match child {
        Child::Exec => sys::spawn(launch.image.exec(), theirs, stdio)?,
        Child::Monitor(firmware) => sys::spawn_monitor(launch.image.other(), theirs, firmware, stdio)?,
    };
    let service = Service::new(launch.clone(), host, attester);
    let without_platform = EndsWith(Arc::clone(&process.process));
    let service = std::thread::Builder::new()
        .name("keep-gate".to_owned())
        .spawn(move || {
            let _until_here = without_platform;
            service.serve(ours)
        })
        .map_err(|source| StartError::System { what: "start a thread", source })?;
    Ok(Running { process, service })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Nil;
    use super::*;
    use crate::launch::{End, RunError, Stdio};
    use crate::{Backend, Image};

    /// A Keep that sends these bytes to its platform and then computes for ever.
    fn hostile(message: &[u8]) -> Running {
        // mov edi,3; lea rsi,[rip+11]; mov edx,LENGTH; mov eax,1; syscall; jmp .
        let length = u8::try_from(message.len()).unwrap();
        let code =
            [0xbf, 3, 0, 0, 0, 0x48, 0x8d, 0x35, 14, 0, 0, 0, 0xba, length, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05];
        let code = [&code[..], &[0xeb, 0xfe], message].concat();
        // An ELF header and one program header: everything at 0x400000, readable and executable.
        let (base, start, size) = (0x40_0000_u64, 0x40_0078_u64, 0x78 + code.len() as u64);
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        for word in [start, 64, 0] {
            elf.extend(word.to_le_bytes());
        }
        elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
        for word in [0, base, base, size, size, 0x1000] {
            elf.extend(word.to_le_bytes());
        }
        elf.extend(code);
        let launch =
            Launch { image: Image::of(Vec::leak(elf)), brief: Arc::from([]), brief_hash: [0; 32], deployment: None };
        let host = Host {
            blobs: Box::new(BTreeMap::new()),
            listen: BTreeMap::new(),
            stdio: Stdio::Null,
            events: Box::new(|_| {}),
        };
        Nil.start(&launch, host).unwrap()
    }

    #[test]
    fn a_breach_of_the_protocol_ends_the_keep() {
        let ended = hostile(&[1, 0, 0, 0, 99]).wait();
        assert!(matches!(&ended, Err(RunError::Protocol(why)) if why.contains("99")), "{ended:?}");
    }

    #[test]
    fn the_outcome_ends_the_keep() {
        assert_eq!(hostile(&[3, 0, 0, 0, 9, 0, 7]).wait().unwrap(), End::Exit(7));
    }
}
