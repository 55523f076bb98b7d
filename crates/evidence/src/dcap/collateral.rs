//! What Intel's services say about platforms of one kind, verified once for many quotes.
//!
//! Owns the bundle as fetched, the session made of it, and PCKs that it endorsed: signatures are checked when these are made,
//! dates and revocation at every quote. A session in which anything failed exists only inside of one judgement, which then
//! fails by it; unless it is the CA's own certificate, and the quote brings another of the same name and key, which then is
//! judged in its place.

use super::chain;
use super::pck::Pck;
use super::roots::{Roots, issued};
use super::rules::RuleId;
use super::tcb_info::{QeIdentity, TcbInfo};
use crate::hexadecimal as hex;
pub(super) use crate::pki::shown as name;
use crate::pki::{Certificate, Crl, Scheme, common_name};
use crate::provider::{Provider, SignatureAlgorithm};
use crate::time::{Dates, date};
use crate::verdict::{Recorder, Skip, Verdict};
use std::sync::Arc;
use x509_cert::name::Name;

/// Collateral as fetched from Intel's provisioning certification service (API version 4), or from a cache of it.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// The inner object `tcbInfo`, byte for byte.
    pub tcb_info: &'a [u8],
    /// Its signature, r||s, 64 bytes.
    pub tcb_info_signature: &'a [u8],
    /// `TCB-Info-Issuer-Chain`, PEM: the signer's certificate and the root's.
    pub tcb_info_chain: &'a [u8],
    /// The inner object `enclaveIdentity`, byte for byte.
    pub qe_identity: &'a [u8],
    /// Its signature, r||s, 64 bytes.
    pub qe_identity_signature: &'a [u8],
    /// `SGX-Enclave-Identity-Issuer-Chain`, PEM: the signer's certificate and the root's.
    pub qe_identity_chain: &'a [u8],
    /// The root's revocation list, DER.
    pub root_crl: &'a [u8],
    /// The revocation list of the PCK's CA, DER.
    pub pck_crl: &'a [u8],
    /// `SGX-PCK-CRL-Issuer-Chain`, PEM: the CA's certificate and the root's. Not needed for Intel's CAs of today, and not
    /// looked at where it is of another CA than the list.
    pub pck_crl_chain: Option<&'a [u8]>,
}

/// A session: collateral that was verified at some instant.
#[derive(Clone, Debug)]
pub struct Collateral(Arc<Examined>);

impl Collateral {
    /// Verifies collateral on its own.
    pub fn verify(bundle: &Bundle<'_>, roots: &Roots, now: u64, provider: &dyn Provider) -> Result<Self, Verdict> {
        use RuleId as R;
        let examined = Examined::new(bundle, roots, provider);
        let mut recorder = Recorder::new(super::CHECKS);
        examined.record(&mut recorder, now, false);
        examined.record_own_ca(&mut recorder, now);
        let verdict = recorder.finish_within(R::RootTrusted, R::QeIdentityExpired);
        if verdict.passed() { Ok(Self(Arc::new(examined))) } else { Err(verdict) }
    }

    /// Verifies a PCK once for many quotes of its platform, by the chain that one of them brings ([`super::Quote::chain`]).
    pub fn endorse(&self, chain: &[u8], now: u64, provider: &dyn Provider) -> Result<Endorsement, Verdict> {
        let mut recorder = Recorder::new(super::CHECKS);
        let endorsed = super::endorsement(&mut recorder, chain, &self.0, None, now, provider);
        let verdict = recorder.finish_recorded();
        match endorsed {
            Some((pck, _)) if verdict.passed() => Ok(Endorsement { session: self.clone(), pck: pck.into_owned() }),
            _ => Err(verdict),
        }
    }

    pub(super) fn examined(&self) -> &Examined {
        &self.0
    }
}

