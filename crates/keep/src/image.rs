//! What is in a Keep before any workload: the exec ELF, and its measurement.
//!
//! Measurement of the `nil` and `sim` image, layout 1: SHA-384 over
//! `"donjon-image"` ‖ `u8` layout ‖ `u64` big-endian length of exec ‖ exec. That of a micro-VM is in
//! [`crate::measure`].
//!
//! Invariant: the measurement is a function of the [`Image`] and of nothing else.

use sha2::{Digest, Sha384};

/// The built-in shim and exec.
#[cfg(guest)]
static GUEST: Option<[&[u8]; 2]> = Some([include_bytes!(env!("DONJON_SHIM")), &EXEC.1]);

/// exec as it lies in this program's file, where a micro-VM maps it from: its first byte begins a page.
#[cfg(guest)]
#[repr(C, align(4096))]
struct Aligned<T: ?Sized>([u8; 0], T);
#[cfg(guest)]
static EXEC: &Aligned<[u8]> = &Aligned([], *include_bytes!(env!("DONJON_EXEC")));
#[cfg(not(guest))]
static GUEST: Option<[&[u8]; 2]> = None;

/// The number of the measured layout.
const LAYOUT: u8 = 1;

/// What is started and measured.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    #[cfg_attr(not(guest), allow(dead_code, reason = "a micro-VM is built of it"))]
    shim: &'static [u8],
    exec: &'static [u8],
}

/// This build has no guest in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Donjon runs Keeps on x86-64 Linux only, and this is not one")]
pub struct Unsupported;

impl Image {
    /// The image this program was built with.
    ///
    /// # Errors
    /// [`Unsupported`] on hosts that are not x86-64 Linux.
    pub fn built_in() -> Result<Self, Unsupported> {
        let [shim, exec] = GUEST.ok_or(Unsupported)?;
        Ok(Self { shim, exec })
    }

    /// SHA-384 as described at the top of this file; some tens of milliseconds, so it is computed where it is asked for.
    #[must_use]
    pub fn measurement(&self) -> [u8; 48] {
        measure(self.exec)
    }

    /// Another static, position independent program in exec's place, with the built-in shim: for tests, and for whoever
    /// plays a Keep that is not ours. Its measurement is its own.
    #[must_use]
    pub fn of(exec: &'static [u8]) -> Self {
        Self { shim: GUEST.map_or(&[], |[shim, _]| shim), exec }
    }

    /// The same with another shim: for showing that what the shim checks is missed where it does not.
    #[must_use]
    pub fn with_shim(self, shim: &'static [u8]) -> Self {
        Self { shim, ..self }
    }

    /// What is in the shim's place, if that is not the built-in one.
    #[cfg_attr(not(guest), allow(dead_code, reason = "a micro-VM is built of it"))]
    pub(crate) fn other_shim(&self) -> Option<&'static [u8]> {
        let built_in = GUEST.is_some_and(|[shim, _]| std::ptr::eq(shim, self.shim));
        (!built_in).then_some(self.shim)
    }

    /// What is in exec's place, if that is not exec.
    #[cfg_attr(not(guest), allow(dead_code, reason = "a micro-VM is built of it"))]
    pub(crate) fn other(&self) -> Option<&'static [u8]> {
        let built_in = GUEST.is_some_and(|[_, exec]| std::ptr::eq(exec, self.exec));
        (!built_in).then_some(self.exec)
    }

    /// Whether exec is the very same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.exec, other.exec)
    }

    /// A name for exec that no other has; `None` for what is in its place.
    pub(crate) fn name(&self) -> Option<&'static str> {
        if self.other().is_some() { None } else { option_env!("DONJON_EXEC_NAME") }
    }

    #[cfg(guest)]
    pub(crate) fn shim(&self) -> &'static [u8] {
        self.shim
    }

    pub(crate) fn exec(&self) -> &'static [u8] {
        self.exec
    }
}

fn measure(exec: &[u8]) -> [u8; 48] {
    let mut hash = Sha384::new();
    hash.update(b"donjon-image");
    hash.update([LAYOUT]);
    hash.update(u64::try_from(exec.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(exec);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout is a contract: these bytes are computed from the description, not from the function.
    #[test]
    fn the_measured_layout_is_as_documented() {
        let described = [&b"donjon-image\x01\0\0\0\0\0\0\0\x03abc"[..]].concat();
        assert_eq!(measure(b"abc"), <[u8; 48]>::from(Sha384::digest(&described)));
        assert_ne!(measure(b"abc"), measure(b"abd"));
    }

    /// PROMISES.md.
    #[test]
    fn the_shim_is_as_small_as_promised() {
        let Some([shim, _]) = GUEST else { return };
        assert!((100_000..310_000).contains(&shim.len()), "{} bytes", shim.len());
    }
}
