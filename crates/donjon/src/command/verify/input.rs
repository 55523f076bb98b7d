//! Files and what is in them: which evidence, bound to what, judged when and by what.
//!
//! Refuses files that are too long before they are read, and collateral where evidence is wanted, with a hint. Options win
//! over what a bundle says of itself; what was given beside a bundle is added to what is in it. No option wins over what a
//! request is bound to: one that asks for something else refuses it.

use std::fmt::Display;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence::appraisal::bundle::{Bundle, Bundled};
use evidence::appraisal::enarx;
use evidence::appraisal::file::{Content, File, MAX_FILE};
use evidence::appraisal::{Appraisal, Binding, Endorsements, Evidence, Kind, Roots};
use evidence::azure::AzureClaims;
use evidence::sgx::SgxClaims;
use evidence::snp::SnpClaims;
use evidence::tdx::TdxClaims;
use evidence::{Outcome, Verdict, ear};
use identity::binding::{Purpose, report_data};
use identity::csr::{CsrError, Request};
use steward::carried::{self, CarriedError, KINDS};
use steward::collateral::{Cache, Folder, Reader};
use steward::published::Attested;
use steward::signer::Signatures;
use workload::brief;

use crate::failure::Failure;

/// What was given on the command line for every piece of evidence.
#[derive(Default)]
pub(super) struct Given {
    pub(super) endorsements: Endorsements,
    /// Of which each piece of evidence gets what it needs.
    pub(super) caches: Vec<Arc<Cache>>,
    pub(super) at: Option<u64>,
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) launch_field: Option<[u8; 32]>,
}

/// A file that was read, and is one of the known kinds.
#[derive(Clone)]
pub(super) struct Item {
    path: PathBuf,
    pub(super) kind: Kind,
    content: Content,
    /// Whose evidence it is.
    steward: Option<Attested>,
}

/// What is judged.
pub(super) struct Subject {
    pub(super) evidence: Evidence,
    pub(super) endorsements: Endorsements,
    pub(super) binding: Binding,
    /// Whoever asked chose it.
    pub(super) nonce: Option<Vec<u8>>,
    /// Of a request.
    pub(super) stated: Option<Stated>,
    /// What the options ask of a request and it does not state.
    pub(super) unlike: Vec<Unlike>,
    /// TOML, of a bundle.
    pub(super) policy: Option<String>,
    pub(super) at: Option<u64>,
}

/// What a request says it is bound to, beside its key.
#[derive(Default)]
pub(super) struct Stated {
    nonce: Option<Vec<u8>>,
    brief: Option<[u8; 32]>,
}

/// A part of the binding that is another than was asked for.
pub(super) enum Unlike {
    Nonce { asked: Vec<u8>, stated: Option<Vec<u8>> },
    Brief { asked: [u8; 32], stated: Option<[u8; 32]> },
}

impl Stated {
    fn unlike(&self, nonce: Option<&[u8]>, launch_field: Option<[u8; 32]>) -> Vec<Unlike> {
        let Self { nonce: stated, brief } = self;
        let nonce = nonce.filter(|asked| stated.as_deref() != Some(asked));
        let nonce = nonce.map(|asked| Unlike::Nonce { asked: asked.to_vec(), stated: stated.clone() });
        let field = launch_field.filter(|asked| *brief != Some(*asked));
        nonce.into_iter().chain(field.map(|asked| Unlike::Brief { asked, stated: *brief })).collect()
    }
}

