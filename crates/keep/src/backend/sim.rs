//! Keeps on simulated AMD silicon: `sim` is the process of `nil`, attested; for demonstrations and for machines without
//! KVM. `sim-snp` is the micro-VM, launched and measured by simulated SNP firmware that answers its guest messages.
//!
//! The simulation stands under the attester: exec, identity and Steward cannot tell it from hardware except by its roots,
//! which only a Steward of the insecure class that names them accepts.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use silicon::{Amd, Guest, ReportRequest};

use super::{Attester, Backend, Endorsements, process};
use crate::launch::{Host, Launch, Running, StartError};
#[cfg(guest)]
use crate::machine::firmware::start as firmware;

/// Seconds between two simulated revocation lists, and how long one is fresh.
const CRL_EVERY: u64 = 24 * 3600;
const CRL_LIFE: u64 = 7 * CRL_EVERY;

/// There is no micro-VM here to have one.
#[cfg(not(guest))]
fn firmware(_: &Amd, _: &Launch, _: impl Fn(Guest) -> Guest) -> std::io::Result<crate::sys::Firmware> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// What a hostile host makes of the request for a report.
type Tampering = dyn Fn(&mut ReportRequest) + Send + Sync;

/// A Keep on simulated SEV-SNP.
#[derive(Clone)]
pub struct Sim {
    firmware: Arc<Amd>,
    micro_vm: bool,
    revoked: Vec<u64>,
    tampering: Option<Arc<Tampering>>,
}

impl Sim {
    /// `sim` on this simulated machine.
    #[must_use]
    pub fn new(firmware: Arc<Amd>) -> Self {
        Self { firmware, micro_vm: false, revoked: Vec::new(), tampering: None }
    }

    /// `sim-snp` on this simulated machine.
    #[must_use]
    pub fn micro_vm(firmware: Arc<Amd>) -> Self {
        Self { micro_vm: true, ..Self::new(firmware) }
    }

    /// The same machine, under a vendor that revoked certificates with these serials.
    #[must_use]
    pub fn with_revoked(self, revoked: Vec<u64>) -> Self {
        Self { revoked, ..self }
    }

    /// The same machine under a hostile host, who launches the Keep, and answers its questions, as it likes. Whatever it
    /// does, the firmware signs what is true of it: for showing that such Keeps are refused.
    #[must_use]
    pub fn with_hostile_host(self, tampering: impl Fn(&mut ReportRequest) + Send + Sync + 'static) -> Self {
        Self { tampering: Some(Arc::new(tampering)), ..self }
    }
}

impl Backend for Sim {
    fn name(&self) -> &'static str {
        if self.micro_vm { "sim-snp" } else { "sim" }
    }

    fn protection(&self) -> &'static str {
        if self.micro_vm {
            "no protection: a micro-VM on simulated SEV-SNP, this host can read and change everything"
        } else {
            "no protection: simulated SEV-SNP, this host can read and change everything"
        }
    }

    fn start(&self, launch: &Launch, host: Host) -> Result<Running, StartError> {
        let child = if self.micro_vm {
            let tampering = self.tampering.clone();
            let prepare = move |guest: Guest| match tampering.clone() {
                Some(tampering) => guest.with_hostile_host(move |report| tampering(report)),
                None => guest,
            };
            let firmware = firmware(&self.firmware, launch, prepare);
            let failed = |source| StartError::System { what: "start the simulated firmware", source };
            process::Child::Monitor(crate::sys::Given {
                firmware: Some(firmware.map_err(failed)?),
                ..Default::default()
            })
        } else {
            process::Child::Exec
        };
        process::start(launch, host, child, Arc::new(self.clone()))
    }
}

impl Attester for Sim {
    fn attest(&self, report_data: [u8; 64], host_data: [u8; 32], measurement: [u8; 48]) -> Option<Vec<u8>> {
        // A micro-VM's shim asks its firmware by itself.
        if self.micro_vm {
            return None;
        }
        let mut request = ReportRequest { report_data, host_data, measurement, ..self.firmware.request() };
        if let Some(tampering) = &self.tampering {
            tampering(&mut request);
        }
        Some(self.firmware.report(&request).to_vec())
    }

    fn endorsements(&self) -> Endorsements {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // One list a day, so that a day's attestations share its signature.
        let this_update = now - now % CRL_EVERY;
        Endorsements {
            certificates: vec![self.firmware.vcek_der(self.firmware.tcb()), self.firmware.ask_der().to_vec()],
            crl: self.firmware.crl_der(this_update, this_update.saturating_add(CRL_LIFE), &self.revoked),
        }
    }
}
