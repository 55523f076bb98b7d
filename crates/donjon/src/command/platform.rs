//! `donjon platform`: which Keeps this machine can run.

use std::path::Path;
use std::process::ExitCode;

use keep::backend::kvm;
use serde::Serialize;

use crate::failure::Failure;

/// Show which backends this machine can run, and what each protects.
#[derive(Debug, clap::Args)]
pub(crate) struct Platform {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Backend {
    name: &'static str,
    available: bool,
    protection: &'static str,
    detail: String,
    /// What to do where it is not available.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

impl Platform {
    #[allow(clippy::print_stdout, reason = "the table is this command's data")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let backends = probe();
        if self.json {
            let text = serde_json::to_string_pretty(&serde_json::json!({ "backends": backends }))
                .map_err(|error| Failure::caused("cannot write JSON", &error))?;
            println!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        for Backend { name, available, protection, detail, hint } in backends {
            println!("{} {name:<7} {protection}", if available { "yes" } else { "no " });
            println!("            {detail}");
            if let Some(hint) = hint {
                println!("            hint: {hint}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn probe() -> Vec<Backend> {
    let image = keep::Image::built_in();
    let detail = match &image {
        Ok(image) => format!("measurement {}", hex(&image.measurement())),
        Err(unsupported) => unsupported.to_string(),
    };
    let available = image.is_ok() && Path::new("/proc/self/fd").exists();
    let process = |name, protection| Backend { name, available, protection, detail: detail.clone(), hint: None };
    let (runs, why, hint) = match (&image, kvm()) {
        (Err(unsupported), _) => (false, unsupported.to_string(), None),
        (Ok(_), Ok(())) => (true, "/dev/kvm makes virtual machines".to_owned(), None),
        (Ok(_), Err(error)) => (false, error.to_string(), Some(error.hint())),
    };
    let machine = |name, protection| Backend { name, available: runs, protection, detail: why.clone(), hint };
    vec![
        process("nil", "none: the host can read and change everything; no evidence"),
        process("sim", "none: as nil, with evidence of simulated SEV-SNP for trials"),
        machine("kvm", "none: a micro-VM, which this host can read and change; no evidence"),
        machine("sim-snp", "none: as kvm, launched and attested by simulated SEV-SNP firmware for trials"),
    ]
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