/// A PCK that a session endorses, for a caller to keep: a quote of its platform needs two signature checks.
#[derive(Clone, Debug)]
pub struct Endorsement {
    pub(super) session: Collateral,
    pub(super) pck: Pck,
}

impl Endorsement {
    /// The PCK.
    pub fn pck(&self) -> &Pck {
        &self.pck
    }
}

/// Something, and whether it is signed as it must be.
type Signed<T> = Result<(T, bool), String>;

/// Collateral of which it is known what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    tcb_signer: Signed<Certificate>,
    qe_signer: Signed<Certificate>,
    ca: Signed<Certificate>,
    /// The anchor of all chains.
    root: Option<Certificate>,
    /// Out of so many.
    roots: usize,
    root_crl: Signed<Crl>,
    pck_crl: Signed<Crl>,
    pub(crate) tcb_info: Signed<TcbInfo>,
    pub(crate) qe_identity: Signed<QeIdentity>,
}

impl Examined {
    pub(super) fn new(bundle: &Bundle<'_>, roots: &Roots, provider: &dyn Provider) -> Self {
        let leaf = |pem: &[u8]| -> Result<Certificate, String> {
            if pem.is_empty() {
                return Err(NONE.to_owned());
            }
            let (der, _) = chain::ders(pem, 2).map_err(|error| error.to_string())?;
            let parse = || Certificate::parse(&der, Scheme::EcdsaP256Sha256).map_err(|error| error.to_string());
            roots.at_hand(&der).map_or_else(parse, |known| Ok(known.clone()))
        };
        // Mostly the chains are the same.
        let tcb_signer = leaf(bundle.tcb_info_chain);
        let one = bundle.tcb_info_chain == bundle.qe_identity_chain;
        let qe_signer = if one { tcb_signer.clone() } else { leaf(bundle.qe_identity_chain) };
        let list = |der: &[u8]| {
            if der.is_empty() {
                return Err(NONE.to_owned());
            }
            Crl::parse(der, Scheme::EcdsaP256Sha256).map_err(|error| error.to_string())
        };
        let issued_by = |crl: &Crl, issuer: &Certificate| {
            crl.issuer() == issuer.subject() && crl.signed_by(issuer.spki(), provider)
        };
        let (ca, pck_crl) = match list(bundle.pck_crl) {
            Ok(crl) => {
                let given = bundle.pck_crl_chain.and_then(|pem| leaf(pem).ok());
                let candidates = || given.iter().chain(roots.intermediate(crl.issuer()));
                // What is given has its own word for what it may.
                let able = candidates().find(|ca| may_list(ca) && issued_by(&crl, ca));
                let signed = able.is_some();
                let ca = able.or_else(|| candidates().find(|ca| issued_by(&crl, ca))).cloned();
                let unknown = || format!("it is not of {}, as far as that is known", name(crl.issuer()));
                (ca.ok_or_else(unknown), Ok((crl, signed)))
            }
            Err(error) => (Err(error.clone()), Err(error)),
        };
        // Mostly the signers are the same; one signature less.
        let same = matches!((&tcb_signer, &qe_signer), (Ok(tcb), Ok(qe)) if tcb.der() == qe.der());
        let by = |anchor: &Certificate| {
            let signed =
                |leaf: &Result<Certificate, String>| leaf.as_ref().is_ok_and(|leaf| issued(leaf, anchor, provider));
            let tcb = signed(&tcb_signer);
            [tcb, if same { tcb } else { signed(&qe_signer) }, signed(&ca)]
        };
        let anchors = roots.anchors().iter().map(|anchor| (Some(anchor), by(anchor)));
        let (root, [tcb, qe, by_root]) =
            anchors.into_iter().find(|(_, signed)| signed.contains(&true)).unwrap_or((None, [false; 3]));
        let (tcb_signer, qe_signer) = (tcb_signer.map(|leaf| (leaf, tcb)), qe_signer.map(|leaf| (leaf, qe)));
        let ca = ca.map(|ca| (ca, by_root));
        let root = root.cloned();
        let by = |signer: &Signed<Certificate>, message: &[u8], signature: &[u8]| {
            let p256 = SignatureAlgorithm::EcdsaP256Sha256Fixed;
            signer.as_ref().is_ok_and(|(signer, _)| provider.verify(p256, signer.spki(), message, signature))
        };
        let text = |error: super::tcb_info::InfoError| error.to_string();
        let given = |body: &[u8]| if body.is_empty() { Err(NONE.to_owned()) } else { Ok(()) };
        let tcb_info = given(bundle.tcb_info).and_then(|()| TcbInfo::parse(bundle.tcb_info).map_err(text));
        let qe_identity = given(bundle.qe_identity).and_then(|()| QeIdentity::parse(bundle.qe_identity).map_err(text));
        Self {
            root_crl: list(bundle.root_crl).map(|crl| {
                let signed = root.as_ref().is_some_and(|root| issued_by(&crl, root) && may_list(root));
                (crl, signed)
            }),
            pck_crl,
            tcb_info: tcb_info.map(|info| (info, by(&tcb_signer, bundle.tcb_info, bundle.tcb_info_signature))),
            qe_identity: qe_identity
                .map(|identity| (identity, by(&qe_signer, bundle.qe_identity, bundle.qe_identity_signature))),
            tcb_signer,
            qe_signer,
            ca,
            root,
            roots: roots.anchors().len(),
        }
    }

