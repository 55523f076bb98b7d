//! `donjon verify`, `bundle`, `why` and `rehearse`: what evidence is worth, on any machine, without a network.
//!
//! Owns the arguments and the exit codes; what is true is [`evidence`]'s to say. Exit codes: 0 verified, 1 refused, 2 for
//! what cannot be used. Nothing is fetched: collateral is given, or what it is wanted for fails with a reason.

mod bundle;
pub(crate) mod cert;
mod ear;
mod hint;
mod input;
mod policy;
mod rehearse;
mod text;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use evidence::appraisal::{Appraisal, By, Endorsements, Evidence, Roots, appraise};
use evidence::{AwsLc, time};
use serde::Serialize;

pub(crate) use self::bundle::Bundle;
pub(crate) use self::ear::Ear;
use self::ear::Issuer;
use self::input::{Given, Item, Subject};
use self::policy::{Asks, Chosen, Insecure};
pub(crate) use self::rehearse::Rehearse;
pub(crate) use self::why::Why;
use super::say;
use crate::failure::Failure;

/// Judge evidence: reports, quotes, certificate requests, bundles; offline.
///
/// Takes reports of AMD SEV-SNP, quotes of Intel SGX and TDX, certificate requests that carry evidence (ours and those of
/// Enarx), and bundles, as bytes or as hexadecimal or base64 text; what a file is, is told by its content. Without --policy
/// it judges whether the evidence is genuine and, of Intel's, its platform up to date, and says what nobody asked: AMD rates
/// no TCB, the lowest one that will do is in a policy. A bundle is judged at its own time unless --at says another; its
/// policy is asked with --own-policy alone. Exits with 0 if all is verified, 1 if anything is refused, 2 if a file cannot be
/// used.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    judge: Judge,
    /// Print one JSON object a file.
    #[arg(long)]
    json: bool,
    /// Sign a result for others with this key (PKCS#8 in PEM, P-384): an EAR, which `donjon ear` checks. Needs --nonce, of 16
    /// bytes at least, and --launch-field, or a request, which has both.
    #[arg(long, value_name = "FILE")]
    ear_key: Option<PathBuf>,
    /// List every check, not only what failed.
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

/// What is judged, and by what; the same for every command here.
#[derive(Debug, clap::Args)]
struct Judge {
    /// Evidence; `-` is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Certificates and revocation lists (PEM or DER), answers of Intel's service, JSON that has all of it, or a folder that
    /// `donjon collateral fetch` filled.
    #[arg(long, value_name = "FILE|FOLDER", num_args = 1..)]
    collateral: Vec<PathBuf>,
    /// What is accepted: TOML with a section for each TEE (docs/reference/policy.md). A Steward's policy will do.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Judge a bundle by the policy in it: whoever made the bundle chose that policy.
    #[arg(long, conflicts_with = "policy")]
    own_policy: bool,
    /// Judge at this instant: RFC 3339, or seconds since 1970. Else now, and a bundle at its own time.
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<u64>,
    /// The report data must be these bytes (hexadecimal, 1 to 64), and zeros after them; a request must have been made for
    /// this nonce, and stays bound to its key.
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Option<Bytes>,
    /// The field that was fixed at launch (HOST_DATA, CONFIGID, MRCONFIGID) must be these 32 bytes, in hexadecimal; of a
    /// request it is the hash of its brief.
    #[arg(long, value_name = "HEX", value_parser = launch_field)]
    launch_field: Option<[u8; 32]>,
    /// Trust this root too (PEM or DER): for simulated hardware. Whoever has its key can make any evidence.
    #[arg(long, value_name = "FILE")]
    insecure_root: Vec<PathBuf>,
}

/// Bytes of an option.
#[derive(Debug, Clone)]
struct Bytes(Vec<u8>);

fn at(text: &str) -> Result<u64, String> {
    time::instant(text).ok_or_else(|| "an instant is expected, such as 2026-03-01T12:00:00Z or 1772366400".to_owned())
}

fn nonce(text: &str) -> Result<Bytes, String> {
    match hex::decode(text) {
        Ok(bytes) if (1..=64).contains(&bytes.len()) => Ok(Bytes(bytes)),
        _ => Err("1 to 64 bytes are expected, two hexadecimal digits each".to_owned()),
    }
}

fn launch_field(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err("64 hexadecimal digits are expected".to_owned()),
    }
}

/// The evidence in a file, whatever it is in, and what came with it.
pub(super) fn evidence_in(path: &Path) -> Result<(Evidence, Endorsements), Failure> {
    let Subject { evidence, endorsements, .. } = Item::read(path)?.subject(&Given::default())?;
    Ok((evidence, endorsements))
}

/// The vendors' roots, and those in these files.
pub(super) fn trusted(insecure: &[PathBuf]) -> Result<Roots, Failure> {
    policy::roots(Roots::vendors(), insecure)
}

/// One subject that was judged.
struct Judged {
    item: Item,
    subject: Subject,
    appraisal: Appraisal,
    now: u64,
    /// Who chose the instant.
    at_from: AtFrom,
    /// By which policy; none without one.
    policy: Option<Rc<Chosen>>,
    insecure: Insecure,
}

impl Judged {
    /// The bundle's policy was not asked.
    fn ignores_policy(&self) -> bool {
        self.policy.is_none() && self.subject.policy.is_some()
    }
}

