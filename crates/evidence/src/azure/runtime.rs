//! The runtime data: what the paravisor says, JSON whose hash is in the hardware's report.
//!
//! Fields that are not known here are not read and do no harm: the hardware's report vouches for every byte. What is
//! read must be there once, and as expected. Bounded by [`MAX_REPORT`](super::hcl::MAX_REPORT).

use crate::verdict::said;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

/// Name of the vTPM's attestation key.
const AK: &str = "HCLAkPub";

/// Most keys that are looked at; there are two.
const MAX_KEYS: usize = 16;

/// Longest text of the configuration; a UUID has 36 characters.
const MAX_TEXT: usize = 64;

/// Longest of what a parser says: names in it are the sender's.
pub(super) const LONGEST: usize = 200;

/// Bytes of an RSA-2048 modulus.
pub const MODULUS: usize = 256;

/// What the paravisor says of the virtual machine. What it leaves out is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Configuration {
    /// Somebody can use the virtual machine's console.
    pub console_enabled: Option<bool>,
    /// Thumbprint of the root certificate, base64url of SHA-256.
    pub root_cert_thumbprint: Option<String>,
    /// The firmware enforces Secure Boot.
    pub secure_boot: Option<bool>,
    /// There is a vTPM.
    pub tpm_enabled: Option<bool>,
    /// The vTPM's state outlives the virtual machine's stop.
    pub tpm_persisted: Option<bool>,
    /// Name of the virtual machine, a UUID.
    #[serde(rename = "vmUniqueId")]
    pub vm_unique_id: Option<String>,
}

/// A JSON Web Key (RFC 7517), of what is used here.
#[derive(Clone, Debug, Deserialize)]
struct Key {
    kid: String,
    kty: String,
    n: Option<String>,
    e: Option<String>,
}

/// All that is read of the runtime data.
#[derive(Clone, Debug, Deserialize)]
struct Claims {
    keys: Vec<Key>,
    #[serde(rename = "vm-configuration")]
    configuration: Configuration,
    #[serde(rename = "user-data")]
    user_data: Option<String>,
}

/// Why bytes are no runtime data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Not the JSON that is expected.
    #[error("{0}")]
    Json(String),
    /// More keys than there are.
    #[error("{0} keys, limit {MAX_KEYS}")]
    Keys(usize),
    /// A longer text than there are.
    #[error("a text of {0} bytes in `vm-configuration`, limit {MAX_TEXT}")]
    Text(usize),
    /// A text with what is in no UUID and no base64url: it goes into verdicts and claims as it is.
    #[error("a text in `vm-configuration` has characters that are not printable ASCII")]
    Characters,
    /// The user's data are not 64 bytes in hexadecimal.
    #[error("`user-data` is not 128 hexadecimal digits")]
    UserData,
}

/// Why there is no attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// None of that name, or several.
    #[error("{0} keys with the name {AK}")]
    Count(usize),
    /// Of another kind than RSA.
    #[error("a key of another kind")]
    Kind,
    /// Another exponent.
    #[error("another public exponent")]
    Exponent,
    /// Not a modulus of 2048 bits.
    #[error("a modulus that has not 2048 bits")]
    Modulus,
}

/// Runtime data.
#[derive(Clone, Debug)]
pub struct Runtime {
    claims: Claims,
    user_data: Option<[u8; 64]>,
}

impl Runtime {
    /// Reads the JSON.
    pub fn parse(json: &[u8]) -> Result<Self, RuntimeError> {
        let claims: Claims = serde_json::from_slice(json).map_err(|error| RuntimeError::Json(said(&error, LONGEST)))?;
        if claims.keys.len() > MAX_KEYS {
            return Err(RuntimeError::Keys(claims.keys.len()));
        }
        let Configuration { root_cert_thumbprint, vm_unique_id, .. } = &claims.configuration;
        let texts = || [root_cert_thumbprint, vm_unique_id].into_iter().flatten();
        if let Some(found) = texts().map(String::len).max().filter(|found| *found > MAX_TEXT) {
            return Err(RuntimeError::Text(found));
        }
        if !texts().all(|text| text.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(RuntimeError::Characters);
        }
        let user_data = match &claims.user_data {
            None => None,
            Some(text) => {
                let mut bytes = [0; 64];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| RuntimeError::UserData)?;
                Some(bytes)
            }
        };
        Ok(Self { claims, user_data })
    }

    /// Modulus of the vTPM's attestation key: RSA-2048 with the public exponent 65537.
    pub fn attestation_key(&self) -> Result<[u8; MODULUS], KeyError> {
        let mut named = self.claims.keys.iter().filter(|key| key.kid == AK);
        let (Some(Key { kty, n, e, .. }), None) = (named.next(), named.next()) else {
            return Err(KeyError::Count(self.claims.keys.iter().filter(|key| key.kid == AK).count()));
        };
        if kty != "RSA" {
            return Err(KeyError::Kind);
        }
        // A key is its modulus and its exponent: with another exponent others can sign.
        if e.as_deref() != Some("AQAB") {
            return Err(KeyError::Exponent);
        }
        let n = URL_SAFE_NO_PAD.decode(n.as_deref().unwrap_or_default()).map_err(|_| KeyError::Modulus)?;
        let n: [u8; MODULUS] = n.try_into().map_err(|_| KeyError::Modulus)?;
        if n.first().is_some_and(|first| *first >= 0x80) { Ok(n) } else { Err(KeyError::Modulus) }
    }

    /// What the paravisor says of the virtual machine.
    pub fn configuration(&self) -> &Configuration {
        &self.claims.configuration
    }

    /// What the guest had put into the vTPM when the report was made.
    pub fn user_data(&self) -> Option<[u8; 64]> {
        self.user_data
    }
}

