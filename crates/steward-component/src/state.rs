//! The Steward of this Keep, and what it answers.
//!
//! Owns where policy and keys come from: a file of the package, and the platform. Refuses a policy that does not go with such a root.
//! Invariant: policy and keys are the same for each request of this Keep, though each makes them anew; so is the root for a year.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use donjon_keep::derive_key;
use identity::{
    csr::CSR_MEDIA_TYPE,
    pem::{self, PEM_MEDIA_TYPE},
    problem::Problem,
};
use p256::pkcs8::EncodePrivateKey as _;
use serde::Serialize;
use steward::{
    Steward,
    nonce::NonceKey,
    policy::Policy,
    published::{self, Bundle, Description, NONCE_LIMIT},
    signer::{Authority, Key},
};
use wasip2::http::types::{IncomingRequest, Method};
use zeroize::Zeroizing;

use crate::http::{Answer, Request, form, unable};

/// Where the manifest puts the policy.
const POLICY: &str = "/etc/donjon/policy.toml";
/// How long a root is the same.
const YEAR: u64 = 365 * 24 * 3600;

const JSON: &str = "application/json";
const ROUTES: &str = "GET /, GET /nonce, GET /policy, GET /trust, POST /";

pub(crate) fn answer(asked: &Request, request: IncomingRequest) -> Result<Answer, Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let reading = matches!(asked.method, Method::Get);
    match (&asked.path[..], &asked.method) {
        ("/", Method::Post) => {
            let csr = asked.body(request, CSR_MEDIA_TYPE)?;
            let issued = steward(now)?.judge(&csr, now).map_err(|refusal| {
                // The refusal's text is the asker's; the names of its checks are ours.
                let ids: Vec<String> = refusal.checks().into_iter().map(|check| check.id).collect();
                eprintln!("refused: {}", ids.join(", "));
                refusal.problem()
            })?;
            eprintln!("issued: {} {} {}", issued.id, issued.serial, issued.key);
            Ok(Answer::new(PEM_MEDIA_TYPE, pem::encode(&issued.chain)))
        }
        ("/", _) if reading => json(&Description::of(&steward(now)?)),
        ("/nonce", _) if reading => {
            let nonce = steward(now)?.nonce(now);
            json(&nonce.map_err(|error| failed("nonce", &error))?)
        }
        ("/policy", _) if reading => {
            let steward = steward(now)?;
            let signed = published::policy(steward.policy(), steward.authority());
            Ok(Answer::new("application/jose", signed.map_err(|error| failed("policy", &error))?))
        }
        ("/trust", _) if reading => trust(&steward(now)?, asked.query.as_deref()),
        ("/" | "/nonce" | "/policy" | "/trust", _) => Err(form(405, "http.method", ROUTES)),
        _ => Err(form(404, "http.path", ROUTES)),
    }
}

/// With evidence, where the platform has any.
fn trust(steward: &Steward, query: Option<&str>) -> Result<Answer, Problem> {
    let nonce = query.map(|query| query.strip_prefix("nonce=").and_then(published::nonce));
    let wanted = || form(400, "http.query", &format!("nonce= and at most {NONCE_LIMIT} bytes in hexadecimal"));
    let nonce = nonce.map_or(Some(Vec::new()), |nonce| nonce).ok_or_else(wanted)?;
    let bundle = Bundle::of(steward.authority(), steward.policy());
    let evidence = donjon_keep::evidence(&bundle.said(&nonce));
    let evidence = evidence.map_err(|error| failed("evidence", &error))?;
    let evidence = serde_json::from_str(&evidence).map_err(|error| failed("evidence", &error))?;
    json(&bundle.attested(evidence))
}

/// Made of the policy and of what the platform derives.
fn steward(now: u64) -> Result<Steward, Problem> {
    let policy = Policy::read(Path::new(POLICY)).map_err(|error| failed("policy", &error))?;
    let key = authority_key()?;
    let class = policy.class();
    let root = Authority::root(&key, class, &[], now - now % YEAR).map_err(|error| failed("root", &error))?;
    let authority = Authority::with_key(class, key, root.as_bytes(), now).map_err(|error| failed("root", &error))?;
    let nonces = NonceKey::derived(&*derived(b"donjon-steward nonces")?);
    Steward::new(policy, authority, &nonces).map_err(|error| failed("policy", &error))
}

fn authority_key() -> Result<Key, Problem> {
    // All numbers but one in 2^32 are keys.
    for try_number in 0..4_u8 {
        let context = [b"donjon-steward authority", &[try_number][..]].concat();
        if let Ok(secret) = p256::SecretKey::from_slice(&derived(&context)?[..]) {
            let document = secret.to_pkcs8_der().map_err(|error| failed("authority", &error))?;
            return Key::from_pkcs8(document.as_bytes()).map_err(|error| failed("authority", &error));
        }
    }
    Err(failed("authority", &"no derived number is a key"))
}

fn derived(context: &[u8]) -> Result<Zeroizing<[u8; 32]>, Problem> {
    derive_key(context).map(Zeroizing::new).map_err(|_| {
        unable(
            "platform.keys",
            "a platform that derives keys: hardware, or sim-snp",
            "one that does not",
            "the operator of this Steward has to run it there",
        )
    })
}

fn json(of: &impl Serialize) -> Result<Answer, Problem> {
    serde_json::to_string(of).map(|text| Answer::new(JSON, text)).map_err(|error| failed("json", &error))
}

/// Ours to mend: the log hears why.
fn failed(what: &str, error: &dyn std::fmt::Display) -> Problem {
    eprintln!("{what}: {error}");
    let remedy = "the operator of this Steward finds the reason in its log";
    unable("steward.start", "a policy, and a root that goes with it", "something else", remedy)
}
