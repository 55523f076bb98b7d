//! Who made a workload: a publisher's signature over its digest, a product's name and its security version number.
//!
//! Owns the payload, which is cosign's (containers/image, `docs/atomic-signature-embedded-json.json`; sigstore/cosign,
//! `specs/SIGNATURE_SPEC.md`), the form in which signature and key travel beside a Deployment, and what owners accept in place of
//! a digest. Refuses payloads of another type, unknown critical members, and signatures that name no product or no version.
//! Invariant: a [`Published`] out of [`Signature::verify`] is what the key it names has signed; whether anybody trusts that key for
//! that product, an owner says by [`Accepted::Product`].
//!
//! ```
//! use identity::publisher::Claim;
//! use workload::Digest;
//!
//! let claim = Claim {
//!     reference: "registry.example.org/acme/shop".to_owned(),
//!     workload: Digest::of(b"manifest"),
//!     product: "shop".parse()?,
//!     svn: 3,
//! };
//! assert!(claim.payload().contains(r#""dev.donjon.svn":"3""#));
//! # Ok::<(), workload::names::NameError>(())
//! ```

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::Name;

use crate::cbor::{Reader, Writer};
use crate::deployment::{digest, name};
use crate::keys::{self, Algorithm, KeyError, SignError, Signer, Verifier, key_digest};
use crate::signed::DocumentError;

/// The media type under which signature, key and payload travel to a Steward.
pub const SIGNATURE_MEDIA_TYPE: &str = "application/vnd.donjon.workload-signature+cbor";
/// The longest of these, in bytes.
pub const SIGNATURE_LIMIT: usize = 16 * 1024;
/// The media type of the payload in a registry.
pub const PAYLOAD_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// `artifactType` of the manifest that refers to a workload with its signature.
pub const SIGNATURE_ARTIFACT_TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The annotation of the payload's descriptor that has the signature: DER, in base64 with padding.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// `critical.type` of the payload.
const KIND: &str = "cosign container image signature";

/// What a publisher signs about a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where it is published, host and repository without a tag. For other tools; nothing here decides by it.
    pub reference: String,
    /// The digest of its manifest.
    pub workload: Digest,
    /// What it is a version of.
    pub product: Name,
    /// Its security version number: counts up where an older version must not run any more.
    pub svn: u64,
}

/// A signature with what is needed to check it, of which nothing is known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    spki: Vec<u8>,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

/// Who signed a workload as what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// SHA-256 of the publisher's SPKI.
    pub signer: Digest,
    /// What the workload is a version of.
    pub product: Name,
    /// Its security version number.
    pub svn: u64,
}

/// What an owner accepts as a workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accepted {
    /// Exactly this one: the digest of an OCI manifest.
    Digest(Digest),
    /// Whatever this publisher signed as this product, from a version on (trust rule 13).
    Product {
        /// SHA-256 of the publisher's SPKI.
        signer: Digest,
        /// What it is a version of.
        product: Name,
        /// The least security version number.
        minimum: u64,
    },
}

