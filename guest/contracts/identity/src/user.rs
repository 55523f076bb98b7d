//! What a workload does with its Keep's identity (`spec/keep-interface.md`): evidence over its own data, keys of its own,
//! signatures by the Keep's key.
//!
//! Owns the bytes around what the workload brings: the message that is signed, the context of a sealing key, the evidence
//! bundle. Refuses nothing but evidence of kinds that no bundle has; bounds are the caller's.
//!
//! Invariant: what begins with [`SIGNED`] is no certificate, request or signed document of ours, and nothing of TLS 1.3; what
//! begins with [`CONTEXT`] is the context of no other key. A workload chooses what follows, never the beginning.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use workload::{Brief, Digest};

use crate::csr::{Evidence, SNP_MEDIA_TYPE};
use crate::keys::{Algorithm, Verifier};

/// What a signed message begins with. DER, CBOR, a JWT and what TLS 1.3 signs begin with other bytes.
pub const SIGNED: &[u8] = b"donjon-user-signature\x01";

/// What the context of a workload's sealing key begins with.
pub const CONTEXT: &[u8] = b"donjon-user-key\x01";

/// What is signed for a workload.
#[must_use]
pub fn message(data: &[u8]) -> Vec<u8> {
    [SIGNED, data].concat()
}

/// Whether `signature` (`ECDSA-Sig-Value` in DER) over `data` was made for a workload by the Keep with this key.
#[must_use]
pub fn signed_by(spki: &[u8], data: &[u8], signature: &[u8], verifier: &dyn Verifier) -> bool {
    Algorithm::of(spki).is_ok_and(|algorithm| verifier.verify(algorithm, spki, &message(data), signature))
}

/// The context of a workload's key: domain, whom the brief trusts, and what the workload says.
///
/// A host may launch the same workload for the same owner under a Steward of its own, whose certificates it would then
/// believe: it gets another key.
#[must_use]
pub fn context(brief: &Brief, context: &[u8]) -> Vec<u8> {
    let domain = brief.trust_domain.as_str().as_bytes();
    let mut anchors: Vec<Digest> = brief.steward.iter().flat_map(|steward| steward.anchors.iter().copied()).collect();
    anchors.sort();
    anchors.dedup();
    let mut trusted = u32::try_from(domain.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    trusted.extend_from_slice(domain);
    trusted.extend(anchors.iter().flat_map(|anchor| *anchor.as_bytes()));
    [CONTEXT, Digest::of(&trusted).as_bytes(), context].concat()
}

/// The form of `spec/bundle.md`.
#[derive(Serialize)]
struct Bundle<'a> {
    donjon_evidence_bundle: u32,
    kind: &'a str,
    evidence: String,
    certificates: Vec<String>,
    revocation_lists: Vec<String>,
    nonce: String,
    launch_field: String,
    time: u64,
}

/// An evidence bundle, JSON: the evidence, what endorses it, its report data and H(brief), and when it was made (Unix
/// seconds). `None` for evidence of a kind that no bundle has.
#[must_use]
pub fn bundle(
    evidence: &Evidence,
    endorsements: &[Vec<u8>],
    crl: Option<&[u8]>,
    report_data: &[u8; 64],
    brief_hash: &[u8; 32],
    time: u64,
) -> Option<String> {
    let kind = match evidence.media_type.as_str() {
        SNP_MEDIA_TYPE => "snp-report",
        _ => return None,
    };
    let bundle = Bundle {
        donjon_evidence_bundle: 1,
        kind,
        evidence: STANDARD.encode(&evidence.bytes),
        certificates: endorsements.iter().map(|der| STANDARD.encode(der)).collect(),
        revocation_lists: crl.iter().map(|der| STANDARD.encode(der)).collect(),
        nonce: STANDARD.encode(report_data),
        launch_field: hex::encode(brief_hash),
        time,
    };
    serde_json::to_string(&bundle).ok()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::keys::{self, Signer as _};
    use crate::testing::{P256, P384, Software, brief};

    #[test]
    fn a_signature_is_for_this_data_key_and_use() {
        let signers: [&dyn keys::Signer; 2] = [&P256::new(1), &P384::new(1)];
        for signer in signers {
            let signature = keys::sign(signer, &message(b"data")).unwrap();
            assert!(signed_by(signer.spki(), b"data", &signature, &Software));
            assert!(!signed_by(signer.spki(), b"datum", &signature, &Software));
            assert!(!signed_by(P256::new(2).spki(), b"data", &signature, &Software), "another key");
            let bare = keys::sign(signer, b"data").unwrap();
            assert!(!signed_by(signer.spki(), b"data", &bare, &Software), "another use");
            assert!(!signed_by(b"no key", b"data", &signature, &Software));
        }
    }

    #[test]
    fn what_is_signed_for_a_workload_is_nothing_else() {
        // DER: a SEQUENCE. CBOR: an array. A JWT: base64 of `{\"`. TLS 1.3: spaces.
        for other in [&b"\x30"[..], b"\x84", b"eyJ", b" "] {
            assert!(!message(other).starts_with(other) && !message(b"").is_empty());
        }
    }

    #[test]
    fn a_key_is_for_whom_the_brief_trusts() {
        let brief = brief(&P256::new(1));
        let own = context(&brief, b"disk");
        assert!(own.starts_with(CONTEXT) && own.ends_with(b"disk") && own.len() == CONTEXT.len() + 32 + 4);
        assert_eq!(context(&brief, b"disk"), own);
        let mut arguments = brief.clone();
        arguments.args = vec!["x".to_string()];
        assert_eq!(context(&arguments, b"disk"), own, "what a launcher adds is no trust");
        let mut url = brief.clone();
        url.steward.as_mut().unwrap().url = "https://other".to_string();
        assert_eq!(context(&url, b"disk"), own, "nor is where the Steward is");

        let mut domain = brief.clone();
        domain.trust_domain = "example.com".parse().unwrap();
        let mut anchors = brief.clone();
        anchors.steward.as_mut().unwrap().anchors.push(Digest::of(b"the host's"));
        let mut none = brief.clone();
        none.steward = None;
        for other in
            [context(&brief, b"disks"), context(&domain, b"disk"), context(&anchors, b"disk"), context(&none, b"disk")]
        {
            assert_ne!(other, own);
        }
    }

    #[test]
    fn a_bundle_is_of_evidence_that_bundles_have() {
        let mut evidence = Evidence { media_type: SNP_MEDIA_TYPE.to_string(), bytes: vec![1; 3] };
        let of = |evidence: &Evidence| bundle(evidence, &[vec![2; 3]], Some(&[3; 3]), &[4; 64], &[5; 32], 6);
        let text = of(&evidence).unwrap();
        let expected = r#"{"donjon_evidence_bundle":1,"kind":"snp-report","evidence":"AQEB","certificates":["AgIC"],"#;
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with(r#""time":6}"#) && text.contains(r#""revocation_lists":["AwMD"]"#), "{text}");
        evidence.media_type = "application/other".to_string();
        assert_eq!(of(&evidence), None);
    }
}
