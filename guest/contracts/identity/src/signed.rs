//! What an owner signs: one envelope for every document, and the proof that it was opened.
//!
//! Owns the COSE_Sign1 envelope (RFC 9052 section 4.2) in one deterministic form, and [`OwnerSigned`]. Refuses unprotected
//! headers, unknown headers, another content type, and a key other than the one the document itself names as its owner.
//! Invariant: an [`OwnerSigned`] value exists only for bytes whose signature verified. Whether that owner is the *right*
//! one is the reader's question: compare [`OwnerSigned::owner`] with the key he has registered.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use workload::Digest;
use workload::names::NameError;

use crate::asn1::Malformed;
use crate::cbor::{Reader, Writer};
use crate::keys::{self, Algorithm, SignError, Signer, Verifier, key_digest};

/// A document that belongs to an owner key and has versions.
pub trait Document: Sized {
    /// The media type of the envelope's payload, signed with it.
    const CONTENT_TYPE: &'static str;
    /// The longest payload in bytes.
    const LIMIT: usize;

    /// The owner's public key, SPKI in DER.
    fn owner(&self) -> &[u8];
    /// What the document is about: versions are counted for each subject of an owner.
    fn subject(&self) -> &str;
    /// Counts from 1.
    fn version(&self) -> u64;
    /// [`OwnerSigned::digest`] of the version before; `None` exactly for version 1.
    fn previous(&self) -> Option<Digest>;
    /// The canonical bytes.
    fn encode(&self) -> Vec<u8>;
    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Everything but the one encoding of a valid document.
    fn decode(bytes: &[u8]) -> Result<Self, DocumentError>;
}

/// A document whose signature by its own owner key was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerSigned<T> {
    document: T,
    owner: Digest,
    digest: Digest,
}

/// Why bytes are not a document, or a value cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Too long to be read.
    #[error("the document has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Its length.
        found: usize,
    },
    /// Not CBOR, or another type than this place has.
    #[error("{0} is missing or is not the CBOR item expected there")]
    Malformed(&'static str),
    /// Not the one encoding of its value.
    #[error("not the canonical encoding of the document (deterministic CBOR, see spec/trust.md)")]
    NotCanonical,
    /// Another version of the format.
    #[error("the document has format {found}, this reader knows {expected}")]
    Format {
        /// The format we speak.
        expected: u64,
        /// The format found.
        found: u64,
    },
    /// A name that breaks its grammar.
    #[error("{place}: {error}")]
    Name {
        /// Which field.
        place: &'static str,
        /// What is wrong.
        error: NameError,
    },
    /// The owner is no key we know.
    #[error("owner: {0}")]
    Owner(#[from] keys::KeyError),
    /// A list that may not be empty is.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Version 0, version 1 with a previous hash, or a later version without.
    #[error("version {0} does not fit: versions count from 1, and all but the first name the previous one's hash")]
    Version(u64),
    /// A role names a peer that the Deployment does not have.
    #[error("role {role} names the peer {peer}, which is no role of this Deployment")]
    UnknownPeer {
        /// The role.
        role: String,
        /// The peer it names.
        peer: String,
    },
    /// The name is kept for Keeps without a Deployment.
    #[error("a Deployment cannot have the reserved name `anonymous`")]
    Reserved,
}

impl From<Malformed> for DocumentError {
    fn from(Malformed(place): Malformed) -> Self {
        Self::Malformed(place)
    }
}

/// Why a document was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The document is not valid.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The signer is not the owner the document names.
    #[error("the document names owner key {expected}, the signing key is {found}")]
    NotOwner {
        /// Digest of the owner key.
        expected: Digest,
        /// Digest of the signer's key.
        found: Digest,
    },
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why an envelope was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// More bytes than a document of this kind can need.
    #[error("the envelope has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Its length.
        found: usize,
    },
    /// Not a COSE_Sign1 of our form.
    #[error("not a COSE_Sign1 as spec/trust.md has it: {0}")]
    Malformed(&'static str),
    /// Well-formed, but not the one encoding.
    #[error("not the canonical encoding of the envelope")]
    NotCanonical,
    /// A document of another kind.
    #[error("the envelope holds {found:?}, expected {expected:?}")]
    ContentType {
        /// What was asked for.
        expected: &'static str,
        /// What it says, cut after 100 characters.
        found: String,
    },
    /// The document inside is not valid. Its signature was not looked at.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The envelope names another key or algorithm than the owner's.
    #[error("the envelope is signed by key {found}, the document inside names owner {expected}")]
    NotOwner {
        /// Digest of the owner key inside.
        expected: Digest,
        /// The envelope's key id.
        found: Digest,
    },
    /// The signature is wrong.
    #[error("the owner's signature does not verify")]
    Signature,
}