/// Why a signature says nothing about a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Longer than [`SIGNATURE_LIMIT`].
    #[error("a workload's signature has at most {SIGNATURE_LIMIT} bytes, this one has {found}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not a signature as `spec/trust.md` has it.
    #[error("not a workload's signature: {0}")]
    Malformed(&'static str),
    /// The publisher's key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature does not fit key and payload.
    #[error("the workload's signature does not verify under the key that came with it")]
    Signature,
    /// The payload is not JSON, or has other members than it must; the text names them.
    #[error("the payload of the workload's signature: {}", .0.escape_debug())]
    Payload(String),
    /// It was signed as something else.
    #[error("the payload of the workload's signature is of another type than `{KIND}`")]
    Kind,
    /// It is about another workload.
    #[error("the signature is about workload {found}, expected {expected}")]
    Workload {
        /// The brief's.
        expected: Digest,
        /// The payload's.
        found: Digest,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    optional: Optional,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// What others add here is not ours to judge. Both are texts, as `cosign sign -a NAME=VALUE` makes them.
#[derive(Serialize, Deserialize)]
struct Optional {
    #[serde(rename = "dev.donjon.product")]
    product: Name,
    #[serde(rename = "dev.donjon.svn")]
    svn: String,
}

impl Claim {
    /// The bytes that are signed: JSON.
    #[must_use]
    pub fn payload(&self) -> String {
        let Self { reference, workload, product, svn } = self.clone();
        let critical =
            Critical { identity: Identity { reference }, image: Image { digest: workload }, kind: KIND.to_string() };
        let payload = Payload { critical, optional: Optional { product, svn: svn.to_string() } };
        // Texts under texts: nothing of it has no JSON.
        serde_json::to_string(&payload).unwrap_or_default()
    }

    fn parse(payload: &[u8]) -> Result<Self, SignatureError> {
        let Payload { critical: Critical { identity, image, kind }, optional: Optional { product, svn } } =
            serde_json::from_slice(payload).map_err(|error| SignatureError::Payload(error.to_string()))?;
        if kind != KIND {
            return Err(SignatureError::Kind);
        }
        let number = svn.parse::<u64>().ok().filter(|number| number.to_string() == svn);
        let svn =
            number.ok_or_else(|| SignatureError::Payload("dev.donjon.svn is not a decimal number".to_string()))?;
        Ok(Self { reference: identity.reference, workload: image.digest, product, svn })
    }
}

impl Signature {
    /// Signs with the publisher's key.
    ///
    /// # Errors
    /// A key that does not sign.
    pub fn make(claim: &Claim, signer: &dyn Signer) -> Result<Self, SignError> {
        let payload = claim.payload().into_bytes();
        let signature = keys::sign(signer, &payload)?;
        Ok(Self { spki: signer.spki().to_vec(), signature, payload })
    }

    /// One that others made, as a registry has it: the publisher's key in DER, the signature in DER, the payload.
    #[must_use]
    pub const fn of(spki: Vec<u8>, signature: Vec<u8>, payload: Vec<u8>) -> Self {
        Self { spki, signature, payload }
    }

    /// What was signed, as it was signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// `ECDSA-Sig-Value` in DER.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Deterministic CBOR: how it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.array(3).bytes(&self.spki).bytes(&self.signature).bytes(&self.payload);
        out.finish()
    }

    /// Reads what [`Signature::encode`] wrote.
    ///
    /// # Errors
    /// Anything else, and what is too long.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() > SIGNATURE_LIMIT {
            return Err(SignatureError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let mut take = || {
            if reader.array("array")? != 3 {
                return Err(crate::asn1::Malformed("array"));
            }
            let parts = (reader.bytes("key")?, reader.bytes("signature")?, reader.bytes("payload")?);
            reader.done("end of the signature").map(|()| parts)
        };
        let (spki, signature, payload) =
            take().map_err(|crate::asn1::Malformed(place)| SignatureError::Malformed(place))?;
        let read = Self { spki: spki.to_vec(), signature: signature.to_vec(), payload: payload.to_vec() };
        if read.encode() == bytes { Ok(read) } else { Err(SignatureError::Malformed("the one encoding")) }
    }

    /// What it is about, before anything was checked: a hint.
    ///
    /// # Errors
    /// A payload that is none.
    pub fn workload(&self) -> Result<Digest, SignatureError> {
        Claim::parse(&self.payload).map(|claim| claim.workload)
    }

    /// What the publisher says of this workload.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, workload: &Digest, verifier: &dyn Verifier) -> Result<Published, SignatureError> {
        let Self { spki, signature, payload } = self;
        if !verifier.verify(Algorithm::of(spki)?, spki, payload, signature) {
            return Err(SignatureError::Signature);
        }
        let Claim { reference: _, workload: found, product, svn } = Claim::parse(payload)?;
        if found != *workload {
            return Err(SignatureError::Workload { expected: *workload, found });
        }
        Ok(Published { signer: key_digest(spki), product, svn })
    }
}

/// What the publisher says of this workload, where a [`Signature`] came with it. One that does not hold is refused, rather than
/// taken for none.
///
/// # Errors
/// See [`SignatureError`].
pub fn published(
    signature: Option<&[u8]>,
    workload: &Digest,
    verifier: &dyn Verifier,
) -> Result<Option<Published>, SignatureError> {
    signature.map(|bytes| Signature::decode(bytes)?.verify(workload, verifier)).transpose()
}

