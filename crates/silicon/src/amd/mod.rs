//! The AMD side of SEV-SNP: one chip of one product line, its key authority and its firmware.
//!
//! Owns the product lines, the TCB version in its two layouts, and [`Amd`], the value that
//! everything is asked of. `authority` signs certificates and CRLs as AMD's key server would,
//! `vcek` writes the certificates of VCEKs and VLEKs. The firmware: `launch` measures a guest's pages, `id_block`
//! judges who vouches for them, `guest` answers what the guest asks, in the envelopes of `message`,
//! and `report` is its attestation report. Documents: AMD 56860 (SEV-SNP firmware ABI, revision
//! 1.58) and AMD 57230 (VCEK certificate and KDS interface).
//!
//! Invariant: an [`Amd`] gives the same bytes for the same seed, product and arguments, on every
//! machine.

mod authority;
mod guest;
mod id_block;
mod launch;
mod message;
#[cfg(test)]
mod real;
mod report;
mod vcek;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::derive::derive_bytes;

pub use authority::CrlTemplate;
pub use guest::Guest;
pub use id_block::{IdBlock, IdBlockError};
pub use launch::{Finish, Launch, LaunchError, PageKind, Tsc};
pub use message::RequestError;
pub use report::{Firmware, REPORT_LEN, ReportRequest};
pub use vcek::{Extension, VcekTemplate, VekKind};

/// A product line of SNP-capable processors, each with an ARK and an ASK of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// EPYC 7003 (family 19h, models 00h-0Fh).
    Milan,
    /// EPYC 9004 and 8004 (family 19h, models 10h-1Fh and A0h-AFh).
    Genoa,
    /// EPYC 9005 (family 1Ah, models 00h-11h): the first with the TCB layout that names the FMC.
    Turin,
}

impl Product {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name as it stands in AMD's certificate subjects and KDS addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The simulated root certificate (ARK), X.509 DER, signed by its own public-knowledge key.
    pub fn ark_der(self) -> &'static [u8] {
        authority::ark_der(self)
    }

    /// The same root with a certificate that does not let it sign revocation lists.
    pub fn ark_without_lists(self) -> Vec<u8> {
        authority::ark_without_lists(self)
    }

    /// The simulated intermediate (ASK), X.509 DER, signed by the ARK.
    pub fn ask_der(self) -> &'static [u8] {
        authority::intermediate_der(VekKind::Vcek, self)
    }

    /// The simulated intermediate of VLEKs (ASVK), X.509 DER, signed by the ARK.
    pub fn asvk_der(self) -> &'static [u8] {
        authority::intermediate_der(VekKind::Vlek, self)
    }

    /// The ASK certificate of this product, name and key, with a signature by the ARK of `signer`:
    /// the forgery that a verifier meets which compares names only.
    pub fn ask_signed_by(self, signer: Self) -> Vec<u8> {
        authority::intermediate(VekKind::Vcek, self, signer, authority::intermediate_validity(VekKind::Vcek, self))
    }

    /// The ASK certificate with another last second, unix time.
    pub fn ask_until(self, not_after: u64) -> Vec<u8> {
        let (not_before, _) = authority::intermediate_validity(VekKind::Vcek, self);
        authority::intermediate(VekKind::Vcek, self, self, (not_before, not_after))
    }

    /// The root certificate as PEM: what a Steward of class `insecure` names in its policy.
    pub fn ark_pem(self) -> String {
        crate::der::pem(self.ark_der())
    }

    /// The intermediate certificate as PEM.
    pub fn ask_pem(self) -> String {
        crate::der::pem(self.ask_der())
    }

    /// The serial number of the ASK: what a CRL lists to revoke the product line.
    pub const fn ask_serial(self) -> u64 {
        authority::intermediate_serial(VekKind::Vcek, self)
    }

    /// The serial number of the ASVK.
    pub const fn asvk_serial(self) -> u64 {
        authority::intermediate_serial(VekKind::Vlek, self)
    }

    /// CPUID family, model and stepping of the simulated part, as report versions 3 and up carry
    /// them.
    pub const fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 0x01],
            Self::Genoa => [0x19, 0x11, 0x01],
            Self::Turin => [0x1a, 0x02, 0x01],
        }
    }

    /// The TCB version the simulated chip runs: that of real machines in 2025.
    pub const fn tcb(self) -> Tcb {
        match self {
            Self::Milan => Tcb { fmc: 0, boot_loader: 4, tee: 0, snp: 24, microcode: 219 },
            Self::Genoa => Tcb { fmc: 0, boot_loader: 10, tee: 0, snp: 23, microcode: 84 },
            Self::Turin => Tcb { fmc: 0, boot_loader: 1, tee: 0, snp: 2, microcode: 71 },
        }
    }
}

/// A TCB version: the security patch level of each firmware component (AMD 56860, TCB_VERSION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tcb {
    /// Firmware management controller. Turin only; has no place in the older layout and is dropped
    /// there.
    pub fmc: u8,
    /// PSP boot loader.
    pub boot_loader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Lowest microcode patch level of all cores.
    pub microcode: u8,
}

impl Tcb {
    /// The eight bytes of a report, in memory order.
    pub const fn to_bytes(self, product: Product) -> [u8; 8] {
        let Self { fmc, boot_loader, tee, snp, microcode } = self;
        match product {
            Product::Milan | Product::Genoa => [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            Product::Turin => [fmc, boot_loader, tee, snp, 0, 0, 0, microcode],
        }
    }
}

/// One simulated chip, with the authority above it. Cheap to clone; clones share their cache of
/// signatures.
#[derive(Clone)]
pub struct Amd {
    product: Product,
    seed: [u8; 32],
    /// RSA-4096 takes tens of milliseconds; the same certificate is asked for at every attestation.
    signatures: Arc<Mutex<BTreeMap<[u8; 32], Vec<u8>>>>,
}

impl Amd {
    /// The chip of `product` that `seed` names. Nothing is computed yet.
    pub fn from_seed(seed: [u8; 32], product: Product) -> Self {
        Self { product, seed, signatures: Arc::default() }
    }

