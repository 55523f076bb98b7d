//! A piece of collateral that is what its place says, and that its vendor issued.
//!
//! Owns what a piece must be before it is kept, or put in the place of another: about what its [`Need`] says, and signed by a key
//! that a pinned root vouches for. Refuses what is longer than any. Says nothing of now: its dates come with it, and whether they
//! are good, whether anything is revoked, and what may sign what, is asked again at every appraisal.

use super::Roots;
use super::needs::{MAX_CHAIN, Need, PckCa, SnpKey};
use super::pool::Endorsements;
use crate::dcap::quote::Tee;
use crate::dcap::tcb_info::{Answer, InfoError, QeIdentity, TcbInfo};
use crate::dcap::{self, TCB_SIGNER, chain, is_named, may_list};
use crate::hexadecimal as hex;
use crate::pki::{Certificate, Crl, PkiError, Scheme, common_name, shown};
use crate::provider::{Provider, SignatureAlgorithm};
use crate::snp::vek::{Kind, Vek, VekError};
use crate::snp::{self, ProductLine};
use thiserror::Error;
use x509_cert::name::Name;

/// Collateral that was read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    need: Need,
    endorsements: Endorsements,
    since: u64,
    until: u64,
    evaluation: Option<u32>,
}

/// Why bytes are not that piece.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PieceError {
    /// Longer than any.
    #[error("{found} bytes, limit {limit}")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// No certificate, or no revocation list.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// No certificate of a VEK.
    #[error(transparent)]
    Vek(#[from] VekError),
    /// No TCB info, or no QE identity.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// The issuers' certificates are not PEM.
    #[error("the issuers are no chain of PEM certificates")]
    Chain,
    /// About something else.
    #[error("it is about {found}, not about {expected}")]
    Other {
        /// What it must be about.
        expected: String,
        /// What it is about.
        found: String,
    },
    /// The certificate of who signed it is not there, or is another's.
    #[error("no certificate of {0} is with it")]
    Issuer(String),
    /// Whoever signed it, no pinned root vouches for it.
    #[error("no trusted root vouches for {0}")]
    Untrusted(String),
    /// Changed since it was signed, or signed by somebody else.
    #[error("the signature of {0} does not verify")]
    Signature(String),
}

/// What it says, with its first and last second and Intel's count.
struct Said {
    endorsements: Endorsements,
    since: u64,
    until: u64,
    evaluation: Option<u32>,
}

impl Piece {
    /// Reads what lies at [`Need::place`], by what lies at [`Need::issuers`] (empty where there is nothing).
    pub fn read(
        need: &Need,
        body: &[u8],
        issuers: &[u8],
        roots: &Roots,
        provider: &dyn Provider,
    ) -> Result<Self, PieceError> {
        for (bytes, limit) in [(body, need.limit()), (issuers, MAX_CHAIN)] {
            if bytes.len() > limit {
                return Err(PieceError::TooLong { limit, found: bytes.len() });
            }
        }
        let said = match need {
            Need::SnpChain { line, key } => snp_chain(*line, *key, body, &roots.snp, provider),
            Need::SnpList { line } => snp_list(*line, body, &roots.snp, provider),
            Need::Vcek { .. } => vcek(need, body, issuers, &roots.snp, provider),
            Need::RootList => root_list(body, &roots.dcap, provider),
            Need::PckList { ca } => pck_list(*ca, body, issuers, &roots.dcap, provider),
            Need::QeIdentity { tee } => {
                let Answer { body, signature } = Answer::parse(body)?;
                let identity = QeIdentity::parse(body)?;
                about(quoting(*tee), quoting(identity.tee))?;
                let signer = statement_signer(body, &signature, issuers, &roots.dcap, provider)?;
                let mut endorsements = certificates(&[&signer]);
                // There is room for one.
                _ = endorsements.qe_identity(body, &signature);
                let until = identity.next_update.min(signer.not_after());
                Ok(Said { endorsements, since: identity.issued, until, evaluation: Some(identity.evaluation) })
            }
            Need::TcbInfo { tee, fmspc } => {
                let Answer { body, signature } = Answer::parse(body)?;
                let info = TcbInfo::parse(body)?;
                about(platforms(*tee, fmspc), platforms(info.tee, &info.fmspc))?;
                let signer = statement_signer(body, &signature, issuers, &roots.dcap, provider)?;
                let mut endorsements = certificates(&[&signer]);
                _ = endorsements.tcb_info(body, &signature);
                let until = info.next_update.min(signer.not_after());
                Ok(Said { endorsements, since: info.issued, until, evaluation: Some(info.evaluation) })
            }
        };
        let Said { endorsements, since, until, evaluation } = said?;
        Ok(Self { need: need.clone(), endorsements, since, until, evaluation })
    }

