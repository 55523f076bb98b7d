//! Policies as operators write them: `[snp]`, `[sgx]`, `[tdx]` and `[azure]`, each alone and all in one (TOML 1.0).
//!
//! What must hold: a policy that is taken is written as one that is the same, and says which code is accepted.

use evidence::appraisal::policy::Sections;
use evidence::{appraisal, azure, sgx, snp, tdx};

use super::evidence::{distinct, text, vectors};
use crate::{Defect, Target, number};

pub(crate) const POLICY: Target =
    Target { name: "policy", reads: "evidence::appraisal::policy, and the sections alone", short: 1_500, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let text = String::from_utf8_lossy(input);
    let (snp, sgx, tdx): (Result<snp::Policy, _>, Result<sgx::Policy, _>, Result<tdx::Policy, _>) =
        (toml::from_str(&text), toml::from_str(&text), toml::from_str(&text));
    let (azure, sections) = (toml::from_str::<azure::Policy>(&text), toml::from_str::<Sections>(&text));
    let written = |text: Result<String, toml::ser::Error>| {
        let text = text.expect("what was read can be written");
        // Planted: one key is not written.
        let kept = |line: &&str| defect == Defect::None || !line.starts_with("insecure_debug");
        text.lines().filter(kept).collect::<Vec<_>>().join("\n")
    };
    let mut happened = Vec::new();
    if let Ok(policy) = &snp {
        let snp::Settings { signer, hash, id_key_digest, any_measurement, vmpl, .. } = policy.settings();
        assert_ne!(*any_measurement, signer.is_some() || hash.is_some() || id_key_digest.is_some());
        assert!(*vmpl < 4);
        let text = written(toml::to_string(policy));
        assert_eq!(toml::from_str::<snp::Policy>(&text).as_ref(), Ok(policy), "{text}");
        happened.push(number(&keys(&text)));
    }
    if let Ok(policy) = &sgx {
        let sgx::Settings { signer, hash, any_measurement, accepted_tcb, .. } = policy.settings();
        assert_ne!(*any_measurement, signer.is_some() || hash.is_some());
        assert!(!accepted_tcb.iter().flatten().any(|status| *status == evidence::dcap::TcbStatus::Revoked));
        let text = written(toml::to_string(policy));
        assert_eq!(toml::from_str::<sgx::Policy>(&text).as_ref(), Ok(policy), "{text}");
        happened.push(number(&keys(&text)));
    }
    if let Ok(policy) = &tdx {
        let tdx::Settings { accepted_tcb, .. } = policy.settings();
        assert!(!accepted_tcb.iter().flatten().any(|status| *status == evidence::dcap::TcbStatus::Revoked));
        let text = written(toml::to_string(policy));
        assert_eq!(toml::from_str::<tdx::Policy>(&text).as_ref(), Ok(policy), "{text}");
        happened.push(number(&keys(&text)));
    }
    if let Ok(policy) = &azure {
        let azure::Settings { any_pcrs, brief_pcr, pcrs, tpm_enabled, .. } = policy.settings();
        assert_ne!(*any_pcrs, pcrs.is_some());
        assert!(pcrs.as_ref().is_none_or(|pcrs| !pcrs.is_empty() && pcrs.values().all(|values| !values.is_empty())));
        assert!(brief_pcr.is_none_or(|pcr| (8..16).contains(&pcr)) && *tpm_enabled != Some(false));
        let text = written(toml::to_string(policy));
        assert_eq!(toml::from_str::<azure::Policy>(&text).as_ref(), Ok(policy), "{text}");
        happened.push(number(&keys(&text)));
    }
    if let Ok(sections) = &sections {
        let text = written(toml::to_string(sections));
        let again = toml::from_str::<Sections>(&text);
        assert_eq!(again.as_ref(), Ok(sections), "{text}");
        let policy = appraisal::Policy::try_from(sections.clone());
        assert_eq!(again.ok().map(appraisal::Policy::try_from), Some(policy.clone()), "{text}");
        let Sections { platforms, any_platform, snp, sgx, tdx, azure } = sections;
        if policy.is_ok() {
            assert!(snp.is_some() || tdx.is_some() || (sgx.is_some() && azure.is_none()), "nothing is accepted");
            assert!(platforms.as_ref().is_none_or(|named| !named.is_empty() && *any_platform != Some(true)));
            assert!(platforms.is_some() || *any_platform != Some(false), "any, though it says not any");
        }
        let named = platforms.as_ref().map(Vec::len);
        happened.push(number(&(named, snp.is_some(), sgx.is_some(), tdx.is_some(), azure.is_some())));
        let why = policy.err().map(|error| error.to_string());
        happened.push(number(&why.as_deref().and_then(|why| why.split(['`', '"', '0', '1', '2']).next())));
    }
    for error in [snp.err(), sgx.err(), tdx.err(), azure.err(), sections.err()].iter().flatten() {
        // What was found stands between marks.
        happened.push(number(&error.message().split(['`', '"', '0', '1', '2']).next()));
    }
    happened
}

/// What is written, without the values.
fn keys(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let of = |folder, key: &str| {
        let all = vectors(folder).into_iter().map(|vector| text(&vector[key]).to_vec());
        distinct(all.collect())
    };
    let [snp, dcap, azure] = [of("snp", "policy"), of("dcap", "policy"), of("azure", "azure_policy")];
    // All in one: tables of a section are named with it.
    let section = |name: &str, text: &[u8]| {
        let text = String::from_utf8_lossy(text).replace("\n[", &format!("\n[{name}."));
        format!("[{name}]\n{text}\n")
    };
    let count = snp.len().max(dcap.len()).max(azure.len());
    let whole = |at: usize| {
        let pick = |list: &[Vec<u8>]| list[at % list.len()].clone();
        let platforms = ["", "any_platform = true\n", PLATFORMS][at % 3];
        let [snp, azure] = [section("snp", &pick(&snp)), section("azure", &pick(&azure))];
        let intel = section(["sgx", "tdx"][at % 2], &pick(&dcap));
        let sections = [[&snp[..], &intel, &azure].concat(), [&snp[..], &intel].concat(), intel];
        [platforms, &sections[at / 3 % 3]].concat().into_bytes()
    };
    let sections: Vec<_> = (0..count).map(whole).collect();
    distinct([snp, dcap, azure, sections].concat())
}

/// One of each kind.
const PLATFORMS: &str = "platforms = [\"0123456789abcdef\", \"csp:example\", \"00112233445566778899aabbccddeeff\"]\n";
