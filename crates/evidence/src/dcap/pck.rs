//! PCK certificates: whose processor it is, and at which security version its keys were derived.
//!
//! Intel "SGX PCK Certificate and Certificate Revocation List Profile Specification", revision 2.1, section 1.3. Every field
//! that is known must be there once with its exact type; one that is not known is refused, because it may change what the
//! others mean.

use crate::hexadecimal as hex;
use crate::pki::{Certificate, PkiError, Scheme, is_on_curve};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use core::fmt;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Sequence};
use thiserror::Error;

/// Intel's extension.
const ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

/// Kinds of platforms (SGX Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SgxType {
    /// Client and small server processors: memory is encrypted with integrity and against replay.
    Standard,
    /// Memory is encrypted.
    Scalable,
    /// Memory is encrypted with integrity.
    ScalableWithIntegrity,
}

/// Settings of a platform with several processors; absent where the certificate does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// Processors can be added.
    pub dynamic: Option<bool>,
    /// Intel keeps the platform's root keys.
    pub cached_keys: Option<bool>,
    /// Simultaneous multithreading is on.
    pub smt: Option<bool>,
}

/// Security versions of the platform's components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlatformTcb {
    /// SGX TCB component SVN 1 to 16.
    pub components: [u8; 16],
    /// PCESVN.
    pub pce: u16,
}

/// Provisioning id: names a processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ppid(pub [u8; 16]);

impl fmt::Display for Ppid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Ppid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ppid({self})")
    }
}

/// Why a certificate is no PCK's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PckError {
    /// Not a certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Not a P-256 key.
    #[error("the key is no ECDSA P-256 key")]
    Key,
    /// It may sign certificates.
    #[error("a PCK is no certificate authority")]
    Authority,
    /// A field that must be there.
    #[error("field {0} is missing")]
    Missing(ObjectIdentifier),
    /// A field of another type or length.
    #[error("field {0} is malformed")]
    Malformed(ObjectIdentifier),
    /// A field that is there twice, or not known.
    #[error("field {0} is unexpected")]
    Unexpected(ObjectIdentifier),
}

/// A PCK certificate with its extension read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pck {
    certificate: Certificate,
    ppid: Ppid,
    tcb: PlatformTcb,
    pce_id: [u8; 2],
    fmspc: [u8; 6],
    sgx_type: SgxType,
    instance: Option<[u8; 16]>,
    configuration: Configuration,
}

#[derive(Sequence)]
struct Field<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

impl Pck {
    /// Parses one DER certificate; says nothing about who signed it.
    pub fn parse(der: &[u8]) -> Result<Self, PckError> {
        let certificate = Certificate::parse(der, Scheme::EcdsaP256Sha256)?;
        if !is_on_curve(certificate.spki(), rfc5912::SECP_256_R_1) {
            return Err(PckError::Key);
        }
        let authority = certificate.authority()?;
        if authority.ca || authority.signs {
            return Err(PckError::Authority);
        }
        let extension = certificate.extensions().find(|(oid, ..)| *oid == ARC);
        let (.., value) = extension.ok_or(PckError::Missing(ARC))?;
        let fields = Fields::read(ARC, value)?;
        let tcb = fields.nested(2)?;
        let mut components = [0; 16];
        for (at, component) in (1..).zip(&mut components) {
            *component = tcb.value(at)?;
        }
        let tcb_of = PlatformTcb { components, pce: tcb.value(17)? };
        tcb.octets::<16>(18)?;
        tcb.end(18)?;
        let sgx_type = match fields.must(5)?.decode_as::<Enumerated>().ok() {
            Some(Enumerated::Standard) => SgxType::Standard,
            Some(Enumerated::Scalable) => SgxType::Scalable,
            Some(Enumerated::ScalableWithIntegrity) => SgxType::ScalableWithIntegrity,
            None => return Err(PckError::Malformed(below(ARC, 5))),
        };
        let instance = fields.has(6).then(|| fields.octets(6)).transpose()?;
        let mut configuration = Configuration::default();
        if fields.has(7) {
            let said = fields.nested(7)?;
            let flag = |at| said.has(at).then(|| said.value(at)).transpose();
            configuration = Configuration { dynamic: flag(1)?, cached_keys: flag(2)?, smt: flag(3)? };
            said.end(3)?;
        }
        let (ppid, pce_id, fmspc) = (Ppid(fields.octets(1)?), fields.octets(3)?, fields.octets(4)?);
        fields.end(7)?;
        Ok(Self { ppid, tcb: tcb_of, pce_id, fmspc, sgx_type, instance, configuration, certificate })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Which processor.
    pub fn ppid(&self) -> Ppid {
        self.ppid
    }

    /// At which security versions the key was derived.
    pub fn tcb(&self) -> PlatformTcb {
        self.tcb
    }

    /// PCE-ID.
    pub fn pce_id(&self) -> [u8; 2] {
        self.pce_id
    }

    /// Family, model, stepping, platform type, customised SKU.
    pub fn fmspc(&self) -> [u8; 6] {
        self.fmspc
    }

    /// What kind of platform.
    pub fn sgx_type(&self) -> SgxType {
        self.sgx_type
    }

    /// Platform instance id, of platforms with several processors.
    pub fn instance(&self) -> Option<[u8; 16]> {
        self.instance
    }

    /// Settings of the platform.
    pub fn configuration(&self) -> Configuration {
        self.configuration
    }
}

/// SGX Type as encoded.
#[derive(Clone, Copy, der::Enumerated)]
#[repr(u8)]
enum Enumerated {
    Standard = 0,
    Scalable = 1,
    ScalableWithIntegrity = 2,
}

/// The fields below an arc, each at most once.
struct Fields<'a> {
    arc: ObjectIdentifier,
    /// With their numbers below it; none if they are not right below it.
    fields: Vec<(Option<u32>, Field<'a>)>,
}

impl<'a> Fields<'a> {
    fn read(arc: ObjectIdentifier, der: &'a [u8]) -> Result<Self, PckError> {
        let fields = Vec::<Field<'a>>::from_der(der).map_err(|_| PckError::Malformed(arc))?;
        Ok(Self::of(arc, fields))
    }