impl From<Malformed> for OpenError {
    fn from(Malformed(place): Malformed) -> Self {
        Self::Malformed(place)
    }
}

/// Why one version does not follow another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutOfOrder {
    /// About something else.
    #[error("this is about another subject")]
    Subject,
    /// Another owner.
    #[error("the owner changed from {expected} to {found}; only the same key may go on")]
    Owner {
        /// The earlier one's.
        expected: Digest,
        /// The later one's.
        found: Digest,
    },
    /// Not a higher version.
    #[error("version {found} does not come after version {current}")]
    Version {
        /// The earlier one's.
        current: u64,
        /// The later one's.
        found: u64,
    },
    /// Made on top of something else.
    #[error("it was made to follow another document than {expected}")]
    Previous {
        /// Digest of the earlier document.
        expected: Digest,
    },
}

/// Signs a document with its owner's key: the bytes of the envelope.
///
/// # Errors
/// The document is not valid, the signer is not its owner, or does not sign.
pub fn seal<T: Document>(document: &T, signer: &dyn Signer) -> Result<Vec<u8>, SealError> {
    let payload = document.encode();
    // Whatever a reader would refuse must not be signed: a signature lasts.
    T::decode(&payload)?;
    if document.owner() != signer.spki() {
        return Err(SealError::NotOwner { expected: key_digest(document.owner()), found: key_digest(signer.spki()) });
    }
    let protected = protected(signer.algorithm(), T::CONTENT_TYPE, &key_digest(signer.spki()));
    let signature = keys::sign_fixed(signer, &to_be_signed(&protected, &payload))?;
    Ok(envelope(&protected, &payload, &signature))
}

impl<T: Document> OwnerSigned<T> {
    /// Opens an envelope. Bounded before parsed, parsed before verified, verified before returned.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, OpenError> {
        let limit = T::LIMIT.saturating_add(OVERHEAD);
        if bytes.len() > limit {
            return Err(OpenError::TooLong { limit, found: bytes.len() });
        }
        let Parts { algorithm, content_type, key, protected, payload, signature } = Parts::read(bytes)?;
        if content_type != T::CONTENT_TYPE {
            let found = content_type.chars().take(100).collect();
            return Err(OpenError::ContentType { expected: T::CONTENT_TYPE, found });
        }
        let document = T::decode(payload)?;
        let owner = key_digest(document.owner());
        if key != owner || Algorithm::of(document.owner()) != Ok(algorithm) {
            return Err(OpenError::NotOwner { expected: owner, found: key });
        }
        if !keys::verify_fixed(verifier, algorithm, document.owner(), &to_be_signed(protected, payload), signature) {
            return Err(OpenError::Signature);
        }
        Ok(Self { document, owner, digest: Digest::of(payload) })
    }

    /// SHA-256 of the owner key's SPKI.
    pub const fn owner(&self) -> &Digest {
        &self.owner
    }

    /// SHA-256 of the document's canonical bytes (not of the envelope: a signature can be made twice). The next version
    /// names it as `previous`.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether this is the next version after `earlier` (trust rule 13): same subject, same owner, higher, and made on
    /// top of it.
    ///
    /// # Errors
    /// See [`OutOfOrder`].
    pub fn follows(&self, earlier: &Self) -> Result<(), OutOfOrder> {
        if self.document.subject() != earlier.document.subject() {
            return Err(OutOfOrder::Subject);
        }
        if self.owner != earlier.owner {
            return Err(OutOfOrder::Owner { expected: earlier.owner, found: self.owner });
        }
        if self.document.version() <= earlier.document.version() {
            return Err(OutOfOrder::Version { current: earlier.document.version(), found: self.document.version() });
        }
        if self.document.previous() != Some(earlier.digest) {
            return Err(OutOfOrder::Previous { expected: earlier.digest });
        }
        Ok(())
    }

    /// The document without the proof.
    pub fn into_inner(self) -> T {
        self.document
    }
}

