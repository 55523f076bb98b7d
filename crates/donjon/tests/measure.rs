//! `donjon measure`: what it prints is what a Steward takes, what others compute, and enough to find what changed.
//!
//! The other program is sev-snp-measure from PyPI, pinned by version and digest and kept in `target/foreign`; without
//! python3, pip or the network that test says so and passes, unless `DONJON_REQUIRE=pypi`.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use evidence::snp::Settings;
use serde_json::Value;
use steward::pem;
use steward::policy::Policy;
use tempfile::TempDir;

use crate::support::{Input, Ran, finish, folder, has, run, skip};

fn measure(dir: &Path, args: &[&str]) -> Ran {
    run(dir, [&["measure"], args].concat(), Input::Nothing)
}

/// The other direction: what the printed section means, and that it could say more.
#[test]
fn the_printed_section_is_explained_and_its_weak_spots_are_named() {
    let (_, read) = json(&[]);
    let dir = folder(&[]);
    let check = |policy: &str, args: &[&str]| {
        std::fs::write(dir.path().join("policy.toml"), policy).expect("a file");
        run(dir.path(), [&["steward", "check-policy", "policy.toml"], args].concat(), Input::Nothing)
    };
    let platform = "ab".repeat(64);
    let floor = "minimum_tcb.genoa = { bootloader = 10, tee = 0, snp = 23, microcode = 84 }";
    let section = text(&read["policy"]);
    let open = format!("trust_domain = \"example.org\"\nany_platform = true\n{section}\n");
    let closed = format!("trust_domain = \"example.org\"\nplatforms = [\"{platform}\"]\n{section}\n{floor}\n");
    for (policy, weak, strict) in [(&open, ["any_platform", "snp.minimum_tcb"].as_slice(), 1), (&closed, &[], 0)] {
        let ran = check(policy, &[]);
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
        let measurement = text(&read["measurement"]);
        assert!(ran.text().contains(&format!("hash            accepted launch measurements: {measurement}\n")));
        let named: Vec<_> =
            ran.text().lines().filter_map(|line| line.strip_prefix("weak: ")?.split_once(": ")).collect();
        assert_eq!(named.iter().map(|(key, _)| *key).collect::<Vec<_>>(), weak);
        let ran = check(policy, &["--json", "--strict"]);
        let answer: Value = serde_json::from_str(ran.text()).expect("JSON");
        assert_eq!((ran.code(), answer["weak"].as_array().map(Vec::len)), (strict, Some(weak.len())));
    }
    let ran = check("trust_domian = \"example.org\"", &[]);
    assert_eq!((ran.code(), ran.text()), (125, ""));
    assert!(ran.stderr.contains("policy.toml:1:1") && ran.stderr.contains("`trust_domain`"), "{}", ran.stderr);
}

