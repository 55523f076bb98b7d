//! Every key of every section, met and broken: on evidence that passes otherwise, it passes with one value and is refused
//! with another at the check that the reference names, and at no other.

use crate::support::provider::PROVIDER;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use evidence::appraisal::policy::{Policy, PolicyError, Sections};
use evidence::appraisal::{Appraisal, Binding, By, Endorsements, Evidence, KEYS, Roots, Subject, appraise};
use evidence::ear::{self, Conclusion, Tee};
use evidence::{Expected, dcap, snp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A vector that passes.
struct Control {
    evidence: Evidence,
    endorsements: Endorsements,
    roots: Roots,
    now: u64,
}

fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key].as_str().unwrap_or_else(|| panic!("{key}"))
}

fn bytes(vector: &Value, key: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text(vector, key)).expect("base64")
}

/// The certificates of PEM.
fn pem(endorsements: &mut Endorsements, text: &str) {
    let file = evidence::appraisal::File::read(text.as_bytes()).expect("PEM");
    let evidence::appraisal::file::Content::Endorsements(some) = file.content else { panic!("certificates") };
    endorsements.extend(&some).expect("few");
}

fn vector(folder: &str, name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(folder);
    let file = std::fs::read(path.join(name).with_extension("json")).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&file).expect("JSON")
}

impl Control {
    fn read(section: &str, name: &str) -> Self {
        let folder = match section {
            "sgx" | "tdx" => "dcap",
            other => other,
        };
        let vector = vector(folder, name);
        let mut endorsements = Endorsements::default();
        let mut roots = Roots::vendors();
        let evidence = if section == "azure" {
            let inner = &vector["snp"];
            endorsements.certificate(&bytes(inner, "ask")).expect("few");
            endorsements.list(&bytes(inner, "crl")).expect("few");
            roots.snp = snp::Roots::from_arks(&[&bytes(inner, "ark")]).expect("a root");
            let url = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            let envelope = json!({
                "version": 1,
                "hcl_report": url(&bytes(&vector, "hcl_report")),
                "tpm_quote": {
                    "message": vector["message"], "signature": vector["signature"], "pcrs": vector["pcrs"],
                },
                "vcek": url(&bytes(inner, "vcek")),
            });
            Evidence::Azure(envelope.to_string().into_bytes())
        } else if section == "snp" {
            for key in ["vcek", "ask"] {
                endorsements.certificate(&bytes(&vector, key)).expect("few");
            }
            if vector["crl"].is_string() {
                endorsements.list(&bytes(&vector, "crl")).expect("few");
            }
            roots.snp = snp::Roots::from_arks(&[&bytes(&vector, "ark")]).expect("a root");
            Evidence::Snp(hex::decode(text(&vector, "report")).expect("hexadecimal"))
        } else {
            for key in ["tcb_info_chain", "qe_identity_chain", "pck_crl_chain"] {
                pem(&mut endorsements, text(&vector, key));
            }
            for key in ["root_crl", "pck_crl"] {
                endorsements.list(&bytes(&vector, key)).expect("few");
            }
            let signature = |key| hex::decode(text(&vector, key)).expect("hexadecimal");
            let info = text(&vector, "tcb_info").as_bytes();
            endorsements.tcb_info(info, &signature("tcb_info_signature")).expect("few");
            let identity = text(&vector, "qe_identity").as_bytes();
            if !identity.is_empty() {
                endorsements.qe_identity(identity, &signature("qe_identity_signature")).expect("few");
            }
            roots.dcap = dcap::Roots::from_certificates(&[&bytes(&vector, "root")]).expect("a root");
            let quote = bytes(&vector, "quote");
            if section == "sgx" { Evidence::Sgx(quote) } else { Evidence::Tdx(quote) }
        };
        Self { evidence, endorsements, roots, now: vector["now"].as_u64().expect("an instant") }
    }

    /// By a policy, TOML.
    fn appraise(&self, toml: &str, binding: Binding) -> Appraisal {
        let policy = read(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
        let Self { evidence, endorsements, roots, now } = self;
        let by = By { endorsements, policy: Some(&policy), binding, roots, now: *now };
        appraise(evidence, by, PROVIDER)
    }

    /// The ids of the checks that fail.
    fn failures(&self, section: &str, policy: &str) -> Vec<&'static str> {
        let below = if section == "azure" { "[snp]\nany_measurement = true\n" } else { "" };
        let toml = format!("{below}[{section}]\n{policy}");
        let launch_field = toml.contains("brief_pcr").then_some([0x22; 32]);
        let appraisal = self.appraise(&toml, Binding { launch_field, ..Binding::default() });
        assert_eq!(appraisal.verified(), appraisal.verdict.failures().next().is_none());
        appraisal.verdict.failures().map(|check| check.id).collect()
    }
}

