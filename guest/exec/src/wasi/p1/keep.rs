//! `donjon_keep_0_1` for modules: the functions of `donjon:keep/attestation` with pointers and lengths
//! (`spec/keep-interface.md`).
//!
//! Refuses lengths before bytes are copied out of the module's memory. Invariant: a pointer that leads nowhere is malformed,
//! and no trap.

use wasmtime::{Caller, Linker};
use wiggle::{GuestMemory, GuestPtr};

use super::P1;
use super::sockets::parts;
use crate::own::{self, Lack, Own, Signature};

/// What only modules can get wrong: where the answer would go has no room for it.
const NO_ROOM: u32 = 7;

/// Why there is no 0.
enum Status {
    Lack(Lack),
    NoRoom,
}

type Result<T> = std::result::Result<T, Status>;

impl From<Lack> for Status {
    fn from(lack: Lack) -> Self {
        Self::Lack(lack)
    }
}

impl From<wiggle::GuestError> for Status {
    fn from(_: wiggle::GuestError) -> Self {
        Self::Lack(Lack::Malformed)
    }
}

pub(super) fn add(linker: &mut Linker<P1>) -> wasmtime::Result<()> {
    let module = "donjon_keep_0_1";
    type C<'a> = Caller<'a, P1>;
    linker.func_wrap(
        module,
        "evidence",
        |mut caller: C<'_>, at: u32, length: u32, to: u32, room: u32, size: u32| {
            call(&mut caller, |own, memory| {
                let bundle = own.evidence(&bytes(memory, (at, length), own::EVIDENCE)?)?;
                give(memory, bundle.as_bytes(), (to, room), size)
            })
        },
    )?;
    linker.func_wrap(module, "derive_key", |mut caller: C<'_>, at: u32, length: u32, to: u32| {
        call(&mut caller, |own, memory| {
            let key = own.derive_key(&bytes(memory, (at, length), own::KEY)?)?;
            Ok(memory.copy_from_slice(&key, GuestPtr::<u8>::new(to).as_array(32))?)
        })
    })?;
    linker.func_wrap(
        module,
        "sign",
        |mut caller: C<'_>,
         at: u32,
         length: u32,
         to: u32,
         room: u32,
         size: u32,
         to_2: u32,
         room_2: u32,
         size_2: u32| {
            call(&mut caller, |own, memory| {
                let Signature { algorithm: _, signature, certificates } =
                    own.sign(&bytes(memory, (at, length), own::DATA)?)?;
                let signature = give(memory, &signature, (to, room), size);
                // Both sizes are told, whichever has no room.
                give(memory, certificates.as_bytes(), (to_2, room_2), size_2).and(signature)
            })
        },
    )?;
    linker.func_wrap(
        module,
        "verify",
        |mut caller: C<'_>,
         data: u32,
         data_length: u32,
         signature: u32,
         signature_length: u32,
         certificates: u32,
         certificates_length: u32,
         roles: u32,
         roles_length: u32,
         to: u32,
         room: u32,
         size: u32| {
            call(&mut caller, |own, memory| {
                let text = |at, most| {
                    let bytes = bytes(memory, at, most)?;
                    String::from_utf8(bytes).map_err(|_| Status::Lack(Lack::Malformed))
                };
                let certificates = text((certificates, certificates_length), own::CHAIN)?;
                let roles = text((roles, roles_length), own::ROLES_TEXT)?;
                let roles = roles.split(' ').filter(|role| !role.is_empty());
                let data = bytes(memory, (data, data_length), own::DATA)?;
                let signature = bytes(memory, (signature, signature_length), own::SIGNATURE)?;
                let claims = own.verify(&data, &signature, &certificates, roles)?;
                give(memory, claims.as_bytes(), (to, room), size)
            })
        },
    )?;
    Ok(())
}

fn call(
    caller: &mut Caller<'_, P1>,
    call: impl FnOnce(&Own, &mut GuestMemory<'_>) -> Result<()>,
) -> wasmtime::Result<u32> {
    let (mut memory, p1) = parts(caller)?;
    Ok(match call(&p1.own, &mut memory) {
        Ok(()) => 0,
        Err(Status::Lack(lack)) => u32::from(lack as u8) + 1,
        Err(Status::NoRoom) => NO_ROOM,
    })
}

fn bytes(memory: &GuestMemory<'_>, (at, length): (u32, u32), most: usize) -> Result<Vec<u8>> {
    own::within(usize::try_from(length).unwrap_or(usize::MAX), most)?;
    Ok(memory.as_cow(GuestPtr::<u8>::new(at).as_array(length))?.into_owned())
}

/// Writes how long it is to `size`, and all of it if there is room.
fn give(memory: &mut GuestMemory<'_>, bytes: &[u8], (to, room): (u32, u32), size: u32) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| Status::NoRoom)?;
    memory.write(GuestPtr::<u32>::new(size), length)?;
    if length > room {
        return Err(Status::NoRoom);
    }
    Ok(memory.copy_from_slice(bytes, GuestPtr::<u8>::new(to).as_array(length))?)
}
