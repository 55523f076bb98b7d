//! VEK certificates: the VCEK of a processor or the VLEK of a provider (AMD 57230, section 3.1).
//!
//! Reads the extensions 1.3.6.1.4.1.3704.1.* strictly: every extension of the certificate's
//! structVersion exactly once, levels as minimal DER INTEGER, hwID as the raw 64 or 8 bytes AMD
//! really writes. An extension of AMD's arc that is not known is refused, not skipped. A VCEK has
//! a hwID, a VLEK a cspID; neither or both is no VEK.

use super::product::{ChipId, Product, ProductLine, is_provider};
use super::tcb::Tcb;
use crate::pki::{Certificate, PkiError, Scheme, is_on_curve};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use core::fmt;
use der::Decode;
use der::asn1::Ia5StringRef;
use thiserror::Error;

/// AMD's arc of VEK extensions.
const ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1");

/// Whose key a VEK is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Key of one processor.
    Vcek {
        /// hwID extension: which processor.
        hwid: ChipId,
    },
    /// Key of a provider, loaded into its processors.
    Vlek {
        /// cspID extension: which provider.
        provider: String,
    },
}

impl Kind {
    /// First part of the common name of the authority that issues this kind.
    pub fn authority_prefix(&self) -> &'static str {
        match self {
            Self::Vcek { .. } => "SEV-",
            Self::Vlek { .. } => "SEV-VLEK-",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek { .. } => f.write_str("VCEK"),
            Self::Vlek { .. } => f.write_str("VLEK"),
        }
    }
}

/// Why a certificate is no VEK.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VekError {
    /// Not even a certificate.
    #[error(transparent)]
    Certificate(#[from] PkiError),
    /// The key is not on P-384.
    #[error("the certified key is not an EC key on P-384")]
    Key,
    /// The VEK claims to be an authority.
    #[error("the certificate claims to be an authority")]
    Authority,
    /// An extension that must be there is not.
    #[error("extension {0} is missing")]
    Missing(ObjectIdentifier),
    /// An extension that this structVersion does not have, or that nobody knows.
    #[error("extension {0} does not belong here")]
    Unexpected(ObjectIdentifier),
    /// An extension's content is not what AMD writes.
    #[error("extension {0} is malformed")]
    Malformed(ObjectIdentifier),
    /// A product this verifier does not know.
    #[error("unknown product")]
    Product,
    /// structVersion is not that of the product named.
    #[error("structVersion {found}, but {line} has {expected}", expected = line.struct_version())]
    StructVersion {
        /// Line of the product named.
        line: ProductLine,
        /// structVersion found.
        found: u8,
    },
    /// A level that is reserved is not zero.
    #[error("reserved level {0} is not zero")]
    ReservedLevel(ObjectIdentifier),
    /// Both or neither of hwID and cspID.
    #[error("must have exactly one of hwID and cspID")]
    Kind,
}

/// A VEK certificate with its extensions read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vek {
    certificate: Certificate,
    kind: Kind,
    product: Product,
    tcb: Tcb,
}

impl Vek {
    /// Parses one DER certificate; says nothing about who signed it.
    pub fn parse(der: &[u8]) -> Result<Self, VekError> {
        Self::of(Certificate::parse(der, Scheme::RsaPssSha384)?)
    }