fn read(toml: &str) -> Result<Policy, PolicyError> {
    let sections: Sections = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    Policy::try_from(sections)
}

const ANY: &str = "any_measurement = true\n";

/// Section, key, control, a policy that the control meets, one that it breaks; `{n}` are digits of n bytes of another value.
/// A policy that names no code gets `any_measurement`.
const BOTH_WAYS: &[[&str; 5]] = &[
    ["snp", "signer", "ok-milan-v3", r#"signer = ["{55*48}"]"#, r#"signer = ["{48}"]"#],
    ["snp", "hash", "ok-milan-v3", r#"hash = ["{48}", "{33*48}"]"#, r#"hash = ["{48}"]"#],
    ["snp", "hash_blacklist", "ok-milan-v3", r#"hash_blacklist = ["{48}"]"#, r#"hash_blacklist = ["{33*48}"]"#],
    ["snp", "id_key_digest", "ok-milan-v3", r#"id_key_digest = ["{44*48}"]"#, r#"id_key_digest = ["{48}"]"#],
    [
        "snp",
        "id_key_digest_blacklist",
        "ok-milan-v3",
        r#"id_key_digest_blacklist = ["{48}"]"#,
        r#"id_key_digest_blacklist = ["{44*48}"]"#,
    ],
    [
        "snp",
        "minimum_guest_svn",
        "ok-id-block",
        "signer = [\"{55*48}\"]\nminimum_guest_svn = 3",
        "signer = [\"{55*48}\"]\nminimum_guest_svn = 4",
    ],
    [
        "snp",
        "family_id",
        "ok-id-block",
        "signer = [\"{55*48}\"]\nfamily_id = [\"{06*16}\"]",
        "signer = [\"{55*48}\"]\nfamily_id = [\"{16}\"]",
    ],
    [
        "snp",
        "image_id",
        "ok-id-block",
        "signer = [\"{55*48}\"]\nimage_id = [\"{07*16}\"]",
        "signer = [\"{55*48}\"]\nimage_id = [\"{16}\"]",
    ],
    ["snp", "abi", "ok-milan-v3", r#"abi = ">=0.0""#, r#"abi = ">=2.0""#],
    ["snp", "policy_flags", "ok-milan-v3", r#"policy_flags = ["SMT"]"#, r#"policy_flags = ["SMT", "SingleSocket"]"#],
    [
        "snp",
        "platform_info_flags",
        "ok-turin-v5",
        r#"platform_info_flags = ["SMT", "ECC"]"#,
        r#"platform_info_flags = ["SMT", "TSME"]"#,
    ],
    [
        "snp",
        "minimum_tcb",
        "ok-turin-v5",
        "minimum_tcb.turin = { fmc = 0, bootloader = 1, tee = 0, snp = 2, microcode = 71 }",
        "minimum_tcb.turin = { fmc = 0, bootloader = 1, tee = 0, snp = 2, microcode = 72 }",
    ],
    ["snp", "minimum_firmware", "ok-turin-v5", r#"minimum_firmware = "1.55.61""#, r#"minimum_firmware = "1.55.62""#],
    ["snp", "mitigations", "ok-firmware", "mitigations = 3", "mitigations = 0x8000"],
    ["snp", "refused_products", "ok-turin-v5", r#"refused_products = ["milan"]"#, r#"refused_products = ["turin"]"#],
    ["snp", "vmpl", "ok-vmpl-1", "vmpl = 1", "vmpl = 0"],
    ["snp", "crl", "ok-crl-optional", r#"crl = "optional""#, r#"crl = "required""#],
    ["snp", "insecure_debug", "ok-insecure-debug", "insecure_debug = true", "insecure_debug = false"],
    ["sgx", "signer", "ok-sgx", r#"signer = ["{32*32}"]"#, r#"signer = ["{32}"]"#],
    ["sgx", "hash", "ok-sgx", r#"hash = ["{31*32}"]"#, r#"hash = ["{32}"]"#],
    ["sgx", "hash_blacklist", "ok-sgx", r#"hash_blacklist = ["{32}"]"#, r#"hash_blacklist = ["{31*32}"]"#],
    [
        "sgx",
        "enclave_product_id",
        "ok-sgx",
        "signer = [\"{32*32}\"]\nenclave_product_id = 1",
        "signer = [\"{32*32}\"]\nenclave_product_id = 2",
    ],
    [
        "sgx",
        "enclave_security_version",
        "ok-sgx",
        "signer = [\"{32*32}\"]\nenclave_security_version = 2",
        "signer = [\"{32*32}\"]\nenclave_security_version = 3",
    ],
    [
        "sgx",
        "family_id",
        "ok-sgx",
        "signer = [\"{32*32}\"]\nfamily_id = \"{00*16}\"",
        "signer = [\"{32*32}\"]\nfamily_id = \"{16}\"",
    ],
    [
        "sgx",
        "extended_product_id",
        "ok-sgx",
        "signer = [\"{32*32}\"]\nextended_product_id = \"{00*16}\"",
        "signer = [\"{32*32}\"]\nextended_product_id = \"{16}\"",
    ],
    ["sgx", "features", "ok-sgx", r#"features = ["KSS"]"#, r#"features = ["CET"]"#],
    ["sgx", "misc_select", "sgx-misc-select", r#"misc_select = ["EXINFO"]"#, "misc_select = []"],
    ["sgx", "insecure_debug", "ok-debug", "insecure_debug = true", "insecure_debug = false"],
    [
        "sgx",
        "insecure_without_qe_identity",
        "ok-without-qe-identity",
        "insecure_without_qe_identity = true",
        "insecure_without_qe_identity = false",
    ],
    ["tdx", "hash", "ok-tdx-15", r#"hash = ["{42*48}"]"#, r#"hash = ["{48}"]"#],
    ["tdx", "hash_blacklist", "ok-tdx-15", r#"hash_blacklist = ["{48}"]"#, r#"hash_blacklist = ["{42*48}"]"#],
    ["tdx", "rtmr0", "ok-tdx-15", r#"rtmr0 = ["{43*48}"]"#, r#"rtmr0 = ["{48}"]"#],
    ["tdx", "rtmr1", "ok-tdx-15", r#"rtmr1 = ["{44*48}"]"#, r#"rtmr1 = ["{48}"]"#],
    ["tdx", "rtmr2", "ok-tdx-15", r#"rtmr2 = ["{45*48}"]"#, r#"rtmr2 = ["{48}"]"#],
    ["tdx", "rtmr3", "ok-tdx-15", r#"rtmr3 = ["{00*48}"]"#, r#"rtmr3 = ["{48}"]"#],
    ["tdx", "owner", "ok-tdx-15", r#"owner = ["{00*48}"]"#, r#"owner = ["{48}"]"#],
    ["tdx", "owner_config", "ok-tdx-15", r#"owner_config = ["{00*48}"]"#, r#"owner_config = ["{48}"]"#],
    ["tdx", "module", "ok-tdx-15", r#"module = ["{41*48}"]"#, r#"module = ["{48}"]"#],
    ["sgx", "accepted_tcb", "ok-sw-hardening", r#"accepted_tcb = ["SWHardeningNeeded"]"#, ""],
    [
        "sgx",
        "grace_days",
        "ok-out-of-date",
        "accepted_tcb = [\"OutOfDate\"]\ngrace_days = 700",
        "accepted_tcb = [\"OutOfDate\"]\ngrace_days = 1",
    ],
    [
        "sgx",
        "allowed_advisories",
        "ok-sw-hardening",
        "accepted_tcb = [\"SWHardeningNeeded\"]\nallowed_advisories = [\"INTEL-SA-00615\"]",
        "accepted_tcb = [\"SWHardeningNeeded\"]\nallowed_advisories = []",
    ],
    [
        "sgx",
        "rejected_advisories",
        "ok-sw-hardening",
        "accepted_tcb = [\"SWHardeningNeeded\"]\nrejected_advisories = [\"INTEL-SA-00828\"]",
        "accepted_tcb = [\"SWHardeningNeeded\"]\nrejected_advisories = [\"INTEL-SA-00615\"]",
    ],
    ["sgx", "minimum_evaluation", "ok-sgx", "minimum_evaluation = 20", "minimum_evaluation = 21"],
    ["sgx", "refused_fmspc", "ok-sgx", r#"refused_fmspc = ["00906ed50000"]"#, r#"refused_fmspc = ["5d0a6f000000"]"#],
    ["sgx", "smt", "ok-sgx", "smt = true", "smt = false"],
    ["sgx", "dynamic_platform", "ok-sgx", "dynamic_platform = false", "dynamic_platform = true"],
    ["sgx", "cached_keys", "ok-sgx", "cached_keys = false", "cached_keys = true"],
    ["tdx", "service_td", "tdx-service-td", r#"service_td = ["{07*48}"]"#, r#"service_td = ["{48}"]"#],
    ["tdx", "attributes", "tdx-attribute-not-listed", r#"attributes = ["KL"]"#, "attributes = []"],
    ["tdx", "sept_ve_disable", "tdx-sept-ve", r#"sept_ve_disable = "optional""#, r#"sept_ve_disable = "required""#],
    ["tdx", "insecure_debug", "tdx-debug", "insecure_debug = true", "insecure_debug = false"],
    [
        "tdx",
        "grace_days",
        "tdx-status-module-old",
        "accepted_tcb = [\"OutOfDate\"]\ngrace_days = 9000",
        "accepted_tcb = [\"OutOfDate\"]\ngrace_days = 1",
    ],
    [
        "tdx",
        "allowed_advisories",
        "ok-relaunch",
        "accepted_tcb = [\"TDRelaunchAdvised\"]\nallowed_advisories = [\"INTEL-SA-01036\"]",
        "accepted_tcb = [\"TDRelaunchAdvised\"]\nallowed_advisories = []",
    ],
    [
        "tdx",
        "rejected_advisories",
        "ok-relaunch",
        "accepted_tcb = [\"TDRelaunchAdvised\"]\nrejected_advisories = [\"INTEL-SA-00001\"]",
        "accepted_tcb = [\"TDRelaunchAdvised\"]\nrejected_advisories = [\"INTEL-SA-01036\"]",
    ],
    ["tdx", "accepted_tcb", "ok-relaunch", r#"accepted_tcb = ["TDRelaunchAdvised"]"#, ""],
    ["tdx", "minimum_evaluation", "ok-tdx-15", "minimum_evaluation = 20", "minimum_evaluation = 21"],
    ["tdx", "refused_fmspc", "ok-tdx-10", r#"refused_fmspc = ["00906ed50000"]"#, r#"refused_fmspc = ["5d0a6f000000"]"#],
    ["tdx", "smt", "ok-tdx-15", "smt = true", "smt = false"],
    ["tdx", "dynamic_platform", "ok-tdx-15", "dynamic_platform = false", "dynamic_platform = true"],
    ["tdx", "cached_keys", "ok-tdx-15", "cached_keys = false", "cached_keys = true"],
    ["azure", "pcrs", "ok-every-policy-key", r#"pcrs.11 = ["{00*32}"]"#, r#"pcrs.11 = ["{32}"]"#],
    ["azure", "brief_pcr", "ok-every-policy-key", "brief_pcr = 13", "brief_pcr = 12"],
    ["azure", "secure_boot", "ok-every-policy-key", "secure_boot = true", "secure_boot = false"],
    ["azure", "tpm_enabled", "snp-tpm-enabled", "", "tpm_enabled = true"],
    ["azure", "tpm_persisted", "ok-every-policy-key", "tpm_persisted = true", "tpm_persisted = false"],
    ["azure", "console_enabled", "ok-every-policy-key", "console_enabled = true", "console_enabled = false"],
    [
        "azure",
        "root_cert_thumbprint",
        "ok-every-policy-key",
        r#"root_cert_thumbprint = ["YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"]"#,
        r#"root_cert_thumbprint = ["47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"]"#,
    ],
    [
        "azure",
        "vm_unique_id",
        "ok-every-policy-key",
        r#"vm_unique_id = ["01234567-89ab-cdef-0123-456789abcdef"]"#,
        r#"vm_unique_id = ["01234567-89ab-cdef-0123-456789abcdee"]"#,
    ],
];

/// `{n}` and `{hh*n}` as digits.
fn expanded(section: &str, policy: &str) -> String {
    let mut parts = policy.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((inside, rest)) if inside.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*') => {
                let (digits, count) = inside.split_once('*').unwrap_or(("c7", inside));
                out += &digits.repeat(count.parse().expect("a count"));
                out += rest;
            }
            _ => out = out + "{" + part,
        }
    }
    if section == "azure" {
        return if out.contains("pcrs.") { out } else { "any_pcrs = true\n".to_owned() + &out };
    }
    let code = ["signer", "hash", "id_key_digest"];
    let names = |line: &str| code.iter().any(|key| line.split(' ').next() == Some(key));
    if out.lines().any(names) { out } else { ANY.to_owned() + &out }
}

#[test]
fn every_key_is_met_by_one_value_and_broken_by_another() {
    for [section, key, control, met, broken] in BOTH_WAYS {
        let control = Control::read(section, control);
        let check = KEYS.iter().find(|known| known.name == *key && known.sections.contains(section));
        let check = check.unwrap_or_else(|| panic!("[{section}] {key}")).check.expect("a check");
        assert_eq!(control.failures(section, &expanded(section, met)), [""; 0], "[{section}] {key}: {met}");
        assert_eq!(control.failures(section, &expanded(section, broken)), [check], "[{section}] {key}: {broken}");
    }
}

#[test]
fn no_key_is_left_out() {
    let shown: BTreeSet<_> = BOTH_WAYS.iter().map(|[section, key, ..]| (*section, *key)).collect();
    let asked = KEYS.iter().filter(|key| key.check.is_some());
    let keys: BTreeSet<_> = asked.flat_map(|key| key.sections.iter().map(|section| (*section, key.name))).collect();
    assert_eq!(shown, keys);
}

/// The keys of the reference are those that are read: serde names all it knows when it meets another.
#[test]
fn the_reference_has_every_key() {
    for section in ["snp", "sgx", "tdx", "azure"] {
        let error = toml::from_str::<Sections>(&format!("[{section}]\nnobody_knows_it = 1\n")).expect_err("unknown");
        let message = error.to_string();
        let (_, known) = message.split_once("expected one of ").unwrap_or_else(|| panic!("{message}"));
        let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
        let keys = KEYS.iter().filter(|key| key.sections.contains(&section)).map(|key| key.name);
        assert_eq!(known, keys.collect(), "[{section}]");
    }
}

#[test]
fn every_example_is_a_policy() {
    for key in KEYS {
        for section in key.sections {
            let mut text = key.example();
            if *section == "azure" {
                text = if text.contains("pcrs") { text } else { format!("any_pcrs = true\n{text}") };
                let below = "[snp]\nany_measurement = true\n[azure]\n";
                let sections: Sections = toml::from_str(&(below.to_owned() + &text)).expect(key.name);
                Policy::try_from(sections).unwrap_or_else(|error| panic!("{text}: {error}"));
                continue;
            }
            if key.check.is_some() && *section != "tdx" && !text.contains("signer") {
                let signer = "a5".repeat(if *section == "snp" { 48 } else { 32 });
                text = format!("signer = [\"{signer}\"]\n{text}");
            } else if !["signer", "any_measurement", "hash"].contains(&key.name) {
                text = ANY.to_owned() + &text;
            }
            let sections = toml::from_str::<Sections>(&format!("[{section}]\n{text}"));
            let sections = sections.unwrap_or_else(|error| panic!("{text}: {error}"));
            Policy::try_from(sections).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}

/// One of each: what can be written and could never, or would not say what it seems to.
#[test]
fn a_policy_that_contradicts_itself_is_none() {
    let any = |sections: &str| sections.replace(']', "]\nany_measurement = true");
    let (chip, ppid) = ("a5".repeat(8), "a5".repeat(16));
    for (toml, error) in [
        (String::new(), PolicyError::NoSection),
        ("any_platform = true".into(), PolicyError::NoSection),
        ("[azure]\nany_pcrs = true".into(), PolicyError::NothingBelow),
        (any("[sgx]") + "\n[azure]\nany_pcrs = true", PolicyError::NothingBelow),
        (format!("any_platform = true\nplatforms = [\"{chip}\"]\n") + &any("[snp]"), PolicyError::AnyPlatform),
        ("any_platform = false\n".to_owned() + &any("[snp]"), PolicyError::NotAnyPlatform),
        ("platforms = []\n".to_owned() + &any("[snp]"), PolicyError::NoPlatforms),
        ("platforms = [\"a5\"]\n".to_owned() + &any("[snp]"), PolicyError::Platform("a5".into())),
        (format!("platforms = [\"{ppid}\"]\n") + &any("[snp]"), PolicyError::NoPlatformOf("snp")),
        (format!("platforms = [\"{chip}\"]\n") + &any("[sgx]"), PolicyError::NoPlatformOf("sgx")),
        (format!("platforms = [\"{chip}\"]\n") + &any("[snp]\n[tdx]"), PolicyError::NoPlatformOf("tdx")),
    ] {
        assert_eq!(read(&toml), Err(error), "{toml}");
    }
    for good in ["", "any_platform = true\n", &format!("any_platform = false\nplatforms = [\"{chip}\"]\n")] {
        assert_eq!(read(&(good.to_owned() + &any("[snp]"))).map(|_| ()), Ok(()), "{good}");
    }
}

/// Nobody says that a policy has what it has not.
#[test]
fn a_policy_without_platforms_is_not_said_to_want_any() {
    for (section, name, id) in
        [("snp", "ok-milan-v3", "snp.platform.allowed"), ("sgx", "ok-sgx", "dcap.platform.allowed")]
    {
        let control = Control::read(section, name);
        let appraisal = control.appraise(&format!("[{section}]\n{ANY}"), Binding::default());
        let check = appraisal.verdict.check(id).expect("a check");
        assert_eq!(check.found, "the policy names no platform", "{id}");
    }
}

/// The report inside is good by itself, and says nothing of PCRs: whoever takes the rest away must not be better off.
#[test]
fn evidence_without_its_paravisor_is_refused_where_the_policy_is_about_paravisors() {
    let alone = format!("[snp]\n{ANY}[tdx]\n{ANY}sept_ve_disable = \"optional\"\n");
    let beside = format!("{alone}[azure]\nany_pcrs = true\n");
    let wrapped = Control::read("azure", "ok-snp");
    let vector = vector("azure", "ok-snp");
    let unwrapped = {
        let mut unwrapped = Control::read("azure", "ok-snp");
        unwrapped.endorsements.certificate(&bytes(&vector["snp"], "vcek")).expect("few");
        // Behind the header of 32 bytes; an ATTESTATION_REPORT has 1184.
        unwrapped.evidence = Evidence::Snp(bytes(&vector, "hcl_report")[32..32 + 1184].to_vec());
        unwrapped
    };
    let failures = |control: &Control, policy: &str| {
        let appraisal = control.appraise(policy, Binding::default());
        appraisal.verdict.failures().map(|check| check.id).collect::<Vec<_>>()
    };
    assert_eq!(failures(&wrapped, &beside), [""; 0]);
    assert_eq!(failures(&wrapped, &alone), ["policy.section"]);
    for (what, control) in [("the one inside", unwrapped), ("a report", Control::read("snp", "ok-milan-v3"))] {
        assert_eq!(failures(&control, &alone), [""; 0], "{what}: control");
        assert_eq!(failures(&control, &beside), ["policy.section"], "{what}");
    }
    let quote = Control::read("tdx", "ok-tdx-15");
    assert_eq!(failures(&quote, &alone), [""; 0], "control");
    assert_eq!(failures(&quote, &beside), ["policy.section"]);
    let check = quote.appraise(&beside, Binding::default()).verdict.primary().expect("a cause").clone();
    assert!(check.found.contains("paravisor") && check.remedy.contains("without [azure]"), "{check:?}");
    // An enclave has no paravisor, and without a policy nobody speaks of any.
    let enclave = Control::read("sgx", "ok-sgx");
    assert_eq!(failures(&enclave, &format!("{beside}[sgx]\n{ANY}")), [""; 0]);
    let Control { evidence, endorsements, roots, now } = &quote;
    let by = By { endorsements, policy: None, binding: Binding::default(), roots, now: *now };
    assert!(appraise(evidence, by, PROVIDER).verified());
}

/// What a policy does not speak of is refused; that can be told to others, too.
#[test]
fn a_refusal_for_want_of_a_section_has_a_result() {
    let binding = Binding { report_data: Some([0x11; 64]), launch_field: Some([0x22; 32]) };
    let other = |section| if section == "sgx" { "snp" } else { "sgx" };
    for (section, name, tee) in [
        ("snp", "ok-milan-v3", Tee::Snp),
        ("sgx", "ok-sgx", Tee::Sgx),
        ("tdx", "ok-tdx-15", Tee::Tdx),
        ("azure", "ok-snp", Tee::AzureSnp),
    ] {
        let control = Control::read(section, name);
        let policy = format!("[{}]\n{ANY}", other(section));
        let result: ear::Appraisal = control.appraise(&policy, binding).result.expect("a result");
        assert_eq!(result.tee(), tee);
        assert_eq!(*result.conclusion(), Conclusion::Refused(vec!["policy.section".to_owned()]), "{section}");
        let vector = result.vector();
        assert_eq!((vector.hardware, vector.configuration, vector.executables), (Some(0), None, None), "{section}");
        assert_eq!(control.appraise(&policy, Binding::default()).result, None, "{section}: bound to nothing");
    }
}

#[test]
fn only_verified_evidence_that_is_bound_to_all_that_was_expected_is_certified() {
    let right = Binding { report_data: Some([0x11; 64]), launch_field: Some([0x22; 32]) };
    for (section, name, tee) in
        [("snp", "ok-milan-v3", Tee::Snp), ("sgx", "ok-sgx", Tee::Sgx), ("tdx", "ok-tdx-15", Tee::Tdx)]
    {
        let control = Control::read(section, name);
        let policy = format!("[{section}]\n{ANY}");
        let appraisal = control.appraise(&policy, right);
        let proof = appraisal.proof.as_ref().expect("a proof");
        let Subject { tee: found, facts, platform } = proof.claims();
        assert_eq!((*found, facts.report_data, facts.brief), (tee, [0x11; 64], [0x22; 32]), "{section}");
        assert_eq!(*proof.expected(), Expected { report_data: [0x11; 64], launch_field: [0x22; 32] });
        let claims = serde_json::to_value(&appraisal).unwrap()["claims"].clone();
        assert_eq!(claims["platform"], **platform, "{section}");
        assert_eq!(
            appraisal.result.map(|result| result.conclusion().clone()),
            Some(Conclusion::Accepted(Box::new(facts.clone())))
        );

        let other = Binding { report_data: Some([0x12; 64]), ..right };
        assert_eq!(control.appraise(&policy, other).proof, None, "{section}: bound to something else");
        for half in [Binding { report_data: None, ..right }, Binding { launch_field: None, ..right }] {
            let appraisal = control.appraise(&policy, half);
            assert!(appraisal.verified() && appraisal.proof.is_none(), "{section}: half bound");
        }
    }
}

/// Whoever looks in from outside does not choose what the evidence is of.
#[test]
fn debugging_that_is_tolerated_does_not_loosen_the_binding() {
    let right = Binding { report_data: Some([0x11; 64]), launch_field: Some([0x22; 32]) };
    for (section, name) in [("snp", "ok-insecure-debug"), ("sgx", "ok-debug")] {
        let control = Control::read(section, name);
        let policy = format!("[{section}]\ninsecure_debug = true\n{ANY}");
        assert!(control.appraise(&policy, right).verified(), "{section}: control");
        let other = Binding { report_data: Some([0x12; 64]), ..right };
        let verdict = control.appraise(&policy, other).verdict;
        assert!(verdict.failures().map(|check| check.id).eq([&*format!("{section}.report_data")]), "{section}");
    }
}

/// Intel's word counts where all that it hangs on is good, and is not said before.
#[test]
fn no_status_is_said_of_collateral_that_is_bad() {
    let policy = format!("[sgx]\n{ANY}");
    let status = |name| Control::read("sgx", name).appraise(&policy, Binding::default()).tcb_status();
    assert_eq!(status("ok-sgx"), Some(dcap::TcbStatus::UpToDate), "control");
    for name in [
        "sgx-tcb_info-signature",
        "sgx-tcb_info-expired",
        "sgx-qe_identity-signature",
        "sgx-qe_identity-expired",
        "sgx-root_crl-expired",
        "sgx-pck_crl-expired",
    ] {
        assert_eq!(status(name), None, "{name}");
    }
}

/// To trust nobody is not to trust anybody.
#[test]
fn an_empty_set_of_roots_is_an_error() {
    assert_eq!(snp::Roots::from_arks(&[]).err(), Some(snp::roots::RootsError::Empty));
    assert_eq!(dcap::Roots::from_certificates(&[]).err(), Some(dcap::roots::RootsError::Empty));
}