    /// What it is.
    pub fn need(&self) -> &Need {
        &self.need
    }

    /// What evidence is judged by.
    pub fn endorsements(&self) -> &Endorsements {
        &self.endorsements
    }

    /// Since when it is good, unix time.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The last second at which it is good, unix time.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Whether it is good at this instant.
    pub fn valid_at(&self, now: u64) -> bool {
        (self.since..=self.until).contains(&now)
    }

    /// Intel's count of recoveries, of what has one.
    pub fn evaluation(&self) -> Option<u32> {
        self.evaluation
    }

    /// Whether whoever has the other and takes this instead goes back: to an earlier issue, or to an earlier count of Intel's.
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.since < other.since || self.evaluation < other.evaluation
    }
}

fn about(expected: String, found: String) -> Result<(), PieceError> {
    if expected == found { Ok(()) } else { Err(PieceError::Other { expected, found }) }
}

fn quoting(tee: Tee) -> String {
    format!("the quoting enclave of {tee}")
}

fn platforms(tee: Tee, fmspc: &[u8; 6]) -> String {
    format!("platforms {} for {tee}", hex::encode(fmspc))
}

/// A few of these.
fn certificates(all: &[&Certificate]) -> Endorsements {
    let mut endorsements = Endorsements::default();
    for certificate in all {
        _ = endorsements.certificate(certificate.der());
    }
    endorsements
}

fn list(der: &[u8]) -> Endorsements {
    let mut endorsements = Endorsements::default();
    _ = endorsements.list(der);
    endorsements
}

/// Certificates in PEM, of which there may be none.
fn chain_of(pem: &[u8], scheme: Scheme) -> Result<Vec<Certificate>, PieceError> {
    if pem.is_empty() {
        return Ok(Vec::new());
    }
    let (leaf, others) = chain::ders(pem, 3).map_err(|_| PieceError::Chain)?;
    let parsed = [leaf].into_iter().chain(others).map(|der| Certificate::parse(&der, scheme));
    parsed.collect::<Result<_, _>>().map_err(PieceError::from)
}

/// A root of this name and line that signed it.
fn ark<'r>(
    roots: &'r snp::Roots,
    line: ProductLine,
    issuer: &Name,
    signed: impl Fn(&Certificate) -> bool,
) -> Option<&'r Certificate> {
    let of_line = roots.anchors().iter().filter(|anchor| anchor.line() == line).map(snp::roots::Anchor::certificate);
    of_line.into_iter().find(|root| root.subject() == issuer && signed(root))
}

fn snp_chain(
    line: ProductLine,
    key: SnpKey,
    pem: &[u8],
    roots: &snp::Roots,
    provider: &dyn Provider,
) -> Result<Said, PieceError> {
    let chain = chain_of(pem, Scheme::RsaPssSha384)?;
    let line_of = |certificate: &Certificate| {
        common_name(certificate.subject()).and_then(|name| ProductLine::from_authority(&name, key.authority()))
    };
    let expected = format!("{}{line}", key.authority());
    let Some(authority) = chain.iter().find(|certificate| line_of(certificate) == Some(line)) else {
        let found = chain.first().map_or_else(|| "nobody".to_owned(), |first| shown(first.subject()));
        return Err(PieceError::Other { expected, found });
    };
    let vouches = |root: &Certificate| authority.signed_by(root.spki(), provider);
    ark(roots, line, authority.issuer(), vouches).ok_or_else(|| PieceError::Untrusted(shown(authority.subject())))?;
    Ok(Said {
        endorsements: certificates(&[authority]),
        since: authority.not_before(),
        until: authority.not_after(),
        evaluation: None,
    })
}

fn snp_list(line: ProductLine, der: &[u8], roots: &snp::Roots, provider: &dyn Provider) -> Result<Said, PieceError> {
    let crl = Crl::parse(der, Scheme::RsaPssSha384)?;
    let named = common_name(crl.issuer()).and_then(|name| ProductLine::from_authority(&name, "ARK-"));
    if named != Some(line) {
        return Err(PieceError::Other { expected: format!("ARK-{line}"), found: shown(crl.issuer()) });
    }
    let signed = |root: &Certificate| may_list(root) && crl.signed_by(root.spki(), provider);
    ark(roots, line, crl.issuer(), signed).ok_or_else(|| PieceError::Signature(shown(crl.issuer())))?;
    Ok(Said { endorsements: list(der), since: crl.this_update(), until: crl.next_update(), evaluation: None })
}

