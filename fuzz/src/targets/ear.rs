//! EARs: what a verifier concluded, as a signed JWT (RFC 7519).
//!
//! What must hold: an EAR that is accepted has the nonce that was expected, at an instant at which it is good, and says
//! `contraindicated` of whatever was refused or is insecure; signed anew it comes back as it was; and with the issuer's key
//! nothing is accepted that the issuer did not sign.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evidence::ear::{Class, Conclusion, Ear, EarError, Expecting, LIMIT, NONCE, SignError, Tier};
use evidence::{AwsLc, Provider};
use p384::ecdsa::signature::Signer as _;
use p384::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::evidence::{Says, framed, parts};
use crate::{Defect, Target, number, shape};

pub(crate) const EAR: Target = Target {
    name: "ear",
    reads: "evidence::ear::Ear, signatures aside",
    short: 1_500,
    seeds: || seeds().to_vec(),
    run: |input, defect| whole(input, &Says::YES, defect == Defect::Planted).0,
};

pub(crate) const EAR_SIGNED: Target = Target {
    name: "ear-signed",
    reads: "evidence::ear::Ear, with an issuer's key",
    short: 600,
    seeds: || seeds().to_vec(),
    run: |input, defect| {
        let (happened, accepted) = match defect {
            Defect::None => whole(input, &AwsLc, false),
            // Planted: nobody looks at signatures.
            Defect::Planted => whole(input, &Says::YES, false),
        };
        assert!(accepted.is_none_or(|message| genuine().contains(&message)), "accepted, but nobody signed it");
        happened
    },
};

/// Parts of an input: the instant, by how much clocks differ, how old it may be; the nonce; a JWT, or its claims and its
/// signature, which get a header.
const PARTS: usize = 5;

/// Reads parts; also says what was signed if they were accepted.
fn whole(input: &[u8], provider: &dyn Provider, planted: bool) -> (Vec<u64>, Option<u64>) {
    let [times, nonce, _, claims, _] = parts::<PARTS>(input);
    let (words, _) = times.as_chunks::<8>();
    let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
    let (now, ahead, max_age) = (word(0), word(1), word(2));
    let text = jwt(input);
    let issuer = issuer();
    // Planted: whatever nonce it has is the one.
    let own = serde_json::from_slice::<Value>(claims).ok();
    let own = own.and_then(|claims| URL_SAFE_NO_PAD.decode(claims["eat_nonce"].as_str()?).ok());
    let read = if planted { own.as_deref().unwrap_or(nonce) } else { nonce };
    let expecting = Expecting { spki: &issuer.spki, nonce: read, now, ahead, max_age };
    let ear = match Ear::verify(&text, &expecting, provider) {
        Ok(ear) => ear,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(char::is_control), "an error says what is no text: {said:?}");
            let kind = match &error {
                EarError::Claims(said) => number(&said.split(['`', '"', '0', '1', '2', '3']).next()),
                EarError::Profile { .. } => 1,
                error => shape(error),
            };
            return (vec![kind], None);
        }
    };
    assert!(text.len() <= LIMIT && NONCE.contains(&nonce.len()));
    assert!(ear.nonce == nonce, "of another nonce");
    assert!(ear.issued_at <= now.saturating_add(ahead) && ear.expires > now && ear.expires > ear.issued_at);
    assert!(ear.issued_at.saturating_add(max_age) >= now, "too old");
    let (status, worst) = (ear.status(), ear.appraisal.vector().worst());
    match ear.appraisal.conclusion() {
        Conclusion::Accepted(facts) => {
            assert!(facts.collateral_end >= now, "it outlives what it was judged by");
            assert!(status == if ear.class == Class::Insecure { Tier::Contraindicated } else { worst });
        }
        Conclusion::Refused(_) => assert_eq!(status, Tier::Contraindicated),
    }
    match ear.sign(&issuer.spki, |message| Ok::<_, Infallible>(issuer.sign(message))) {
        Ok(text) => {
            let again = Ear::verify(&text, &Expecting { nonce, ..expecting }, &AwsLc);
            assert_eq!(again.as_ref(), Ok(&ear), "it does not come back");
        }
        // There are shorter ways to write the same.
        Err(error) => assert!(matches!(error, SignError::Ear(EarError::TooLong { .. })), "{error}"),
    }
    let accepted = matches!(ear.appraisal.conclusion(), Conclusion::Accepted(_));
    let happened = shape(&(ear.appraisal.tee(), ear.class, status, accepted));
    let vector = number(&format!("{:?}", ear.appraisal.vector()));
    (vec![happened, vector], text.rsplit_once('.').map(|(message, _)| number(&message)))
}

fn jwt(input: &[u8]) -> String {
    let [_, _, text, claims, signature] = parts::<PARTS>(input);
    if !text.is_empty() {
        return String::from_utf8_lossy(text).into_owned();
    }
    format!("{}.{}", message(claims), URL_SAFE_NO_PAD.encode(signature))
}

/// What is signed.
fn message(claims: &[u8]) -> String {
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(&issuer().spki));
    let header = format!(r#"{{"alg":"ES384","kid":"{kid}","typ":"eat+jwt"}}"#);
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

struct Issuer {
    key: SigningKey,
    spki: Vec<u8>,
}

impl Issuer {
    /// Deterministic (RFC 6979).
    fn sign(&self, message: &[u8]) -> [u8; 96] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        // SubjectPublicKeyInfo of P-384 up to the point (RFC 5480).
        let head = hex::decode("3076301006072a8648ce3d020106052b81040022036200").expect("hexadecimal");
        let key = SigningKey::from_slice(&[1; 48]).expect("a key");
        let point = key.verifying_key().to_sec1_point(false);
        Issuer { spki: [&head, point.as_bytes()].concat(), key }
    })
}

