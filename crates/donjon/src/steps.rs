//! The thirteen steps of a deploy in words (`product.md`, Steward flow).

/// What happens at each step; index 0 is step 1.
const STEPS: [&str; 13] = [
    "the administrator deploys a workload by name",
    "the Drawbridge names the Steward",
    "the digest to expect",
    "an empty Keep is launched with the brief's hash",
    "the Keep gets a nonce, makes a key and its evidence",
    "the Keep makes a certificate request with the evidence",
    "the request goes to the Steward",
    "the Steward judged; the Keep checks its certificate",
    "the Keep shows it to the Drawbridge",
    "the Drawbridge checks it against the release policy",
    "the Drawbridge answers with the workload",
    "the Keep checks the digest",
    "the program runs with its certificate",
];

/// What a step is.
pub(crate) fn name(step: u8) -> &'static str {
    usize::from(step).checked_sub(1).and_then(|index| STEPS.get(index)).copied().unwrap_or("unknown step")
}

/// A step and what was exchanged.
pub(crate) fn line(step: u8, detail: &str) -> String {
    format!("{}: {detail}", name(step))
}

/// What a key of `[debug]` means to whoever runs a workload that says it.
pub(crate) fn weakness(key: &str) -> String {
    match key {
        "insecure_network" => "INSECURE: the program reaches everybody ([debug] insecure_network)".to_owned(),
        other => format!("INSECURE: the manifest says [debug] {other}"),
    }
}
