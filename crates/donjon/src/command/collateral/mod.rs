//! `donjon collateral fetch`: what evidence is judged by, from AMD's and Intel's services into a folder.
//!
//! Owns the arguments, which pieces are wanted, and what is said of each. Exit codes: 0 if all that is wanted is there and valid,
//! whether or not it could be asked for again; 1 if anything is missing or expired; 2 for files that cannot be used.

mod address;
mod fetch;
mod get;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evidence::appraisal::{Endorsements, Evidence, Need};
use evidence::dcap::quote::Tee;
use evidence::snp::report::SigningKey;
use evidence::snp::{ProductLine, Report, Vek};
use evidence::time;
use indicatif::{ProgressBar, ProgressStyle};
use steward::collateral::Folder;

use self::address::{Addresses, Url};
use self::fetch::{Fetcher, Item};
use self::get::Client;
use super::{runtime, say, verify};
use crate::failure::Failure;

/// Certificates, revocation lists and Intel's statements, kept at hand for who judges evidence.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Collateral {
    Fetch(Fetch),
}

/// Fetch what evidence is judged by, or refresh what is in the folder.
///
/// What comes is checked before it is kept: issued by the vendor, about what was asked, valid now, and no older than what is
/// there. What cannot be fetched stays as it is. A list or a statement that was fetched less than 20 hours ago is not asked for
/// again, nor a processor's certificate that is valid for another 30 days. `donjon steward serve --collateral` and `donjon verify
/// --collateral` take the folder. Exits with 0 if all is there and valid, 1 if anything is missing or expired, 2 if a file
/// cannot be used.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// Evidence whose collateral is fetched, as `donjon verify` takes it. Without any, and without --product and --fmspc, all
    /// that is in the folder is refreshed.
    #[arg(value_name = "EVIDENCE")]
    evidence: Vec<PathBuf>,
    /// Where it is kept.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What every report of this product line needs: `milan`, `genoa` or `turin`. Reports of version 2 do not name theirs.
    #[arg(long, value_name = "LINE", value_parser = line)]
    product: Vec<ProductLine>,
    /// What every SGX quote of these platforms needs: their FMSPC, 12 hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = fmspc)]
    fmspc: Vec<Fmspc>,
    /// The same for TDX.
    #[arg(long, value_name = "HEX", value_parser = fmspc)]
    tdx_fmspc: Vec<Fmspc>,
    /// AMD's key distribution service, or a cache of it. What comes is signed: `http://` will do.
    #[arg(long, value_name = "URL", env = "DONJON_KDS", default_value = address::KDS)]
    kds: Url,
    /// Intel's provisioning certification service, or a cache of it.
    #[arg(long, value_name = "URL", env = "DONJON_PCS", default_value = address::PCS)]
    pcs: Url,
    /// Where the revocation list of Intel's root is; a cache of the service has it at `/sgx/certification/v4/rootcacrl`.
    #[arg(long, value_name = "URL", env = "DONJON_INTEL_ROOT_LIST", default_value = address::ROOT_LIST)]
    root_list: Url,
    /// Know HTTPS servers by these certificate authorities (PEM) too: of a cache of your own.
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Ask for everything, however new it is.
    #[arg(long)]
    force: bool,
    /// How often a service is asked that does not answer or has no time; between tries it is waited for.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    tries: u32,
    /// How many seconds an answer may take, all of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Take what this root issued too (PEM or DER): for simulated hardware. Whoever has its key can make any collateral.
    #[arg(long, value_name = "FILE")]
    insecure_root: Vec<PathBuf>,
    /// Print one JSON object a piece.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
struct Fmspc([u8; 6]);

fn fmspc(text: &str) -> Result<Fmspc, &'static str> {
    let mut bytes = [0; 6];
    let read = hex::decode_to_slice(text, &mut bytes).map(|()| Fmspc(bytes));
    read.map_err(|_| "12 hexadecimal digits are expected, such as 00606a000000")
}

fn line(text: &str) -> Result<ProductLine, &'static str> {
    let known = ProductLine::ALL.into_iter().find(|line| line.name().eq_ignore_ascii_case(text));
    known.ok_or("expected `milan`, `genoa` or `turin`")
}

impl Collateral {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Fetch(fetch) => fetch.run(),
        }
    }
}

