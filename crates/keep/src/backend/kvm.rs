//! The host's device for virtual machines: whether micro-VMs can be made here, and if not, what to do.
//!
//! Owns the reading of what the kernel answers (Linux, Documentation/virt/kvm/api.rst; the modules' messages). Refuses
//! nothing by itself: the monitor opens the device once more, confined, and says what it finds then.

use std::fs::OpenOptions;
use std::io;

/// The device.
const DEVICE: &str = "/dev/kvm";

/// No micro-VM can be made here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoKvm {
    /// The device does not open.
    #[error("{DEVICE} does not open: {0}")]
    Opens(#[source] io::Error),
    /// It opens, and makes no virtual machine.
    #[error("{DEVICE} opens, and makes no virtual machine: {0}")]
    Makes(#[source] io::Error),
}

impl NoKvm {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        let (Self::Opens(error) | Self::Makes(error)) = self;
        match error.kind() {
            io::ErrorKind::NotFound => {
                "load the kernel's module (`modprobe kvm_amd` or `kvm_intel`); in a container pass the device on; in a \
                 virtual machine its host must allow nested virtualization"
            }
            io::ErrorKind::PermissionDenied => {
                "join the group that owns it, usually `kvm` (`sudo usermod -aG kvm $USER`), and log in again"
            }
            io::ErrorKind::ResourceBusy => "another hypervisor has the processor: end its virtual machines",
            _ => match error.raw_os_error() {
                // ENXIO and ENODEV, for which the library has no kinds.
                Some(6 | 19) => {
                    "the device has no module behind it: load `kvm_amd` or `kvm_intel`, and turn virtualization on in \
                     the firmware's set-up"
                }
                _ => "`dmesg` may say why",
            },
        }
    }
}

/// Whether the device opens.
pub(crate) fn opens() -> Result<(), NoKvm> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map(drop).map_err(NoKvm::Opens)
}

/// Whether micro-VMs can be made here: makes one, and drops it.
///
/// # Errors
/// [`NoKvm`] with what the kernel answered.
#[cfg(guest)]
pub fn kvm() -> Result<(), NoKvm> {
    opens()?;
    let made = kvm_ioctls::Kvm::new().and_then(|kvm| kvm.create_vm());
    made.map(drop).map_err(|error| NoKvm::Makes(error.into()))
}

/// Nowhere but on x86-64 Linux.
///
/// # Errors
/// Always.
#[cfg(not(guest))]
pub fn kvm() -> Result<(), NoKvm> {
    Err(NoKvm::Opens(io::ErrorKind::Unsupported.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers, by its number, and which words the hint for it has.
    #[test]
    fn every_answer_of_the_kernel_has_its_hint() {
        const ANSWERS: [(i32, &str); 7] = [
            (2, "load the kernel's module"),
            (13, "join the group"),
            (1, "join the group"),
            (19, "no module behind it"),
            (6, "no module behind it"),
            (16, "another hypervisor"),
            (12, "dmesg"),
        ];
        for (number, words) in ANSWERS {
            for wrap in [NoKvm::Opens, NoKvm::Makes] {
                let error = wrap(io::Error::from_raw_os_error(number));
                assert!(error.hint().contains(words), "{number}: {}", error.hint());
                let told = error.to_string();
                assert!(told.starts_with("/dev/kvm ") && told.ends_with(&format!("(os error {number})")), "{told}");
            }
        }
    }
}
