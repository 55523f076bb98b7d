//! What each kind of expectation means.

use super::table::{By, Is};
use crate::support::fetched::Fetched;
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use der::pem::Decoder;
use evidence::dcap::pck::Pck;
use evidence::dcap::quote::{Body, INTEL, QuoteError};
use evidence::dcap::tcb_info::{Answer, QeIdentity, TcbInfo};
use evidence::dcap::{Bundle, Collateral, Platforms, Quote, Roots, Source, TcbStatus};
use evidence::pki::{Certificate, Crl, Scheme, common_name};
use evidence::snp::policy::CrlRule;
use evidence::snp::{self, Report, SnpEvidence, Vek};
use evidence::{SignatureAlgorithm, Verdict, sgx, tdx};
use serde_json::Value;

const AMD: Scheme = Scheme::RsaPssSha384;
const INTELS: Scheme = Scheme::EcdsaP256Sha256;

/// Who may issue for Intel: the root and both CAs of PCKs, as they are built in.
const AUTHORITIES: [&[u8]; 3] = [
    include_bytes!("../../src/dcap/roots/intel-sgx-root-ca.der"),
    include_bytes!("../../src/dcap/roots/intel-sgx-pck-platform-ca.der"),
    include_bytes!("../../src/dcap/roots/intel-sgx-pck-processor-ca.der"),
];

/// What was found instead.
type Said = Result<(), String>;