/// Who chose the instant that was judged at.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum AtFrom {
    Clock,
    Option,
    Bundle,
}

/// All that is the same for every file.
struct Setting {
    given: Given,
    asks: Asks,
    roots: Roots,
    /// For whatever policy.
    insecure: Insecure,
}

impl Judge {
    /// Reads what is not evidence, and takes the evidence's names.
    fn prepare(mut self, command: &str) -> Result<(Vec<PathBuf>, Setting), Failure> {
        let mut roots = policy::roots(Roots::vendors(), &self.insecure_root)?;
        let asks = match &self.policy {
            Some(path) => Asks::This(Rc::new(Chosen::read(path)?)),
            None if self.own_policy => Asks::Own,
            None => Asks::Nothing,
        };
        if let Asks::This(chosen) = &asks {
            roots = policy::roots(roots, chosen.roots())?;
        }
        let (folders, files): (Vec<_>, Vec<_>) = self.collateral.iter().cloned().partition(|path| path.is_dir());
        let caches = folders.into_iter().map(|folder| input::cache(&folder, &roots)).collect::<Result<_, _>>()?;
        let endorsements = input::endorsements(&files, &mut self.files)?;
        if self.files.is_empty() {
            return Err(Failure::new("no evidence is given")
                .hint(format!("donjon {command} FILE… [--collateral FILE…]"))
                .unusable());
        }
        let insecure = Insecure { roots: !self.insecure_root.is_empty(), ..Insecure::default() };
        let given = Given {
            endorsements,
            caches,
            at: self.at,
            nonce: self.nonce.map(|Bytes(bytes)| bytes),
            launch_field: self.launch_field,
        };
        Ok((self.files, Setting { given, asks, roots, insecure }))
    }
}

impl Setting {
    fn judge(&self, item: Item) -> Result<Judged, Failure> {
        let subject = item.subject(&self.given)?;
        let own = || {
            let read = |text: &String| Chosen::parse(&format!("the policy in {}", item.name()), text, None);
            Ok::<_, Failure>(subject.policy.as_ref().map(read).transpose()?.map(Rc::new))
        };
        let policy = match &self.asks {
            Asks::Nothing => None,
            Asks::This(chosen) => Some(Rc::clone(chosen)),
            Asks::OwnIfAny => own()?,
            Asks::Own => match own()? {
                Some(chosen) => Some(chosen),
                None => {
                    let failure = Failure::new(format!("{}: it brings no policy of its own", item.name()));
                    return Err(failure.hint("only a bundle may have one; else --policy FILE").unusable());
                }
            },
        };
        let at_from = match (self.given.at, subject.at) {
            (Some(_), _) => AtFrom::Option,
            (None, Some(_)) => AtFrom::Bundle,
            (None, None) => AtFrom::Clock,
        };
        let now = subject.at.map_or_else(clock, Ok)?;
        let by = By {
            endorsements: &subject.endorsements,
            policy: policy.as_ref().map(|chosen| chosen.policy()),
            binding: subject.binding,
            roots: &self.roots,
            now,
        };
        let mut appraisal = appraise(&subject.evidence, by, &AwsLc);
        subject.unlike.iter().for_each(|unlike| unlike.refuse(&subject.evidence, &mut appraisal));
        let insecure = policy.as_ref().map(|chosen| chosen.insecure()).unwrap_or_default().and(self.insecure);
        Ok(Judged { item, subject, appraisal, now, at_from, policy, insecure })
    }
}

fn clock() -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|now| now.as_secs()).map_err(|error| Failure::caused("the clock is before 1970", &error).unusable())
}

/// What a file came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Verified,
    Refused,
    Unusable,
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Verified => Self::SUCCESS,
            End::Refused => Self::from(1),
            End::Unusable => Self::from(crate::failure::UNUSABLE),
        }
    }
}

impl Verify {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let issuer = self.ear_key.as_deref().map(Issuer::read).transpose()?;
        if let (Some(_), Some(Bytes(nonce))) = (&issuer, &self.judge.nonce) {
            ear::long_enough(nonce).map_err(|failure| failure.prefixed("--nonce"))?;
        }
        let (files, setting) = self.judge.prepare("verify")?;
        let mut worst = End::Verified;
        for file in &files {
            let end = match Item::read(file).and_then(|item| setting.judge(item)) {
                Ok(judged) => {
                    // The verdict is said whatever becomes of the result.
                    let ear = issuer.as_ref().map(|issuer| issuer.sign(&judged));
                    let (ear, failure) = match ear.transpose() {
                        Ok(ear) => (ear, None),
                        Err(failure) => (None, Some(failure)),
                    };
                    if self.json {
                        say(&text::json(&judged, ear.as_deref(), failure.as_ref())?);
                    } else {
                        say(&text::people(&judged, self.all));
                        ear.iter().for_each(|ear| say(&format!("  EAR: {ear}")));
                    }
                    match failure {
                        Some(failure) => {
                            failure.show();
                            End::Unusable
                        }
                        None if judged.appraisal.verified() => End::Verified,
                        None => End::Refused,
                    }
                }
                Err(failure) => {
                    if self.json {
                        say(&text::unusable(file, &failure)?);
                    }
                    failure.show();
                    End::Unusable
                }
            };
            worst = worst.max(end);
        }
        Ok(worst.into())
    }
}
