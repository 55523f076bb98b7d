//! What a Steward says of itself in public: what it is, its policy, signed, and whom to believe in its trust domain.
//!
//! Owns the texts, and what the hardware is to say of a Steward in a Keep. Refuses nothing: whoever asks gets the same. Invariant: the
//! payload of the policy's text is the bytes whose SHA-256 every certificate names, so that a relying party can read what it
//! pins (trust.md rule 19).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
pub use identity::deny::POLICY_KIND;
use identity::{
    Algorithm, Issuer, jws,
    keys::{SignError, key_digest},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workload::digest::Digest;

use crate::{Steward, pem, policy::Policy, signer::Authority};

/// The longest nonce that evidence of a Steward is over, in bytes.
pub const NONCE_LIMIT: usize = 64;
/// What evidence of a Steward begins with.
const SAID: &[u8] = b"donjon-steward\x01";

/// What `GET /` answers. A hint for people and tools: nothing in it is authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `donjon-steward`.
    pub service: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// The trust domain certificates are issued in.
    pub trust_domain: String,
    /// `hardware` or `insecure`.
    pub class: String,
    /// Digests of the roots (SHA-256 of the SPKI).
    pub anchors: Vec<Digest>,
    /// Digest of the policy.
    pub policy: Digest,
    /// TEEs whose evidence is taken.
    pub tees: Vec<&'static str>,
    /// Certificate lifetime in seconds.
    pub certificate_lifetime: u64,
}

impl Description {
    /// Of this Steward.
    #[must_use]
    pub fn of(steward: &Steward) -> Self {
        let policy = steward.policy();
        Self {
            service: "donjon-steward",
            version: env!("CARGO_PKG_VERSION"),
            trust_domain: policy.trust_domain().to_string(),
            class: policy.class().to_string(),
            anchors: vec![steward.authority().anchor()],
            policy: policy.digest(),
            tees: policy.tees().to_vec(),
            certificate_lifetime: policy.lifetime(),
        }
    }
}

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
    /// Digest of the policy by which certificates are issued now.
    #[serde(rename = "donjon.policy")]
    policy: Digest,
    /// Of a Steward in a Keep: an evidence bundle (`spec/bundle.md`), made over [`Self::said`].
    #[serde(rename = "donjon.evidence", skip_serializing_if = "Option::is_none")]
    evidence: Option<Value>,
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
            policy: policy.digest(),
            evidence: None,
        }
    }

    /// What a Steward in a Keep has its hardware say, for whoever asked with this nonce: by which policy it issues, and under which
    /// roots (`spec/trust.md`, A Steward in a Keep).
    #[must_use]
    pub fn said(&self, nonce: &[u8]) -> Vec<u8> {
        said(&self.policy, self.keys.iter().map(|root| root.anchor), nonce)
    }

    /// The same, with the evidence.
    #[must_use]
    pub fn attested(self, evidence: Value) -> Self {
        Self { evidence: Some(evidence), ..self }
    }
}

/// A trust bundle with evidence, as whoever relies on it reads it. Nothing of it is believed before the evidence is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// An evidence bundle.
    pub evidence: Value,
    policy: Digest,
    anchors: Vec<Digest>,
}

impl Attested {
    /// None if it is no trust bundle with evidence, or has a key without certificate.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Read {
            keys: Vec<Key>,
            #[serde(rename = "donjon.policy")]
            policy: Digest,
            #[serde(rename = "donjon.evidence")]
            evidence: Value,
        }
        #[derive(Deserialize)]
        struct Key {
            x5c: [String; 1],
        }
        let Read { keys, policy, evidence } = serde_json::from_slice(json).ok()?;
        // The certificate is what chains are checked against; `donjon.anchor` beside it only says its digest.
        let anchor = |Key { x5c: [root] }| Some(key_digest(&pem::spki(&STANDARD.decode(root).ok()?)?));
        Some(Self { evidence, policy, anchors: keys.into_iter().map(anchor).collect::<Option<_>>()? })
    }

    /// What its hardware has to say, for whoever asked with this nonce.
    #[must_use]
    pub fn said(&self, nonce: &[u8]) -> Vec<u8> {
        said(&self.policy, self.anchors.iter().copied(), nonce)
    }
}

