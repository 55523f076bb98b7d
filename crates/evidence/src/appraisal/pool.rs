//! Certificates, revocation lists and Intel's statements, from wherever they came, and what of them belongs to one piece of
//! evidence.
//!
//! Owns the choice: of several that could serve, the one that names this platform, is valid now, and is newest. Refuses more
//! than there can be of a kind. Nothing is believed here: where nothing fits, what fits least badly is taken, so that the
//! verdict can say what is wrong with it.

use crate::dcap::pck::Pck;
use crate::dcap::quote::{Quote, Tee};
use crate::dcap::tcb_info::{MAX_JSON, QeIdentity, TcbInfo};
use crate::dcap::{self, Bundle, TCB_SIGNER};
use crate::pki::{Certificate, Object, Scheme, common_name};
use crate::provider::{Provider, SignatureAlgorithm};
use crate::snp::report::Report;
use crate::snp::vek::Vek;
use crate::snp::{self, Presented, ProductLine};
use der::pem::{self, LineEnding};
use std::sync::Arc;
use thiserror::Error;
use x509_cert::name::Name;

/// The most of one kind.
pub(super) const MOST: usize = 64;

const CERTIFICATES: &str = "certificates";
const LISTS: &str = "revocation lists";

/// Everything that is at hand. The order does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endorsements {
    certificates: Vec<Arc<Object>>,
    lists: Vec<Arc<Object>>,
    tcb_infos: Vec<Statement>,
    qe_identities: Vec<Statement>,
}