impl<T> Deref for OwnerSigned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.document
    }
}

/// What an envelope adds to its payload, at most: headers, lengths, signature.
const OVERHEAD: usize = 512;
/// COSE_Sign1 (RFC 9052 section 2, table 1).
const SIGN1: u64 = 18;
/// Header labels of RFC 9052 section 3.1.
const ALG: u64 = 1;
const CONTENT_TYPE: u64 = 3;
const KID: u64 = 4;

struct Parts<'a> {
    algorithm: Algorithm,
    content_type: &'a str,
    key: Digest,
    protected: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, OpenError> {
        let mut outer = Reader::new(bytes);
        if outer.tag("tag")? != SIGN1 || outer.array("array")? != 4 {
            return Err(OpenError::Malformed("tag 18 around an array of four"));
        }
        let protected = outer.bytes("protected headers")?;
        if outer.map("unprotected headers")? != 0 {
            return Err(OpenError::Malformed("unprotected headers are not empty"));
        }
        let payload = outer.bytes("payload")?;
        let signature = outer.bytes("signature")?;
        outer.done("end of the envelope")?;

        let mut headers = Reader::new(protected);
        let expect = |found: u64, label: u64, place| {
            if found == label { Ok(()) } else { Err(Malformed(place)) }
        };
        expect(headers.map("protected headers")?, 3, "protected headers")?;
        expect(headers.uint("alg")?, ALG, "alg")?;
        let algorithm = match headers.int("alg")? {
            -7 => Algorithm::EcdsaP256Sha256,
            -35 => Algorithm::EcdsaP384Sha384,
            _ => return Err(OpenError::Malformed("alg is neither ES256 nor ES384")),
        };
        expect(headers.uint("content type")?, CONTENT_TYPE, "content type")?;
        let content_type = headers.text("content type")?;
        expect(headers.uint("kid")?, KID, "kid")?;
        let key = Digest::try_from(headers.bytes("kid")?).map_err(|_| Malformed("kid"))?;
        headers.done("end of the headers")?;

        let again = envelope(&self::protected(algorithm, content_type, &key), payload, signature);
        if again != bytes {
            return Err(OpenError::NotCanonical);
        }
        Ok(Self { algorithm, content_type, key, protected, payload, signature })
    }
}

fn protected(algorithm: Algorithm, content_type: &str, key: &Digest) -> Vec<u8> {
    let mut out = Writer::default();
    out.map(3).uint(ALG).int(algorithm.cose()).uint(CONTENT_TYPE).text(content_type).uint(KID).bytes(key.as_bytes());
    out.finish()
}

/// Sig_structure (RFC 9052 section 4.4), no external data.
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.array(4).text("Signature1").bytes(protected).bytes(&[]).bytes(payload);
    out.finish()
}

