//! `sim`: the process of `nil`, attested by simulated AMD silicon. For demonstrations and for machines without KVM.
//!
//! The simulation stands under the attester: exec, identity and Steward cannot tell it from hardware except by its roots,
//! which only a Steward of the insecure class that names them accepts.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use silicon::{Amd, ReportRequest};

use super::{Attester, Backend, Evidence, process};
use crate::launch::{Host, Launch, Running, StartError};

/// Seconds between two simulated revocation lists, and how long one is fresh.
const CRL_EVERY: u64 = 24 * 3600;
const CRL_LIFE: u64 = 7 * CRL_EVERY;

/// Guest policy bit 19, DEBUG (AMD 56860, table 10).
const POLICY_DEBUG: u64 = 1 << 19;

/// A Keep on simulated SEV-SNP.
#[derive(Clone)]
pub struct Sim {
    firmware: Arc<Amd>,
    /// Guest policy bit DEBUG; for showing that such a Keep is refused.
    insecure_debug: bool,
}

impl Sim {
    /// On this simulated machine.
    #[must_use]
    pub fn new(firmware: Arc<Amd>) -> Self {
        Self { firmware, insecure_debug: false }
    }

    /// The same machine with the guest policy's DEBUG bit set, as a host would do that wants to read the Keep's memory.
    #[must_use]
    pub fn with_insecure_debug(self) -> Self {
        Self { insecure_debug: true, ..self }
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
        process::start(launch, host, Arc::new(self.clone()))
    }
}

impl Attester for Sim {
    fn attest(&self, report_data: [u8; 64], host_data: [u8; 32], measurement: [u8; 48]) -> Option<Evidence> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let healthy = self.firmware.request();
        let policy = if self.insecure_debug { healthy.policy | POLICY_DEBUG } else { healthy.policy };
        let report = self.firmware.report(&ReportRequest { report_data, host_data, measurement, policy, ..healthy });
        // One list a day, so that a day's attestations share its signature.
        let this_update = now - now % CRL_EVERY;
        Some(Evidence {
            media_type: identity::csr::SNP_MEDIA_TYPE,
            bytes: report.to_vec(),
            endorsements: vec![self.firmware.vcek_der(self.firmware.tcb()), self.firmware.ask_der().to_vec()],
            crl: self.firmware.crl_der(this_update, this_update.saturating_add(CRL_LIFE), &[]),
        })
    }
}
