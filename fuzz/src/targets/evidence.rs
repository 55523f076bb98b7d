//! What the targets of the verifier have in common: inputs of several parts, the committed vectors as seeds, signatures
//! that need no key, and what must hold of every verdict.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::{Expected, Outcome, Provider, Rule, SignatureAlgorithm, Skip, Verdict};
use serde_json::Value;

use crate::number;

/// The parts of an input: before each, its length. What is missing is empty.
pub(crate) fn parts<const N: usize>(mut input: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|_| {
        let (length, rest) = input.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        part
    })
}

/// An input of these parts.
pub(crate) fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let length = |part: &[u8]| u32::try_from(part.len()).expect("seeds are short").to_le_bytes();
    parts.iter().flat_map(|part| [&length(part)[..], part].concat()).collect()
}

/// A part that need not be there.
pub(crate) fn some(part: &[u8]) -> Option<&[u8]> {
    (!part.is_empty()).then_some(part)
}

/// What a relying party says, the first part of an input: the instant, what it expects, which signatures are wrong.
pub(crate) struct Asked {
    pub(crate) now: u64,
    pub(crate) expected: Expected,
    pub(crate) says: Says,
}

impl Asked {
    pub(crate) fn read(part: &[u8]) -> Self {
        let mut bytes = [0; 105];
        bytes.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        let (now, rest) = bytes.split_first_chunk().expect("8 bytes");
        let (report_data, rest) = rest.split_first_chunk().expect("64 bytes");
        let (launch_field, rest) = rest.split_first_chunk().expect("32 bytes");
        let expected = Expected { report_data: *report_data, launch_field: *launch_field };
        Self { now: u64::from_le_bytes(*now), expected, says: Says(rest[0]) }
    }

    /// What a vector says.
    pub(crate) fn of(vector: &Value, launch_field: &str) -> Vec<u8> {
        let now = vector["now"].as_u64().expect("an instant").to_le_bytes();
        [&now[..], &hexadecimal(&vector["expected_report_data"]), &hexadecimal(&vector[launch_field]), &[0]].concat()
    }
}

/// Signatures without keys: all are right, or all but those of which it has a bit.
#[derive(Clone, Copy)]
pub(crate) struct Says(u8);

impl Says {
    /// All are right.
    pub(crate) const YES: Self = Self(0);

    /// By the bits of a byte.
    pub(crate) fn of(bits: u8) -> Self {
        Self(bits)
    }
}

impl Provider for Says {
    fn verify(&self, _: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.0 == 0 || self.0 >> (number(&(spki, message, signature)) % 8) & 1 == 0
    }
}

/// Says what it is told to say, and remembers whether that was yes.
pub(crate) struct Witnessed {
    says: Says,
    planted: bool,
    yes: Cell<bool>,
}

impl Witnessed {
    /// By the bits of a byte. Planted: no signature is right, and nobody looks.
    pub(crate) fn of(bits: u8, planted: bool) -> Self {
        Self { says: Says::of(if planted { 0xff } else { bits }), planted, yes: Cell::new(false) }
    }

    /// Whether the last signature was right.
    pub(crate) fn yes(&self) -> bool {
        self.yes.get()
    }
}

impl Provider for Witnessed {
    fn verify(&self, algorithm: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.yes.set(self.says.verify(algorithm, spki, message, signature));
        self.planted || self.yes.get()
    }
}

/// The most text of one check that is the sender's, or says what was wrong with it: what lists are cut to, four bytes a
/// character, and what stands around it.
const SAID: usize = 4096;

