//! What a Steward says of itself in public: its policy, signed, and whom to believe in its trust domain.
//!
//! Owns the two texts. Refuses nothing: whoever asks gets the same. Invariant: the payload of the policy's text is the bytes
//! whose SHA-256 every certificate names, so that a relying party can read what it pins (trust.md rule 19).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
pub use identity::deny::POLICY_KIND;
use identity::{
    Algorithm, Issuer, jws,
    keys::{SignError, key_digest},
};
use serde::Serialize;
use workload::digest::Digest;

use crate::{pem, policy::Policy, signer::Authority};

/// The policy as canonical JSON, signed by the key that signs certificates (`spec/certificate.md`, Policy digest).
///
/// # Errors
/// A key that does not sign.
pub fn policy(policy: &Policy, authority: &Authority) -> Result<String, SignError> {
    jws::sign(POLICY_KIND, policy.canonical().as_bytes(), authority.key())
}

/// The trust bundle of the domain (SPIFFE Trust Domain and Bundle, section 4): a JSON Web Key Set, whose keys are those of the
/// authority's roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bundle {
    /// Higher when a root was added: when the newest became valid. Stewards with the same roots have the same.
    spiffe_sequence: u64,
    /// When to look again, in seconds.
    spiffe_refresh_hint: u64,
    keys: Vec<Root>,
}

/// A root as a JSON Web Key (RFC 7517, RFC 7518 section 6.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Root {
    r#use: &'static str,
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    /// The certificate (RFC 7517 section 4.7).
    x5c: [String; 1],
    /// The anchor that a brief lists.
    #[serde(rename = "donjon.anchor")]
    anchor: Digest,
}

impl Bundle {
    /// Of this authority; certificates of this policy's lifetime hang on it.
    #[must_use]
    pub fn of(authority: &Authority, policy: &Policy) -> Self {
        let begin = |der| Issuer::read(der).map_or(0, |root| root.not_before);
        let spiffe_sequence = authority.roots().map(begin).max().unwrap_or(0);
        Self {
            spiffe_sequence,
            spiffe_refresh_hint: policy.lifetime(),
            keys: authority.roots().filter_map(root).collect(),
        }
    }
}

/// The last bytes of an SPKI on these curves are the point, x and y of the same length.
fn root(der: &[u8]) -> Option<Root> {
    let spki = pem::spki(der)?;
    let (crv, length) = match Algorithm::of(&spki).ok()? {
        Algorithm::EcdsaP256Sha256 => ("P-256", 32),
        Algorithm::EcdsaP384Sha384 => ("P-384", 48),
    };
    let (rest, y) = spki.split_at_checked(spki.len().checked_sub(length)?)?;
    let (_, x) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
    Some(Root {
        r#use: "x509-svid",
        kty: "EC",
        crv,
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
        x5c: [STANDARD.encode(der)],
        anchor: key_digest(&spki),
    })
}
