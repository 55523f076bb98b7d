//! `donjon measure`: what SEV-SNP hardware will say of a Keep of this build, before there is one; who vouches for it; and
//! where another build differs.
//!
//! Exit codes of `--diff`: 0 the same, 1 another measurement; 125 as everywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use identity::keys::Signer as _;
use keep::Image;
use keep::id_block::{self, IdBlock};
use keep::measure::{Measurement, Platform};
use steward::signer::Key;
use zeroize::Zeroizing;

use self::file::{Record, Vouched};
use crate::failure::Failure;

mod diff;
mod file;

/// Compute the SEV-SNP measurement of this build's Keeps, and compare it with that of another build.
#[derive(Debug, clap::Args)]
pub(crate) struct Measure {
    /// For what hardware: simulated, or real, whose page tables have a bit more in each entry.
    #[arg(long, value_enum, default_value_t = Kind::SevSnp)]
    backend: Kind,
    /// Print JSON, with the hash of every page.
    #[arg(long)]
    json: bool,
    /// Compare with what `measure --json` printed before, and name what changed first; status 1 if anything did.
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
    /// Vouch for the measurement: make an ID block, signed by this P-384 key (PKCS#8, PEM).
    #[arg(long, value_name = "FILE", conflicts_with = "diff")]
    id_key: Option<PathBuf>,
    /// Sign the ID key with this key, which reports and policies then name.
    #[arg(long, value_name = "FILE", requires = "id_key")]
    author_key: Option<PathBuf>,
    /// FAMILY_ID of the ID block: 32 hexadecimal digits, of any meaning.
    #[arg(long, value_name = "HEX", requires = "id_key", value_parser = name, default_value = NOBODY)]
    family_id: Name,
    /// IMAGE_ID of the ID block: 32 hexadecimal digits, of any meaning.
    #[arg(long, value_name = "HEX", requires = "id_key", value_parser = name, default_value = NOBODY)]
    image_id: Name,
    /// GUEST_SVN of the ID block: the security version of the image.
    #[arg(long, value_name = "NUMBER", requires = "id_key", default_value_t = 0)]
    guest_svn: u32,
    /// POLICY of the guest, which the ID block fixes: one of several threads on a core may run it, nobody may debug it.
    #[arg(long, value_name = "HEX", requires = "id_key", value_parser = policy, default_value = "0x30000")]
    guest_policy: u64,
    /// Write id-block.bin and id-auth.bin into this folder, for the launch.
    #[arg(long, value_name = "DIR", requires = "id_key")]
    out: Option<PathBuf>,
}

/// The backends whose Keeps are measured so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    SimSnp,
    SevSnp,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::SimSnp => "sim-snp",
            Self::SevSnp => "sev-snp",
        }
    }
}

type Name = [u8; 16];
const NOBODY: &str = "00000000000000000000000000000000";

impl Measure {
    #[allow(clippy::print_stdout, reason = "the measurement is this command's data")]
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let platform = match self.backend {
            Kind::SimSnp => Platform::SimSnp,
            Kind::SevSnp => Platform::SevSnp,
        };
        let image = Image::built_in().map_err(Failure::new)?;
        let measurement =
            Measurement::of(&image, platform).map_err(|error| Failure::caused("cannot measure this build", &error))?;
        let vouched = self.vouch(&measurement)?;
        let record = Record::new(self.backend.name(), &measurement, vouched);
        if let Some(before) = &self.diff {
            let changes = diff::changes(&Record::read(before, self.backend.name())?, &record);
            print!("{}", if self.json { diff::json(&changes)? } else { diff::text(&changes) });
            return Ok(if changes.same() { ExitCode::SUCCESS } else { ExitCode::from(1) });
        }
        if self.json {
            println!("{}", record.json()?);
        } else {
            print!("{}", text(&record));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn vouch(&self, measurement: &Measurement) -> Result<Option<Vouched>, Failure> {
        let Some(id_file) = &self.id_key else { return Ok(None) };
        let id = key(id_file)?;
        let author = self.author_key.as_deref().map(key).transpose()?;
        let block = IdBlock {
            digest: measurement.digest,
            family_id: self.family_id,
            image_id: self.image_id,
            guest_svn: self.guest_svn,
            policy: self.guest_policy,
        };
        let failed =
            |error: id_block::IdBlockError| Failure::caused("cannot vouch for the measurement", &error).hint(FORM);
        let authentication = block.authenticate(&id, author.as_ref().map(|key| key as _)).map_err(failed)?;
        let vouched = Vouched {
            block: block.encode().to_vec(),
            authentication: authentication.to_vec(),
            id_key_digest: id_block::key_digest(&id).map_err(failed)?.to_vec(),
            author_key_digest: author.map(|key| id_block::key_digest(&key)).transpose().map_err(failed)?.map(Vec::from),
        };
        if let Some(dir) = &self.out {
            let written = std::fs::create_dir_all(dir)
                .and_then(|()| std::fs::write(dir.join("id-block.bin"), &vouched.block))
                .and_then(|()| std::fs::write(dir.join("id-auth.bin"), &vouched.authentication));
            written.map_err(|error| {
                Failure::caused(format_args!("cannot write the ID block into {}", dir.display()), &error)
                    .hint("name a folder that can be made, or written to")
            })?;
        }
        Ok(Some(vouched))
    }
}

const FORM: &str = "expected a P-384 private key, PKCS#8 in PEM: `openssl genpkey -algorithm EC -pkeyopt \
                    ec_paramgen_curve:P-384` makes one";

fn key(file: &Path) -> Result<Key, Failure> {
    let shown = file.display();
    let pem = std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|error| Failure::caused(format_args!("cannot read the key {shown}"), &error).hint(FORM))?;
    let key = Key::from_pem(&pem)
        .map_err(|error| Failure::caused(format_args!("{shown} is not a key for an ID block"), &error).hint(FORM))?;
    if key.algorithm() != identity::keys::Algorithm::EcdsaP384Sha384 {
        return Err(Failure::new(format_args!("{shown} is a key of another curve than P-384")).hint(FORM));
    }
    Ok(key)
}

/// For people: the measurement, what it is made of, and what to write into a Steward's policy.
fn text(record: &Record) -> String {
    let mut out = format!("measurement {}\nbackend     {}\n\n", record.measurement, record.backend);
    for part in &record.parts {
        let digest = part.sha384.as_deref().map_or("content not measured", |digest| &digest[..32]);
        let (at, pages) = (&part.at, part.pages.len());
        _ = writeln!(out, "{at:>14} {pages:>6} pages  {:<9}  {digest:<32}  {}", part.kind, part.name);
    }
    if let Some(vouched) = &record.id_block {
        _ = writeln!(out, "\nid block {}", vouched.block);
    }
    _ = write!(out, "\n{}", record.policy);
    out
}

fn name(text: &str) -> Result<Name, String> {
    let number = digits(text, 32).and_then(|text| u128::from_str_radix(text, 16).ok());
    number.map(u128::to_be_bytes).ok_or_else(|| "expected 32 hexadecimal digits".to_owned())
}

fn policy(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix("0x").filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    number
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| "expected a number such as 0x30000".to_owned())
}

fn digits(text: &str, count: usize) -> Option<&str> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}