    /// Reads a certificate as a VEK's.
    pub(crate) fn of(certificate: Certificate) -> Result<Self, VekError> {
        if !is_on_curve(certificate.spki(), rfc5912::SECP_384_R_1) {
            return Err(VekError::Key);
        }
        let authority = certificate.authority()?;
        if authority.ca || authority.signs {
            return Err(VekError::Authority);
        }
        let mut fields = Fields::default();
        for (oid, _critical, value) in certificate.extensions() {
            fields.take(oid, value)?;
        }
        let (kind, product, tcb) = fields.finish()?;
        Ok(Self { certificate, kind, product, tcb })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whose key it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The product the certificate names.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// The levels the key was derived with.
    pub fn tcb(&self) -> Tcb {
        self.tcb
    }
}

/// Number of the level extensions 1.3.6.1.4.1.3704.1.3.n.
const LEVELS: usize = 10;

#[derive(Default)]
struct Fields {
    struct_version: Option<u8>,
    product: Option<Product>,
    levels: [Option<u8>; LEVELS],
    hwid: Option<Vec<u8>>,
    provider: Option<String>,
}

impl Fields {
    /// Files one extension; [`Certificate::parse`] already refused duplicates.
    fn take(&mut self, oid: ObjectIdentifier, value: &[u8]) -> Result<(), VekError> {
        let malformed = || VekError::Malformed(oid);
        // Every arc of AMD's own is one byte (X.690 section 8.19.2).
        match oid.as_bytes().strip_prefix(ARC.as_bytes()) {
            // Somebody else's extension; `authority` refused it if it was critical.
            None => {}
            Some([1]) => {
                self.struct_version = Some(u8::from_der(value).map_err(|_| malformed())?);
            }
            Some([2]) => {
                let name = Ia5StringRef::from_der(value).map_err(|_| malformed())?;
                self.product = Some(name.as_str().parse().map_err(|_| VekError::Product)?);
            }
            Some([3, level]) => {
                let slot = self.levels.get_mut(usize::from(*level)).ok_or(VekError::Unexpected(oid))?;
                *slot = Some(u8::from_der(value).map_err(|_| malformed())?);
            }
            // Raw bytes, no DER inside (a 64-byte id may well start like a DER string).
            Some([4]) => self.hwid = Some(value.to_vec()),
            Some([5]) => {
                let name = Ia5StringRef::from_der(value).map_err(|_| malformed())?;
                if !is_provider(name.as_str()) {
                    return Err(malformed());
                }
                self.provider = Some(name.as_str().to_owned());
            }
            Some(_) => return Err(VekError::Unexpected(oid)),
        }
        Ok(())
    }

