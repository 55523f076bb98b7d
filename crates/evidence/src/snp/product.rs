//! Product lines of AMD EPYC processors with SEV-SNP, and the identity of one processor.
//!
//! A product is read from the VEK certificate (extension productName, AMD 57230 section 3.1) and
//! never guessed from a report; the CPUID of newer reports only confirms it.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A product line: one ARK, one TCB layout, one kind of hwID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductLine {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004 (Genoa, Bergamo, Siena).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl ProductLine {
    /// All lines, oldest first.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// AMD's name of the line, as in `ARK-Milan`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// structVersion of VEK certificates of this line (AMD 57230, extension 1).
    pub fn struct_version(self) -> u8 {
        match self {
            Self::Milan | Self::Genoa => 0,
            Self::Turin => 1,
        }
    }

    /// Bytes of the hwID extension and of the meaningful part of CHIP_ID.
    pub fn chip_id_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }

    /// The line of a processor by CPUID family and model (combined values, AMD 56860,
    /// ATTESTATION_REPORT version 3).
    pub fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The line an authority's common name ends in: one word of it must be exactly `prefix` and
    /// the line's name (`ARK-Milan`, `SEV-Genoa`, `SEV-VLEK-Turin`). Other words are free, so that
    /// a simulated authority can say what it is.
    pub fn from_authority(common_name: &str, prefix: &str) -> Option<Self> {
        let mut lines = common_name.split(' ').filter_map(|word| {
            let name = word.strip_prefix(prefix)?;
            Self::ALL.into_iter().find(|line| line.name() == name)
        });
        let line = lines.next()?;
        lines.next().is_none().then_some(line)
    }
}

impl fmt::Display for ProductLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A product as its VEK certificate names it: the line, with a stepping on older VCEKs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    line: ProductLine,
    name: String,
}

impl Product {
    /// Product line.
    pub fn line(&self) -> ProductLine {
        self.line
    }

    /// The certificate's text, such as `Milan-B0` or `Genoa`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A product name this verifier does not know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown product {0:?}")]
pub struct UnknownProduct(pub String);

impl FromStr for Product {
    type Err = UnknownProduct;

    /// `<Line>` or `<Line>-<stepping>`, the stepping one letter and one digit.
    fn from_str(name: &str) -> Result<Self, UnknownProduct> {
        let (line, stepping) = match name.split_once('-') {
            Some((line, stepping)) => (line, Some(stepping.as_bytes())),
            None => (name, None),
        };
        let line = ProductLine::ALL.into_iter().find(|known| known.name() == line);
        match (line, stepping) {
            (Some(line), None) => Ok(Self { line, name: name.to_owned() }),
            (Some(line), Some([letter, digit])) if letter.is_ascii_uppercase() && digit.is_ascii_digit() => {
                Ok(Self { line, name: name.to_owned() })
            }
            _ => Err(UnknownProduct(name.chars().take(32).collect())),
        }
    }
}

/// Identity of one processor: the hwID of its VCEK, 64 bytes (Milan, Genoa) or 8 (Turin).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId(Vec<u8>);

impl ChipId {
    /// Exactly 64 or 8 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, ChipIdError> {
        match bytes.len() {
            8 | 64 => Ok(Self(bytes.to_vec())),
            found => Err(ChipIdError::Length { found }),
        }
    }

    /// The identity as 8 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The identity as CHIP_ID carries it: padded with zero bytes to 64.
    pub fn padded(&self) -> [u8; 64] {
        let mut padded = [0; 64];
        for (to, from) in padded.iter_mut().zip(&self.0) {
            *to = *from;
        }
        padded
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChipId({self})")
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hexadecimal::encode(&self.0))
    }
}

/// Text or bytes that are no chip id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChipIdError {
    /// Neither 8 nor 64 bytes.
    #[error("a chip id has 8 or 64 bytes, not {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Neither 16 nor 128 digits.
    #[error("a chip id is written with 16 or 128 hex digits, not {found}")]
    Digits {
        /// Digits found.
        found: usize,
    },
    /// Not hexadecimal.
    #[error("a chip id is written in hexadecimal")]
    NotHex,
    /// All bytes zero: what a masked report shows, the name of no processor.
    #[error("a chip id of zeros names no processor")]
    Zero,
    /// A name no VLEK certificate could have.
    #[error("a provider has 1 to {MAX_PROVIDER} ASCII characters after `csp:`, none of them a control character")]
    Provider,
}

impl FromStr for ChipId {
    type Err = ChipIdError;

    /// 64 bytes are taken as Turin's eight if all others are zero: so CHIP_ID has them.
    fn from_str(text: &str) -> Result<Self, ChipIdError> {
        // The length is known to be small before anything is decoded.
        if text.len() != 16 && text.len() != 128 {
            return Err(ChipIdError::Digits { found: text.chars().count() });
        }
        let bytes = hex::decode(text).map_err(|_| ChipIdError::NotHex)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(ChipIdError::Zero);
        }
        let (id, padding) = bytes.split_at(8);
        Self::new(if padding.iter().all(|byte| *byte == 0) { id } else { &bytes })
    }
}

/// Longest cspID taken.
const MAX_PROVIDER: usize = 256;