    /// The anchor of all chains.
    pub(super) fn root(&self) -> Option<&Certificate> {
        self.root.as_ref()
    }

    /// The CA whose revocation list this has, and whether the root signed it.
    pub(super) fn issuer(&self) -> Result<(&Certificate, bool), String> {
        self.ca.as_ref().map(|(ca, signed)| (ca, *signed)).map_err(Clone::clone)
    }

    /// Whether a list that can be believed has this certificate; none if there is no such list.
    fn revoked(list: &Signed<Crl>, certificate: &Certificate) -> Option<bool> {
        list.as_ref().ok().filter(|(_, signed)| *signed).map(|(crl, _)| crl.revokes(certificate.serial()))
    }

    /// Whether nobody brought Intel's word on quoting enclaves.
    pub(super) fn without_qe_identity(&self) -> bool {
        self.qe_identity.as_ref().is_err_and(|why| why == NONE)
    }

    /// Everything but the PCK's CA, which a quote brings too; nothing of the quoting enclave's, if it need not be there.
    pub(super) fn record(&self, recorder: &mut Recorder, now: u64, without_qe_identity: bool) {
        use RuleId as R;
        self.record_root(recorder, now);
        let rules = [R::RootCrlFormat, R::RootCrlSignature, R::RootCrlEarly, R::RootCrlExpired];
        record_list(recorder, rules, &self.root_crl, self.root.as_ref().map(Ok), now);
        let rules = [R::PckCrlFormat, R::PckCrlSignature, R::PckCrlEarly, R::PckCrlExpired];
        record_list(recorder, rules, &self.pck_crl, Some(self.ca.as_ref().map(|(ca, _)| ca)), now);
        let rules =
            [R::TcbSignerFormat, R::TcbSignerSignature, R::TcbSignerEarly, R::TcbSignerExpired, R::TcbSignerRevoked];
        self.record_signer(recorder, rules, &self.tcb_signer, now);
        match &self.tcb_info {
            Ok((info, signed)) => {
                let found = format!("{}, issued {}", info.tee, date(info.issued));
                recorder.check(R::TcbInfoFormat, true, "TCB info", found);
                recorder.check(R::TcbInfoSignature, *signed, "signed by its signer", verifies(*signed));
                let dates = Dates { from: info.issued, to: info.next_update };
                dates.record(recorder, R::TcbInfoEarly, R::TcbInfoExpired, now);
            }
            Err(error) => {
                recorder.check(R::TcbInfoFormat, false, "TCB info", error.clone());
            }
        }
        let rules = [R::QeSignerFormat, R::QeSignerSignature, R::QeSignerEarly, R::QeSignerExpired, R::QeSignerRevoked];
        if without_qe_identity && self.without_qe_identity() {
            let own = [R::QeIdentityFormat, R::QeIdentitySignature, R::QeIdentityEarly, R::QeIdentityExpired];
            return rules.into_iter().chain(own).for_each(|rule| recorder.skip(rule, Skip::NotAsked, NOT_BROUGHT));
        }
        self.record_signer(recorder, rules, &self.qe_signer, now);
        match &self.qe_identity {
            Ok((identity, signed)) => {
                let found = format!("{}, issued {}", identity.tee, date(identity.issued));
                recorder.check(R::QeIdentityFormat, true, "QE identity", found);
                recorder.check(R::QeIdentitySignature, *signed, "signed by its signer", verifies(*signed));
                let dates = Dates { from: identity.issued, to: identity.next_update };
                dates.record(recorder, R::QeIdentityEarly, R::QeIdentityExpired, now);
            }
            Err(error) => {
                recorder.check(R::QeIdentityFormat, false, "QE identity", error.clone());
            }
        }
    }