    /// The product line.
    pub const fn product(&self) -> Product {
        self.product
    }

    /// The TCB version the chip runs, reports and has committed unless a request says otherwise.
    pub const fn tcb(&self) -> Tcb {
        self.product.tcb()
    }

    /// CHIP_ID as reports carry it: 64 bytes, on Turin eight and then zeros.
    pub fn chip_id(&self) -> [u8; 64] {
        let mut id = derive_bytes::<64>(&self.seed, "chip id", &[self.product.name().as_bytes()]);
        if self.product == Product::Turin {
            id[8..].fill(0);
        }
        id
    }

    /// The root certificate (ARK) of this chip's product line, X.509 DER.
    pub fn ark_der(&self) -> &'static [u8] {
        self.product.ark_der()
    }

    /// The intermediate (ASK) that signs this chip's VCEKs, X.509 DER.
    pub fn ask_der(&self) -> &'static [u8] {
        self.product.ask_der()
    }

    /// The VCEK certificate of this chip at `tcb`, X.509 DER, as AMD's key server would send it.
    pub fn vcek_der(&self, tcb: Tcb) -> Vec<u8> {
        self.issue_vcek(&self.vcek_template(tcb))
    }

    /// What [`vcek_der`](Self::vcek_der) signs, to be changed before
    /// [`issue_vcek`](Self::issue_vcek).
    pub fn vcek_template(&self, tcb: Tcb) -> VcekTemplate {
        vcek::template(self, tcb)
    }

    /// The VLEK certificate of `provider` (a cspID) at `tcb`, not signed yet. The key is the seed's, as if it had been
    /// loaded into this chip.
    pub fn vlek_template(&self, tcb: Tcb, provider: &str) -> VcekTemplate {
        vcek::loaded(self, tcb, provider)
    }

    /// Signs a certificate of a VCEK or VLEK, be it one that AMD would never issue: for tests of verifiers.
    pub fn issue_vcek(&self, template: &VcekTemplate) -> Vec<u8> {
        vcek::issue(self, template)
    }

    /// A CRL of the ARK, DER: valid from `this_update` to `next_update` (unix seconds, before the
    /// year 10000), listing the serial numbers `revoked` as revoked at `this_update`. The CRL
    /// number is `this_update`.
    pub fn crl_der(&self, this_update: u64, next_update: u64, revoked: &[u64]) -> Vec<u8> {
        self.issue_crl(&self.crl_template(this_update, next_update, revoked))
    }

    /// What [`crl_der`](Self::crl_der) signs, to be changed before [`issue_crl`](Self::issue_crl).
    pub fn crl_template(&self, this_update: u64, next_update: u64, revoked: &[u64]) -> CrlTemplate {
        CrlTemplate {
            issuer: self.product,
            this_update,
            next_update: Some(next_update),
            number: this_update,
            revoked: revoked.to_vec(),
            critical: Vec::new(),
        }
    }

    /// Signs a CRL that AMD would never issue: for tests of verifiers.
    pub fn issue_crl(&self, template: &CrlTemplate) -> Vec<u8> {
        authority::crl(self, template)
    }

    /// Begins the launch of a guest with this POLICY, as SNP_LAUNCH_START does: its context, with an
    /// empty launch digest.
    ///
    /// # Errors
    /// [`LaunchError::Policy`] if this machine cannot keep to the policy.
    pub fn launch(&self, policy: u64) -> Result<Launch, LaunchError> {
        Launch::start(self, policy)
    }

    /// A report request with this product's good defaults and zero report data, host data and
    /// measurement.
    pub fn request(&self) -> ReportRequest {
        report::defaults(self)
    }

    /// The ATTESTATION_REPORT for `request`, signed by the VCEK of its reported TCB.
    pub fn report(&self, request: &ReportRequest) -> [u8; REPORT_LEN] {
        report::report(self, request)
    }

    /// Signs the first 0x2A0 bytes of `report` as they are, with the VCEK of `tcb`, and writes the
    /// signature. The firmware has no such command: this is an attacker who holds the chip's key,
    /// for tests of verifiers.
    pub fn sign_report(&self, report: &mut [u8; REPORT_LEN], tcb: Tcb) {
        report::sign(self, report, VekKind::Vcek, tcb);
    }

    /// The same with the VLEK of `tcb`, which is how a chip signs into which one was loaded.
    pub fn sign_report_with_vlek(&self, report: &mut [u8; REPORT_LEN], tcb: Tcb) {
        report::sign(self, report, VekKind::Vlek, tcb);
    }

    /// The signature for `tbs` by `sign`, computed once.
    fn cached(&self, key: [u8; 32], sign: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        // Every CRL instant is a new entry; a long demo must not grow for ever.
        const MAX: usize = 256;
        let mut signatures = self.signatures.lock().unwrap_or_else(PoisonError::into_inner);
        if signatures.len() >= MAX && !signatures.contains_key(&key) {
            signatures.clear();
        }
        signatures.entry(key).or_insert_with(sign).clone()
    }
}

impl fmt::Debug for Amd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amd").field("product", &self.product).finish_non_exhaustive()
    }
}