/// What `measure --json` prints, as text and read.
#[track_caller]
fn json(args: &[&str]) -> (String, Value) {
    let ran = measure(Path::new("/"), &[&["--json"], args].concat());
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    (ran.text().to_owned(), serde_json::from_str(ran.text()).expect("JSON"))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn part<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    let parts = value["parts"].as_array_mut().expect("parts");
    parts.iter_mut().find(|part| part["name"] == name).expect("such a part")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the printed section as it is.
#[track_caller]
fn policy(section: &str) -> Settings {
    let whole = format!("trust_domain = \"example.org\"\nany_platform = true\n\n{section}");
    let policy = Policy::parse("the printed section", &whole, Path::new("")).expect("a policy");
    assert_eq!(policy.tees(), ["snp"]);
    let mut sections: BTreeMap<String, Settings> = toml::from_str(section).expect("one section");
    sections.remove("snp").expect("a section about SNP")
}

#[test]
fn the_printed_section_is_a_policy_that_accepts_this_measurement_only() {
    let (_, read) = json(&[]);
    let measurement = text(&read["measurement"]);
    let settings = policy(text(&read["policy"]));
    let hashes: Vec<String> = settings.hash.expect("hash").iter().map(ToString::to_string).collect();
    assert_eq!(hashes, [measurement]);
    assert_eq!((settings.signer, settings.id_key_digest, settings.any_measurement), (None, None, false));

    let ran = measure(Path::new("/"), &[]);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    let (shown, section) = ran.text().split_at(ran.text().find("[snp]").expect("the section"));
    assert_eq!(section, text(&read["policy"]), "people get the same one, and last");
    assert!(shown.starts_with(&format!("measurement {measurement}\nbackend     sev-snp\n")), "{shown}");
    for part in read["parts"].as_array().expect("parts") {
        assert!(shown.contains(text(&part["name"])) && shown.contains(text(&part["at"])), "{shown}");
    }
}

#[test]
fn the_same_build_measures_the_same_and_another_platform_does_not() {
    let (sim, _) = json(&["--backend", "sim-snp"]);
    let (again, _) = json(&["--backend", "sim-snp"]);
    let (real, _) = json(&["--backend", "sev-snp"]);
    assert!(sim == again && sim != real);
}

#[test]
fn a_difference_is_found_and_named() {
    let (printed, read) = json(&[]);
    let diff = |change: &dyn Fn(&mut Value)| {
        let mut other: Value = serde_json::from_str(&printed).expect("JSON");
        change(&mut other);
        let dir = folder(&[("old.json", other.to_string().as_bytes())]);
        let ran = measure(dir.path(), &["--diff", "old.json"]);
        assert_eq!(ran.stderr, "");
        (ran.code(), ran.text().to_owned())
    };
    let measurement = text(&read["measurement"]).to_owned();
    assert_eq!(diff(&|_| {}), (0, format!("same measurement {measurement}\n")));

    // A page of exec's second segment, its third there; with it another measurement.
    let mut read = read;
    let exec = part(&mut read, "exec").clone();
    let start = u64::from_str_radix(text(&exec["at"]).trim_start_matches("0x"), 16).expect("an address");
    let first = exec["segments"][1]["first"].as_u64().expect("a page");
    let protection = text(&exec["segments"][1]["protection"]);
    let page = usize::try_from(first + 2).expect("a page");
    let (other, count) = ("00".repeat(48), exec["pages"].as_array().expect("pages").len());
    let changed = |old: &mut Value| {
        part(old, "exec")["pages"][page] = other.clone().into();
        part(old, "exec")["pages"][page + 5] = other.clone().into();
        part(old, "plan")["pages"][0] = other.clone().into();
        old["measurement"] = other.clone().into();
    };
    let (code, said) = diff(&changed);
    let plan = text(&part(&mut read, "plan")["at"]).to_owned();
    let expected = format!(
        "was {other}\nis  {measurement}\n\
         exec: 2 of {count} pages changed; first {:#x}: segment 1 ({protection}), offset 0x2000\n\
         plan: 1 of 1 pages changed; first {plan}: offset 0x0\n",
        start + (first + 2) * 4096
    );
    assert_eq!((code, said), (1, expected));

    // A build whose shim was shorter: what follows it moved.
    let shorter = |old: &mut Value| {
        part(old, "shim")["pages"].as_array_mut().expect("pages").pop();
        part(old, "exec")["at"] = "0x1000".into();
        part(old, "secrets")["name"] = "riddles".into();
    };
    let (code, said) = diff(&shorter);
    assert_eq!(code, 1);
    for line in [
        "\nshim: 0 of ",
        "; first ",
        &format!("\nexec: 0 of {count} pages changed, moved from 0x1000 to {start:#x}\n"),
        "\nsecrets: is new; first 0x8000: offset 0x0\n",
        "\nriddles: is gone; first 0x8000: offset 0x0\n",
    ] {
        assert!(said.contains(line), "{line:?} in {said}");
    }

    let dir = folder(&[("old.json", printed.replace("sev-snp", "sim-snp").as_bytes())]);
    let ran = measure(dir.path(), &["--json", "--backend", "sim-snp", "--diff", "old.json"]);
    let answer: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!((ran.code(), &answer["same"]), (1, &false.into()), "tables of real hardware are others");
    assert!(answer["parts"].as_array().expect("parts").iter().any(|part| part["part"] == "page tables"));
}

#[test]
fn what_is_no_measurement_is_not_compared() {
    let (printed, _) = json(&[]);
    let refused = |content: &str, says: &str| {
        let dir = folder(&[("old.json", content.as_bytes())]);
        let ran = measure(dir.path(), &["--diff", "old.json"]);
        assert_eq!((ran.code(), ran.text()), (125, ""), "{says}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(says), "{}", ran.stderr);
        assert!(ran.stderr.contains("\nhint: "), "{}", ran.stderr);
    };
    refused("", "is not a measurement");
    refused("{}", "is not a measurement");
    refused(&printed[..printed.len() / 2], "is not a measurement");
    refused(&printed.replacen("\"form\": 1", "\"form\": 2", 1), "of form 2, expected 1");
    refused(&printed.replacen("\"form\"", "\"more\": 1, \"form\"", 1), "is not a measurement");
    refused(&printed.replace("sev-snp", "sim-snp"), "is for the backend \"sim-snp\", expected sev-snp");
    let ran = measure(Path::new("/"), &["--diff", "/nowhere/old.json"]);
    assert!(ran.code() == 125 && ran.stderr.contains("cannot read"), "{}", ran.stderr);
}

/// A folder with two P-384 keys and one of another curve; and the first two public keys.
fn keys() -> (TempDir, [Vec<u8>; 2]) {
    let make = |algorithm: &'static EcdsaSigningAlgorithm| {
        let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
        let der = pair.to_pkcs8v1().expect("PKCS#8");
        (pem::encode("PRIVATE KEY", der.as_ref()), pair.public_key().as_ref().to_vec())
    };
    let [id, author, other] =
        [&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1_SIGNING].map(make);
    let dir =
        folder(&[("id.pem", id.0.as_bytes()), ("author.pem", author.0.as_bytes()), ("p256.pem", other.0.as_bytes())]);
    (dir, [id.1, author.1])
}

/// AMD's form of a P-384 key, from an uncompressed point.
fn amd(point: &[u8]) -> Vec<u8> {
    let little = |number: &[u8]| [number.iter().rev().copied().collect(), vec![0; 24]].concat();
    [vec![2, 0, 0, 0], little(&point[1..49]), little(&point[49..]), vec![0; 880]].concat()
}

#[test]
fn an_id_block_is_for_this_measurement_and_the_policy_names_its_keys() {
    let (dir, points) = keys();
    let args = ["--json", "--id-key", "id.pem", "--author-key", "author.pem", "--out", "made", "--guest-svn", "7"];
    let more = [
        "--family-id",
        "000102030405060708090a0b0c0d0e0f",
        "--image-id",
        &"5a".repeat(16),
        "--guest-policy",
        "0xb0000",
    ];
    let ran = measure(dir.path(), &[&args[..], &more].concat());
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    let read: Value = serde_json::from_str(ran.text()).expect("JSON");
    let made = |name: &str| std::fs::read(dir.path().join("made").join(name)).expect("it was written");
    let (block, authentication) = (made("id-block.bin"), made("id-auth.bin"));
    let rest = "000102030405060708090a0b0c0d0e0f5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a010000000700000000000b0000000000";
    assert_eq!(hex(&block), format!("{}{rest}", text(&read["measurement"])));
    assert_eq!(text(&read["id_block"]["block"]), hex(&block));
    assert_eq!(text(&read["id_block"]["authentication"]), hex(&authentication));
    assert_eq!(authentication.len(), 4096);
    let [id, author] = points.map(|point| amd(&point));
    assert_eq!((&authentication[0x240..0x644], &authentication[0x880..0xc84]), (&id[..], &author[..]));

    let settings = policy(text(&read["policy"]));
    let shown = |list: Option<Vec<_>>| list.expect("a list").iter().map(ToString::to_string).collect::<Vec<_>>();
    let sha384 = |key: &[u8]| hex(digest::digest(&digest::SHA384, key).as_ref());
    assert_eq!(shown(settings.id_key_digest), [sha384(&id)]);
    assert_eq!(shown(settings.signer), [sha384(&author)]);
    let plain = measure(dir.path(), &["--id-key", "id.pem"]);
    assert!(plain.text().contains(&format!("id_key_digest = [\"{}\"]\n", sha384(&id))), "{}", plain.text());
    assert!(!plain.text().contains("signer"), "no author, no name of one");
}

#[test]
fn what_is_no_key_for_it_is_refused_with_what_to_do() {
    let (dir, _) = keys();
    for (args, says) in [
        (&["--id-key", "nowhere.pem"][..], "cannot read the key nowhere.pem"),
        (&["--id-key", "p256.pem"], "p256.pem is a key of another curve than P-384"),
        (&["--id-key", "id.pem", "--author-key", "p256.pem"], "p256.pem is a key of another curve than P-384"),
        (&["--id-key", "id.pem", "--out", "id.pem"], "cannot write the ID block into id.pem"),
    ] {
        let ran = measure(dir.path(), args);
        assert_eq!((ran.code(), ran.text()), (125, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("\nhint: "), "{}", ran.stderr);
    }
    for args in [
        &["--out", "x"][..],
        &["--author-key", "id.pem"],
        &["--guest-svn", "1"],
        &["--id-key", "id.pem", "--family-id", "00"],
    ] {
        assert_eq!(measure(dir.path(), args).code(), 2, "{args:?}");
    }
}

const ORACLE: &str = "sev-snp-measure==0.0.13";
const ORACLE_HASH: &str = "sha256:feda1aebe69dcbf38e9c636ed1d082bb7dc741fc6969f197d39faddb72b2762d";

/// The other program as a wheel, which python3 imports as it is; pip checks its digest.
fn oracle() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
    let kept = target.join("foreign/sev_snp_measure-0.0.13-py3-none-any.whl");
    if kept.exists() {
        return Some(kept);
    }
    if !has("python3") {
        skip("pypi", "python3 is not installed");
        return None;
    }
    let dir = folder(&[("requirements.txt", format!("{ORACLE} --hash={ORACLE_HASH}\n").as_bytes())]);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", "."]);
    pip.args(["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "-r", "requirements.txt"]);
    let ran = pip.current_dir(&dir).output().expect("python3 runs");
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        let why = said.trim().lines().last().unwrap_or("it says nothing").to_owned();
        skip("pypi", &format!("pip cannot fetch {ORACLE}: {why}"));
        return None;
    }
    let file = kept.file_name().expect("a file");
    std::fs::create_dir_all(kept.parent().expect("it lies in a folder")).expect("a folder can be made");
    std::fs::rename(dir.path().join(file), &kept).expect("the wheel can be kept");
    Some(kept)
}

/// Its guest context over the pages of `measure --json`; and its save area of a processor, changed by hand from that of a
/// reset to ours.
const SCRIPT: &str = "
import json, sys
sys.path.insert(0, sys.argv[1])
from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.vmsa import VMSA, VmcbSeg
from sevsnpmeasure.vmm_types import VMMType

read = json.load(sys.stdin)
area = VMSA.build_save_area(0xfffffff0, 1, 0, VMMType.QEMU)
area.cs = VmcbSeg(0x08, 0xa9b, 0xffffffff, 0)
for name in ('ds', 'es', 'fs', 'gs', 'ss'):
    setattr(area, name, VmcbSeg(0x10, 0xc93, 0xffffffff, 0))
area.tr = VmcbSeg(0, 0x83, 0xffff, 0)
area.cr0, area.cr3, area.rip, area.xcr0 = 0x80010033, 0x1000, 0xffffffff80000000, 7
area.cr4 |= 0x506a0
area.efer |= 0xd01
processor = bytes.fromhex(read['processor'])
context = GCTX()
for part in read['parts']:
    at = int(part['at'], 16)
    if part['kind'] == 'secrets':
        context.update_secrets_page(at)
    elif part['kind'] == 'features':
        context.update_cpuid_page(at)
    elif part['kind'] == 'processor':
        context.update_vmsa_page(processor)
    else:
        for number, page in enumerate(part['pages']):
            context._update(1, at + 4096 * number, bytes.fromhex(page))
print(context.hex_ld(), bytes(area) == processor)
";

#[test]
fn another_program_computes_the_same() {
    let Some(wheel) = oracle() else { return };
    for backend in ["sim-snp", "sev-snp"] {
        let (printed, read) = json(&["--backend", backend]);
        let mut python = Command::new("python3");
        python.args(["-B", "-c", SCRIPT]).arg(&wheel);
        let ran = finish(python, Input::Bytes(printed.into_bytes()));
        ran.assert(0, &format!("{} True\n", text(&read["measurement"])), "");
    }
}
