//! Simulated Intel: the provisioning certification service, and platforms that quote.
//!
//! ```text
//!   root --> PCK Platform CA --> PCK(platform) --> QE report --> attestation key --> quote
//!        --> TCB signing --> TCB info, QE identity
//!        --> root CRL;  PCK Platform CA --> PCK CRL
//! ```
//!
//! Owns what is certified ([`pki`]), what is said of platforms ([`info`]) and what a platform says ([`quote`]). Everything is
//! made from a template with public fields, of which a test changes what it wants to see refused. The keys of the services
//! follow from their names, those of a platform from its seed: **all of them are public**.
//!
//! Invariant: the same templates are the same bytes; signatures are those of RFC 6979.

pub mod info;
pub mod pki;
pub mod quote;

pub use info::{QeIdentity, SvnLevel, TcbInfo, TcbLevel, TdxModule};
pub use pki::{Certificate, Crl, Pck};
pub use quote::{Body, Enclave, Quote, Td};

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, Signature, SigningKey};

use crate::der;
use crate::derive::derive_bytes;

/// What every name ends with.
const SUFFIX: &str = " SIMULATED-PUBLIC";

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Of the root CA.
    Root,
    /// Of the CA of platforms with several processors.
    PlatformCa,
    /// Of the CA of platforms with one processor.
    ProcessorCa,
    /// Of TCB info and QE identities.
    TcbSigning,
    /// A platform's provisioning certification key; from this seed.
    Pck([u8; 32]),
    /// A platform's attestation key; from this seed.
    Attestation([u8; 32]),
    /// Nobody's.
    Other,
}

impl Key {
    fn signing(self) -> SigningKey {
        let (seed, label): (&[u8], _) = match &self {
            Self::Root => (&[], "intel root"),
            Self::PlatformCa => (&[], "intel platform ca"),
            Self::ProcessorCa => (&[], "intel processor ca"),
            Self::TcbSigning => (&[], "intel tcb signing"),
            Self::Pck(seed) => (seed, "intel pck"),
            Self::Attestation(seed) => (seed, "intel attestation"),
            Self::Other => (&[], "intel other"),
        };
        // One candidate in 2^32 is not a scalar of P-256.
        (0..=u8::MAX)
            .find_map(|attempt| SigningKey::from_slice(&derive_bytes::<32>(seed, label, &[&[attempt]])).ok())
            .expect("256 candidates do not all miss")
    }

    /// The point, x||y.
    pub fn point(self) -> [u8; 64] {
        let point = self.signing().verifying_key().to_sec1_point(false);
        point.as_bytes()[1..].try_into().expect("an uncompressed point has 65 bytes")
    }

    /// r||s over SHA-256.
    pub fn sign(self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.signing().sign(message);
        signature.to_bytes().into()
    }

    /// The same, DER.
    fn sign_der(self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.signing().sign(message);
        signature.as_bytes().to_vec()
    }

    /// SubjectPublicKeyInfo: id-ecPublicKey, prime256v1, uncompressed point (RFC 5480).
    fn spki(self) -> Vec<u8> {
        let algorithm = der::sequence(&[&der::oid(pki::EC_PUBLIC_KEY), &der::oid(pki::PRIME256V1)]);
        der::sequence(&[&algorithm, &der::bit_string(&[&[4], &self.point()[..]].concat())])
    }
}

/// Everything by which a quote is judged, as templates.
#[derive(Debug, Clone)]
pub struct Service {
    /// The root's own certificate.
    pub root: Certificate,
    /// The certificate of the PCKs' CA.
    pub ca: Certificate,
    /// The certificate of TCB info's signer.
    pub tcb_signer: Certificate,
    /// The certificate of QE identity's signer: mostly the same.
    pub qe_signer: Certificate,
    /// The root's revocation list.
    pub root_crl: Crl,
    /// The CA's revocation list.
    pub pck_crl: Crl,
    /// What is said of platforms.
    pub tcb_info: TcbInfo,
    /// What is said of quoting enclaves.
    pub qe_identity: QeIdentity,
}

impl Service {
    /// What is true from `from` to `to`, unix time, about platforms as [`Quote::new`] makes them.
    pub fn new(tdx: bool, from: u64, to: u64) -> Self {
        Self {
            root: Certificate::root(),
            ca: Certificate::ca(Key::PlatformCa),
            tcb_signer: Certificate::tcb_signer(),
            qe_signer: Certificate::tcb_signer(),
            root_crl: Crl::new(Key::Root, from, to),
            pck_crl: Crl::new(Key::PlatformCa, from, to),
            tcb_info: TcbInfo::new(tdx, from, to),
            qe_identity: QeIdentity::new(tdx, from, to),
        }
    }

    /// PEM of a certificate and the root's.
    pub fn chain(&self, leaf: &Certificate) -> String {
        pki::pem(&leaf.der()) + &pki::pem(&self.root.der())
    }
}