impl Accepted {
    /// Whether a workload is accepted, of which a publisher may have said something.
    #[must_use]
    pub fn takes(&self, workload: &Digest, published: Option<&Published>) -> bool {
        match self {
            Self::Digest(digest) => digest == workload,
            Self::Product { signer, product, minimum } => published.is_some_and(|published| {
                published.signer == *signer && published.product == *product && published.svn >= *minimum
            }),
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Self::Digest(digest) => out.bytes(digest.as_bytes()),
            Self::Product { signer, product, minimum } => {
                out.array(3).bytes(signer.as_bytes()).text(product).uint(*minimum)
            }
        };
    }

    pub(crate) fn read(reader: &mut Reader<'_>, place: &'static str) -> Result<Self, DocumentError> {
        if !reader.is_array() {
            return digest(reader, place).map(Self::Digest);
        }
        if reader.array(place)? != 3 {
            return Err(DocumentError::Malformed(place));
        }
        let (signer, product) = (digest(reader, place)?, name(reader, place)?);
        Ok(Self::Product { signer, product, minimum: reader.uint(place)? })
    }
}

/// Who published a workload, for people, if anybody said so.
#[must_use]
pub fn said(published: Option<&Published>) -> String {
    published.map_or_else(|| "signed by no publisher".to_string(), ToString::to_string)
}

/// Whether one of these takes the workload.
#[must_use]
pub fn accepts(accepted: &BTreeSet<Accepted>, workload: &Digest, published: Option<&Published>) -> bool {
    accepted.iter().any(|one| one.takes(workload, published))
}

