//! Certificates that are not of a Keep's profile, so that nobody takes them for one: of requests of Enarx, and of workloads.
//!
//! Owns their form (RFC 5280): no subject, one URL for a name, serverAuth and perhaps clientAuth, and in `id-pe-cmw` what was found.
//! Refuses nothing but what cannot be written. Invariant: `identity::KeepCertificate` reads none of them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use const_oid::{
    ObjectIdentifier,
    db::{rfc5280, rfc5912},
};
use der::{
    Decode as _, Encode as _, Sequence,
    asn1::{AnyRef, BitStringRef, Ia5String, OctetString, UtcTime},
};
use identity::{
    ear::EAR_MEDIA_TYPE,
    keys::{Algorithm, Signer as _},
};
use x509_cert::{
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            name::GeneralName,
        },
    },
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
    time::{Time, Validity},
};

use super::Authority;
use crate::refusal::IssueFault;

/// id-pe-cmw (draft-ietf-rats-msg-wrap section 3.4).
const CMW: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.35");

/// What stands in such a certificate.
#[derive(Debug)]
pub(crate) struct Plain {
    /// SubjectPublicKeyInfo in DER.
    pub(crate) spki: Vec<u8>,
    /// Its one name.
    pub(crate) url: String,
    /// Whether it authenticates clients, too.
    pub(crate) client: bool,
    /// Seconds since 1970, inclusive.
    pub(crate) not_before: u64,
    /// Seconds since 1970, inclusive.
    pub(crate) not_after: u64,
    pub(crate) serial: [u8; 16],
    /// What was found, signed by the same authority.
    pub(crate) ear_jwt: String,
}

#[derive(Sequence)]
struct Tbs<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: SerialNumber,
    algorithm: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

impl Plain {
    /// Writes and signs it, DER.
    pub(crate) fn issue(&self, authority: &Authority) -> Result<Vec<u8>, IssueFault> {
        let oid = match authority.key().algorithm() {
            Algorithm::EcdsaP256Sha256 => rfc5912::ECDSA_WITH_SHA_256,
            Algorithm::EcdsaP384Sha384 => rfc5912::ECDSA_WITH_SHA_384,
        };
        let algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
        let tbs = self.tbs(authority, algorithm.clone())?;
        let signature = authority.key().sign(&tbs).map_err(IssueFault::Sign)?;
        let signature = BitStringRef::from_bytes(&signature)?;
        Ok(Signed { tbs: AnyRef::from_der(&tbs)?, algorithm, signature }.to_der()?)
    }

    fn tbs(&self, authority: &Authority, algorithm: AlgorithmIdentifierOwned) -> der::Result<Vec<u8>> {
        let Self { spki, url, client, not_before, not_after, serial, ear_jwt } = self;
        let issuer = authority.issuer();
        let name = GeneralName::UniformResourceIdentifier(Ia5String::new(url)?);
        let client = client.then_some(rfc5280::ID_KP_CLIENT_AUTH);
        let usages = std::iter::once(rfc5280::ID_KP_SERVER_AUTH).chain(client).collect();
        let extension = |extn_id, critical, value: Vec<u8>| -> der::Result<Extension> {
            Ok(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
        };
        let cmw = serde_json::json!([EAR_MEDIA_TYPE, URL_SAFE_NO_PAD.encode(ear_jwt)]).to_string();
        let issuer_id = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(issuer.key_id.clone())?),
            ..AuthorityKeyIdentifier::default()
        };
        let extensions = vec![
            extension(
                rfc5280::ID_CE_BASIC_CONSTRAINTS,
                true,
                BasicConstraints { ca: false, path_len_constraint: None }.to_der()?,
            )?,
            extension(rfc5280::ID_CE_KEY_USAGE, true, KeyUsage(KeyUsages::DigitalSignature.into()).to_der()?)?,
            extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, ExtendedKeyUsage(usages).to_der()?)?,
            extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, issuer_id.to_der()?)?,
            // Critical because there is no subject (RFC 5280 section 4.2.1.6).
            extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, true, SubjectAltName(vec![name]).to_der()?)?,
            extension(CMW, false, cmw.to_der()?)?,
        ];
        Tbs {
            version: 2,
            serial: SerialNumber::new(serial)?,
            algorithm,
            issuer: AnyRef::from_der(&issuer.subject)?,
            validity: Validity::new(time(*not_before)?, time(*not_after)?),
            subject: AnyRef::from_der(&[0x30, 0])?,
            spki: AnyRef::from_der(spki)?,
            extensions,
        }
        .to_der()
    }
}

fn time(seconds: u64) -> der::Result<Time> {
    // Nothing here outlives an authority, and none of those goes beyond 2049.
    Ok(Time::UtcTime(UtcTime::from_unix_duration(core::time::Duration::from_secs(seconds))?))
}