fn same<T: PartialEq + core::fmt::Debug>(found: T, wanted: T) -> Said {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

fn must(truth: bool, otherwise: &str) -> Said {
    if truth { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn text<E: ToString>(error: E) -> String {
    error.to_string()
}

/// Noon of a day such as `2023-02-10`, unix seconds.
pub(super) fn noon(day: &str) -> u64 {
    let mut parts = day.split('-').map(|part| part.parse::<u16>().expect("a number"));
    let mut next = || parts.next().expect("year, month, day");
    let (year, month, day) = (next(), next(), next());
    let of = |part: u16| u8::try_from(part).expect("small");
    der::DateTime::new(year, of(month), of(day), 12, 0, 0).expect("a day").unix_duration().as_secs()
}

pub(super) fn judge(folder: &Folder, path: &str, is: &Is) -> Said {
    let bytes = folder.read(path);
    match *is {
        Is::Amd(names) => amd(&certificates(&bytes)?, names),
        Is::Vek(product) => {
            let [der] = &certificates(&bytes)?[..] else { return Err("not one certificate".to_owned()) };
            let vek = Vek::parse(der).map_err(text)?;
            same(vek.product().name(), product)?;
            must(of_amd(vek.certificate()), "not signed by AMD")
        }
        Is::Forged(wrong) => forged(&bytes, wrong),
        Is::Report { at, vek, crl, now, gives } => {
            let (report, vek) = (report(&bytes, at)?, certificates(&folder.read(vek))?);
            let crl = crl.map(|crl| folder.read(crl));
            snp(&report, vek.first().ok_or("no VEK")?, None, crl.as_deref(), noon(now), gives)
        }
        Is::Extended { now, gives } => {
            let (report, [ark, ask, vek]) = extended(&bytes)?;
            amd(&[ask.clone(), ark], &["SEV-Genoa", "ARK-Genoa"])?;
            snp(&report, &vek, Some(&ask), None, noon(now), gives)
        }
        Is::Intel(names) => intel(&certificates(&bytes)?, names),
        Is::Pck(fmspc) => {
            let ders = certificates(&bytes)?;
            let pck = Pck::parse(ders.first().ok_or("no certificate")?).map_err(text)?;
            same(hex::encode(pck.fmspc()).as_str(), fmspc)?;
            intel(&ders, PCK_CHAIN.get(..ders.len()).ok_or("too many")?).or_else(|_| {
                // Of a platform with one processor.
                intel(&ders, PROCESSOR_CHAIN.get(..ders.len()).ok_or("too many")?)
            })
        }
        Is::List(issuer, from, to) => list(&bytes, issuer, from, to),
        Is::Answer => {
            let answer = Answer::parse(&bytes).map_err(text)?;
            reads(answer.body)?;
            must(signed(&answer, &signer(folder)), "Intel did not sign it")
        }
        Is::Unsigned => {
            let answer = Answer::parse(&bytes).map_err(text)?;
            reads(answer.body)?;
            must(!signed(&answer, &signer(folder)), "Intel signed it")
        }
        Is::Refused(wrong) => {
            let answer = Answer::parse(&bytes);
            let said = answer.map_err(text).and_then(|answer| reads(answer.body)).err().ok_or("it is read")?;
            must(said.contains(wrong), &said)
        }
        Is::Pcs => pcs(&bytes),
        Is::Numbers => {
            let (_, chain, body) = recorded(&bytes)?;
            intel(&certificates(chain.as_bytes())?, SIGNER_CHAIN)?;
            let said = Answer::parse(body.as_bytes()).map_err(text).err().ok_or("it is read")?;
            must(said.contains("unknown field `tcbEvaluationDataNumbers`"), &said)
        }
        Is::Bundle(now) => {
            must(bytes.starts_with(b"{"), "no JSON")?;
            let fetched = Fetched::read(folder, path);
            collateral(&fetched.bundle(), now)
        }
        Is::Endorsements { now, quote, gives } => {
            let parts = endorsements(&bytes)?;
            collateral(&parts.bundle(), now)?;
            dcap(&exact(&folder.read(quote))?, &parts.bundle(), &Roots::intel(), noon(now), gives)
        }
        Is::Quote { ref by, now, gives } => {
            let whole = if bytes.is_ascii() { hexadecimal(&bytes)? } else { bytes };
            judged(folder, &whole, by, now, gives)
        }
        Is::Envelope { ref by, now, gives } => judged(folder, &exact(&bytes)?, by, now, gives),
        Is::NoChain(found) => {
            let error = Quote::parse(&bytes).map(|_| ()).err().ok_or("it is read")?;
            same(error, QuoteError::Certification { wanted: 5, found })
        }
        Is::WrongSigner(gives) => {
            intel(&certificates(&bytes)?, &PCK_CHAIN[1..])?;
            let fetched = Fetched::read(folder, "dcap-matrix/bundles/sgx-00606a000000-platform-2025-08-15-eval17.json");
            let now = noon("2025-09-01");
            let verify = |bundle: &Bundle<'_>| Collateral::verify(bundle, &Roots::intel(), now, PROVIDER).map(|_| ());
            must(verify(&fetched.bundle()).is_ok(), "control")?;
            let verdict = verify(&Bundle { tcb_info_chain: &bytes, ..fetched.bundle() }).err().ok_or("it passes")?;
            same(failed(&verdict).as_str(), gives)
        }
        Is::ReportDataOf(quote) => {
            let quote = folder.read(quote);
            match Quote::parse(&quote).map_err(text)?.body() {
                Body::Td(report, _) => must(report.report_data[..] == bytes, "another nonce"),
                Body::Enclave(_) => Err("a quote of an enclave".to_owned()),
            }
        }
        Is::Holds(parts) => parts.iter().try_for_each(|part| {
            let part = folder.read(part);
            must(bytes.windows(part.len()).any(|window| window == part), "a part is not in it")
        }),
        Is::Csr(parts, quote) => {
            judge(folder, path, &Is::Holds(parts))?;
            csr(&bytes, &folder.read(quote))
        }
        Is::PkiPath(names) => {
            // A SEQUENCE of certificates; its header has four bytes, and theirs too.
            let [_, _, _, _, _, _, high, low, ..] = bytes[..] else { return Err("too short".to_owned()) };
            let split = 8 + usize::from(u16::from_be_bytes([high, low]));
            let (first, second) = bytes.split_at_checked(split).ok_or("too short")?;
            amd(&[first[4..].to_vec(), second.to_vec()], names)
        }
        Is::As(other) => {
            must(super::table::FILES.iter().any(|row| row.0 == other), "the other is not in the table")?;
            must(folder.read(other) == bytes, "the other is another")
        }
        Is::Test(part) => test_root(folder, &bytes, part),
        Is::Foreign => foreign(&bytes),
    }
}

const PCK_CHAIN: &[&str] = &["Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", "Intel SGX Root CA"];
const PROCESSOR_CHAIN: &[&str] = &["Intel SGX PCK Certificate", "Intel SGX PCK Processor CA", "Intel SGX Root CA"];
const SIGNER_CHAIN: &[&str] = &["Intel SGX TCB Signing", "Intel SGX Root CA"];

/// All certificates of a PEM text, or the one of DER.
fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let Some(text) = core::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return Ok(vec![bytes.to_vec()]);
    };
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = text.split_inclusive(END).filter(|block| block.contains("-----BEGIN CERTIFICATE-----"));
    blocks.map(|block| pem(block.trim_start())).collect()
}

fn pem(text: &str) -> Result<Vec<u8>, String> {
    let mut decoder = Decoder::new_detect_wrap(text.trim_end_matches(['\0', '\n']).as_bytes()).map_err(self::text)?;
    let mut der = Vec::new();
    decoder.decode_to_end(&mut der).map_err(self::text)?;
    Ok(der)
}

fn named(certificate: &Certificate) -> String {
    common_name(certificate.subject()).unwrap_or_default()
}

/// Whether AMD's pinned key of that name, or one it certified, signed this.
fn of_amd(certificate: &Certificate) -> bool {
    let roots = snp::Roots::amd();
    let arks = roots.anchors().iter().map(snp::roots::Anchor::certificate);
    let mut authorities = arks.chain(roots.intermediates());
    authorities.any(|ca| ca.subject() == certificate.issuer() && certificate.signed_by(ca.spki(), PROVIDER))
}

fn amd(ders: &[Vec<u8>], names: &[&str]) -> Said {
    let parse = |der: &Vec<u8>| Certificate::parse(der, AMD).map_err(text);
    let certificates = ders.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    same(
        &certificates.iter().map(named).collect::<Vec<_>>()[..],
        &names.iter().map(ToString::to_string).collect::<Vec<_>>(),
    )?;
    for certificate in &certificates {
        must(of_amd(certificate), "not signed by AMD")?;
        must(certificate.authority().is_ok_and(|authority| authority.ca), "no authority")?;
    }
    Ok(())
}

fn intel(ders: &[Vec<u8>], names: &[&str]) -> Said {
    let parse = |der: &[u8]| Certificate::parse(der, INTELS).map_err(text);
    let authorities = AUTHORITIES.map(|der| Certificate::parse(der, INTELS).expect("built in"));
    let mut found = Vec::new();
    for der in ders {
        let certificate = parse(der)?;
        let of = |ca: &Certificate| ca.subject() == certificate.issuer() && certificate.signed_by(ca.spki(), PROVIDER);
        // The root's certificate is not looked at, wherever it stands: its key is pinned.
        let is_root = certificate.subject() == authorities[0].subject();
        must(is_root || authorities.iter().any(of), "not signed by Intel")?;
        must(!is_root || certificate.spki() == authorities[0].spki(), "another root")?;
        found.push(named(&certificate));
    }
    same(&found[..], &names.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn forged(bytes: &[u8], wrong: &str) -> Said {
    let Ok(certificate) = Certificate::parse(bytes, AMD) else { return Err("no certificate".to_owned()) };
    must(!of_amd(&certificate), "signed by AMD")?;
    match Vek::parse(bytes) {
        Ok(_) => same("", wrong),
        Err(error) => must(!wrong.is_empty() && error.to_string().contains(wrong), &error.to_string()),
    }
}

/// 1184 bytes at an offset, of a binary or of a hexadecimal text.
fn report(bytes: &[u8], at: usize) -> Result<Vec<u8>, String> {
    let bytes = if bytes.is_ascii() { hexadecimal(bytes)? } else { bytes.to_vec() };
    let report = bytes.get(at..at + 1184).ok_or("too short")?;
    Ok(report.to_vec())
}

fn hexadecimal(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let text = core::str::from_utf8(bytes).map_err(self::text)?.trim();
    hex::decode(text.trim_start_matches("0x")).map_err(self::text)
}

fn failed(verdict: &Verdict) -> String {
    verdict.failures().map(|check| check.id).collect::<Vec<_>>().join(" ")
}

/// Judged under AMD's roots, without demands but those that stand for themselves.
fn snp(report: &[u8], vek: &[u8], ask: Option<&[u8]>, crl: Option<&[u8]>, now: u64, gives: &str) -> Said {
    let vmpl = u8::try_from(Report::parse(report).map_err(text)?.vmpl()).map_err(text)?;
    let rule = if crl.is_some() { CrlRule::Required } else { CrlRule::Optional };
    let settings = snp::Settings { any_measurement: true, vmpl, crl: rule, ..snp::Settings::default() };
    let policy = settings.try_into().expect("a policy");
    let evidence = SnpEvidence { report, vcek: vek, ask, crl };
    let (roots, platforms) = (snp::Roots::amd(), snp::Platforms::Any);
    let collateral = snp::Collateral { roots: &roots, crl: None };
    match snp::authentic(evidence, collateral, &policy, &platforms, now, PROVIDER) {
        Ok((authentic, _)) => {
            let claims = authentic.claims();
            let version = claims.report_version as u32;
            same(format!("v{version} {}", claims.product.name()).as_str(), gives)
        }
        Err(verdict) => same(failed(&verdict).as_str(), gives),
    }
}

/// The report and the certificates (ARK, ASK, VCEK) of a token of ratsd: JSON in base64 in JSON.
fn extended(bytes: &[u8]) -> Result<(Vec<u8>, [Vec<u8>; 3]), String> {
    let member = |bytes: &[u8], path: &[&str]| -> Result<Vec<u8>, String> {
        let json: Value = serde_json::from_slice(bytes).map_err(text)?;
        let found = path.iter().try_fold(&json, |value, key| value.get(key)).ok_or("no such member")?;
        let last = found.as_array().and_then(|list| list.last()).unwrap_or(found);
        base64(last.as_str().ok_or("no text")?).ok_or_else(|| "no base64".to_owned())
    };
    let inner = member(&member(bytes, &["cmw"])?, &["tsm-report"])?;
    let (report, table) = (member(&inner, &["outblob"])?, member(&inner, &["auxblob"])?);
    // GHCB specification, table of certificates: GUID, offset, length, until a GUID of zeros.
    let mut found = Vec::new();
    for entry in table.chunks_exact(24).take_while(|entry| entry[..16] != [0; 16]) {
        let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four")) as usize;
        let text = table.get(number(16)..number(16) + number(20)).ok_or("beyond the table")?;
        found.extend(certificates(text)?);
    }
    Ok((report, found.try_into().map_err(|_| "not three certificates")?))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())
}

/// A revocation list: DER, PEM, or PEM in an answer that was recorded as JSON.
fn crl(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let Ok(text) = core::str::from_utf8(bytes) else { return Ok(bytes.to_vec()) };
    if text.starts_with("-----BEGIN ") {
        return pem(text);
    }
    let json: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(self::text)?;
    let is_list = |value: &&str| value.starts_with("-----BEGIN X509 CRL");
    pem(json.values().filter_map(Value::as_str).find(is_list).ok_or("no list")?)
}

fn list(bytes: &[u8], issuer: &str, from: &str, to: &str) -> Said {
    let scheme = if issuer.starts_with("Intel") { INTELS } else { AMD };
    let crl = Crl::parse(&crl(bytes)?, scheme).map_err(text)?;
    let roots = snp::Roots::amd();
    let mut authorities: Vec<_> = roots.anchors().iter().map(|anchor| anchor.certificate().clone()).collect();
    authorities.extend(AUTHORITIES.map(|der| Certificate::parse(der, INTELS).expect("built in")));
    let ca = authorities.iter().find(|ca| ca.subject() == crl.issuer()).ok_or("of nobody we know")?;
    same(named(ca).as_str(), issuer)?;
    must(crl.signed_by(ca.spki(), PROVIDER), "not signed by its issuer")?;
    let day = |second: u64| second / 86_400;
    same([day(crl.this_update()), day(crl.next_update())], [day(noon(from)), day(noon(to))])
}

/// Intel's, which signed all TCB info and QE identities.
fn signer(folder: &Folder) -> Certificate {
    Certificate::parse(&folder.read("dcap-automata/signing.der"), INTELS).expect("a certificate")
}

fn signed(answer: &Answer<'_>, signer: &Certificate) -> bool {
    PROVIDER.verify(SignatureAlgorithm::EcdsaP256Sha256Fixed, signer.spki(), answer.body, &answer.signature)
}

/// Whether it is TCB info or a QE identity.
fn reads(body: &[u8]) -> Said {
    match (TcbInfo::parse(body), QeIdentity::parse(body)) {
        (Err(one), Err(other)) => Err(format!("{one}; {other}")),
        _ => Ok(()),
    }
}

/// What was recorded of an answer of Intel's service: what it is of, the chain of its issuer, its body.
fn recorded(bytes: &[u8]) -> Result<(String, String, String), String> {
    let json: serde_json::Map<String, Value> = serde_json::from_slice(bytes).map_err(text)?;
    let string = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    let other = json.keys().find(|key| *key != "issuer_chain").ok_or("no body")?;
    Ok((other.clone(), string("issuer_chain").ok_or("no chain")?, string(other).ok_or("no body")?))
}

fn pcs(bytes: &[u8]) -> Said {
    let (_, chain, body) = recorded(bytes)?;
    let ders = certificates(chain.as_bytes())?;
    if body.starts_with("-----BEGIN ") {
        return intel(&ders, &PCK_CHAIN[1..]).or_else(|_| intel(&ders, &PROCESSOR_CHAIN[1..])).and_then(|()| {
            let ca = Certificate::parse(&ders[0], INTELS).map_err(text)?;
            let crl = Crl::parse(&pem(&body)?, INTELS).map_err(text)?;
            must(crl.issuer() == ca.subject() && crl.signed_by(ca.spki(), PROVIDER), "not signed by its issuer")
        });
    }
    intel(&ders, SIGNER_CHAIN)?;
    let answer = Answer::parse(body.as_bytes()).map_err(text)?;
    reads(answer.body)?;
    must(signed(&answer, &Certificate::parse(&ders[0], INTELS).map_err(text)?), "not signed by its issuer")
}

/// Verifies on a day, and is expired ten years later.
fn collateral(bundle: &Bundle<'_>, now: &str) -> Said {
    let roots = Roots::intel();
    let now = noon(now);
    Collateral::verify(bundle, &roots, now, PROVIDER).map(|_| ()).map_err(|verdict| failed(&verdict))?;
    let later = Collateral::verify(bundle, &roots, now + 3652 * 86_400, PROVIDER).map(|_| ());
    let later = later.err().map(|verdict| failed(&verdict)).unwrap_or_default();
    must(!later.is_empty() && later.split(' ').all(|id| id.ends_with(".expired")), &format!("later: {later}"))
}

/// Collateral in its parts.
struct Parts {
    tcb_info: Signed,
    qe_identity: Signed,
    tcb_info_chain: Vec<u8>,
    qe_identity_chain: Vec<u8>,
    root_crl: Vec<u8>,
    pck_crl: Vec<u8>,
    pck_crl_chain: Option<Vec<u8>>,
}

/// An answer of Intel's service: its body and its signature.
type Signed = (Vec<u8>, [u8; 64]);

fn split(answer: &[u8]) -> Result<Signed, String> {
    Answer::parse(answer).map(|answer| (answer.body.to_vec(), answer.signature)).map_err(text)
}

impl Parts {
    fn bundle(&self) -> Bundle<'_> {
        Bundle {
            tcb_info: &self.tcb_info.0,
            tcb_info_signature: &self.tcb_info.1,
            tcb_info_chain: &self.tcb_info_chain,
            qe_identity: &self.qe_identity.0,
            qe_identity_signature: &self.qe_identity.1,
            qe_identity_chain: &self.qe_identity_chain,
            root_crl: &self.root_crl,
            pck_crl: &self.pck_crl,
            pck_crl_chain: self.pck_crl_chain.as_deref(),
        }
    }
}

/// Endorsements of Open Enclave, or collateral as Intel's library has it in memory.
fn endorsements(bytes: &[u8]) -> Result<Parts, String> {
    let number = |at: usize| {
        let four = bytes.get(at..at + 4).ok_or("too short")?;
        Ok::<_, String>(u32::from_le_bytes(four.try_into().expect("four")) as usize)
    };
    let part = |from: usize, to: usize| {
        let part = bytes.get(from..to).ok_or("too short")?;
        Ok::<_, String>(part.strip_suffix(&[0]).unwrap_or(part).to_vec())
    };
    if bytes.starts_with(b"# Copyright") {
        // Behind two lines of text: version, type, size, count, offsets; the parts.
        let start = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).ok_or("no text")?.0 + 1;
        same(number(start + 12)?, 9)?;
        let data = start + 16 + 4 * 9;
        let nth = |at: usize| {
            let end = if at == 8 { bytes.len() } else { data + number(start + 16 + 4 * (at + 1))? };
            part(data + number(start + 16 + 4 * at)?, end)
        };
        return Ok(Parts {
            tcb_info: split(&nth(1)?)?,
            tcb_info_chain: nth(2)?,
            // DER, which may end in a zero of its own.
            pck_crl: bytes[data + number(start + 16 + 12)?..data + number(start + 16 + 16)?].to_vec(),
            root_crl: nth(4)?,
            pck_crl_chain: Some(nth(5)?),
            qe_identity: split(&nth(6)?)?,
            qe_identity_chain: nth(7)?,
        });
    }
    // Version, TEE, then seven times an address and a length; the parts.
    let nth = |wanted: usize| {
        let length = |at: usize| number(16 + 16 * at);
        let from = (0..wanted).try_fold(8 + 16 * 7, |from, at| Ok::<_, String>(from + length(at)?))?;
        part(from, from + length(wanted)?)
    };
    Ok(Parts {
        pck_crl_chain: Some(nth(0)?),
        root_crl: hexadecimal(&nth(1)?)?,
        pck_crl: hexadecimal(&nth(2)?)?,
        tcb_info_chain: nth(3)?,
        tcb_info: split(&nth(4)?)?,
        qe_identity_chain: nth(5)?,
        qe_identity: split(&nth(6)?)?,
    })
}