impl From<Digest> for Accepted {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(out),
            Self::Product { signer, product, minimum } => {
                write!(out, "{product} of publisher {signer} from version {minimum} on")
            }
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signer, product, svn } = self;
        write!(out, "{product} of publisher {signer}, version {svn}")
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;
    use crate::testing::{P256, P384, Software};

    fn claim() -> Claim {
        Claim {
            reference: "registry.example.org/acme/shop".to_string(),
            workload: Digest::of(b"workload"),
            product: "shop".parse().unwrap(),
            svn: 3,
        }
    }

    /// A signature over whatever payload.
    fn over(payload: &str) -> Signature {
        let key = P256::new(5);
        Signature::of(key.spki().to_vec(), keys::sign(&key, payload.as_bytes()).unwrap(), payload.into())
    }

    fn verify(signature: &Signature) -> Result<Published, SignatureError> {
        signature.verify(&Digest::of(b"workload"), &Software)
    }

    #[test]
    fn a_publisher_says_what_a_workload_is() {
        let signers: [&dyn Signer; 2] = [&P256::new(5), &P384::new(5)];
        for signer in signers {
            let made = Signature::make(&claim(), signer).unwrap();
            let read = Signature::decode(&made.encode()).unwrap();
            assert_eq!(read, made);
            let expected = Published { signer: key_digest(signer.spki()), product: "shop".parse().unwrap(), svn: 3 };
            assert_eq!(verify(&read), Ok(expected));
            assert_eq!(read.workload(), Ok(Digest::of(b"workload")));
        }
    }

    #[test]
    fn the_payload_is_that_of_other_tools() {
        let digest = Digest::of(b"workload");
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example.org/acme/shop"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":{{"dev.donjon.product":"shop","dev.donjon.svn":"3"}}}}"#
        );
        assert_eq!(claim().payload(), expected);
        // What they add, and how they space it.
        let theirs = format!(
            r#"{{"critical": {{"identity": {{"docker-reference": ""}}, "image": {{"docker-manifest-digest": "{digest}"}}, "type": "cosign container image signature"}}, "optional": {{"creator": "somebody 1.0", "timestamp": 1800000000, "dev.donjon.svn": "0", "dev.donjon.product": "shop"}}}}"#
        );
        assert_eq!(verify(&over(&theirs)).unwrap().svn, 0);
    }

    #[test]
    fn a_signature_is_about_one_workload_and_by_one_key() {
        let signature = Signature::make(&claim(), &P256::new(5)).unwrap();
        assert!(verify(&signature).is_ok(), "control");
        let other = Digest::of(b"other");
        let found = Digest::of(b"workload");
        assert_eq!(signature.verify(&other, &Software), Err(SignatureError::Workload { expected: other, found }));
        let mut foreign = signature.clone();
        foreign.spki = P256::new(6).spki().to_vec();
        assert_eq!(verify(&foreign), Err(SignatureError::Signature));
        let mut changed = signature.clone();
        changed.payload = Claim { svn: 4, ..claim() }.payload().into_bytes();
        assert_eq!(verify(&changed), Err(SignatureError::Signature));
        let mut keyless = signature;
        keyless.spki[26] = 2;
        assert_eq!(verify(&keyless), Err(SignatureError::Key(KeyError)));
    }

    #[test]
    fn payloads_of_another_kind_say_nothing() {
        let good = claim().payload();
        assert!(verify(&over(&good)).is_ok(), "control");
        let refused = |from: &str, to: &str| {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good, "{from}");
            verify(&over(&changed)).unwrap_err()
        };
        assert_eq!(refused("cosign container", "atomic container"), SignatureError::Kind);
        for (from, to) in [
            (r#""optional""#, r#""else""#),
            (r#"{"critical":{"#, r#"{"critical":{"expires":1,"#),
            (r#""docker-reference""#, r#""docker-reference":"","docker-reference""#),
            (r#""dev.donjon.product""#, r#""product""#),
            (r#""dev.donjon.svn":"3""#, r#""dev.donjon.svn":3"#),
            (r#""dev.donjon.svn":"3""#, r#""dev.donjon.svn":"3","dev.donjon.svn":"4""#),
            (r#""dev.donjon.svn":"3""#, r#""dev.donjon.svn":"03""#),
            (r#""dev.donjon.svn":"3""#, r#""dev.donjon.svn":"-3""#),
            (r#""dev.donjon.svn":"3""#, r#""dev.donjon.svn":"18446744073709551616""#),
            (r#":"shop""#, r#":"Shop!""#),
            ("sha256:", "sha512:"),
        ] {
            assert!(matches!(refused(from, to), SignatureError::Payload(_)), "{from} {to}");
        }
    }

    #[test]
    fn one_encoding_and_no_panic() {
        let bytes = Signature::make(&claim(), &P256::new(5)).unwrap().encode();
        assert!(Signature::decode(&bytes).is_ok(), "control");
        for length in 0..bytes.len() {
            assert!(Signature::decode(&bytes[..length]).is_err());
        }
        let mut long = bytes.clone();
        long.splice(..1, [0x98, 3]);
        assert_eq!(Signature::decode(&long), Err(SignatureError::Malformed("the one encoding")));
        let more = [&bytes[..], &[0]].concat();
        assert_eq!(Signature::decode(&more), Err(SignatureError::Malformed("end of the signature")));
        assert!(matches!(Signature::decode(&vec![0; SIGNATURE_LIMIT + 1]), Err(SignatureError::TooLong { .. })));
    }

    #[test]
    fn rule_13_a_product_is_accepted_from_a_version_on() {
        let workload = Digest::of(b"workload");
        let published = verify(&Signature::make(&claim(), &P256::new(5)).unwrap()).unwrap();
        let from = |minimum| Accepted::Product { signer: published.signer, product: "shop".parse().unwrap(), minimum };
        for (minimum, expected) in [(0, true), (3, true), (4, false), (u64::MAX, false)] {
            assert_eq!(from(minimum).takes(&workload, Some(&published)), expected, "{minimum}");
        }
        assert!(!from(0).takes(&workload, None), "nobody signed it");
        let other = Published { signer: Digest::of(b"other"), ..published.clone() };
        assert!(!from(0).takes(&workload, Some(&other)), "another publisher");
        let other = Published { product: "shop2".parse().unwrap(), ..published.clone() };
        assert!(!from(0).takes(&workload, Some(&other)), "another product");
        // By its digest, whoever signed it.
        assert!(Accepted::from(workload).takes(&workload, None));
        assert!(!Accepted::from(Digest::of(b"other")).takes(&workload, Some(&published)));
        assert!(accepts(&[Digest::of(b"other").into(), from(3)].into(), &workload, Some(&published)));
        assert!(!accepts(&BTreeSet::new(), &workload, Some(&published)));
    }
}
