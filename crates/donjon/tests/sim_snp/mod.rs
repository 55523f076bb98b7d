//! Keeps on simulated SEV-SNP: micro-VMs that firmware launched, measured and attests.

use std::process::{Command, Output, Stdio};

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