fn vcek(
    need: &Need,
    der: &[u8],
    issuers: &[u8],
    roots: &snp::Roots,
    provider: &dyn Provider,
) -> Result<Said, PieceError> {
    let vek = Vek::parse(der)?;
    let line = vek.product().line();
    let found = match vek.kind() {
        Kind::Vcek { hwid } => Need::Vcek { line, chip: hwid.clone(), tcb: vek.tcb() }.place(),
        Kind::Vlek { provider } => format!("the VLEK of {provider}"),
    };
    about(need.place(), found)?;
    let certificate = vek.certificate();
    let brought = chain_of(issuers, Scheme::RsaPssSha384)?;
    let issuer = shown(certificate.issuer());
    let mut named =
        brought.iter().chain(roots.intermediates()).filter(|ask| ask.subject() == certificate.issuer()).peekable();
    if named.peek().is_none() {
        return Err(PieceError::Issuer(issuer));
    }
    let signer = named.find(|ask| certificate.signed_by(ask.spki(), provider));
    let signer = signer.ok_or_else(|| PieceError::Signature(issuer.clone()))?;
    let vouches = |root: &Certificate| signer.signed_by(root.spki(), provider);
    ark(roots, line, signer.issuer(), vouches).ok_or(PieceError::Untrusted(issuer))?;
    Ok(Said {
        endorsements: certificates(&[certificate]),
        since: certificate.not_before(),
        until: certificate.not_after(),
        evaluation: None,
    })
}

/// Whether one of Intel's roots issued it.
fn vouched(certificate: &Certificate, roots: &dcap::Roots, provider: &dyn Provider) -> Result<(), PieceError> {
    let vouches = roots.anchors().iter().any(|root| dcap::issued(certificate, root, provider));
    if vouches { Ok(()) } else { Err(PieceError::Untrusted(shown(certificate.subject()))) }
}

fn root_list(der: &[u8], roots: &dcap::Roots, provider: &dyn Provider) -> Result<Said, PieceError> {
    let crl = Crl::parse(der, Scheme::EcdsaP256Sha256)?;
    if !roots.names(crl.issuer()) {
        return Err(PieceError::Untrusted(shown(crl.issuer())));
    }
    let mut named = roots.anchors().iter().filter(|root| root.subject() == crl.issuer() && may_list(root));
    if !named.any(|root| crl.signed_by(root.spki(), provider)) {
        return Err(PieceError::Signature(shown(crl.issuer())));
    }
    Ok(Said { endorsements: list(der), since: crl.this_update(), until: crl.next_update(), evaluation: None })
}

fn pck_list(
    ca: PckCa,
    der: &[u8],
    issuers: &[u8],
    roots: &dcap::Roots,
    provider: &dyn Provider,
) -> Result<Said, PieceError> {
    let crl = Crl::parse(der, Scheme::EcdsaP256Sha256)?;
    let name = shown(crl.issuer());
    if !is_named(crl.issuer(), ca.subject()) {
        return Err(PieceError::Other { expected: ca.subject().to_owned(), found: name });
    }
    let brought = chain_of(issuers, Scheme::EcdsaP256Sha256)?;
    let mut named =
        brought.iter().chain(roots.intermediate(crl.issuer())).filter(|ca| ca.subject() == crl.issuer()).peekable();
    if named.peek().is_none() {
        return Err(PieceError::Issuer(name));
    }
    let signer = named.find(|ca| may_list(ca) && crl.signed_by(ca.spki(), provider));
    let signer = signer.ok_or(PieceError::Signature(name))?;
    vouched(signer, roots, provider)?;
    let mut endorsements = certificates(&[signer]);
    _ = endorsements.list(der);
    let until = crl.next_update().min(signer.not_after());
    Ok(Said { endorsements, since: crl.this_update(), until, evaluation: None })
}

/// Who signed a statement of Intel's.
fn statement_signer(
    body: &[u8],
    signature: &[u8; 64],
    issuers: &[u8],
    roots: &dcap::Roots,
    provider: &dyn Provider,
) -> Result<Certificate, PieceError> {
    let brought = chain_of(issuers, Scheme::EcdsaP256Sha256)?;
    let signer = brought.into_iter().find(|signer| is_named(signer.subject(), TCB_SIGNER));
    let signer = signer.ok_or_else(|| PieceError::Issuer(TCB_SIGNER.to_owned()))?;
    vouched(&signer, roots, provider)?;
    if !provider.verify(SignatureAlgorithm::EcdsaP256Sha256Fixed, signer.spki(), body, signature) {
        return Err(PieceError::Signature(shown(signer.subject())));
    }
    Ok(signer)
}
