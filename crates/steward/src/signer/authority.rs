//! The certificate authority: a signing key and the chain from it to a root.
//!
//! Two sources: a pair made here (dies with the process unless [`Authority::generate`] hands it out) or PEM
//! files, whose chain may have intermediates. What comes from a file is checked at start as a Keep will check
//! it later, so that a wrong file is a start error and not ten thousand refused enrolments.
//! Invariant (trust.md rule 7): an authority has one trust class, and every certificate of its chain says so in
//! its subject – INSECURE for the insecure class, never for the hardware class – so no root and no intermediate
//! serves both.

use identity::{
    chain,
    constraints::NameConstraints,
    ear::Class,
    issuer::{self, Issuer, IssuerError, RootError, RootTemplate},
    keys::{Algorithm, Signer as _, Verifier as _},
};
use thiserror::Error;
use workload::{digest::Digest, names::DnsName};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _, Tag, Tagged as _, oid::ObjectIdentifier},
    name::Name,
};
use zeroize::Zeroizing;

use super::key::{Key, KeyError, Signatures};
use crate::pem::{self, PemError};

/// Certificates the chain of an authority may have, root included: a Keep's own comes on top of them.
pub const MAX_CHAIN: usize = chain::MAX_CHAIN - 1;

/// How long a root made here is valid, in seconds (ten years: its key is gone long before).
pub const ROOT_LIFETIME: u64 = 10 * 365 * 24 * 3600;

/// The words that separate the classes in subjects.
const INSECURE: &str = "INSECURE";
const SIMULATED: &str = "SIMULATED";

/// A signing key, its chain and its class.
#[derive(Debug)]
pub struct Authority {
    key: Key,
    class: Class,
    /// Issuing certificate first, root last.
    chain: Vec<Vec<u8>>,
    issuer: Issuer,
    /// Digests of the SPKIs, in the order of the chain.
    keys: Vec<Digest>,
    anchor: Digest,
    not_after: u64,
    /// Roots that are believed beside this one's, while one follows another.
    others: Vec<Vec<u8>>,
}

/// A new root and its key, in the two files a Steward reads at its next start.
#[derive(Debug)]
pub struct Generated {
    /// The private key as PKCS#8 PEM.
    pub key: Zeroizing<String>,
    /// The root certificate as PEM.
    pub certificates: String,
}

impl Authority {
    /// A root made here at `now` (seconds since 1970); its key dies with the process.
    ///
    /// # Errors
    /// [`AuthorityError::Key`] when the system gives no random bytes.
    pub fn random(class: Class, now: u64) -> Result<Self, AuthorityError> {
        let key = Key::random(Algorithm::EcdsaP256Sha256)?;
        let root = self_signed(&key, class, &[], now)?;
        Self::new(class, key, vec![root], now)
    }

    /// A root made here at `now`, for somebody who keeps it in files; `dns` as in [`Self::root`].
    ///
    /// # Errors
    /// [`AuthorityError::Key`] when the system gives no random bytes.
    pub fn generate(
        class: Class,
        algorithm: Algorithm,
        dns: &[DnsName],
        now: u64,
    ) -> Result<Generated, AuthorityError> {
        let key = Key::random(algorithm)?;
        Ok(Generated {
            certificates: Self::root(&key, class, dns, now)?,
            key: Zeroizing::new(pem::encode("PRIVATE KEY", &key.to_pkcs8()?)),
        })
    }

    /// The pair of two PEM texts: a PKCS#8 private key, and the chain with the issuing certificate first and
    /// the root last.
    ///
    /// # Errors
    /// [`AuthorityError`] names the certificate that is wrong, counted from the issuing one (0).
    pub fn from_pem(class: Class, key: &[u8], certificates: &[u8], now: u64) -> Result<Self, AuthorityError> {
        Self::with_key(class, Key::from_pem(key)?, certificates, now)
    }

    /// A key that somebody else holds, and the chain as in [`Self::from_pem`].
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn with_key(class: Class, key: Key, certificates: &[u8], now: u64) -> Result<Self, AuthorityError> {
        Self::new(class, key, pem::read_certificates(certificates)?, now)
    }

    /// The same, with roots in PEM that are believed beside its own: the one that comes next, or was there before.
    ///
    /// # Errors
    /// [`AuthorityError`] names the certificate that is no root of this class, counted from 0.
    pub fn beside(self, roots: &[u8], now: u64) -> Result<Self, AuthorityError> {
        let others = pem::read_certificates(roots)?;
        for (index, der) in others.iter().enumerate() {
            let root = read_link(index, der, self.class, now)?;
            signed_by(index, &root, &root)?;
        }
        Ok(Self { others, ..self })
    }

