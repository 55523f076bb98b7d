//! Where to get what a verdict misses: of AMD's and of Intel's services, by what the evidence says of its platform.
//!
//! Owns the addresses. Nothing is fetched, and nothing that is said here is believed by anybody: it is read from evidence
//! that was not verified, because what it would be verified with is what is missing.

use evidence::Check;
use evidence::appraisal::Evidence;
use evidence::dcap::pck::Pck;
use evidence::dcap::quote::{Quote, Tee};
use evidence::snp::ProductLine;
use evidence::snp::report::{Report, SigningKey};
use evidence::snp::tcb::Tcb;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Judged;

/// AMD's key distribution service (AMD 57230).
const KDS: &str = "https://kdsintf.amd.com/vcek/v1";
/// Intel's provisioning certification service, version 4 of its interface.
const PCS: &str = "https://api.trustedservices.intel.com";
/// The one list that is not there.
const ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// What can be done if the cause of a refusal is that something was not given.
pub(super) fn hints(judged: &Judged) -> Vec<String> {
    let primary = judged.appraisal.verdict.primary();
    let Some(Check { id, .. }) = primary.filter(|check| check.found.starts_with("none")) else { return Vec::new() };
    let more = match &judged.subject.evidence {
        Evidence::Snp(report) => Report::parse(report).ok().and_then(|report| of_amd(id, &report)),
        Evidence::Sgx(quote) | Evidence::Tdx(quote) if id.starts_with("dcap.") => {
            let failures = judged.appraisal.verdict.failures();
            let missing: Vec<_> =
                failures.filter(|check| check.found.starts_with("none")).map(|check| check.id).collect();
            Some(Quote::parse(quote).map_or_else(|_| Vec::new(), |quote| of_intel(&missing, &quote)))
        }
        // Its report or quote is the paravisor's, and the checks say what of it is missing.
        Evidence::Azure(_) if id.starts_with("dcap.") || id.starts_with("snp.crl.") => Some(Vec::new()),
        Evidence::Sgx(_) | Evidence::Tdx(_) | Evidence::Azure(_) => None,
    };
    let general = "give it with --collateral FILE…".to_owned();
    more.map_or_else(Vec::new, |more| [vec![general], more].concat())
}

fn of_amd(id: &str, report: &Report<'_>) -> Option<Vec<String>> {
    let cpuid = report.cpuid();
    let line = cpuid.and_then(|cpuid| ProductLine::from_cpuid(cpuid.family, cpuid.model));
    let product = line.map_or("{product}", ProductLine::name);
    let mut hints = Vec::new();
    match id {
        "snp.vek.format" => match (report.signing_key(), report.chip_id()) {
            (SigningKey::Vlek, _) => {
                hints.push("it is signed by a VLEK: whoever runs the platform has its certificate".to_owned());
                return Some(hints);
            }
            (_, [0, rest @ ..]) if rest.iter().all(|byte| *byte == 0) => {
                let masked = "the report names no chip (MASK_CHIP_ID): whoever runs the platform has its certificate";
                return Some(vec![masked.to_owned()]);
            }
            (_, chip) => hints.push(format!("curl -o vcek.der '{}'", vcek(product, line, chip, report.reported_tcb()))),
        },
        "snp.ask.format" => hints.push(format!("curl -o chain.pem {KDS}/{product}/cert_chain")),
        "snp.crl.present" => hints.push(format!("curl -o ark.crl {KDS}/{product}/crl")),
        _ => return None,
    }
    if line.is_none() {
        let unknown =
            "{product} is Milan, Genoa or Turin: this report does not say which, those of version 3 and later do";
        hints.push(unknown.to_owned());
    }
    Some(hints)
}

/// Where the certificate is of a chip's key under the TCB that the report names.
fn vcek(product: &str, line: Option<ProductLine>, chip: &[u8; 64], reported: [u8; 8]) -> String {
    // Without a product: Turin's ids are shorter, so that the rest is zeros.
    let short = chip.iter().skip(ProductLine::Turin.chip_id_len()).all(|byte| *byte == 0);
    let line = line.unwrap_or(if short { ProductLine::Turin } else { ProductLine::Milan });
    let id: String = chip.iter().take(line.chip_id_len()).map(|byte| format!("{byte:02x}")).collect();
    let Ok(Tcb { fmc, bootloader, tee, snp, microcode }) = Tcb::decode(line, reported) else {
        return format!("{KDS}/{product}/{id}?blSPL=…&teeSPL=…&snpSPL=…&ucodeSPL=…");
    };
    let fmc = fmc.map_or_else(String::new, |fmc| format!("fmcSPL={fmc:02}&"));
    let levels = format!("blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
    format!("{KDS}/{product}/{id}?{fmc}{levels}")
}

fn of_intel(missing: &[&str], quote: &Quote<'_>) -> Vec<String> {
    let tee = match quote.body().tee() {
        Tee::Sgx => "sgx",
        Tee::Tdx => "tdx",
    };
    let leaf = CertificateDer::pem_slice_iter(quote.chain()).next().and_then(Result::ok);
    let pck = leaf.and_then(|leaf| Pck::parse(&leaf).ok());
    let fmspc = pck.as_ref().map_or_else(|| "{fmspc}".to_owned(), |pck| hex::encode(pck.fmspc()));
    let platform = pck.as_ref().is_none_or(|pck| pck.certificate().issuer().to_string().contains("Platform"));
    let ca = if platform { "platform" } else { "processor" };
    let signers = "the signers' certificates are in its headers, percent-encoded: put them into a file, too";
    let all = [
        ("dcap.tcb_info.", format!("curl -D tcb.headers -o tcb.json '{PCS}/{tee}/certification/v4/tcb?fmspc={fmspc}'")),
        ("dcap.qe_identity.", format!("curl -D qe.headers -o qe.json {PCS}/{tee}/certification/v4/qe/identity")),
        ("dcap.tcb_signer.", signers.to_owned()),
        ("dcap.pck_crl.", format!("curl -o pck.crl '{PCS}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der'")),
        ("dcap.root_crl.", format!("curl -o root.crl {ROOT_CRL}")),
    ];
    let wanted = all.into_iter().filter(|(of, _)| missing.iter().any(|id| id.starts_with(of)));
    wanted.map(|(_, hint)| hint).collect()
}