    fn record_signer(&self, recorder: &mut Recorder, rules: [RuleId; 5], signer: &Signed<Certificate>, now: u64) {
        let [format, signature, early, expired, revoked] = rules;
        let expected = format!("certificate of {TCB_SIGNING}");
        let (signer, signed) = match signer {
            Ok(signer) => signer,
            Err(error) => {
                recorder.check(format, false, expected, error.clone());
                return;
            }
        };
        let named = is_named(signer.subject(), TCB_SIGNING);
        let leaf = signer.authority().is_ok_and(|authority| !authority.ca && !authority.signs);
        recorder.check(format, named && leaf, expected, name(signer.subject()));
        if self.root.is_some() {
            recorder.check(signature, *signed, "signed by the root", name(signer.issuer()));
        }
        Dates::of(signer).record(recorder, early, expired, now);
        record_revocation(recorder, revoked, Self::revoked(&self.root_crl, signer), signer);
    }

    fn record_root(&self, recorder: &mut Recorder, now: u64) {
        let expected = format!("signatures of one of {} pinned roots", self.roots);
        let Some(root) = &self.root else {
            // Where nobody says who signed, that is the failure.
            if [&self.tcb_signer, &self.qe_signer, &self.ca].into_iter().any(Result::is_ok) {
                recorder.check(RuleId::RootTrusted, false, expected, "none of theirs");
            }
            return;
        };
        recorder.check(RuleId::RootTrusted, true, expected, name(root.subject()));
        Dates::of(root).record(recorder, RuleId::RootEarly, RuleId::RootExpired, now);
        record_revocation(recorder, RuleId::RootRevoked, Self::revoked(&self.root_crl, root), root);
    }

    /// The CA whose revocation list this has. Without one that list is the failure.
    pub(super) fn record_own_ca(&self, recorder: &mut Recorder, now: u64) {
        if let Ok(ca) = self.issuer() {
            self.record_ca(recorder, now, Ok(ca));
        }
    }

    /// The CA of a PCK.
    pub(super) fn record_ca(&self, recorder: &mut Recorder, now: u64, ca: Result<(&Certificate, bool), String>) {
        let expected = "PCK Platform CA or PCK Processor CA, path length 0, keyCertSign";
        let (ca, signed) = match ca {
            Ok(ca) => ca,
            Err(error) => {
                recorder.check(RuleId::CaFormat, false, expected, error);
                return;
            }
        };
        let named = PCK_CAS.iter().any(|wanted| is_named(ca.subject(), wanted));
        let may =
            ca.authority().is_ok_and(|authority| authority.ca && authority.signs && authority.path_length == Some(0));
        recorder.check(RuleId::CaFormat, named && may, expected, name(ca.subject()));
        if self.root.is_some() {
            recorder.check(RuleId::CaSignature, signed, "signed by the root", name(ca.issuer()));
        }
        Dates::of(ca).record(recorder, RuleId::CaEarly, RuleId::CaExpired, now);
        record_revocation(recorder, RuleId::CaRevoked, Self::revoked(&self.root_crl, ca), ca);
    }