fn envelope(protected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.tag(SIGN1).array(4).bytes(protected).map(0).bytes(payload).bytes(signature);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deployment;
    use crate::testing::{P256, P384, Software, deployment};

    type Opened = Result<OwnerSigned<Deployment>, OpenError>;

    #[test]
    fn rule_3_only_the_owner_inside_opens_it() {
        let (owner, other) = (P256::new(1), P256::new(2));
        let document = deployment(&owner);
        let bytes = seal(&document, &owner).unwrap();
        let opened = OwnerSigned::<Deployment>::open(&bytes, &Software).unwrap();
        assert_eq!((&*opened, opened.owner()), (&document, &key_digest(owner.spki())));

        assert!(matches!(seal(&document, &other), Err(SealError::NotOwner { .. })));
        // Somebody signs the owner's document with his own key, and says so in the headers.
        let headers = protected(other.algorithm(), Deployment::CONTENT_TYPE, &key_digest(other.spki()));
        let payload = document.encode();
        let signature = keys::sign_fixed(&other, &to_be_signed(&headers, &payload)).unwrap();
        let forged: Opened = OwnerSigned::open(&envelope(&headers, &payload, &signature), &Software);
        assert!(matches!(forged, Err(OpenError::NotOwner { .. })));
        // The same with the owner's name on it.
        let headers = protected(owner.algorithm(), Deployment::CONTENT_TYPE, &key_digest(owner.spki()));
        let signature = keys::sign_fixed(&other, &to_be_signed(&headers, &payload)).unwrap();
        let forged: Opened = OwnerSigned::open(&envelope(&headers, &payload, &signature), &Software);
        assert_eq!(forged, Err(OpenError::Signature));
    }

    #[test]
    fn p384_owners_too() {
        let owner = P384::new(1);
        let bytes = seal(&deployment(&owner), &owner).unwrap();
        assert!(OwnerSigned::<Deployment>::open(&bytes, &Software).is_ok());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let owner = P256::new(1);
        let bytes = seal(&deployment(&owner), &owner).unwrap();
        let open = |bytes: &[u8]| -> Opened { OwnerSigned::open(bytes, &Software) };
        assert!(open(&bytes).is_ok(), "control");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(open(&changed).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length]).is_err(), "cut at {length}");
        }
        assert_eq!(open(&[&bytes[..], &[0]].concat()), Err(OpenError::Malformed("end of the envelope")));
    }

    #[test]
    fn one_encoding_only() {
        let owner = P256::new(1);
        let document = deployment(&owner);
        let headers = protected(owner.algorithm(), Deployment::CONTENT_TYPE, &key_digest(owner.spki()));
        let payload = document.encode();
        let signature = keys::sign_fixed(&owner, &to_be_signed(&headers, &payload)).unwrap();
        let mut other = Writer::default();
        other.tag(SIGN1).array(4).bytes(&headers).map(1).uint(5).uint(5).bytes(&payload).bytes(&signature);
        let open = |bytes: &[u8]| -> Opened { OwnerSigned::open(bytes, &Software) };
        assert!(open(&envelope(&headers, &payload, &signature)).is_ok(), "control");
        assert_eq!(open(&other.finish()), Err(OpenError::Malformed("unprotected headers are not empty")));
        // The same array with its length in two bytes.
        let mut long = envelope(&headers, &payload, &signature);
        assert_eq!(long[1], 0x84);
        long.splice(1..2, [0x98, 4]);
        assert_eq!(open(&long), Err(OpenError::NotCanonical));
    }

    #[test]
    fn another_kind_of_document_is_refused_by_name() {
        let owner = P256::new(1);
        let bytes = seal(&deployment(&owner), &owner).unwrap();
        let opened = OwnerSigned::<crate::ReleasePolicy>::open(&bytes, &Software);
        assert!(matches!(opened, Err(OpenError::ContentType { .. })), "{opened:?}");
    }

    #[test]
    fn rule_13_versions_go_up_by_the_same_owner() {
        let owner = P256::new(1);
        let signed = |document: &Deployment| -> OwnerSigned<Deployment> {
            OwnerSigned::open(&seal(document, &owner).unwrap(), &Software).unwrap()
        };
        let first = signed(&deployment(&owner));
        let mut next = deployment(&owner);
        next.version = 2;
        next.previous = Some(*first.digest());
        let second = signed(&next);
        assert_eq!(second.follows(&first), Ok(()));
        assert_eq!(first.follows(&second), Err(OutOfOrder::Version { current: 2, found: 1 }));
        assert_eq!(first.follows(&first), Err(OutOfOrder::Version { current: 1, found: 1 }));
        next.previous = Some(Digest::of(b"another history"));
        assert_eq!(signed(&next).follows(&first), Err(OutOfOrder::Previous { expected: *first.digest() }));
        let stranger = P256::new(2);
        let mut taken = deployment(&stranger);
        taken.version = 2;
        taken.previous = Some(*first.digest());
        let taken: OwnerSigned<Deployment> = OwnerSigned::open(&seal(&taken, &stranger).unwrap(), &Software).unwrap();
        assert!(matches!(taken.follows(&first), Err(OutOfOrder::Owner { .. })));
    }
}