/// The quote of an envelope, as long as it says it is.
fn exact(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let vendor = bytes.windows(16).position(|window| window == INTEL).ok_or("no quote")?;
    let quote = bytes.get(vendor - 12..).ok_or("no quote")?;
    let at = match quote.first() {
        Some(3) => 48 + 384,
        Some(4) => 48 + 584,
        _ => 48 + 6 + 648,
    };
    let length = quote.get(at..at + 4).ok_or("too short")?;
    let end = at + 4 + u32::from_le_bytes(length.try_into().expect("four")) as usize;
    Ok(quote.get(..end).ok_or("too short")?.to_vec())
}

fn judged(folder: &Folder, quote: &[u8], by: &By, now: &str, gives: &str) -> Said {
    match by {
        By::Bundle(name) => {
            let fetched = Fetched::read(folder, &format!("dcap-matrix/bundles/{name}.json"));
            dcap(quote, &fetched.bundle(), &Roots::intel(), noon(now), gives)
        }
        By::Own(path) => {
            let fetched = Fetched::read(folder, path);
            dcap(quote, &fetched.bundle(), &Roots::intel(), noon(now), gives)
        }
        By::Parts { tcb_info, qe_identity, chain, root_crl, pck_crl } => {
            let chain = folder.read(chain);
            let parts = Parts {
                tcb_info: split(&folder.read(tcb_info))?,
                qe_identity: split(&folder.read(qe_identity))?,
                tcb_info_chain: chain.clone(),
                qe_identity_chain: chain,
                root_crl: folder.read(root_crl),
                pck_crl: folder.read(pck_crl),
                pck_crl_chain: None,
            };
            dcap(quote, &parts.bundle(), &Roots::intel(), noon(now), gives)
        }
    }
}