impl Item {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = bytes(path)?;
        let steward = Attested::read(&bytes);
        let bytes = steward.as_ref().map_or(bytes, |steward| steward.evidence.to_string().into_bytes());
        let File { kind, content } = File::read(&bytes).map_err(|error| unusable(path, error))?;
        Ok(Self { path: path.to_owned(), kind, content, steward })
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether what stands beside the evidence is what it is about.
    pub(super) fn is_stewards(&self) -> bool {
        self.steward.is_some()
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// What of it is judged, with what was given beside it.
    pub(super) fn subject(&self, given: &Given) -> Result<Subject, Failure> {
        let Given { endorsements, caches, at, nonce, launch_field } = given;
        let asked = Binding { report_data: nonce.as_deref().map(padded), launch_field: *launch_field };
        let subject = match &self.content {
            Content::Evidence(evidence, own) => Subject {
                evidence: evidence.clone(),
                endorsements: own.clone(),
                binding: asked,
                nonce: nonce.clone(),
                stated: None,
                unlike: Vec::new(),
                policy: None,
                at: *at,
            },
            Content::Csr(der) => self.request(der)?,
            Content::Bundle(bundle) => self.bundled(bundle)?,
            Content::Endorsements(_) => return Err(self.no_evidence()),
        };
        let subject = match &self.steward {
            Some(steward) => self.of_steward(steward, subject, nonce.as_deref())?,
            None => subject,
        };
        // The hash of a request's key, brief and nonce binds its key. Whatever was asked for instead would bind none: somebody
        // else's report could stand in it.
        let (binding, unlike) = match &subject.stated {
            Some(stated) => (subject.binding, stated.unlike(nonce.as_deref(), *launch_field)),
            None => {
                let binding = Binding {
                    report_data: asked.report_data.or(subject.binding.report_data),
                    launch_field: asked.launch_field.or(subject.binding.launch_field),
                };
                (binding, Vec::new())
            }
        };
        let mut subject =
            Subject { nonce: nonce.clone().or(subject.nonce), at: at.or(subject.at), binding, unlike, ..subject };
        subject.endorsements.extend(endorsements).map_err(|error| unusable(&self.path, error))?;
        caches.iter().for_each(|cache| cache.add(&subject.evidence, &mut subject.endorsements));
        Ok(subject)
    }

    /// What it is, for people: among certificates may be none.
    pub(super) fn what(&self) -> String {
        match &self.content {
            Content::Endorsements(only) if only.certificates().len() == 0 && only.lists().len() > 0 => {
                if only.lists().len() == 1 { "a revocation list" } else { "revocation lists" }.to_owned()
            }
            _ => self.kind.to_string(),
        }
    }

    /// What is said of a file that evidence is judged by, where evidence is wanted.
    pub(super) fn no_evidence(&self) -> Failure {
        let hint = format!("it judges evidence: give it with --collateral {}", self.name());
        unusable(&self.path, format!("it is no evidence but {}", self.what())).hint(hint)
    }

    fn bundled(&self, bundle: &Bundle) -> Result<Subject, Failure> {
        let Bundle { evidence, endorsements, policy, nonce, launch_field, time } = bundle;
        let bound = Binding { report_data: nonce.as_deref().map(padded), launch_field: *launch_field };
        let mut subject = match evidence {
            Bundled::Csr(der) => self.request(der)?,
            Bundled::Evidence(evidence) => Subject {
                evidence: evidence.clone(),
                endorsements: Endorsements::default(),
                binding: bound,
                nonce: nonce.clone(),
                stated: None,
                unlike: Vec::new(),
                policy: None,
                at: None,
            },
        };
        subject.endorsements.extend(endorsements).map_err(|error| unusable(&self.path, error))?;
        Ok(Subject { policy: policy.clone(), at: Some(*time), ..subject })
    }

    /// A Steward's evidence is bound to the policy and the roots that stand beside it (`spec/trust.md`, A Steward in a Keep).
    fn of_steward(&self, steward: &Attested, subject: Subject, nonce: Option<&[u8]>) -> Result<Subject, Failure> {
        let Some(brief) = subject.binding.launch_field.filter(|_| subject.stated.is_none()) else {
            return Err(unusable(
                &self.path,
                "a trust bundle whose evidence does not say which brief its Keep was launched with",
            ));
        };
        let said = steward.said(nonce.unwrap_or_default());
        Ok(Subject {
            binding: Binding {
                report_data: Some(report_data(Purpose::User, &[], &brief, &said)),
                launch_field: Some(brief),
            },
            stated: Some(Stated { nonce: nonce.map(<[u8]>::to_vec), brief: Some(brief) }),
            ..subject
        })
    }

    /// Evidence that a request carries is bound to its key, its brief and its nonce (`spec/trust.md`, rules 1 and 2).
    fn request(&self, der: &[u8]) -> Result<Subject, Failure> {
        let refused = |error: &dyn Display| unusable(&self.path, format!("certificate request: {error}"));
        let request = match Request::parse(der, &Signatures) {
            Ok(request) => request,
            // Another kind of request: its evidence is carried in another way, if there is any.
            Err(error @ (CsrError::Attributes | CsrError::Statements | CsrError::Subject)) => {
                let read = enarx::Request::parse(der, &evidence::AwsLc);
                return match read.map_err(|error| refused(&format_args!("of Enarx: {error}")))? {
                    Some(request) => Ok(of_enarx(request)),
                    None => Err(refused(&error).hint("known here are those of spec/trust.md, and those of Enarx")),
                };
            }
            Err(error) => return Err(refused(&error)),
        };
        let statement = &request.statement;
        let (evidence, endorsements) = carried::read(statement).map_err(|error| match error {
            CarriedError::Kind(_) => refused(&error).hint(format_args!("known here are {}", KINDS.join(", "))),
            CarriedError::Collateral(_) => refused(&error),
        })?;
        let hash = brief::hash(&statement.brief);
        Ok(Subject {
            evidence,
            endorsements,
            binding: Binding {
                report_data: Some(report_data(Purpose::Issue, &request.spki, &hash, &statement.nonce)),
                launch_field: Some(hash),
            },
            nonce: Some(statement.nonce.as_bytes().to_vec()),
            stated: Some(Stated { nonce: Some(statement.nonce.as_bytes().to_vec()), brief: Some(hash) }),
            unlike: Vec::new(),
            policy: None,
            at: None,
        })
    }
}

/// Bound to its key alone.
fn of_enarx(enarx::Request { evidence, endorsements, report_data, .. }: enarx::Request) -> Subject {
    Subject {
        evidence,
        endorsements,
        binding: Binding { report_data: Some(report_data), launch_field: None },
        nonce: None,
        stated: Some(Stated::default()),
        unlike: Vec::new(),
        policy: None,
        at: None,
    }
}

impl Unlike {
    /// Refuses what was judged by the request's own binding: whoever asked was promised another one.
    pub(super) fn refuse(&self, evidence: &Evidence, appraisal: &mut Appraisal) {
        let (data, field) = match evidence {
            Evidence::Snp(_) => ("snp.report_data", "snp.host_data"),
            Evidence::Sgx(_) => ("sgx.report_data", "sgx.config_id"),
            Evidence::Tdx(_) => ("tdx.report_data", "tdx.config_id"),
            Evidence::Azure(_) => ("azure.report_data", "azure.launch_field"),
        };
        let (id, expected, found) = match self {
            Self::Nonce { asked, stated } => (data, self.text(Some(asked)), self.text(stated.as_deref())),
            Self::Brief { asked, stated } => {
                (field, self.text(Some(asked)), self.text(stated.as_ref().map(<[u8; 32]>::as_slice)))
            }
        };
        appraisal.claims = None;
        for check in appraisal.verdict.checks.iter_mut().filter(|check| check.id == id) {
            check.outcome = Outcome::Fail;
            check.expected = expected.clone().into();
            check.found = found.clone().into();
        }
        if appraisal.result.is_some() {
            appraisal.result = Some(result(evidence, &appraisal.verdict));
        }
    }

