//! Keeps on simulated SEV-SNP: micro-VMs that firmware launched, measured and attests.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::foreign::{BOOLECTOR, factors};
use crate::support::{Form, Input, Ran, finish, probe, program, skip};

fn donjon(arguments: &[&str]) -> (Output, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_donjon"))
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// The evidence comes through guest messages, and it says what was predicted.
#[test]
fn a_deploy_plays_all_steps_and_the_certificate_has_the_predicted_measurement() {
    let (output, out, err) = donjon(&["demo", "--once", "--backend", "sim-snp"]);
    assert!(output.status.success(), "{out}{err}");
    let ticks = out.lines().filter(|line| line.trim_start().starts_with('\u{2713}')).count();
    assert_eq!(ticks, 13, "{out}");
    assert!(out.contains("Hello from Donjon."), "an outsider is served over HTTPS: {out}");
    let (_, measured, err) = donjon(&["measure", "--backend", "sim-snp", "--json"]);
    let measured: serde_json::Value = serde_json::from_str(&measured).expect(&err);
    let digest = measured["measurement"].as_str().unwrap();
    let line = out.lines().find(|line| line.trim_start().starts_with("measurement ")).unwrap();
    assert!(line.ends_with(&format!(" {digest}")), "{line}\n{digest}");
}

/// A Keep whose brief is not the one in HOST_DATA ends before anything of it ran that could speak.
#[test]
fn rule_1_the_shim_refuses_another_brief_than_the_hardware_carries() {
    let (output, out, err) = donjon(&["demo", "--attack", "--backend", "sim-snp"]);
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("the brief is not the one it was launched with"), "{out}");
}

/// Runs it on `nil` and on `sim-snp`, and expects the same of both; gives what that is.
fn same(program: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let [nil, snp] = ["nil", "sim-snp"].map(|backend| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
        command.args(["run", "-q", "--backend", backend]).arg(program).args(arguments).current_dir("/");
        command.env("DONJON_NO_CACHE", "1");
        finish(command, Input::Bytes(input.to_vec()))
    });
    snp.assert(nil.code(), nil.text(), &nil.stderr);
    snp
}

/// WebAssembly of both kinds and native programs of both languages: streams, arguments, statuses, traps, threads, TCP.
#[test]
fn programs_do_what_they_do_on_nil() {
    same(&probe(Form::Native), &["exit", "77"], b"").assert(77, "", "");
    for form in [Form::Module, Form::Component] {
        let probe = probe(form);
        same(&probe, &["exit", "77"], b"");
        same(&probe, &["cat"], b"hello\n").assert(0, "hello\n", "6\n");
        same(&probe, &["args", "a b", "\u{fc}"], b"").assert(0, "a b\n\u{fc}\n", "");
        assert_eq!(same(&probe, &["trap", "oob"], b"").code(), 134);
    }
    let said = "Good morning, that's a nice tnetennba!\n";
    same(&program("tnetennba", "tnetennba", Form::Native), &[], b"").assert(0, said, "");
    let threads = same(&program("threads", "threads", Form::Native), &["7"], b"");
    assert!(threads.code() == 7 && threads.text().ends_with("a panic: as it should\n"), "{}", threads.text());
}

