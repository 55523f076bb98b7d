//! `donjon cert show`: what the certificate of a Keep says, and whether it is to be believed.
//!
//! Owns the words for the facts, here and in the demo. Refuses certificates that are no Keep's: other tools show those.
//! Invariant: nothing is called verified that does not chain to an anchor which was named.

use std::path::PathBuf;
use std::process::ExitCode;

use evidence::time;
use identity::chain::verify_chain;
use identity::{Class, Issuer, KeepCertificate, pem};
use steward::signer::Signatures;
use workload::Digest;

use super::input::{bytes, unusable};
use super::{at, clock};
use crate::command::say;
use crate::failure::Failure;

/// The certificates of Keeps.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Cert {
    /// Show what the certificate of a Keep says, and whether it is to be believed.
    Show(Show),
}

/// Exits with 0 if it chains to an anchor, or none was named; with 1 if it does not; with 2 if the file cannot be used.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The chain, the Keep's certificate first, in PEM; or that certificate in DER, or a PkiPath. `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The key of a Steward's root (sha256:… of its SPKI) that is believed; several can be named.
    #[arg(long = "anchor", value_name = "DIGEST")]
    anchors: Vec<Digest>,
    /// Judge at this instant: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<u64>,
    /// Print JSON: the EAR's claims, and what was found.
    #[arg(long)]
    json: bool,
}

impl Cert {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self::Show(show) = self;
        show.run()
    }
}

impl Show {
    fn run(self) -> Result<ExitCode, Failure> {
        let chain = chain(&bytes(&self.file)?);
        let der = chain.first().ok_or_else(|| unusable(&self.file, "no certificate, in PEM or DER"))?;
        let certificate = KeepCertificate::read(der).map_err(|error| {
            unusable(&self.file, error)
                .hint("this is about the certificates of Keeps; `openssl x509 -text` shows any other")
        })?;
        let now = self.at.map_or_else(clock, Ok)?;
        let believed =
            (!self.anchors.is_empty()).then(|| verify_chain(&chain, &self.anchors, now, &Signatures).map(drop));
        let above: Vec<Issuer> = chain.iter().skip(1).filter_map(|der| Issuer::read(der).ok()).collect();
        let root = above.last().map(Issuer::key);
        let only: Vec<_> = above.iter().flat_map(Issuer::constraints).map(ToString::to_string).collect();
        if self.json {
            let claims: serde_json::Value = certificate
                .ear
                .to_json()
                .map_err(|error| unusable(&self.file, error))
                .and_then(|text| serde_json::from_str(&text).map_err(|error| unusable(&self.file, error)))?;
            let verified = believed.as_ref().map(Result::is_ok);
            let error = believed.as_ref().and_then(|believed| believed.as_ref().err()).map(ToString::to_string);
            let names: Vec<_> = certificate.dns.iter().map(ToString::to_string).collect();
            let all = serde_json::json!({
                "id": certificate.id.to_string(),
                "names": names,
                "serial": hex::encode(&certificate.serial),
                "not_before": time::date(certificate.not_before),
                "not_after": time::date(certificate.not_after),
                "root": root,
                "only_for": only,
                "verified": verified,
                "error": error,
                "ear": claims,
            });
            say(&all.to_string());
        } else {
            for (what, said) in facts(&certificate) {
                say(&format!("{what:<14} {said}"));
            }
            say(&format!("{:<14} {}", "serial", hex::encode(&certificate.serial)));
            let root = root.map_or_else(|| "(none in this file)".to_owned(), |root| root.to_string());
            say(&format!("{:<14} {root}", "root"));
            for only in only {
                say(&format!("{:<14} {only}", "only for"));
            }
            match &believed {
                Some(Ok(())) => say("\nverified: it chains to an anchor that you named, and is valid now"),
                Some(Err(error)) => say(&format!("\nNOT VERIFIED: {error}")),
                None => {
                    say("\nnot verified: name whom you believe with --anchor, whose digest you have from elsewhere")
                }
            }
        }
        Ok(ExitCode::from(u8::from(matches!(believed, Some(Err(_))))))
    }
}

/// Certificates in any of the forms in which they travel.
fn chain(bytes: &[u8]) -> Vec<Vec<u8>> {
    if let Some(chain) = std::str::from_utf8(bytes).ok().and_then(|text| pem::decode(text).ok()) {
        return chain;
    }
    // A certificate begins with the sequence that is signed, a path with a certificate: only one of them is read.
    match KeepCertificate::read(bytes) {
        Ok(_) => vec![bytes.to_vec()],
        Err(_) => pem::decode_pkipath(bytes).unwrap_or_else(|_| vec![bytes.to_vec()]),
    }
}

/// What a relying party can read in the certificate.
pub(crate) fn facts(certificate: &KeepCertificate) -> Vec<(&'static str, String)> {
    let ear = &certificate.ear;
    let names: Vec<_> = certificate.dns.iter().map(ToString::to_string).collect();
    let class = match ear.class {
        Class::Hardware => ear.class.to_string(),
        Class::Insecure => format!("{} (it proves nothing: simulated hardware, or debugging)", ear.class),
    };
    let mut facts = vec![
        ("name", if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }),
        ("SPIFFE ID", certificate.id.to_string()),
        ("owner", ear.owner.map_or_else(|| "(none: an anonymous Keep)".to_owned(), |owner| owner.to_string())),
        ("trust class", class),
        ("TEE", format!("{}, {}", ear.tee, ear.product)),
        ("TCB", format!("{}, {:?}", ear.tcb, ear.tcb_status)),
        ("measurement", ear.measurement.to_string()),
        ("workload", format!("{} (bound by {})", ear.workload, ear.workload_binding)),
        ("publisher", ear.publisher.as_ref().map_or_else(|| "(none)".to_owned(), ToString::to_string)),
        ("H(brief)", ear.brief.to_string()),
        ("policy", ear.policy.to_string()),
        ("platform", ear.platform.to_string()),
        ("key", ear.key.to_string()),
        ("Steward", ear.verifier.build.clone()),
        ("valid", format!("{} to {}", time::date(certificate.not_before), time::date(certificate.not_after))),
    ];
    if !ear.advisories.is_empty() {
        facts.push(("advisories", ear.advisories.join(", ")));
    }
    if let Some(signer) = &ear.signer {
        facts.push(("signer", signer.to_string()));
    }
    for register in &ear.registers {
        facts.push(("register", register.to_string()));
    }
    facts
}