    fn text(&self, bytes: Option<&[u8]>) -> String {
        match (self, bytes.map(hex::encode)) {
            (Self::Nonce { .. }, Some(bytes)) => format!("a request with the nonce {bytes}"),
            (Self::Brief { .. }, Some(bytes)) => format!("a request with a brief whose hash is {bytes}"),
            (Self::Nonce { .. }, None) => "a request without a nonce".to_owned(),
            (Self::Brief { .. }, None) => "a request without a brief".to_owned(),
        }
    }
}

/// What others are told of a refusal.
fn result(evidence: &Evidence, verdict: &Verdict) -> ear::Appraisal {
    match evidence {
        Evidence::Snp(_) => ear::Appraisal::of::<SnpClaims>(&Err(verdict.clone())),
        Evidence::Sgx(_) => ear::Appraisal::of::<SgxClaims>(&Err(verdict.clone())),
        Evidence::Tdx(_) => ear::Appraisal::of::<TdxClaims>(&Err(verdict.clone())),
        Evidence::Azure(_) => ear::Appraisal::of::<AzureClaims>(&Err(verdict.clone())),
    }
}

/// A nonce, and zeros.
fn padded(nonce: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    for (to, from) in data.iter_mut().zip(nonce) {
        *to = *from;
    }
    data
}

/// Everything in the files of `--collateral`. Where nothing else is evidence, what is evidence among them is taken as such:
/// an option that takes several files easily takes one too many.
pub(super) fn endorsements(collateral: &[PathBuf], files: &mut Vec<PathBuf>) -> Result<Endorsements, Failure> {
    let none_yet = files.is_empty();
    let mut all = Endorsements::default();
    for path in collateral {
        let item = Item::read(path)?;
        match &item.content {
            Content::Endorsements(some) => all.extend(some).map_err(|error| unusable(path, error))?,
            _ if none_yet => files.push(path.clone()),
            _ => {
                let hint = "evidence stands before --collateral";
                return Err(unusable(path, format!("it is no collateral but {}", item.kind)).hint(hint));
            }
        }
    }
    Ok(all)
}

/// Everything in a folder of collateral that these roots vouch for; what is no good is told of.
#[allow(clippy::print_stderr, reason = "what is not taken is talk")]
pub(super) fn cache(folder: &Path, roots: &Roots) -> Result<Arc<Cache>, Failure> {
    let reader = Reader::open(Folder::new(folder), roots.clone())
        .map_err(|error| Failure::new(&error).hint(error.hint()).unusable())?;
    for trouble in reader.troubles() {
        eprintln!("{}: not used: {trouble}", folder.display());
    }
    Ok(Arc::clone(reader.cache()))
}

/// A file's bytes, if there are not too many.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let limit = MAX_FILE as u64 + 1;
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::caused(path.display(), &error).unusable())?;
    Ok(bytes)
}

pub(super) fn unusable(path: &Path, error: impl Display) -> Failure {
    Failure::new(error).prefixed(path.display()).unusable()
}
