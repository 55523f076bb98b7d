//! The pages of `docs/reference`.

use evidence::Rule;
use evidence::appraisal::{KEYS, Key};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where they lie.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}

/// Name and text of each.
pub(crate) fn all() -> [(&'static str, String); 2] {
    [("checks.md", checks()), ("policy.md", policy())]
}

const CHECKS: &str = "\
# Checks

Every check that a verdict on evidence can have, in the order in which causes stand before consequences. Ids are stable: a
check may be added, none is renamed. `donjon why ID` prints one of them, `donjon why FILE` explains a verdict.

Written by `cargo run -p evidence --example reference`; do not edit.
";

fn checks() -> String {
    let mut text = CHECKS.to_owned();
    let mut section = "";
    for Rule { id, meaning, source, remedy } in evidence::appraisal::rules() {
        let first = id.split('.').next().unwrap_or_default();
        if first != section {
            section = first;
            _ = write!(text, "\n## {section}\n\n| id | it passes if | from | if it fails |\n|---|---|---|---|\n");
        }
        _ = writeln!(text, "| `{id}` | {} | {} | {} |", cell(meaning), cell(source), cell(remedy));
    }
    text
}

const POLICY: &str = "\
# Policy

What a policy can ask of evidence: TOML, one section for each TEE; evidence of a TEE without a section is refused. A key that
is not there demands nothing, unless it says otherwise; a key that is not known is an error, and so is a list without
anything in it or a combination that nothing can satisfy. Each key is asked by the check beside it
([checks](checks.md)).

Before the sections may stand `platforms`: the machines that are accepted, by chip id (SEV-SNP, 16 or 128 digits), `csp:` and
a provider's name (VLEK), or PPID (SGX and TDX, 32 digits); or `any_platform = true`. They are asked by
`snp.platform.allowed` and `dcap.platform.allowed`. A Steward's policy has one of the two.

Beside `[azure]`, `[snp]` and `[tdx]` are about the paravisor below a virtual machine, and about nothing else: a report or a
quote that comes by itself is refused by `policy.section`. It could be the one out of such a virtual machine's evidence,
without the PCRs and settings that `[azure]` asks for. Whoever accepts both has two policies.

Written by `cargo run -p evidence --example reference`; do not edit.
";

fn policy() -> String {
    let mut text = POLICY.to_owned();
    for section in ["snp", "sgx", "tdx", "azure"] {
        _ = write!(text, "\n## [{section}]\n\n| key | means | such as | check |\n|---|---|---|---|\n");
        for key in KEYS.iter().filter(|key| key.sections.contains(&section)) {
            let Key { name, meaning, check, .. } = key;
            let digits =
                |text: String, bytes: usize| text.replace(&"a5".repeat(bytes), &format!("<{} digits>", bytes * 2));
            let example = [48, 32, 16].into_iter().fold(key.example(), digits).replace('\n', "`<br>`");
            let check = check.map_or("–".to_owned(), |id| format!("`{id}`"));
            _ = writeln!(text, "| `{name}` | {} | `{}` | {check} |", cell(meaning), cell(&example));
        }
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