fn said(policy: &Digest, anchors: impl ExactSizeIterator<Item = Digest>, nonce: &[u8]) -> Vec<u8> {
    // As many as there are roots in a file fit in 32 bits.
    let count = u32::try_from(anchors.len()).unwrap_or(u32::MAX).to_be_bytes();
    let anchors: Vec<u8> = anchors.flat_map(|anchor| *anchor.as_bytes()).collect();
    [SAID, policy.as_bytes(), &count, &anchors, nonce].concat()
}

/// A nonce in hexadecimal digits; none if it is of another form, or longer than [`NONCE_LIMIT`].
#[must_use]
pub fn nonce(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok().filter(|nonce| nonce.len() <= NONCE_LIMIT)
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

#[cfg(test)]
mod tests {
    use identity::ear::Class;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_780_000_000;

    /// A bundle as it travels.
    fn travelled() -> (Bundle, Value) {
        let text =
            "trust_domain = \"example.org\"\nclass = \"insecure\"\nany_platform = true\n[snp]\nhash = [\"{}\"]\n"
                .replace("{}", &"aa".repeat(48));
        let policy = Policy::parse("policy.toml", &text, std::path::Path::new("")).unwrap();
        let next = Authority::generate(Class::Insecure, Algorithm::EcdsaP384Sha384, &[], NOW).unwrap();
        let authority = Authority::random(Class::Insecure, NOW).unwrap();
        let bundle = Bundle::of(&authority.beside(next.certificates.as_bytes(), NOW).unwrap(), &policy);
        let travelled = serde_json::to_value(bundle.clone().attested(json!({ "a": "bundle" }))).unwrap();
        (bundle, travelled)
    }

    #[test]
    fn what_hardware_has_to_say_is_the_same_for_both_ends() {
        let (bundle, travelled) = travelled();
        let read = Attested::read(travelled.to_string().as_bytes()).unwrap();
        assert_eq!(read.evidence, json!({ "a": "bundle" }));
        let digest = |value: &Value| value.as_str().unwrap().parse::<Digest>().unwrap().as_bytes().to_vec();
        let [one, other] = [0, 1].map(|at| digest(&travelled["keys"][at]["donjon.anchor"]));
        // As spec/trust.md has it.
        let policy = digest(&travelled["donjon.policy"]);
        let said = [b"donjon-steward\x01", &policy[..], &[0, 0, 0, 2], &one, &other, b"nonce"].concat();
        assert_eq!((bundle.said(b"nonce"), read.said(b"nonce")), (said.clone(), said));
        assert_ne!(read.said(b""), read.said(b"nonce"));
    }

    #[test]
    fn a_key_is_what_its_certificate_has_and_without_one_nothing_is_read() {
        let (_, travelled) = travelled();
        let read = |value: &Value| Attested::read(value.to_string().as_bytes());
        let mut lying = travelled.clone();
        lying["keys"][0]["donjon.anchor"] = lying["keys"][1]["donjon.anchor"].clone();
        assert_eq!(read(&lying), read(&travelled));
        for (place, value) in [
            ("/keys/0/x5c", json!([])),
            ("/keys/0/x5c", json!(["MAA=", "MAA="])),
            ("/keys/0/x5c/0", json!("MAA=")),
            ("/keys/0/x5c/0", json!("?")),
            ("/keys", json!({})),
            ("/donjon.policy", json!("sha256:00")),
        ] {
            let mut bad = travelled.clone();
            *bad.pointer_mut(place).unwrap() = value;
            assert_eq!(read(&bad), None, "{place}");
        }
        let mut without = travelled;
        without.as_object_mut().unwrap().remove("donjon.evidence");
        assert_eq!(read(&without), None);
        assert_eq!(Attested::read(b"\xff"), None);
    }

    #[test]
    fn a_nonce_is_bounded() {
        assert_eq!(nonce("00ff"), Some(vec![0, 0xff]));
        assert_eq!(nonce(&"00".repeat(NONCE_LIMIT)).map(|nonce| nonce.len()), Some(NONCE_LIMIT));
        for bad in ["0".repeat(2 * NONCE_LIMIT + 2), "0".to_owned(), "0g".to_owned()] {
            assert_eq!(nonce(&bad), None);
        }
    }
}
