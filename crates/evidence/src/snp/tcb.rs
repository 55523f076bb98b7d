//! TCB_VERSION: the security patch levels of a platform's firmware parts.
//!
//! AMD 56860, structure TCB_VERSION: one layout for Milan and Genoa, another for Turin, whose byte 0 is
//! the FMC. Which one applies is decided by the product line of the VEK certificate, so decoding
//! asks for it. Levels are compared part by part; they have no total order.

use super::product::ProductLine;
use core::fmt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Security patch levels (SPL) of one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// Firmware measurement component; Turin only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// ASP boot loader.
    pub bootloader: u8,
    /// ASP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode of all cores.
    pub microcode: u8,
}

/// A TCB_VERSION with something in its reserved bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("reserved bytes of the {line} layout are not zero in {raw:02x?}")]
pub struct TcbError {
    /// Layout that was applied.
    pub line: ProductLine,
    /// The eight bytes as received.
    pub raw: [u8; 8],
}

impl Tcb {
    /// Decodes the eight bytes, byte 0 first, in the layout of `line`.
    pub fn decode(line: ProductLine, raw: [u8; 8]) -> Result<Self, TcbError> {
        match (line, raw) {
            (ProductLine::Milan | ProductLine::Genoa, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Ok(Self { fmc: None, bootloader, tee, snp, microcode })
            }
            (ProductLine::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => {
                Ok(Self { fmc: Some(fmc), bootloader, tee, snp, microcode })
            }
            _ => Err(TcbError { line, raw }),
        }
    }

    /// The eight bytes of the layout that [`Tcb::decode`] reads.
    pub fn encode(self) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        match fmc {
            None => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
            Some(fmc) => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
        }
    }

    /// True if no part of `self` is above the same part of `other`. False for two layouts.
    pub fn at_most(self, other: Self) -> bool {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        let same_layout_and_fmc = match (fmc, other.fmc) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => mine <= theirs,
            _ => false,
        };
        same_layout_and_fmc
            && bootloader <= other.bootloader
            && tee <= other.tee
            && snp <= other.snp
            && microcode <= other.microcode
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        if let Some(fmc) = fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        write!(f, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}

/// A firmware version as reports carry it: build, minor, major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirmwareVersion {
    /// Major API version.
    pub major: u8,
    /// Minor API version.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// As a policy writes it: `1.55.30`.
impl<'de> Deserialize<'de> for FirmwareVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut parts = text.split('.').map(|part| part.parse().ok());
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(major), Some(minor), Some(build), None) => Ok(Self { major, minor, build }),
            _ => Err(serde::de::Error::custom(format_args!("`{text}` is no firmware version such as 1.55.30"))),
        }
    }
}

impl Serialize for FirmwareVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { major, minor, build } = self;
        serializer.collect_str(&format_args!("{major}.{minor}.{build}"))
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} build {}", self.major, self.minor, self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_round_trip() {
        for line in ProductLine::ALL {
            let raw = match line {
                ProductLine::Milan | ProductLine::Genoa => [1, 2, 0, 0, 0, 0, 3, 4],
                ProductLine::Turin => [9, 1, 2, 3, 0, 0, 0, 4],
            };
            let tcb = Tcb::decode(line, raw).expect("decodes");
            assert_eq!((tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode), (1, 2, 3, 4));
            assert_eq!(tcb.fmc, (line == ProductLine::Turin).then_some(9));
            assert_eq!(tcb.encode(), raw);
        }
    }

    #[test]
    fn reserved_bytes_are_refused_in_each_layout() {
        for line in ProductLine::ALL {
            let reserved = if line == ProductLine::Turin { 4..7 } else { 2..6 };
            for at in 0..8 {
                let mut raw = [0; 8];
                raw[at] = 1;
                assert_eq!(Tcb::decode(line, raw).is_err(), reserved.contains(&at), "{line} {at}");
            }
        }
    }

    #[test]
    fn order_is_part_by_part() {
        let low = Tcb { fmc: None, bootloader: 1, tee: 1, snp: 1, microcode: 1 };
        assert!(low.at_most(low));
        assert!(low.at_most(Tcb { microcode: 2, ..low }));
        assert!(!low.at_most(Tcb { microcode: 9, snp: 0, ..low }));
        assert!(!low.at_most(Tcb { fmc: Some(9), ..low }));
        assert!(!Tcb { fmc: Some(2), ..low }.at_most(Tcb { fmc: Some(1), ..low }));
    }
}