impl Fetch {
    fn run(self) -> Result<ExitCode, Failure> {
        let folder = Folder::new(&self.to);
        let needs = self.needs(&folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let roots = verify::trusted(&self.insecure_root)?;
        if !self.insecure_root.is_empty() {
            talk("INSECURE: roots are trusted that are no vendor's; whoever has their keys can make any collateral");
        }
        let Self { kds, pcs, root_list, ca, force, tries, timeout, json, .. } = self;
        let client = Client::new(&ca, tries, Duration::from_secs(timeout))?;
        let addresses = Addresses { kds, pcs, root_list };
        let bar = ProgressBar::new(needs.len() as u64);
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message("fetching");
        let mut fetcher = Fetcher { folder, roots, client, addresses, now, force };
        let there = runtime()?.block_on(async {
            let mut there = true;
            for need in &needs {
                let item = fetcher.fetch(need).await;
                bar.suspend(|| show(&item, json));
                bar.inc(1);
                there &= item.outcome.is_there();
            }
            there
        });
        bar.finish_and_clear();
        Ok(ExitCode::from(u8::from(!there)))
    }

    /// What is wanted, each once: first those by which others are checked.
    fn needs(&self, folder: &Folder) -> Result<Vec<Need>, Failure> {
        let Self { evidence, product, fmspc, tdx_fmspc, .. } = self;
        let mut needs: Vec<_> = product.iter().copied().flat_map(Need::of_line).collect();
        for (tee, platforms) in [(Tee::Sgx, fmspc), (Tee::Tdx, tdx_fmspc)] {
            needs.extend(platforms.iter().flat_map(|Fmspc(fmspc)| Need::of_platforms(tee, *fmspc)));
        }
        for path in evidence {
            let (evidence, brought) = verify::evidence_in(path)?;
            let found = self.of(&evidence, &brought).map_err(|failure| failure.prefixed(path.display()).unusable())?;
            needs.extend(found);
        }
        if evidence.is_empty() && needs.is_empty() {
            let failed = |error| Failure::caused("cannot refresh what is there", &error);
            needs = folder.needs().map_err(|error| failed(error.clone()).hint(error.hint()).unusable())?;
            if needs.is_empty() {
                return Err(Failure::new(format!("nothing is in {} to refresh", folder.path().display()))
                    .hint("give evidence, or --product or --fmspc of your machines")
                    .unusable());
            }
        }
        needs.sort_by_cached_key(|need| (matches!(need, Need::Vcek { .. }), need.place()));
        needs.dedup();
        Ok(needs)
    }

    fn of(&self, evidence: &Evidence, brought: &Endorsements) -> Result<Vec<Need>, Failure> {
        let mut needs = Need::of(evidence, brought);
        if needs.is_empty() {
            return Err(
                Failure::new("it does not say of which platform it is").hint("see what `donjon verify` says of it")
            );
        }
        let Evidence::Snp(bytes) = evidence else { return Ok(needs) };
        let Ok(report) = Report::parse(bytes) else { return Ok(needs) };
        if report.cpuid().is_none() && !brought.certificates().any(|der| Vek::parse(der).is_ok()) {
            needs.retain(|need| of_line(need).is_some_and(|line| self.product.contains(&line)));
            if needs.is_empty() {
                return Err(Failure::new("a report of version 2 does not name its product line")
                    .hint("say --product milan, genoa or turin"));
            }
        }
        let vcek = needs.iter().any(|need| matches!(need, Need::Vcek { .. }));
        if !vcek && brought.is_empty() {
            talk(match report.signing_key() {
                SigningKey::Vlek => {
                    "a VLEK signed: its certificate is for the provider alone, who gives it with the report"
                }
                _ => "the processor is masked: the certificate of its key can be had from its host alone",
            });
        }
        Ok(needs)
    }
}

fn of_line(need: &Need) -> Option<ProductLine> {
    match need {
        Need::SnpChain { line, .. } | Need::SnpList { line } | Need::Vcek { line, .. } => Some(*line),
        Need::RootList | Need::PckList { .. } | Need::QeIdentity { .. } | Need::TcbInfo { .. } => None,
    }
}

fn show(item: &Item, json: bool) {
    let Item { need, outcome, until, failure } = item;
    let (place, until) = (need.place(), until.map(time::date));
    if json {
        let failure = failure.as_ref().map(Failure::json);
        let object = serde_json::json!({
            "piece": place,
            "outcome": outcome.name(),
            "until": until,
            "error": failure.as_ref().map(|failure| &failure["message"]),
            "hint": failure.as_ref().map(|failure| &failure["hint"]),
        });
        return say(&object.to_string());
    }
    let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
    say(&format!("{:<8} {place}{until}", outcome.name()));
    if let Some(failure) = failure {
        let kind = if outcome.is_there() { "warning" } else { "error" };
        talk(&format!("{kind}: {}", failure.message()));
        if let Some(hint) = failure.json()["hint"].as_str() {
            talk(&format!("hint: {hint}"));
        }
    }
}

#[allow(clippy::print_stderr, reason = "this is talk")]
fn talk(line: &str) {
    eprintln!("{line}");
}