/// Judged by collateral and nothing else: whatever status is accepted, but nothing that is weak in itself.
fn dcap(quote: &[u8], bundle: &Bundle<'_>, roots: &Roots, now: u64, gives: &str) -> Said {
    let accepted: Vec<_> = TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked).collect();
    let accepted_tcb = Some(accepted);
    let source = Source::Bundle(bundle, roots);
    let td = Quote::parse(quote).is_ok_and(|quote| matches!(quote.body(), Body::Td(..)));
    let standing = if td {
        let settings = tdx::Settings { any_measurement: true, accepted_tcb, ..tdx::Settings::default() };
        let policy = settings.try_into().expect("a policy");
        tdx::authentic(quote, source, &policy, &Platforms::Any, now, PROVIDER)
            .map(|(authentic, _)| authentic.claims().platform.standing.clone())
    } else {
        let settings = sgx::Settings { any_measurement: true, accepted_tcb, ..sgx::Settings::default() };
        let policy = settings.try_into().expect("a policy");
        sgx::authentic(quote, source, &policy, &Platforms::Any, now, PROVIDER)
            .map(|(authentic, _)| authentic.claims().platform.standing.clone())
    };
    match standing {
        Ok(standing) => same(standing.status.to_string().as_str(), gives),
        Err(verdict) => same(failed(&verdict).as_str(), gives),
    }
}