/// SubjectPublicKeyInfo of an RSA-2048 key with the exponent 65537 (RFC 8017 appendix A.1.1).
pub(super) fn spki(modulus: &[u8; MODULUS]) -> Vec<u8> {
    // SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING { SEQUENCE { INTEGER n, INTEGER e } } }
    const BEFORE: [u8; 33] = [
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
    ];
    const EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
    [&BEFORE[..], modulus, &EXPONENT].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str, kty: &str, e: &str, n: &[u8]) -> String {
        let n = URL_SAFE_NO_PAD.encode(n);
        format!("{{\"kid\":\"{kid}\",\"kty\":\"{kty}\",\"e\":\"{e}\",\"n\":\"{n}\",\"key_ops\":[\"sign\"]}}")
    }

    fn read(keys: &[String]) -> Result<[u8; MODULUS], KeyError> {
        let json = format!("{{\"keys\":[{}],\"vm-configuration\":{{}},\"later\":[{{}}]}}", keys.join(","));
        Runtime::parse(json.as_bytes()).expect("runtime data").attestation_key()
    }

    #[test]
    fn an_attestation_key_is_one_rsa_2048_key_with_the_usual_exponent() {
        let n = [0xAB; MODULUS];
        let good = key(AK, "RSA", "AQAB", &n);
        assert_eq!(read(&[good.clone(), key("HCLEkPub", "RSA", "AQAB", &[0x81; 256])]), Ok(n));
        assert_eq!(read(&[]), Err(KeyError::Count(0)));
        assert_eq!(read(&[good.clone(), good]), Err(KeyError::Count(2)));
        assert_eq!(read(&[key(AK, "EC", "AQAB", &n)]), Err(KeyError::Kind));
        assert_eq!(read(&[key(AK, "RSA", "Aw", &n)]), Err(KeyError::Exponent));
        assert_eq!(read(&[key(AK, "RSA", "AAEAAQ", &n)]), Err(KeyError::Exponent));
        for short in [&[0x7F; 256][..], &[0xAB; 255], &[0xAB; 257], &[]] {
            assert_eq!(read(&[key(AK, "RSA", "AQAB", short)]), Err(KeyError::Modulus));
        }
    }

    #[test]
    fn what_is_read_is_there_once() {
        let parse = |json: &str| Runtime::parse(json.as_bytes()).map(|_| ());
        let user_data = "00".repeat(64);
        assert_eq!(
            parse(&format!("{{\"keys\":[],\"vm-configuration\":{{}},\"user-data\":\"{user_data}\"}}")),
            Ok(()),
            "control"
        );
        let twice = "{\"keys\":[],\"keys\":[],\"vm-configuration\":{}}";
        assert!(matches!(parse(twice), Err(RuntimeError::Json(_))));
        let twice = "{\"keys\":[],\"vm-configuration\":{\"secure-boot\":false,\"secure-boot\":true}}";
        assert!(matches!(parse(twice), Err(RuntimeError::Json(_))));
        assert!(matches!(parse("{\"keys\":[]}"), Err(RuntimeError::Json(_))));
        let short = "{\"keys\":[],\"vm-configuration\":{},\"user-data\":\"00\"}";
        assert_eq!(parse(short), Err(RuntimeError::UserData));
        let long = format!("{{\"keys\":[],\"vm-configuration\":{{\"vmUniqueId\":\"{}\"}}}}", "x".repeat(65));
        assert_eq!(parse(&long), Err(RuntimeError::Text(65)));
        for key in ["vmUniqueId", "root-cert-thumbprint"] {
            let with = |text: &str| parse(&format!("{{\"keys\":[],\"vm-configuration\":{{\"{key}\":\"{text}\"}}}}"));
            assert_eq!(with("8C85CE00-A0EB_=+/"), Ok(()), "control");
            for text in ["8C\\u001b[2J", "8C\\u0000", "8C\\n", "8C\\u007f", "8C\\u202e", "8C 85", "\u{85}"] {
                assert_eq!(with(text), Err(RuntimeError::Characters), "{key} {text:?}");
            }
        }
        let many = vec![key("k", "RSA", "AQAB", &[]); MAX_KEYS + 1].join(",");
        let many = format!("{{\"keys\":[{many}],\"vm-configuration\":{{}}}}");
        assert_eq!(parse(&many), Err(RuntimeError::Keys(MAX_KEYS + 1)));
        let deep = "[".repeat(15_000);
        assert!(matches!(parse(&format!("{{\"later\":{deep}")), Err(RuntimeError::Json(_))));
    }
}