/// Whether a cspID is one that is taken: it stands in verdicts, which people read.
pub(super) fn is_provider(name: &str) -> bool {
    (1..=MAX_PROVIDER).contains(&name.len()) && name.chars().all(|c| c.is_ascii() && !c.is_control())
}

/// One platform an operator vouches for: a processor, or the provider a VLEK names.
///
/// Text: hex digits of a chip id, or `csp:` and the provider's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// A processor by its chip id.
    Chip(ChipId),
    /// A cloud service provider by the cspID of its VLEK certificates (AMD 57230, extension 5).
    Provider(String),
}

impl FromStr for Platform {
    type Err = ChipIdError;

    fn from_str(text: &str) -> Result<Self, ChipIdError> {
        match text.strip_prefix("csp:") {
            Some(provider) if is_provider(provider) => Ok(Self::Provider(provider.to_owned())),
            Some(_) => Err(ChipIdError::Provider),
            None => text.parse().map(Self::Chip),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chip(chip) => chip.fmt(f),
            Self::Provider(provider) => write!(f, "csp:{provider}"),
        }
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The platforms a policy accepts. There is no default: keys taken out of one broken machine
/// would otherwise speak for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// Any genuine platform; the operator wrote `any_platform = true`.
    Any,
    /// Only these.
    Only(Vec<Platform>),
}

impl Platforms {
    /// Whether this platform is accepted.
    pub fn accept(&self, platform: &Platform) -> bool {
        match self {
            Self::Any => true,
            Self::Only(list) => list.contains(platform),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_names_are_exact() {
        for (name, line) in [
            ("Milan-B0", ProductLine::Milan),
            ("Milan", ProductLine::Milan),
            ("Genoa", ProductLine::Genoa),
            ("Turin", ProductLine::Turin),
        ] {
            assert_eq!(name.parse::<Product>().map(|product| product.line()), Ok(line));
        }
        for name in ["", "milan", "Milano", "Milan-", "Milan-B", "Milan-B01", "Milan-b0", "Turin "] {
            assert!(name.parse::<Product>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn authority_names_hold_one_whole_word() {
        let from = ProductLine::from_authority;
        assert_eq!(from("ARK-Milan", "ARK-"), Some(ProductLine::Milan));
        assert_eq!(from("SIMULATED-PUBLIC ARK-Turin", "ARK-"), Some(ProductLine::Turin));
        assert_eq!(from("SEV-VLEK-Milan", "SEV-VLEK-"), Some(ProductLine::Milan));
        assert_eq!(from("SEV-VLEK-Milan", "SEV-"), None);
        assert_eq!(from("ARK-Milan ARK-Turin", "ARK-"), None);
        assert_eq!(from("ARK-Milan2", "ARK-"), None);
    }

    #[test]
    fn cpuid_of_zen4c_is_genoa() {
        assert_eq!(ProductLine::from_cpuid(0x19, 0x01), Some(ProductLine::Milan));
        assert_eq!(ProductLine::from_cpuid(0x19, 0xA0), Some(ProductLine::Genoa));
        assert_eq!(ProductLine::from_cpuid(0x1A, 0x02), Some(ProductLine::Turin));
        assert_eq!(ProductLine::from_cpuid(0x19, 0x20), None);
        assert_eq!(ProductLine::from_cpuid(0, 0), None);
    }

    #[test]
    fn platforms_read_and_print() {
        let chip = "00".repeat(7) + "01";
        let platform: Platform = chip.parse().expect("chip");
        assert_eq!(platform.to_string(), chip);
        assert_eq!("csp:CN=x".parse::<Platform>(), Ok(Platform::Provider("CN=x".to_owned())));
        assert_eq!("00".repeat(8).parse::<Platform>(), Err(ChipIdError::Zero));
        assert_eq!("0".parse::<Platform>(), Err(ChipIdError::Digits { found: 1 }));
        let digits = "0".repeat(127);
        let error = digits.parse::<Platform>().expect_err("one digit short");
        assert_eq!(error.to_string(), "a chip id is written with 16 or 128 hex digits, not 127");
        assert_eq!("zz".repeat(8).parse::<Platform>(), Err(ChipIdError::NotHex));
        assert!(Platforms::Any.accept(&platform));
        assert!(Platforms::Only(vec![platform.clone()]).accept(&platform));
        assert!(!Platforms::Only(vec![]).accept(&platform));
    }

    #[test]
    fn a_chip_id_is_the_same_with_chip_ids_padding_and_without() {
        let short: ChipId = "1e550a8ee5cf9f4d".parse().expect("Turin's");
        let padded: ChipId = hex::encode(short.padded()).parse().expect("as a report has it");
        assert_eq!(padded, short);
        let mut longer = short.padded();
        longer[63] = 1;
        let longer: ChipId = hex::encode(longer).parse().expect("64 bytes");
        assert_eq!(longer.as_bytes().len(), 64);
    }

    #[test]
    fn a_provider_that_no_vlek_could_name_is_refused() {
        let longest = "x".repeat(MAX_PROVIDER);
        assert!(format!("csp:{longest}").parse::<Platform>().is_ok(), "control");
        for name in ["", "Größe", "a\nb", "\u{7f}", &format!("{longest}x")] {
            assert_eq!(format!("csp:{name}").parse::<Platform>(), Err(ChipIdError::Provider), "{name:?}");
        }
    }
}
