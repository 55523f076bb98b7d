//! Hostile input, made up by the million, for everything that reads what the other side of a border wrote.
//!
//! Owns the targets and the driver ([`drive`]), which needs nothing but stable Rust: it changes valid inputs at random
//! ([`mutate`]), keeps those after which a target behaved as never before, and can do all of it again from one number.
//!
//! A target says what must hold of every input, by panicking where it does not. Each has a *planted* defect too: the same
//! checks around a reader that is wrong in one way. The driver must find it; else the checks see nothing. In long runs an
//! input is a finding too if it takes too much time or memory ([`cost`]).
//!
//! Invariant: a target is a function of its input. The same seed and number of executions do the same on every machine.

#![forbid(unsafe_code)]
// The files of others that it takes in have tests of their own, which run where they belong.
#![cfg(not(test))]

pub mod cost;
pub mod drive;
mod machine;
pub mod mutate;
mod targets;

/// What [`machine`] knows of keep's measurement.
mod measure {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum PageKind {
        Normal,
        Processor,
        Secrets,
        Features,
    }
}

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Something that reads hostile bytes.
pub struct Target {
    /// By which it is called on the command line.
    pub name: &'static str,
    /// What reads, for people.
    pub reads: &'static str,
    /// How many executions make a short run: enough to find what is planted, in a second or two without optimisation.
    pub short: u64,
    /// Inputs to begin with, of every kind there is.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Gives one input to it, or to its planted defect, checks what comes of it, and says what that was: a number for each
    /// thing that happened.
    pub run: fn(&[u8], Defect) -> Vec<u64>,
}

/// Whether the reader is the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// It is.
    None,
    /// It is wrong in one way, which is to be found.
    Planted,
}

/// All of them.
pub const TARGETS: [Target; 37] = [
    targets::message::REQUEST,
    targets::message::REPLY,
    targets::ring::RING,
    targets::plan::PLAN,
    targets::elf::ELF,
    targets::brief::BRIEF,
    targets::firmware::FIRMWARE,
    targets::channel::CHANNEL,
    targets::pki::CERTIFICATE,
    targets::pki::CRL,
    targets::snp::REPORT,
    targets::snp::VEK,
    targets::snp::SNP,
    targets::snp::SNP_SIGNED,
    targets::dcap::QUOTE,
    targets::dcap::PCK,
    targets::dcap::CHAIN,
    targets::dcap::TCB_INFO,
    targets::dcap::QE_IDENTITY,
    targets::quote::SGX,
    targets::quote::SGX_SIGNED,
    targets::quote::TDX,
    targets::quote::TDX_SIGNED,
    targets::azure::AZURE,
    targets::azure::AZURE_SIGNED,
    targets::policy::POLICY,
    targets::file::FILE,
    targets::piece::PIECE,
    targets::enarx::ENARX,
    targets::ear::EAR,
    targets::ear::EAR_SIGNED,
    targets::request::REQUEST,
    targets::steward::STEWARD,
    targets::http::HTTP,
    targets::release::RELEASE,
    targets::publisher::PUBLISHER,
    targets::drawbridge::DRAWBRIDGE,
];

/// A number for how something looks without its digits: what a result is, rather than of what.
fn shape(value: &dyn Debug) -> u64 {
    struct Shape(DefaultHasher);
    impl Write for Shape {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().filter(|c| !c.is_ascii_digit()).for_each(|c| c.hash(&mut self.0));
            Ok(())
        }
    }
    let mut shape = Shape(DefaultHasher::new());
    // Nothing here fails to write.
    _ = write!(shape, "{value:?}");
    shape.0.finish()
}

/// A number for this and nothing else.
fn number(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How long something is, roughly.
fn magnitude(length: usize) -> u32 {
    length.checked_ilog2().map_or(0, |log| log + 1)
}