/// What Intel says of a kind of platform or of its quoting enclave, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) body: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// More of a kind than are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {MOST} {0}")]
pub struct TooMany(&'static str);

impl Endorsements {
    /// Takes a DER certificate, of anybody.
    pub fn certificate(&mut self, der: &[u8]) -> Result<(), TooMany> {
        add(&mut self.certificates, Object::new(der).into(), CERTIFICATES)
    }

    /// Takes a DER revocation list, of anybody.
    pub fn list(&mut self, der: &[u8]) -> Result<(), TooMany> {
        add(&mut self.lists, Object::new(der).into(), LISTS)
    }

    /// Takes a TCB info, as it was signed, and its signature.
    pub fn tcb_info(&mut self, body: &[u8], signature: &[u8]) -> Result<(), TooMany> {
        let statement = Statement { body: body.to_vec(), signature: signature.to_vec() };
        add(&mut self.tcb_infos, statement, "TCB infos")
    }

    /// Takes a QE identity, as it was signed, and its signature.
    pub fn qe_identity(&mut self, body: &[u8], signature: &[u8]) -> Result<(), TooMany> {
        let statement = Statement { body: body.to_vec(), signature: signature.to_vec() };
        add(&mut self.qe_identities, statement, "QE identities")
    }

    /// Takes all that another has.
    pub fn extend(&mut self, other: &Self) -> Result<(), TooMany> {
        let Self { certificates, lists, tcb_infos, qe_identities } = other;
        certificates.iter().try_for_each(|one| add(&mut self.certificates, Arc::clone(one), CERTIFICATES))?;
        lists.iter().try_for_each(|one| add(&mut self.lists, Arc::clone(one), LISTS))?;
        tcb_infos.iter().try_for_each(|info| self.tcb_info(&info.body, &info.signature))?;
        qe_identities.iter().try_for_each(|identity| self.qe_identity(&identity.body, &identity.signature))
    }

    /// Certificates, DER.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.certificates.iter().map(|one| one.der())
    }

    /// Revocation lists, DER.
    pub fn lists(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.lists.iter().map(|one| one.der())
    }

    /// All certificates and lists, for who has some of them at hand that were read before: the same bytes, in the same place.
    pub fn objects(&mut self) -> impl Iterator<Item = &mut Arc<Object>> {
        self.certificates.iter_mut().chain(&mut self.lists)
    }

    pub(super) fn tcb_infos(&self) -> &[Statement] {
        &self.tcb_infos
    }

    pub(super) fn qe_identities(&self) -> &[Statement] {
        &self.qe_identities
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For a report of SEV-SNP: the key's certificate, its issuer's, the list.
    pub(super) fn of_report(&self, report: &[u8], roots: &snp::Roots, now: u64, provider: &dyn Provider) -> OfReport {
        let report = Report::parse(report).ok();
        let fits = |vek: &Vek| {
            let Some(report) = &report else { return (false, false, false) };
            let signed = provider.verify(
                SignatureAlgorithm::EcdsaP384Sha384Fixed,
                vek.certificate().spki(),
                report.signed_bytes(),
                &report.signature(),
            );
            let tcb = vek.tcb().encode() == report.reported_tcb();
            (signed, tcb, vek.certificate().valid_at(now))
        };
        let veks = self.certificates.iter().filter_map(|one| Some((one, read(one)?)));
        let Some((object, vek)) = choice(veks, |(_, vek)| fits(vek)) else {
            // A certificate that is no VEK's says more than none.
            let vek = self.certificates.first().cloned().unwrap_or_default();
            return OfReport { vek, read: None, ask: None, crl: None };
        };
        self.of_vek(Arc::clone(object), vek, roots, now, provider)
    }

    /// For a report whose key's certificate came with it.
    pub(super) fn of_key(&self, der: &[u8], roots: &snp::Roots, now: u64, provider: &dyn Provider) -> OfReport {
        let object = Arc::new(Object::new(der));
        match read(&object) {
            Some(vek) => self.of_vek(object, vek, roots, now, provider),
            None => OfReport { vek: object, read: None, ask: None, crl: None },
        }
    }

    fn of_vek(&self, object: Arc<Object>, vek: Vek, roots: &snp::Roots, now: u64, provider: &dyn Provider) -> OfReport {
        let issuer = vek.certificate().issuer();
        let asks = self.certificates.iter().filter_map(|one| {
            let ask = one.certificate(Scheme::RsaPssSha384).ok()?;
            (ask.subject() == issuer).then_some((one, ask))
        });
        let ask = choice(asks, |(_, ask)| (vek.certificate().signed_by(ask.spki(), provider), ask.valid_at(now)));
        let ask = ask.map(|(one, _)| Arc::clone(one));
        let line = vek.product().line();
        let crl = newest(&self.heads(Scheme::RsaPssSha384, now), |issuer| is_ark(issuer, line, roots))
            .map(|head| Arc::clone(head.object));
        OfReport { vek: object, read: Some(vek), ask, crl }
    }

    /// For a quote: the statements about its platform, with what vouches for them.
    pub(super) fn of_quote(&self, quote: &[u8], roots: &dcap::Roots, now: u64, provider: &dyn Provider) -> OfQuote<'_> {
        let quote = Quote::parse(quote).ok();
        let tee = quote.as_ref().map(|quote| quote.body().tee());
        let pck = quote.as_ref().and_then(dcap::pck_of);
        let tcb_info = choice(self.tcb_infos.iter(), |info| rank_info(&info.body, tee, pck.as_ref(), now));
        let qe_identity = choice(self.qe_identities.iter(), |identity| rank_identity(&identity.body, tee, now));
        let lists = self.heads(Scheme::EcdsaP256Sha256, now);
        let root_crl = newest(&lists, |issuer| roots.names(issuer));
        let pck_crl = pck.as_ref().and_then(|pck| newest(&lists, |issuer| issuer == pck.certificate().issuer()));
        let pck_crl = pck_crl.or_else(|| newest(&lists, |issuer| !roots.names(issuer)));
        let ca = pck_crl
            .and_then(|crl| self.best(|ca| *ca.subject() == crl.issuer, |ca| (ca.valid_at(now), ca.not_before())));
        OfQuote {
            tcb_info,
            tcb_info_chain: self.signer(tcb_info, now, provider),
            qe_identity,
            qe_identity_chain: self.signer(qe_identity, now, provider),
            root_crl: root_crl.map(|head| head.object.der()).unwrap_or_default(),
            pck_crl: pck_crl.map(|head| head.object.der()).unwrap_or_default(),
            pck_crl_chain: ca.map(pem),
        }
    }

    /// What lists say of themselves: one may have thousands of entries, which are not needed to choose.
    fn heads(&self, scheme: Scheme, now: u64) -> Vec<Head<'_>> {
        let lists = self.lists.iter().filter_map(|object| {
            let crl = object.list(scheme).ok()?;
            Some(Head { object, issuer: crl.issuer().clone(), rank: (crl.valid_at(now), crl.this_update()) })
        });
        lists.collect()
    }

    /// Of the certificates of Intel's kind that could be it, the one that fits best.
    fn best<T: Ord>(&self, could: impl Fn(&Certificate) -> bool, fits: impl Fn(&Certificate) -> T) -> Option<&[u8]> {
        let certificates = self.certificates.iter().filter_map(|one| {
            let certificate = one.certificate(Scheme::EcdsaP256Sha256).ok()?;
            could(&certificate).then_some((one.der(), certificate))
        });
        choice(certificates, |(_, certificate)| fits(certificate)).map(|(der, _)| der)
    }

    /// Who signed a statement; else who has the name of one who does.
    fn signer(&self, statement: Option<&Statement>, now: u64, provider: &dyn Provider) -> String {
        let p256 = SignatureAlgorithm::EcdsaP256Sha256Fixed;
        let signed = |certificate: &Certificate| {
            statement.is_some_and(|Statement { body, signature }| {
                // What is longer is refused unread: not even its hash is needed, and that so many times.
                body.len() <= MAX_JSON && provider.verify(p256, certificate.spki(), body, signature)
            })
        };
        let named = |certificate: &Certificate| {
            common_name(certificate.subject()).is_some_and(|name| name.starts_with(TCB_SIGNER))
        };
        let fits =
            |certificate: &Certificate| (signed(certificate), certificate.valid_at(now), certificate.not_before());
        self.best(named, fits).map(pem).unwrap_or_default()
    }
}

