//! `donjon platform`: which Keeps this machine can run.

use std::path::Path;
use std::process::ExitCode;

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
        for Backend { name, available, protection, detail } in backends {
            println!("{} {name:<4} {protection}", if available { "yes" } else { "no " });
            println!("         {detail}");
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
    vec![
        Backend {
            name: "nil",
            available,
            protection: "none: the host can read and change everything; no evidence",
            detail: detail.clone(),
        },
        Backend {
            name: "sim",
            available,
            protection: "none: as nil, with evidence of simulated SEV-SNP for trials",
            detail,
        },
        kvm(&image),
    ]
}

fn kvm(image: &Result<keep::Image, keep::image::Unsupported>) -> Backend {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(KVM);
    let (available, detail) = match (image, opened) {
        (Err(unsupported), _) => (false, unsupported.to_string()),
        (Ok(_), Ok(_)) => (true, format!("{KVM} opens")),
        (Ok(_), Err(error)) => (false, format!("{KVM} does not open: {error}")),
    };
    Backend {
        name: "kvm",
        available,
        protection: "none: a micro-VM, which this host can read and change; no evidence",
        detail,
    }
}

const KVM: &str = "/dev/kvm";

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
