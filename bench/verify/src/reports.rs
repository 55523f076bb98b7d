//! SEV-SNP, beside `sev`, which verifies signatures and nothing else.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::snp::policy::CrlRule;
use evidence::snp::{Collateral, Fetched, Platforms, Policy, Roots, Session, Settings, SnpEvidence, Source, authentic};
use evidence::{AwsLc, Provider};
use serde::Deserialize;
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;

use crate::{Group, Result};

/// A report with everything it is judged by.
#[derive(Clone)]
struct Sample {
    report: Vec<u8>,
    vcek: Vec<u8>,
    ask: Option<Vec<u8>>,
    crl: Vec<u8>,
    roots: Roots,
    policy: Policy,
    now: u64,
}

#[derive(Deserialize)]
struct File {
    now: u64,
    ark: String,
    ask: String,
    vcek: String,
    crl: String,
    report: String,
}

/// Accepts whatever is genuine and not revoked.
fn policy() -> Policy {
    Settings { any_measurement: true, crl: CrlRule::Required, ..Settings::default() }.try_into().expect("a policy")
}

pub(crate) fn print() -> Result<()> {
    let simulated = Sample::simulated("ok-genoa-v5")?;
    let mut group = Group::default();
    let places = simulated.ours(&mut group);
    simulated.peer(&mut group, places)?;
    group.print("SEV-SNP, simulated Genoa, report version 5");
    match Sample::real()? {
        Some(real) => {
            let mut group = Group::default();
            let places = real.ours(&mut group);
            real.peer(&mut group, places)?;
            group.print("SEV-SNP, real Milan, report version 2");
        }
        None => println!("skipped: real reports: set DONJON_EVIDENCE"),
    }
    Ok(())
}

impl Sample {
    fn simulated(name: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/snp").join(name);
        let file: File = serde_json::from_slice(&fs::read(path.with_extension("json"))?)?;
        Ok(Self {
            report: hex::decode(file.report)?,
            vcek: STANDARD.decode(file.vcek)?,
            ask: Some(STANDARD.decode(file.ask)?),
            crl: STANDARD.decode(file.crl)?,
            roots: Roots::from_arks(&[&STANDARD.decode(file.ark)?])?,
            policy: policy(),
            now: file.now,
        })
    }

    fn real() -> Result<Option<Self>> {
        let Some(folder) = std::env::var_os("DONJON_EVIDENCE") else { return Ok(None) };
        let read = |name: &str| fs::read(Path::new(&folder).join(name)).map_err(|error| format!("{name}: {error}"));
        Ok(Some(Self {
            report: hex::decode(read("snp-virtee-sev/report_milan.hex")?.trim_ascii())?,
            vcek: read("snp-virtee-sev/vcek_milan.der")?,
            ask: None,
            crl: read("amd-crl/ark-milan.crl.der")?,
            roots: Roots::amd(),
            policy: policy(),
            // When the chip's certificate was there already and the list was still good.
            now: 1_682_000_000,
        }))
    }

    fn judge(&self, by: Source<'_>, provider: &dyn Provider) {
        let evidence =
            SnpEvidence { report: &self.report, vcek: &self.vcek, ask: self.ask.as_deref(), crl: Some(&self.crl) };
        let judged = authentic(evidence, by, &self.policy, &Platforms::Any, self.now, provider);
        judged.unwrap_or_else(|verdict| panic!("{:?}", verdict.primary()));
    }

    /// The places of the rows that begin with nothing, and with a VEK that was endorsed.
    fn ours(&self, group: &mut Group) -> [usize; 2] {
        let sample = self.clone();
        let whole = group.ours("everything with the report", move |provider| {
            sample.judge(Collateral { roots: &sample.roots, crl: None }.into(), provider);
        });
        let asks: Vec<&[u8]> = self.ask.as_deref().into_iter().collect();
        let fetched = Fetched { asks: &asks, crls: &[&self.crl] };
        let session = Session::verify(&self.roots, fetched, self.now, &AwsLc).expect("good collateral");
        let endorsement = session.endorse(&self.vcek, self.now, &AwsLc).expect("a good VEK");
        let sample = self.clone();
        group.ours("a session of collateral", move |provider| sample.judge(Source::Session(&session), provider));
        let sample = self.clone();
        let endorsed = group.ours("a session, and the VEK endorsed before", move |provider| {
            sample.judge(Source::Endorsed(&endorsement), provider);
        });
        [whole, endorsed]
    }

    /// Beside our own rows.
    fn peer(&self, group: &mut Group, [whole, endorsed]: [usize; 2]) -> Result<()> {
        fn chain(ark: &[u8], ask: &[u8], vek: &[u8]) -> std::io::Result<Chain> {
            let ca = ca::Chain { ark: Certificate::from_der(ark)?, ask: Certificate::from_der(ask)? };
            Ok(Chain { ca, vek: Certificate::from_der(vek)? })
        }
        let arks = self.roots.anchors().iter().map(|anchor| anchor.certificate().der().to_vec());
        let asks: Vec<Vec<u8>> = match &self.ask {
            Some(ask) => vec![ask.clone()],
            None => self.roots.intermediates().iter().map(|ask| ask.der().to_vec()).collect(),
        };
        let mut pairs = arks.flat_map(|ark| asks.iter().map(move |ask| (ark.clone(), ask.clone())));
        let good = |pair: &(Vec<u8>, Vec<u8>)| {
            chain(&pair.0, &pair.1, &self.vcek).is_ok_and(|chain| (&chain).verify().is_ok())
        };
        let (ark, ask) = pairs.find(good).ok_or("no CA of the VEK")?;
        let (sample, vek) = (self.clone(), Certificate::from_der(&self.vcek)?);
        group.add("sev 8.0.0, chain and report", Some(whole), move || {
            let report = AttestationReport::from_bytes(&sample.report).expect("a report");
            (&chain(&ark, &ask, &sample.vcek).expect("certificates"), &report).verify().expect("genuine");
        });
        let sample = self.clone();
        group.add("sev 8.0.0, the report under a parsed VEK", Some(endorsed), move || {
            let report = AttestationReport::from_bytes(&sample.report).expect("a report");
            (&vek, &report).verify().expect("genuine");
        });
        Ok(())
    }
}