    fn of(arc: ObjectIdentifier, fields: Vec<Field<'a>>) -> Self {
        Self { arc, fields: fields.into_iter().map(|field| (number(arc, field.oid), field)).collect() }
    }

    fn any(&self, at: u32) -> Result<Option<AnyRef<'a>>, PckError> {
        let mut found = self.fields.iter().filter(|(number, _)| *number == Some(at));
        let first = found.next().map(|(_, field)| field.value);
        if found.next().is_some() { Err(PckError::Unexpected(below(self.arc, at))) } else { Ok(first) }
    }

    fn has(&self, at: u32) -> bool {
        self.fields.iter().any(|(number, _)| *number == Some(at))
    }

    fn must(&self, at: u32) -> Result<AnyRef<'a>, PckError> {
        self.any(at)?.ok_or_else(|| PckError::Missing(below(self.arc, at)))
    }

    /// One of ASN.1's plain types.
    fn value<T: for<'b> der::DecodeValue<'b, Error = der::Error> + der::FixedTag>(
        &self,
        at: u32,
    ) -> Result<T, PckError> {
        self.must(at)?.decode_as().map_err(|_| PckError::Malformed(below(self.arc, at)))
    }

    fn octets<const N: usize>(&self, at: u32) -> Result<[u8; N], PckError> {
        let octets = self.must(at)?.decode_as::<&OctetStringRef>().ok();
        octets
            .and_then(|octets| octets.as_bytes().try_into().ok())
            .ok_or_else(|| PckError::Malformed(below(self.arc, at)))
    }

    fn nested(&self, at: u32) -> Result<Self, PckError> {
        let oid = below(self.arc, at);
        let fields = self.must(at)?.decode_as::<Vec<Field<'a>>>().map_err(|_| PckError::Malformed(oid))?;
        Ok(Self::of(oid, fields))
    }

    /// There are none but 1 to `last`.
    fn end(&self, last: u32) -> Result<(), PckError> {
        let known = |number: &Option<u32>| number.is_some_and(|number| (1..=last).contains(&number));
        match self.fields.iter().find(|(number, _)| !known(number)) {
            Some((_, field)) => Err(PckError::Unexpected(field.oid)),
            None => Ok(()),
        }
    }
}

/// Which id right below an arc it is, of the first 128: their last part has one byte.
fn number(arc: ObjectIdentifier, oid: ObjectIdentifier) -> Option<u32> {
    match oid.as_bytes().strip_prefix(arc.as_bytes()) {
        Some([last @ 0..=0x7F]) => Some(u32::from(*last)),
        _ => None,
    }
}

/// An id below an arc; the arc itself if it cannot be built.
fn below(arc: ObjectIdentifier, at: u32) -> ObjectIdentifier {
    arc.push_arc(at).unwrap_or(arc)
}