const NOW: u64 = 1_767_225_600;

/// Claims of every kind there is: accepted and refused, of each TEE and class, and some that contradict each other.
fn claims() -> Vec<Vec<u8>> {
    let of = |tee: &str, submod: &Value| {
        json!({
            "eat_profile": "tag:ietf.org,2026:rats/ear#03",
            "iat": NOW,
            "exp": NOW + 100,
            "eat_nonce": URL_SAFE_NO_PAD.encode([5; 32]),
            "ear_verifier_id": { "build": "test 1", "developer": "https://example.org" },
            "submods": { tee: submod },
        })
    };
    let refused = json!({
        "ear_status": "contraindicated",
        "ear_trustworthiness_vector": { "hardware": 99, "executables": 33, "instance-identity": 97 },
        "ear_appraisal_policy_ids": ["sha256:00"],
        "donjon.class": "hardware",
        "donjon.failed": ["snp.report.signature", "snp.measurement.allowed"],
    });
    let accepted = json!({
        "ear_status": "affirming",
        "ear_trustworthiness_vector":
            { "hardware": 2, "configuration": 2, "executables": 3, "runtime-opaque": 2, "instance-identity": 2 },
        "ear_appraisal_policy_ids": ["sha256:00"],
        "donjon.class": "hardware",
        "donjon.product": "Milan",
        "donjon.measurement": "ab".repeat(48),
        "donjon.signer": "cd".repeat(48),
        "donjon.registers": [],
        "donjon.brief": format!("sha256:{}", "22".repeat(32)),
        "donjon.report-data": "11".repeat(64),
        "donjon.tcb": "bootloader 3",
        "donjon.tcb-status": "MeetsPolicy",
        "donjon.advisories": [],
        "donjon.collateral-end": NOW + 1000,
    });
    let mut warned = accepted.clone();
    warned["ear_status"] = "warning".into();
    warned["ear_trustworthiness_vector"]["hardware"] = 32.into();
    warned["donjon.registers"] = vec!["ef".repeat(48); 4].into();
    warned["donjon.tcb-status"] = "OutOfDate".into();
    warned["donjon.advisories"] = json!(["INTEL-SA-00001", "\u{1b}[2J\u{202e}"]);
    let mut not_rated = warned.clone();
    not_rated["donjon.tcb-status"] = "NotRated".into();
    not_rated["donjon.registers"] = json!([]);
    let mut insecure = accepted.clone();
    insecure["donjon.class"] = "insecure".into();
    insecure["ear_status"] = "contraindicated".into();
    let mut wrong = accepted.clone();
    wrong["donjon.class"] = "insecure".into();
    let mut both = accepted.clone();
    both["donjon.failed"] = json!([]);
    let mut outlives = accepted.clone();
    outlives["donjon.collateral-end"] = (NOW + 50).into();
    // As long as it may be.
    let mut long = refused.clone();
    long["donjon.failed"] = vec![""; 3_500].into();
    let mut said = refused.clone();
    said["\u{1}".repeat(1_800)] = Value::Null;
    let mut of_azure = accepted.clone();
    of_azure["donjon.pcrs"] = json!({ "4": "ab".repeat(32), "13": "cd".repeat(32) });
    let submods = [
        ("azure-snp", of_azure.clone()),
        ("azure-tdx", of_azure),
        ("snp", accepted),
        ("snp", refused),
        ("sgx", warned.clone()),
        ("tdx", warned),
        ("snp", not_rated),
        ("snp", insecure),
        ("snp", wrong),
        ("snp", both),
        ("snp", outlives),
        ("tdx", long),
        ("tdx", said),
    ];
    submods.iter().map(|(tee, submod)| of(tee, submod).to_string().into_bytes()).collect()
}

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let times = |times: [u64; 3]| times.map(u64::to_le_bytes).concat();
        let (good, nonce) = (times([NOW, 0, 60]), [5; 32]);
        let mut seeds: Vec<_> = claims()
            .iter()
            .map(|claims| {
                let signature = issuer().sign(message(claims).as_bytes());
                framed(&[&good, &nonce, &[], claims, &signature])
            })
            .collect();
        let first = seeds[0].clone();
        let mut parts = parts::<PARTS>(&first);
        for wrong in [[NOW - 1, 0, 60], [NOW - 1, 1, 60], [NOW + 99, 0, 99], [NOW + 99, 0, 98], [NOW + 100, 0, 200]] {
            let times = times(wrong);
            let [_, rest @ ..] = parts;
            seeds.push(framed(&[&[&times[..]], &rest[..]].concat()));
        }
        (parts[0], parts[1]) = (&good, &[6; 32]);
        seeds.push(framed(&parts));
        let text = jwt(&first);
        let long = [vec![b'.'; LIMIT], vec![b'A'; LIMIT + 1]];
        seeds.push(framed(&[&good, &nonce, text.as_bytes(), &[], &[]]));
        seeds.extend(long.iter().map(|text| framed(&[&good, &nonce, text, &[], &[]])));
        seeds
    })
}

/// All that was signed.
fn genuine() -> &'static HashSet<u64> {
    static GENUINE: OnceLock<HashSet<u64>> = OnceLock::new();
    GENUINE.get_or_init(|| claims().iter().map(|claims| number(&message(claims).as_str())).collect())
}
