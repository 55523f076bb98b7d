//! SGX and TDX.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dcap_qvl::QuoteCollateralV3;
use evidence::dcap::quote::Body;
use evidence::dcap::{Bundle, Collateral, Platforms, Quote, Roots, Source, TcbStatus};
use evidence::{Hex, Provider, sgx, tdx};
use serde::Deserialize;

use crate::{Group, Result};

/// A quote with everything it is judged by.
#[derive(Clone)]
struct Sample {
    quote: Vec<u8>,
    collateral: QuoteCollateralV3,
    roots: Roots,
    /// The root of simulated hardware, DER.
    root: Option<Vec<u8>>,
    now: u64,
}

#[derive(Deserialize)]
struct File {
    now: u64,
    root: String,
    quote: String,
    tcb_info: String,
    tcb_info_signature: String,
    tcb_info_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    qe_identity_chain: String,
    root_crl: String,
    pck_crl: String,
    pck_crl_chain: String,
}

/// Collateral in one file, binary parts in hexadecimal.
#[derive(Deserialize)]
struct Kept {
    tcb_info: String,
    tcb_info_signature: String,
    tcb_info_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    qe_identity_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    pck_crl_issuer_chain: String,
}

/// Title, quote, collateral, instant.
const REAL: [(&str, &str, &str, u64); 3] = [
    (
        "SGX, real quote version 3",
        "dcap-qvl/sgx_quote",
        "sgx-00a067110000-processor-2025-05-05-eval17.json",
        1_748_697_900,
    ),
    (
        "TDX, real quote version 4",
        "dcap-qvl/tdx_quote",
        "tdx-b0c06f000000-platform-2025-06-19-eval17.json",
        1_751_624_191,
    ),
    (
        "TDX, real quote version 5",
        "dcap-automata/alibaba_quote_5.dat",
        "tdx-90c06f000000-platform-2025-06-05-eval17.json",
        1_750_000_000,
    ),
];

pub(crate) fn print() -> Result<()> {
    for (title, name) in [("SGX, simulated quote version 3", "ok-sgx"), ("TDX, simulated quote version 5", "ok-tdx-15")]
    {
        let (sample, mut group) = (Sample::simulated(name)?, Group::default());
        let whole = sample.ours(&mut group)?;
        sample.peers(&mut group, whole);
        group.print(title);
    }
    for (title, quote, bundle, now) in REAL {
        match Sample::real(quote, bundle, now)? {
            Some(sample) => {
                let mut group = Group::default();
                let whole = sample.ours(&mut group)?;
                sample.peers(&mut group, whole);
                group.print(title);
            }
            None => println!("skipped: {title}: set DONJON_EVIDENCE"),
        }
    }
    Ok(())
}

impl Sample {
    fn simulated(name: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/dcap").join(name);
        let file: File = serde_json::from_slice(&fs::read(path.with_extension("json"))?)?;
        Ok(Self {
            quote: STANDARD.decode(file.quote)?,
            collateral: QuoteCollateralV3 {
                pck_crl_issuer_chain: file.pck_crl_chain,
                root_ca_crl: STANDARD.decode(file.root_crl)?,
                pck_crl: STANDARD.decode(file.pck_crl)?,
                tcb_info_issuer_chain: file.tcb_info_chain,
                tcb_info: file.tcb_info,
                tcb_info_signature: hex::decode(file.tcb_info_signature)?,
                qe_identity_issuer_chain: file.qe_identity_chain,
                qe_identity: file.qe_identity,
                qe_identity_signature: hex::decode(file.qe_identity_signature)?,
                pck_certificate_chain: None,
            },
            roots: Roots::from_certificates(&[&STANDARD.decode(&file.root)?])?,
            root: Some(STANDARD.decode(file.root)?),
            now: file.now,
        })
    }

    fn real(quote: &str, bundle: &str, now: u64) -> Result<Option<Self>> {
        let Some(folder) = std::env::var_os("DONJON_EVIDENCE") else { return Ok(None) };
        let read = |name: &str| fs::read(Path::new(&folder).join(name)).map_err(|error| format!("{name}: {error}"));
        let kept: Kept = serde_json::from_slice(&read(&format!("dcap-matrix/bundles/{bundle}"))?)?;
        Ok(Some(Self {
            quote: read(quote)?,
            collateral: QuoteCollateralV3 {
                pck_crl_issuer_chain: kept.pck_crl_issuer_chain,
                root_ca_crl: hex::decode(kept.root_ca_crl)?,
                pck_crl: hex::decode(kept.pck_crl)?,
                tcb_info_issuer_chain: kept.tcb_info_issuer_chain,
                tcb_info: kept.tcb_info,
                tcb_info_signature: hex::decode(kept.tcb_info_signature)?,
                qe_identity_issuer_chain: kept.qe_identity_issuer_chain,
                qe_identity: kept.qe_identity,
                qe_identity_signature: hex::decode(kept.qe_identity_signature)?,
                pck_certificate_chain: None,
            },
            roots: Roots::intel(),
            root: None,
            now,
        }))
    }