    /// The root certificate of a key, in PEM, for somebody who keeps both. It is for these DNS names and all below them; for
    /// any, if none is given.
    ///
    /// # Errors
    /// [`AuthorityError::Root`] when the key does not sign, or there are too many names.
    pub fn root(key: &Key, class: Class, dns: &[DnsName], now: u64) -> Result<String, AuthorityError> {
        Ok(pem::encode("CERTIFICATE", &self_signed(key, class, dns, now)?))
    }

    fn new(class: Class, key: Key, chain: Vec<Vec<u8>>, now: u64) -> Result<Self, AuthorityError> {
        if chain.len() > MAX_CHAIN {
            return Err(AuthorityError::Long { expected: MAX_CHAIN, found: chain.len() });
        }
        let links =
            chain.iter().enumerate().map(|(index, der)| link(index, der, class, now)).collect::<Result<Vec<_>, _>>()?;
        let (Some(issuing), Some(root)) = (links.first(), links.last()) else {
            return Err(AuthorityError::Pem(PemError::Empty));
        };
        if issuing.spki != key.spki() {
            return Err(AuthorityError::OtherKey);
        }
        for (index, link) in links.iter().enumerate() {
            // The root is its own issuer: without it a Keep could not find the anchor.
            signed_by(index, link, links.get(index + 1).unwrap_or(root))?;
        }
        let mut issuer = root.clone();
        for (index, link) in links.iter().enumerate().rev().skip(1) {
            issuer = link.clone().under(&issuer).map_err(|error| AuthorityError::Certificate { index, error })?;
        }

        Ok(Self {
            anchor: root.key(),
            keys: links.iter().map(Issuer::key).collect(),
            not_after: links.iter().map(|link| link.not_after).min().unwrap_or(0),
            issuer,
            key,
            class,
            chain,
            others: Vec::new(),
        })
    }

    /// The trust class every certificate of this authority belongs to.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The key that signs.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What certificates name as their issuer, with the name constraints of its whole chain.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// In words, which DNS names its chain lets it certify.
    #[must_use]
    pub fn permitted(&self) -> String {
        match self.issuer.constraints() {
            [] => NameConstraints::default().to_string(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join("; of these "),
        }
    }

    /// The chain in DER, issuing certificate first, root last.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The roots that are believed, in DER: its own, then those beside it.
    pub fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.last().into_iter().chain(&self.others).map(Vec::as_slice)
    }

    /// SHA-256 of the root's SPKI: what a brief lists as anchor.
    #[must_use]
    pub fn anchor(&self) -> Digest {
        self.anchor
    }

    /// SHA-256 of the SPKI of each certificate of the chain: keys that do nothing but stand in it.
    #[must_use]
    pub fn keys(&self) -> &[Digest] {
        &self.keys
    }

    /// The root certificate as PEM, for those who verify with ordinary tools.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.chain.last().map(|root| pem::encode("CERTIFICATE", root)).unwrap_or_default()
    }

    /// Last second in which the whole chain is valid, seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
}

fn self_signed(key: &Key, class: Class, dns: &[DnsName], now: u64) -> Result<Vec<u8>, AuthorityError> {
    let digest = Digest::of(key.spki()).to_hex();
    let common_name = match class {
        Class::Hardware => format!("Donjon Steward {}", &digest[..16]),
        Class::Insecure => format!("Donjon Steward {INSECURE} {SIMULATED} {}", &digest[..16]),
    };
    // Of what makes it another root than this key's next one; positive, and never zero.
    let names: Vec<&str> = dns.iter().map(DnsName::as_str).collect();
    let facts = Digest::of(format!("{digest} {now} {}", names.join(" ")).as_bytes());
    let mut serial = [0; 16];
    serial.copy_from_slice(&facts.as_bytes()[..16]);
    serial[0] = serial[0] & 0x7f | 0x40;
    let template = RootTemplate {
        common_name,
        not_before: now,
        not_after: now.saturating_add(ROOT_LIFETIME),
        serial,
        path_len: 0,
        dns: dns.to_vec(),
    };
    Ok(issuer::root(&template, key)?)
}

/// Everything about one certificate that its neighbour does not enter into.
fn link(index: usize, der: &[u8], class: Class, now: u64) -> Result<Issuer, AuthorityError> {
    let link = read_link(index, der, class, now)?;
    // RFC 5280 section 4.2.1.9: authorities that stand below this one; `index` of them do.
    if let Some(allowed) = link.path_len
        && index > usize::from(allowed)
    {
        return Err(AuthorityError::PathLength { index, allowed });
    }
    Ok(link)
}

/// An authority of this class that is valid now.
fn read_link(index: usize, der: &[u8], class: Class, now: u64) -> Result<Issuer, AuthorityError> {
    let link = Issuer::read(der).map_err(|error| AuthorityError::Certificate { index, error })?;
    if class_of(&link.subject) != Some(class) {
        let subject = Name::from_der(&link.subject).map_or_else(|_| "unreadable".to_owned(), |name| name.to_string());
        return Err(AuthorityError::Class { index, expected: class, subject });
    }
    if !(link.not_before..=link.not_after).contains(&now) {
        return Err(AuthorityError::Validity { index, not_before: link.not_before, not_after: link.not_after, now });
    }
    Ok(link)
}

