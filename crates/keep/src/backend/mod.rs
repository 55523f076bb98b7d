//! How a Keep is started. Above this trait nobody asks which backend it is.
//!
//! | backend | protection | evidence |
//! |---|---|---|
//! | [`Nil`] | none | none |
//! | [`Sim`] | none | SNP reports of simulated silicon, over a process or over a micro-VM |
//! | [`MicroVm`] | the host is protected from the Keep by a virtual machine; nothing protects the Keep | none |
//!
//! Weak is named and chosen: nothing here picks a backend.

mod kvm;
pub(crate) mod process;
mod sim;

pub use kvm::{NoKvm, kvm};
pub use process::Begun;
pub use sim::Sim;

use crate::launch::{Host, Launch, Running, StartError};

/// One way to start a Keep.
pub trait Backend: Send + Sync {
    /// As the command line names it.
    fn name(&self) -> &'static str;

    /// One line for people: what protection there is.
    fn protection(&self) -> &'static str;

    /// Starts the Keep. The brief in `launch` is in the launch field from here on.
    ///
    /// # Errors
    /// If the operating system refuses.
    fn start(&self, launch: &Launch, host: Host) -> Result<Running, StartError>;
}

/// What a host has from the vendor about its hardware.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Endorsements {
    /// DER certificates, leaf first.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// DER; empty if there is none.
    pub(crate) crl: Vec<u8>,
}

/// The hardware below a Keep, or its stand-in.
pub(crate) trait Attester: Send + Sync {
    /// A report over `report_data`, for a Keep of this measurement launched with this field; `None` if there is no
    /// hardware to make any, or the Keep asks it by itself.
    fn attest(&self, report_data: [u8; 64], launch_field: [u8; 32], measurement: [u8; 48]) -> Option<Vec<u8>>;

    /// What endorses its reports.
    fn endorsements(&self) -> Endorsements;
}

/// No TEE: the Keep's call table is enforced by seccomp, nothing is hidden from the host, and there is no evidence.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nil;

impl Backend for Nil {
    fn name(&self) -> &'static str {
        "nil"
    }

    fn protection(&self) -> &'static str {
        "no protection: this host can read and change everything"
    }

    fn start(&self, launch: &Launch, host: Host) -> Result<Running, StartError> {
        process::start(launch, host, process::Child::Exec, std::sync::Arc::new(Self))
    }
}

/// A micro-VM without a TEE: shim and exec in a virtual machine of KVM.
#[derive(Debug, Clone, Copy, Default)]
pub struct MicroVm;

impl Backend for MicroVm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn protection(&self) -> &'static str {
        "a micro-VM without a TEE: this host can read and change everything"
    }

    fn start(&self, launch: &Launch, host: Host) -> Result<Running, StartError> {
        process::start(launch, host, process::Child::Monitor(crate::sys::Given::default()), std::sync::Arc::new(Nil))
    }
}

impl Attester for Nil {
    fn attest(&self, _: [u8; 64], _: [u8; 32], _: [u8; 48]) -> Option<Vec<u8>> {
        None
    }

    fn endorsements(&self) -> Endorsements {
        Endorsements::default()
    }
}
