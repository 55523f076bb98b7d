//! `sim`: the process of `nil`, attested by simulated AMD silicon. For demonstrations and for machines without KVM.
//!
//! The simulation stands under the attester: exec, identity and Steward cannot tell it from hardware except by its roots,
//! which only a Steward of the insecure class that names them accepts.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use silicon::{Amd, ReportRequest};

use super::{Attester, Backend, Endorsements, process};
use crate::launch::{Host, Launch, Running, StartError};

/// Seconds between two simulated revocation lists, and how long one is fresh.
const CRL_EVERY: u64 = 24 * 3600;
const CRL_LIFE: u64 = 7 * CRL_EVERY;

/// What a hostile host makes of the request for a report.
type Tampering = dyn Fn(&mut ReportRequest) + Send + Sync;

/// A Keep on simulated SEV-SNP.
#[derive(Clone)]
pub struct Sim {
    firmware: Arc<Amd>,
    revoked: Vec<u64>,
    tampering: Option<Arc<Tampering>>,
}

impl Sim {
    /// On this simulated machine.
    #[must_use]
    pub fn new(firmware: Arc<Amd>) -> Self {
        Self { firmware, revoked: Vec::new(), tampering: None }
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
        "sim"
    }

    fn protection(&self) -> &'static str {
        "no protection: simulated SEV-SNP, this host can read and change everything"
    }

    fn start(&self, launch: &Launch, host: Host) -> Result<Running, StartError> {
        process::start(launch, host, process::Child::Exec, Arc::new(self.clone()))
    }
}

impl Attester for Sim {
    fn attest(&self, report_data: [u8; 64], host_data: [u8; 32], measurement: [u8; 48]) -> Option<Vec<u8>> {
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
