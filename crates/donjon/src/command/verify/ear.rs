//! `donjon ear`, and how `verify` makes what it reads: attestation results that others can check (EAR, a JWT signed with
//! ES384).
//!
//! A result is about evidence that was bound to something: without nonce and launch field there is none. It lives a day, and
//! not longer than the collateral it rests on.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use evidence::AwsLc;
use evidence::ear::{self, Class, Conclusion, Expecting, VerifierId};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::input::{bytes, unusable};
use super::{Bytes, Judged, at, clock, nonce};
use crate::command::say;
use crate::failure::Failure;

/// How long a result may be relied on, in seconds.
const LIFE: u64 = 24 * 3600;

/// How to make a key.
const FORM: &str =
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem; openssl pkey -in key.pem -pubout";

/// Who signs results.
pub(super) struct Issuer {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Issuer {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let refused = |error: String| unusable(path, error).hint(FORM);
        let pem = Zeroizing::new(bytes(path)?);
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| refused(format!("no PKCS#8 key: {error:?}")))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der.secret_pkcs8_der());
        let pair = pair.map_err(|error| refused(format!("no P-384 key: {error}")))?;
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map(|der| der.as_ref().to_vec());
        let spki = spki.map_err(|_| refused("no P-384 key".to_owned()))?;
        Ok(Self { pair, spki })
    }

    /// The result of a judgement, signed.
    pub(super) fn sign(&self, judged: &Judged) -> Result<String, Failure> {
        let name = judged.item.name();
        let refused = |what: &str| Failure::new(format!("{name}: no result: {what}")).unusable();
        let (Some(nonce), Some(_)) = (judged.subject.nonce.clone(), judged.subject.binding.launch_field) else {
            return Err(
                refused("it must be known what the evidence is bound to").hint("give --nonce and --launch-field")
            );
        };
        long_enough(&nonce).map_err(|failure| failure.prefixed(format!("{name}: no result")))?;
        let Some(appraisal) = judged.appraisal.result.clone() else {
            let primary = judged.appraisal.verdict.primary().map_or("nothing", |check| check.id);
            return Err(refused(&format!("it was not looked at, because of {primary}")));
        };
        let life = judged.now.saturating_add(LIFE);
        let expires = match appraisal.conclusion() {
            Conclusion::Accepted(facts) => life.min(facts.collateral_end.saturating_add(1)),
            Conclusion::Refused(_) => life,
        };
        let ear = ear::Ear {
            issued_at: judged.now,
            expires,
            nonce,
            verifier: VerifierId {
                build: concat!("donjon ", env!("CARGO_PKG_VERSION")).to_owned(),
                developer: env!("CARGO_PKG_REPOSITORY").to_owned(),
            },
            policy: judged.policy.as_ref().map_or_else(|| "none".to_owned(), |policy| policy.digest().to_string()),
            class: if judged.insecure.any() { Class::Insecure } else { Class::Hardware },
            appraisal,
        };
        let sign = |message: &[u8]| {
            let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| ())?;
            <[u8; 96]>::try_from(signature.as_ref()).map_err(|_| ())
        };
        ear.sign(&self.spki, sign).map_err(|error| refused(&error.to_string()))
    }
}

/// A nonce that can be in a result.
pub(super) fn long_enough(nonce: &[u8]) -> Result<(), Failure> {
    let (least, most) = (ear::NONCE.start(), ear::NONCE.end());
    if ear::NONCE.contains(&nonce.len()) {
        return Ok(());
    }
    let error = format!("a result has a nonce of {least} to {most} bytes, and this one has {}", nonce.len());
    Err(Failure::new(error).hint("openssl rand -hex 32").unusable())
}

/// Check an attestation result that `donjon verify --ear-key` made, and print its claims.
///
/// Exits with 0 if it accepts the evidence, with 1 if it refuses it, is of class insecure, or is not what was expected, with 2
/// if a file cannot be used.
#[derive(Debug, clap::Args)]
pub(crate) struct Ear {
    /// The JWT; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The verifier's public key (SubjectPublicKeyInfo, PEM), P-384.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The nonce that was asked with, 16 to 64 bytes in hexadecimal.
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Bytes,
    /// Accept class insecure too: somebody else than the vendors was trusted, or debugging tolerated.
    #[arg(long)]
    insecure: bool,
    /// Check at this instant: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<u64>,
}

impl Ear {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        long_enough(&self.nonce.0).map_err(|failure| failure.prefixed("--nonce"))?;
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(&bytes(&self.key)?)
            .map_err(|error| unusable(&self.key, format!("no public key in PEM: {error:?}")).hint(FORM))?;
        let text = String::from_utf8(bytes(&self.file)?).map_err(|_| unusable(&self.file, "a JWT is text"))?;
        let now = self.at.map_or_else(clock, Ok)?;
        let expecting = Expecting { spki: spki.as_ref(), nonce: &self.nonce.0, now, ahead: 60, max_age: LIFE };
        let ear = match ear::Ear::verify(text.trim(), &expecting, &AwsLc) {
            Ok(ear) => ear,
            Err(error) => {
                Failure::new(error).prefixed(self.file.display()).show();
                return Ok(ExitCode::from(1));
            }
        };
        let claims = ear.claims().map_err(|error| unusable(&self.file, error))?;
        say(&claims);
        Ok(match (ear.appraisal.conclusion(), ear.class) {
            (Conclusion::Accepted(_), Class::Insecure) if !self.insecure => {
                let error =
                    "it is of class insecure: other roots than the vendors' were trusted, or debugging tolerated";
                Failure::new(error).prefixed(self.file.display()).hint("--insecure, if that is what you want").show();
                ExitCode::from(1)
            }
            (Conclusion::Accepted(_), _) => ExitCode::SUCCESS,
            (Conclusion::Refused(_), _) => ExitCode::from(1),
        })
    }
}