/// The highest by this rank. A rank may cost a signature: where there is nothing to choose it is not asked for.
fn choice<T, K: Ord>(candidates: impl Iterator<Item = T>, rank: impl Fn(&T) -> K) -> Option<T> {
    let mut candidates = candidates.peekable();
    let first = candidates.next()?;
    if candidates.peek().is_none() {
        return Some(first);
    }
    [first].into_iter().chain(candidates).max_by_key(rank)
}

/// What a revocation list says of itself.
struct Head<'a> {
    object: &'a Arc<Object>,
    issuer: Name,
    /// Whether it is valid, and since when.
    rank: (bool, u64),
}

/// The list of an issuer that is valid, or else the newest.
fn newest<'a, 'b>(heads: &'b [Head<'a>], issuer: impl Fn(&Name) -> bool) -> Option<&'b Head<'a>> {
    heads.iter().filter(|head| issuer(&head.issuer)).max_by_key(|head| head.rank)
}

fn add<T: PartialEq>(list: &mut Vec<T>, one: T, what: &'static str) -> Result<(), TooMany> {
    if list.contains(&one) {
        return Ok(());
    }
    if list.len() >= MOST {
        return Err(TooMany(what));
    }
    list.push(one);
    Ok(())
}

fn is_ark(issuer: &Name, line: ProductLine, roots: &snp::Roots) -> bool {
    roots.anchors().iter().any(|anchor| anchor.line() == line && anchor.certificate().subject() == issuer)
}

fn rank_info(body: &[u8], tee: Option<Tee>, pck: Option<&Pck>, now: u64) -> Option<(bool, bool, bool, u32, u64)> {
    let info = TcbInfo::parse(body).ok()?;
    let platform = pck.is_some_and(|pck| pck.fmspc() == info.fmspc && pck.pce_id() == info.pce_id);
    Some((Some(info.tee) == tee, platform, info.valid_at(now), info.evaluation, info.issued))
}

fn rank_identity(body: &[u8], tee: Option<Tee>, now: u64) -> Option<(bool, bool, u32, u64)> {
    let identity = QeIdentity::parse(body).ok()?;
    Some((Some(identity.tee) == tee, identity.valid_at(now), identity.evaluation, identity.issued))
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

/// As a VEK's, if it can be.
fn read(object: &Object) -> Option<Vek> {
    Vek::of(object.certificate(Scheme::RsaPssSha384).ok()?).ok()
}

/// What belongs to a report.
pub(super) struct OfReport {
    vek: Arc<Object>,
    read: Option<Vek>,
    ask: Option<Arc<Object>>,
    crl: Option<Arc<Object>>,
}

impl OfReport {
    pub(super) fn with(self, report: &[u8]) -> Presented<'_> {
        let Self { vek, read, ask, crl } = self;
        Presented { report, vek, read, ask, crl }
    }
}

/// What belongs to a quote.
pub(super) struct OfQuote<'a> {
    tcb_info: Option<&'a Statement>,
    tcb_info_chain: String,
    qe_identity: Option<&'a Statement>,
    qe_identity_chain: String,
    root_crl: &'a [u8],
    pck_crl: &'a [u8],
    pck_crl_chain: Option<String>,
}

impl OfQuote<'_> {
    pub(super) fn bundle(&self) -> Bundle<'_> {
        Bundle {
            tcb_info: self.tcb_info.map_or(&[], |statement| &statement.body),
            tcb_info_signature: self.tcb_info.map_or(&[], |statement| &statement.signature),
            tcb_info_chain: self.tcb_info_chain.as_bytes(),
            qe_identity: self.qe_identity.map_or(&[], |statement| &statement.body),
            qe_identity_signature: self.qe_identity.map_or(&[], |statement| &statement.signature),
            qe_identity_chain: self.qe_identity_chain.as_bytes(),
            root_crl: self.root_crl,
            pck_crl: self.pck_crl,
            pck_crl_chain: self.pck_crl_chain.as_deref().map(str::as_bytes),
        }
    }
}