/// What holds of every verdict, and what it was. `policy` is as long as what the operator wrote, which may be repeated.
pub(crate) fn appraised<T: PartialEq>(
    judge: impl Fn() -> Result<(T, Verdict), Verdict>,
    again: bool,
    rules: &[Rule],
    policy: usize,
) -> (Option<T>, Verdict, Vec<u64>) {
    let judged = judge();
    // Not of every input: it is half of the time.
    assert!(!again || judge() == judged, "the same again is judged otherwise");
    let (claims, verdict) = match judged {
        Ok((claims, verdict)) => (Some(claims), verdict),
        Err(verdict) => (None, verdict),
    };
    assert_eq!(claims.is_some(), verdict.passed());
    whole(&verdict, rules, policy);
    let skipped = |outcome| matches!(outcome, Outcome::Skipped(Skip::NotReached));
    assert!(claims.is_none() || !verdict.checks.iter().any(|check| skipped(check.outcome)));
    let outcomes: Vec<_> =
        verdict.checks.iter().map(|check| (check.id, number(&format!("{:?}", check.outcome)))).collect();
    let mut happened: Vec<_> = outcomes.iter().map(number).collect();
    // Which ones fail together.
    happened.push(number(&verdict.failures().map(|check| check.id).collect::<Vec<_>>()));
    (claims, verdict, happened)
}

/// Every rule once and in order, a remedy for whoever is refused, and no more text than there must be.
pub(crate) fn whole(verdict: &Verdict, rules: &[Rule], policy: usize) {
    assert!(verdict.checks.iter().map(|check| check.id).eq(rules.iter().map(|rule| rule.id)), "not every rule once");
    if !verdict.passed() {
        let primary = verdict.primary().expect("a refusal has a cause");
        assert!(rules.iter().any(|rule| rule.id == primary.id) && !primary.remedy.is_empty(), "{primary:?}");
    }
    for check in &verdict.checks {
        let most = SAID + 8 * policy;
        assert!(check.found.len() <= most && check.expected.len() <= most, "{} says too much", check.id);
        assert!(!check.found.chars().any(char::is_control), "{} says what is no text: {:?}", check.id, check.found);
    }
}

/// Whether bytes are one DER SEQUENCE and nothing else (X.690, sections 8.1.3 and 10.1).
pub(crate) fn is_one_sequence(bytes: &[u8]) -> bool {
    first(bytes).is_some_and(|first| first.len() == bytes.len())
}

/// The SEQUENCE that bytes begin with.
pub(crate) fn first(bytes: &[u8]) -> Option<&[u8]> {
    let (head, length) = match bytes {
        [0x30, length @ 0..=0x7f, ..] => (2, usize::from(*length)),
        [0x30, 0x81, length @ 0x80..=0xff, ..] => (3, usize::from(*length)),
        [0x30, 0x82, high @ 1..=0xff, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [0x30, 0x83, high @ 1..=0xff, middle, low, ..] => {
            (5, usize::try_from(u32::from_be_bytes([0, *high, *middle, *low])).ok()?)
        }
        _ => return None,
    };
    bytes.get(..head + length)
}

/// DER from a reader that is planted where it must be: it does not look at what follows the first element.
pub(crate) fn sloppy(bytes: &[u8], planted: bool) -> &[u8] {
    if planted { first(bytes).unwrap_or(bytes) } else { bytes }
}

/// An element of universal class.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("seeds are short").to_be_bytes();
    let head = match content.len() {
        0..0x80 => vec![tag, length[3]],
        0x80..0x100 => vec![tag, 0x81, length[3]],
        0x100..0x1_0000 => vec![tag, 0x82, length[2], length[3]],
        _ => vec![tag, 0x83, length[1], length[2], length[3]],
    };
    [&head, content].concat()
}

/// The vectors of a folder of `spec/vectors`, by name.
pub(crate) fn vectors(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors").join(folder);
    let entries = fs::read_dir(&folder).expect("vectors are committed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &_| serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
    paths.iter().map(read).collect()
}

pub(crate) fn text(value: &Value) -> &[u8] {
    value.as_str().unwrap_or_default().as_bytes()
}

pub(crate) fn hexadecimal(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hexadecimal")
}

pub(crate) fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).expect("base64")
}

/// Names of platforms, a line each.
pub(crate) fn lines(value: &Value) -> Vec<u8> {
    let names: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    names.join("\n").into_bytes()
}

/// Each once.
pub(crate) fn distinct(mut seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.sort();
    seeds.dedup();
    seeds
}