    fn bundle(&self) -> Bundle<'_> {
        let QuoteCollateralV3 {
            pck_crl_issuer_chain,
            root_ca_crl,
            pck_crl,
            tcb_info_issuer_chain,
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain,
            qe_identity,
            qe_identity_signature,
            pck_certificate_chain: _,
        } = &self.collateral;
        Bundle {
            tcb_info: tcb_info.as_bytes(),
            tcb_info_signature,
            tcb_info_chain: tcb_info_issuer_chain.as_bytes(),
            qe_identity: qe_identity.as_bytes(),
            qe_identity_signature,
            qe_identity_chain: qe_identity_issuer_chain.as_bytes(),
            root_crl: root_ca_crl,
            pck_crl,
            pck_crl_chain: Some(pck_crl_issuer_chain.as_bytes()),
        }
    }

    /// The place of the row that begins with nothing.
    fn ours(&self, group: &mut Group) -> Result<usize> {
        let judge = Judge::of(&self.quote)?;
        let (sample, by) = (self.clone(), judge.clone());
        let whole = group.ours("everything with the quote", move |provider: &dyn Provider| {
            by.judge(&sample.quote, Source::Bundle(&sample.bundle(), &sample.roots), sample.now, provider);
        });
        let session = Collateral::verify(&self.bundle(), &self.roots, self.now, &evidence::AwsLc)
            .map_err(|verdict| format!("{:?}", verdict.primary()))?;
        let endorsement = session.endorse(Quote::parse(&self.quote)?.chain(), self.now, &evidence::AwsLc);
        let endorsement = endorsement.map_err(|verdict| format!("{:?}", verdict.primary()))?;
        let (sample, by) = (self.clone(), judge.clone());
        group.ours("a session of collateral", move |provider: &dyn Provider| {
            by.judge(&sample.quote, Source::Verified(&session), sample.now, provider);
        });
        let (sample, by) = (self.clone(), judge);
        group.ours("a session, and the PCK endorsed before", move |provider: &dyn Provider| {
            by.judge(&sample.quote, Source::Endorsed(&endorsement), sample.now, provider);
        });
        Ok(whole)
    }

    /// Beside our own row.
    fn peers(&self, group: &mut Group, whole: usize) {
        use dcap_qvl::configs::{RingConfig, RustCryptoConfig};
        use dcap_qvl::verify::QuoteVerifier;
        let verifier = || self.root.clone().map_or_else(QuoteVerifier::new_prod, QuoteVerifier::new);
        let sample = self.clone();
        let ring = verifier().with_config::<RingConfig>().allow_service_td(true);
        group.add("dcap-qvl 0.7.1 with ring, everything", Some(whole), move || {
            ring.verify(&sample.quote, &sample.collateral, sample.now).expect("genuine");
        });
        let sample = self.clone();
        let rust = verifier().with_config::<RustCryptoConfig>().allow_service_td(true);
        group.add("dcap-qvl 0.7.1 with RustCrypto, everything", Some(whole), move || {
            rust.verify(&sample.quote, &sample.collateral, sample.now).expect("genuine");
        });
    }
}

/// A policy that accepts whatever is genuine.
#[derive(Clone)]
enum Judge {
    Sgx(sgx::Policy),
    Tdx(tdx::Policy),
}

impl Judge {
    fn of(quote: &[u8]) -> Result<Self> {
        let accepted_tcb =
            Some(TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked).collect::<Vec<_>>());
        Ok(match Quote::parse(quote)?.body() {
            Body::Enclave(_) => {
                let settings = sgx::Settings { any_measurement: true, accepted_tcb, ..sgx::Settings::default() };
                Self::Sgx(settings.try_into()?)
            }
            Body::Td(_, extension) => {
                let service_td = extension.map(|extension| vec![Hex(extension.mr_service_td)]);
                let settings =
                    tdx::Settings { any_measurement: true, accepted_tcb, service_td, ..tdx::Settings::default() };
                Self::Tdx(settings.try_into()?)
            }
        })
    }

    fn judge(&self, quote: &[u8], by: Source<'_>, now: u64, provider: &dyn Provider) {
        let refused = match self {
            Self::Sgx(policy) => sgx::authentic(quote, by, policy, &Platforms::Any, now, provider).err(),
            Self::Tdx(policy) => tdx::authentic(quote, by, policy, &Platforms::Any, now, provider).err(),
        };
        if let Some(verdict) = refused {
            panic!("{:?}", verdict.primary());
        }
    }
}