/// The key that is certified is the one that the evidence is bound to.
fn csr(bytes: &[u8], evidence: &[u8]) -> Said {
    use der::{Decode, Encode};
    use sha2::{Digest, Sha256, Sha384};
    let csr = x509_cert::request::CertReq::from_der(bytes).map_err(text)?;
    let spki = csr.info.public_key.to_der().map_err(text)?;
    let (digest, bound) = match Quote::parse(evidence).map(|quote| quote.body()) {
        Ok(Body::Enclave(report)) => (Sha256::digest(&spki).to_vec(), report.report_data),
        Ok(Body::Td(..)) => return Err("a quote of a TD".to_owned()),
        Err(_) => (Sha384::digest(&spki).to_vec(), *Report::parse(evidence).map_err(text)?.report_data()),
    };
    let (hash, rest) = bound.split_at(digest.len());
    must(hash == digest && rest.iter().all(|byte| *byte == 0), "bound to another key")
}

/// A part of Intel's sample set: good under its own root, and under no other.
fn test_root(folder: &Folder, bytes: &[u8], part: &str) -> Said {
    let read = |name: &str| folder.read(&format!("dcap-intel-qvl-testroot/{name}"));
    let one = |der: &[u8]| Certificate::parse(der, INTELS).map_err(text);
    let own = one(&certificates(&read("trustedRootCaCert.pem"))?[0])?;
    let ca = one(&certificates(&read("pckSignChain.pem"))?[0])?;
    let signer = one(&certificates(&read("tcbSignChain.pem"))?[0])?;
    let intels = Certificate::parse(AUTHORITIES[0], INTELS).expect("built in");
    match part {
        "certificates" => {
            for der in certificates(bytes)? {
                let certificate = one(&der)?;
                let by = |ca: &Certificate| {
                    ca.subject() == certificate.issuer() && certificate.signed_by(ca.spki(), PROVIDER)
                };
                must(by(&own) || by(&ca), "not signed under the test root")?;
                must(!by(&intels), "signed by Intel's root")?;
            }
            Roots::from_certificates(&[own.der()]).map(|_| ()).map_err(text)
        }
        "list" => {
            let list = Crl::parse(&crl(bytes)?, INTELS).map_err(text)?;
            let by = |ca: &Certificate| ca.subject() == list.issuer() && list.signed_by(ca.spki(), PROVIDER);
            must((by(&own) || by(&ca)) && !by(&intels), "not signed under the test root")
        }
        "answer" => {
            let answer = Answer::parse(bytes).map_err(text)?;
            reads(answer.body)?;
            must(signed(&answer, &signer) && !signed(&answer, &self::signer(folder)), "not signed under the test root")
        }
        other => Err(format!("{other}?")),
    }
}

/// Nothing that is read here.
fn foreign(bytes: &[u8]) -> Said {
    must(Report::parse(bytes).is_err(), "a report")?;
    must(Quote::parse(bytes).is_err(), "a quote")?;
    must(Vek::parse(bytes).is_err() && Pck::parse(bytes).is_err(), "a certificate")?;
    must(Crl::parse(bytes, AMD).is_err() && Crl::parse(bytes, INTELS).is_err(), "a list")?;
    must(Answer::parse(bytes).is_err() && reads(bytes).is_err(), "TCB info")
}
