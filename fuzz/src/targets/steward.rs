//! Policies of a Steward, as operators write them, and the places of keys in HSMs (RFC 7512).
//!
//! What must hold: a policy that is taken has one class and says nothing insecure in class hardware; its digest is that of its
//! canonical text, which is JSON; and it can be said in words. The place of a key never has a PIN in it.

use std::path::Path;

use identity::ear::Class;
use steward::{policy::Policy, signer::KeyUri};
use workload::Digest;

use crate::{Defect, Target, number, shape};

pub(crate) const STEWARD: Target =
    Target { name: "steward", reads: "steward::policy, steward::signer::KeyUri", short: 1_500, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let text = String::from_utf8_lossy(input);
    if let Some(uri) = text.strip_prefix(KeyUri::SCHEME) {
        let read = text.parse::<KeyUri>();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let mut parts = path.split(';').chain(query.split('&'));
        assert!(read.is_err() || !parts.any(|part| part.starts_with("pin-value=")), "a PIN");
        return vec![number(&read.err().map(|error| error.to_string().split(['`', '%']).next().map(str::to_owned)))];
    }
    let policy = match Policy::parse("policy.toml", &text, Path::new("/nonexistent")) {
        Ok(policy) => policy,
        Err(error) => return vec![number(&error.to_string().split(['`', '"', '0', '1', '2', ':']).next())],
    };
    // Planted: the digest is of what was written, and not of what it says.
    let canonical = if defect == Defect::Planted { &*text } else { policy.canonical() };
    assert_eq!(policy.digest(), Digest::of(canonical.as_bytes()));
    let values: serde_json::Value = serde_json::from_str(policy.canonical()).expect("JSON");
    let said = policy.explain();
    assert!(!said.sections.is_empty(), "nothing is said");
    if policy.class() == Class::Hardware {
        assert!(!insecure(&values), "{values}");
        assert!(!policy.enarx());
    }
    assert!((600..=86_400).contains(&policy.lifetime()));
    vec![number(&(policy.tees(), said.weak.len(), policy.enarx())), shape(&policy.class())]
}

/// Whether there is a key that weakens something and is not switched off.
fn insecure(values: &serde_json::Value) -> bool {
    let here = |(key, value): (&String, &serde_json::Value)| {
        key.starts_with("insecure_") && *value != serde_json::Value::Bool(false) || insecure(value)
    };
    values.as_object().is_some_and(|object| object.iter().any(here))
}

fn seeds() -> Vec<Vec<u8>> {
    let (owner, chip, hash) = (format!("sha256:{}", "11".repeat(32)), "ab".repeat(64), "cd".repeat(48));
    let snp = format!("[snp]\nhash = [\"{hash}\"]\n");
    let head = "trust_domain = \"example.org\"\n";
    [
        format!("{head}any_platform = true\n{snp}"),
        format!("{head}platforms = [\"{chip}\"]\ncertificate_lifetime = \"90m\"\n{snp}insecure_debug = false\n"),
        format!("class = \"insecure\"\n{head}any_platform = true\n{snp}insecure_debug = true\n[compat]\nenarx = true\n"),
        format!(
            "{head}any_platform = true\n[[name]]\nowner = \"{owner}\"\ndeployment = \"shop\"\ndns = \"shop.example.org\"\n\
             minimum_version = 3\n[deny]\nworkloads = [\"{owner}\"]\nplatforms = [\"csp:x\"]\nserials = [\"{}\"]\n",
            "4b".repeat(16)
        ),
        format!("{head}any_platform = true\n[sgx]\nany_measurement = true\naccepted_tcb = [\"OutOfDate\"]\ngrace_days = 3\n[tdx]\nhash = [\"{hash}\"]\n"),
        "pkcs11:token=my%20token;object=ca;type=private?module-path=/usr/lib/x.so&pin-source=file:///run/pin".to_owned(),
        "pkcs11:token=a;object=b?module-path=/x&pin-value=1234".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}