    fn finish(self) -> Result<(Kind, Product, Tcb), VekError> {
        let Self { struct_version, product, levels, hwid, provider } = self;
        let struct_version = struct_version.ok_or(VekError::Missing(arc(&[1])))?;
        let product = product.ok_or(VekError::Missing(arc(&[2])))?;
        let line = product.line();
        if struct_version != line.struct_version() {
            return Err(VekError::StructVersion { line, found: struct_version });
        }
        let level = |at: u32| {
            let value = usize::try_from(at).ok().and_then(|at| levels.get(at).copied().flatten());
            value.ok_or(VekError::Missing(arc(&[3, at])))
        };
        let absent = |at: u32| match level(at) {
            Ok(_) => Err(VekError::Unexpected(arc(&[3, at]))),
            Err(_) => Ok(()),
        };
        let zero = |at: u32| match level(at)? {
            0 => Ok(()),
            _ => Err(VekError::ReservedLevel(arc(&[3, at]))),
        };
        // .1 boot loader, .2 TEE, .3 SNP, .4 to .7 reserved, .8 microcode, .9 FMC.
        absent(0)?;
        for reserved in 5..=7 {
            zero(reserved)?;
        }
        let fmc = match line {
            ProductLine::Milan | ProductLine::Genoa => {
                zero(4)?;
                absent(9)?;
                None
            }
            ProductLine::Turin => {
                absent(4)?;
                Some(level(9)?)
            }
        };
        let (bootloader, tee, snp, microcode) = (level(1)?, level(2)?, level(3)?, level(8)?);
        let kind = match (hwid, provider) {
            (Some(hwid), None) if hwid.len() == line.chip_id_len() => {
                let hwid = ChipId::new(&hwid).map_err(|_| VekError::Malformed(arc(&[4])))?;
                Kind::Vcek { hwid }
            }
            (Some(_), None) => return Err(VekError::Malformed(arc(&[4]))),
            (None, Some(provider)) => Kind::Vlek { provider },
            (None, None) | (Some(_), Some(_)) => return Err(VekError::Kind),
        };
        Ok((kind, product, Tcb { fmc, bootloader, tee, snp, microcode }))
    }
}

/// An extension id below AMD's arc, for messages; the arc itself if it cannot be built.
fn arc(below: &[u32]) -> ObjectIdentifier {
    below.iter().try_fold(ARC, |oid, part| oid.push_arc(*part)).unwrap_or(ARC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: ProductLine) -> Fields {
        let mut fields = Fields::default();
        let mut put = |below: &[u32], value: &[u8]| {
            fields.take(arc(below), value).expect("known extension");
        };
        put(&[1], &[2, 1, line.struct_version()]);
        let mut name = vec![0x16, 5];
        name.extend(line.name().as_bytes());
        put(&[2], &name);
        for level in 1..=9 {
            let here = match line {
                ProductLine::Turin => level != 4,
                ProductLine::Milan | ProductLine::Genoa => level != 9,
            };
            if here {
                put(&[3, level], &[2, 1, 0]);
            }
        }
        put(&[4], &vec![0x04; line.chip_id_len()]);
        fields
    }

    #[test]
    fn complete_sets_are_taken_for_each_line() {
        for line in ProductLine::ALL {
            let (kind, product, tcb) = fields(line).finish().expect("complete");
            assert!(matches!(kind, Kind::Vcek { .. }));
            assert_eq!(product.line(), line);
            assert_eq!(tcb.fmc.is_some(), line == ProductLine::Turin);
        }
    }

    #[test]
    fn one_missing_or_superfluous_level_is_refused() {
        for line in ProductLine::ALL {
            for level in 0..LEVELS {
                let mut broken = fields(line);
                broken.levels[level] = match broken.levels[level] {
                    Some(_) => None,
                    None => Some(0),
                };
                assert!(broken.finish().is_err(), "{line} level {level}");
            }
        }
    }

    #[test]
    fn levels_are_minimal_integers() {
        let mut good = fields(ProductLine::Milan);
        good.take(arc(&[3, 8]), &[2, 2, 0, 0xDB]).expect("two bytes for the sign");
        assert_eq!(good.finish().map(|(_, _, tcb)| tcb.microcode), Ok(0xDB));
        for value in [&[2, 1, 0xDB][..], &[2, 2, 0, 1], &[2, 2, 1, 0], &[2, 1], &[2, 1, 1, 0], &[4, 1, 1], &[]] {
            let oid = arc(&[3, 8]);
            let taken = fields(ProductLine::Milan).take(oid, value);
            assert_eq!(taken, Err(VekError::Malformed(oid)), "{value:?}");
        }
    }

    #[test]
    fn reserved_levels_are_zero() {
        for level in 4..=7 {
            let mut broken = fields(ProductLine::Milan);
            broken.levels[level] = Some(1);
            assert!(matches!(broken.finish(), Err(VekError::ReservedLevel(_))));
        }
    }

    #[test]
    fn exactly_one_identity() {
        let mut both = fields(ProductLine::Milan);
        both.provider = Some("CN=x".to_owned());
        assert_eq!(both.finish().err(), Some(VekError::Kind));
        let mut neither = fields(ProductLine::Milan);
        neither.hwid = None;
        assert_eq!(neither.finish().err(), Some(VekError::Kind));
        let mut vlek = fields(ProductLine::Milan);
        vlek.hwid = None;
        vlek.take(arc(&[5]), b"\x16\x04CN=x").expect("cspID");
        assert!(matches!(vlek.finish(), Ok((Kind::Vlek { .. }, _, _))));
    }

    /// It stands in verdicts, which people read.
    #[test]
    fn a_provider_is_text() {
        for name in [&b"\x16\x04CN\x1bx"[..], b"\x16\x01\n", b"\x16\x01\x7f", b"\x16\x00"] {
            let oid = arc(&[5]);
            assert_eq!(fields(ProductLine::Milan).take(oid, name), Err(VekError::Malformed(oid)), "{name:?}");
        }
        assert_eq!(fields(ProductLine::Milan).take(arc(&[5]), b"\x16\x04CN=x"), Ok(()));
    }

    #[test]
    fn hwid_has_the_length_of_its_line() {
        for (line, len) in
            [(ProductLine::Milan, 8), (ProductLine::Milan, 66), (ProductLine::Turin, 64), (ProductLine::Turin, 10)]
        {
            let mut broken = fields(line);
            broken.hwid = Some(vec![1; len]);
            assert_eq!(broken.finish().err(), Some(VekError::Malformed(arc(&[4]))));
        }
    }

    #[test]
    fn unknown_extensions_of_the_arc_are_refused() {
        for below in [&[6][..], &[3], &[3, 10], &[3, 1, 1], &[0]] {
            let oid = arc(below);
            let taken = Fields::default().take(oid, &[2, 1, 0]);
            assert_eq!(taken, Err(VekError::Unexpected(oid)));
        }
        assert_eq!(Fields::default().take(ObjectIdentifier::new_unwrap("1.2.3"), &[]), Ok(()));
    }
}