/// The class a subject says; `None` when a part of it is not in a form in which the words would be seen.
fn class_of(subject: &[u8]) -> Option<Class> {
    let mut class = Class::Hardware;
    for part in Name::from_der(subject).ok()?.iter() {
        if !matches!(part.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String) {
            return None;
        }
        let text = std::str::from_utf8(part.value.value()).ok()?;
        if text.contains(INSECURE) || text.contains(SIMULATED) {
            class = Class::Insecure;
        }
    }
    Some(class)
}

fn signed_by(index: usize, link: &Issuer, above: &Issuer) -> Result<(), AuthorityError> {
    const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
    const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
    if link.issuer != above.subject {
        return Err(AuthorityError::Order { index });
    }
    let refused = AuthorityError::Signature { index };
    let Ok(certificate) = Certificate::from_der(&link.der) else {
        return Err(refused);
    };
    let algorithm = match certificate.signature_algorithm().oid {
        SHA256 => Algorithm::EcdsaP256Sha256,
        SHA384 => Algorithm::EcdsaP384Sha384,
        _ => return Err(refused),
    };
    let (Ok(signed), Some(signature)) = (certificate.tbs_certificate().to_der(), certificate.signature().as_bytes())
    else {
        return Err(refused);
    };
    if Signatures.verify(algorithm, &above.spki, &signed, signature) { Ok(()) } else { Err(refused) }
}

/// Why a key and a chain do not make an authority. `index` counts certificates from the issuing one (0) to the
/// root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The private key cannot be used.
    #[error("private key: {0}")]
    Key(#[from] KeyError),
    /// The certificate file cannot be read.
    #[error("certificates: {0}")]
    Pem(#[from] PemError),
    /// Too many certificates.
    #[error("the chain has {found} certificates, at most {expected} are taken")]
    Long {
        /// [`MAX_CHAIN`].
        expected: usize,
        /// Certificates found.
        found: usize,
    },
    /// Not a certificate that may stand above a Keep's.
    #[error("certificate {index}: {error}")]
    Certificate {
        /// Which one.
        index: usize,
        /// Why.
        error: IssuerError,
    },
    /// The first certificate has another key.
    #[error("certificate 0 is not the private key's: the issuing certificate must come first")]
    OtherKey,
    /// More authorities below it than it allows.
    #[error("certificate {index} allows {allowed} authorities below it, there are {index}")]
    PathLength {
        /// Which one.
        index: usize,
        /// What it allows.
        allowed: u8,
    },
    /// Subject and class do not belong together.
    #[error(
        "certificate {index} (`{subject}`) does not belong to the class {expected}: subjects of the insecure class say {INSECURE}, others must not, as UTF8String, PrintableString or IA5String"
    )]
    Class {
        /// Which one.
        index: usize,
        /// The Steward's class.
        expected: Class,
        /// The subject found.
        subject: String,
    },
    /// Expired or not yet valid.
    #[error("certificate {index} is valid from {not_before} to {not_after}, and it is {now}")]
    Validity {
        /// Which one.
        index: usize,
        /// Seconds since 1970.
        not_before: u64,
        /// Seconds since 1970.
        not_after: u64,
        /// Seconds since 1970.
        now: u64,
    },
    /// The next certificate is not the issuer of this one.
    #[error(
        "the certificate after {index} is not its issuer: order is issuing certificate, intermediates, self-signed root"
    )]
    Order {
        /// Which one.
        index: usize,
    },
    /// The signature is wrong or of a kind that Keeps do not verify.
    #[error("certificate {index} is not signed by the next one with ECDSA (P-256 with SHA-256, or P-384 with SHA-384)")]
    Signature {
        /// Which one.
        index: usize,
    },
    /// The root could not be made.
    #[error("the root certificate could not be made: {0}")]
    Root(#[from] RootError),
}

impl AuthorityError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Key(error) => error.hint(),
            Self::Pem(error) => error.hint(),
            Self::OtherKey | Self::Order { .. } => {
                Some("the file holds the certificate of the key, then its issuer and so on, the self-signed root last")
            }
            Self::Long { .. } | Self::PathLength { .. } => Some("issue directly below an authority that allows it"),
            Self::Certificate { .. } | Self::Signature { .. } => {
                Some("spec/certificate.md says what a certificate above a Keep's has to be")
            }
            Self::Class { .. } => {
                Some("each class has keys and certificates of its own: give those of the policy's class")
            }
            Self::Validity { .. } => Some("renew this certificate, or set the clock"),
            Self::Root(_) => None,
        }
    }
}