    /// A PCK.
    pub(super) fn record_pck_revocation(&self, recorder: &mut Recorder, pck: &Certificate) {
        record_revocation(recorder, RuleId::PckRevoked, Self::revoked(&self.pck_crl, pck), pck);
    }

    /// Last second at which all of it is still good, unix time. The CA of PCKs is the quote's: here it is a hint.
    pub(super) fn end(&self) -> u64 {
        let certificates = [&self.tcb_signer, &self.qe_signer];
        let certificates = certificates.into_iter().flatten().map(|(certificate, _)| certificate);
        let crls = [&self.root_crl, &self.pck_crl].into_iter().flatten().map(|(crl, _)| crl.next_update());
        let ends = certificates.chain(&self.root).map(Certificate::not_after).chain(crls);
        let info = self.tcb_info.iter().map(|(info, _)| info.next_update);
        let identity = self.qe_identity.iter().map(|(identity, _)| identity.next_update);
        ends.chain(info).chain(identity).min().unwrap_or(0)
    }
}

/// What was found where nothing was given.
const NONE: &str = "none was given";
/// Why the quoting enclave is not looked at.
pub(super) const NOT_BROUGHT: &str = "nobody brought a QE identity, and the policy does without";

/// How the names of those begin who sign statements.
pub(crate) const TCB_SIGNING: &str = "Intel SGX TCB Signing";
/// Subjects of those who issue PCKs.
pub(crate) const PCK_CAS: [&str; 2] = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];

/// Whether this is the name, perhaps with words after it: simulated ones say so.
pub(crate) fn is_named(found: &Name, wanted: &str) -> bool {
    let found = common_name(found);
    let rest = found.as_deref().and_then(|found| found.strip_prefix(wanted));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// RFC 5280 section 6.3.3 (f): keyCertSign is another right.
pub(crate) fn may_list(issuer: &Certificate) -> bool {
    issuer.authority().is_ok_and(|authority| authority.lists)
}

/// A revocation list. Without an issuer there was a failure before; one that is not known is a failure here.
fn record_list(
    recorder: &mut Recorder,
    rules: [RuleId; 4],
    list: &Signed<Crl>,
    issuer: Option<Result<&Certificate, &String>>,
    now: u64,
) {
    let [format, signature, early, expired] = rules;
    match list {
        Ok((crl, signed)) => {
            recorder.check(format, true, "a revocation list", "well-formed");
            if let Some(issuer) = issuer {
                let found = match issuer {
                    Ok(issuer) if may_list(issuer) => name(crl.issuer()),
                    Ok(issuer) => format!("{} may not sign revocation lists", name(issuer.subject())),
                    Err(error) => error.clone(),
                };
                recorder.check(signature, *signed, "issued and signed by the CA", found);
            }
            let dates = Dates { from: crl.this_update(), to: crl.next_update() };
            dates.record(recorder, early, expired, now);
        }
        Err(error) => {
            recorder.check(format, false, "a revocation list", error.clone());
        }
    }
}

/// Silent where no list can be believed, which is a failure of its own.
fn record_revocation(recorder: &mut Recorder, rule: RuleId, revoked: Option<bool>, certificate: &Certificate) {
    if let Some(revoked) = revoked {
        let found = format!("serial {}", hex::encode(certificate.serial()));
        recorder.check(rule, !revoked, "serial not on the list", found);
    }
}

fn verifies(signed: bool) -> &'static str {
    if signed { "the signature verifies" } else { "the signature does not verify" }
}