/// The hardware's own keys, and its word over a program's: the same for each start of a workload, for none of another.
#[test]
fn a_program_gets_keys_and_evidence_of_the_hardware() {
    let dir = crate::support::folder(&[("ark.pem", silicon::Product::Genoa.ark_pem().as_bytes())]);
    let run = |program: &Path, manifest: &str, arguments: &[&str]| {
        let manifest = format!("program = {:?}\n{manifest}", program.to_str().unwrap());
        std::fs::write(dir.path().join("Donjon.toml"), manifest).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
        command.args(["run", "-q", "--backend", "sim-snp", "."]).args(arguments).current_dir(dir.path());
        command.env("DONJON_NO_CACHE", "1");
        let ran = finish(command, Input::Nothing);
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        ran.text().to_owned()
    };
    let mut keys = std::collections::BTreeSet::new();
    for form in Form::BOTH {
        let attested = crate::support::attested(form);
        let key = run(&attested, "", &["key", "disk"]);
        assert_eq!(key.len(), 65, "{key}");
        assert_eq!(run(&attested, "", &["key", "disk"]), key, "the next start");
        let other = run(&attested, "", &["key", "disks"]);
        // Another manifest is another workload.
        let workload = run(&attested, "[env]\nA = \"b\"\n", &["key", "disk"]);
        keys.extend([key, other, workload]);

        let mut reports = std::collections::BTreeSet::new();
        for data in ["hello", "hallo"] {
            let bundle = run(&attested, "", &["evidence", data]);
            std::fs::write(dir.path().join("own.json"), &bundle).unwrap();
            let bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
            let launched = hex::decode(bundle["launch_field"].as_str().unwrap()).unwrap().try_into().unwrap();
            for said in ["hello", "hallo"] {
                let binding = identity::binding::Purpose::User;
                let binding = hex::encode(identity::binding::report_data(binding, &[], &launched, said.as_bytes()));
                let mut command = Command::new(env!("CARGO_BIN_EXE_donjon"));
                command.args(["verify", "own.json", "--insecure-root", "ark.pem", "--nonce", &binding]);
                command.current_dir(dir.path());
                let verified = finish(command, Input::Nothing);
                assert_eq!(verified.code(), i32::from(said != data), "{}{}", verified.text(), verified.stderr);
            }
            reports.insert(bundle["nonce"].to_string());
        }
        assert_eq!(reports.len(), 2);
    }
    assert_eq!(keys.len(), 6);
}

/// A program that nobody here wrote.
#[test]
fn boolector_answers_what_it_answers_on_nil() {
    let Some(boolector) = BOOLECTOR.fetch() else { return };
    let ran = same(&boolector, &[], (factors(1_022_117) + "(get-value (a b))").as_bytes());
    assert!(ran.code() == 10 && ran.text().starts_with("sat\n"), "{}", ran.text());
    same(&boolector, &[], factors(1021).as_bytes()).assert(20, "unsat\n", "");
}

/// Both backends of micro-VMs, and both as a person and a script see them.
#[test]
fn platform_names_what_micro_vms_need() {
    let (output, out, err) = donjon(&["platform"]);
    assert!(output.status.success(), "{err}");
    let (_, json, _) = donjon(&["platform", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for name in ["kvm", "sim-snp"] {
        let line = out.lines().find(|line| line.starts_with(&format!("yes {name:<7} none: "))).expect(&out);
        let backend = json["backends"].as_array().unwrap().iter().find(|backend| backend["name"] == name).unwrap();
        assert_eq!((&backend["available"], &backend["hint"]), (&true.into(), &serde_json::Value::Null));
        assert!(line.ends_with(backend["protection"].as_str().unwrap()), "{line}");
        assert_eq!(backend["detail"], "/dev/kvm makes virtual machines");
    }
}

/// Who may not open the device reads that, and what to do, before anything is started.
#[test]
fn who_may_not_use_the_device_is_told() {
    const NOBODY: u32 = 65534;
    let device = std::fs::metadata("/dev/kvm").unwrap();
    let us = std::fs::metadata("/proc/self").unwrap().uid();
    if us != 0 || device.mode() & 0o006 != 0 {
        return skip("kvm-rights", "needs root, and a /dev/kvm that is not everybody's");
    }
    let program = probe(Form::Native);
    // Somewhere that everybody can read, wherever the build lies.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let [donjon, program] = [Path::new(env!("CARGO_BIN_EXE_donjon")), &program].map(|from| {
        let to = dir.path().join(from.file_name().unwrap());
        std::fs::copy(from, &to).unwrap();
        to
    });
    let hint = "join the group that owns it, usually `kvm` (`sudo usermod -aG kvm $USER`), and log in again";
    let why = "/dev/kvm does not open: Permission denied (os error 13)";
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&donjon);
        command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").env_clear();
        finish(command, Input::Nothing)
    };
    for backend in ["kvm", "sim-snp"] {
        let ran = nobody(&["run", "-q", "--backend", backend, program.to_str().unwrap(), "exit", "3"]);
        ran.assert(125, "", &format!("error: cannot start the Keep: {why}\nhint: {hint}\n"));
        let ran = nobody(&["platform"]);
        let told = format!("\n            {why}\n            hint: {hint}\n");
        assert!(ran.text().contains(&format!("\nno  {backend:<7} ")) && ran.text().contains(&told), "{}", ran.text());
    }
    nobody(&["run", "-q", "--backend", "nil", program.to_str().unwrap(), "exit", "3"]).assert(3, "", "");
}
