//! A measurement as a file: what `donjon measure --json` prints and `--diff` reads.
//!
//! Refuses, when reading, anything that is not exactly one, of this form and for the same hardware: a comparison with
//! half of a measurement would call what is missing the same.

use std::io::Read as _;
use std::path::Path;

use keep::measure::Measurement;
use serde::{Deserialize, Serialize};

use crate::command::platform::hex;
use crate::failure::Failure;

/// The number of this form.
const FORM: u32 = 1;
/// The largest file that is read: some 140 bytes for each of the pages of a Keep, which has thousands.
const LARGEST: u64 = 64 << 20;

/// A measurement. Hashes and addresses are hexadecimal text, the latter with `0x`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    form: u32,
    pub(super) backend: String,
    pub(super) measurement: String,
    pub(super) parts: Vec<Part>,
    /// The save area of the processor that boots.
    processor: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) id_block: Option<IdBlock>,
    /// For a Steward: the section that accepts this measurement.
    pub(super) policy: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) kind: String,
    /// Guest-physical address.
    pub(super) at: String,
    /// Over all of its pages; `null` where content is not measured.
    pub(super) sha384: Option<String>,
    pub(super) segments: Vec<Segment>,
    /// SHA-384 of each page.
    pub(super) pages: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    /// First page, counted from the part's.
    pub(super) first: u64,
    pub(super) pages: u64,
    /// Such as `r-x`.
    pub(super) protection: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdBlock {
    pub(super) block: String,
    authentication: String,
    id_key_digest: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    author_key_digest: Option<String>,
}

/// An ID block that was made, with the digests of its keys.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) block: Vec<u8>,
    pub(super) authentication: Vec<u8>,
    pub(super) id_key_digest: Vec<u8>,
    pub(super) author_key_digest: Option<Vec<u8>>,
}

impl Record {
    pub(super) fn new(backend: &str, measurement: &Measurement, vouched: Option<Vouched>) -> Self {
        let part = |part: &keep::measure::Part| Part {
            name: part.name.to_owned(),
            kind: part.kind.name().to_owned(),
            at: format!("{:#x}", part.at),
            sha384: part.digest.map(|digest| hex(&digest)),
            segments: part.segments.iter().map(Segment::new).collect(),
            pages: part.pages.iter().map(|page| hex(page)).collect(),
        };
        let id_block = vouched.map(|Vouched { block, authentication, id_key_digest, author_key_digest }| IdBlock {
            block: hex(&block),
            authentication: hex(&authentication),
            id_key_digest: hex(&id_key_digest),
            author_key_digest: author_key_digest.map(|digest| hex(&digest)),
        });
        let digest = hex(&measurement.digest);
        Self {
            form: FORM,
            backend: backend.to_owned(),
            policy: policy(&digest, id_block.as_ref()),
            measurement: digest,
            parts: measurement.parts.iter().map(part).collect(),
            processor: hex(&measurement.processor),
            id_block,
        }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(|error| Failure::caused("cannot write JSON", &error))
    }

    /// A measurement for `backend` that was printed before.
    pub(super) fn read(file: &Path, backend: &str) -> Result<Self, Failure> {
        const HINT: &str = "name a file with what `donjon measure --json` printed";
        let shown = file.display();
        let mut text = String::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        read.map_err(|error| Failure::caused(format_args!("cannot read the measurement {shown}"), &error).hint(HINT))?;
        if text.len() as u64 > LARGEST {
            return Err(Failure::new(format_args!("{shown} has more than {LARGEST} bytes")).hint(HINT));
        }
        let record: Self = serde_json::from_str(&text)
            .map_err(|error| Failure::caused(format_args!("{shown} is not a measurement"), &error).hint(HINT))?;
        if record.form != FORM {
            return Err(Failure::new(format_args!(
                "{shown} is a measurement of form {}, expected {FORM}",
                record.form
            ))
            .hint("measure the other build with this version's `donjon measure --json` again"));
        }
        if record.backend != backend {
            return Err(Failure::new(format_args!(
                "{shown} is for the backend {:?}, expected {backend}",
                record.backend
            ))
            .hint("--backend names for what hardware to measure"));
        }
        Ok(record)
    }
}

impl Segment {
    fn new(segment: &keep::measure::Segment) -> Self {
        let letter = |bit, letter| if segment.protection & bit != 0 { letter } else { '-' };
        let protection = [letter(1, 'r'), letter(2, 'w'), letter(4, 'x')].into_iter().collect();
        Self { first: segment.first, pages: segment.pages, protection }
    }
}

/// The section of a Steward's policy that accepts this and nothing else.
fn policy(digest: &str, id_block: Option<&IdBlock>) -> String {
    let mut out = format!("[snp]\nhash = [\"{digest}\"]\n");
    if let Some(IdBlock { id_key_digest, author_key_digest, .. }) = id_block {
        out += &format!("id_key_digest = [\"{id_key_digest}\"]\n");
        if let Some(author) = author_key_digest {
            out += &format!("signer = [\"{author}\"]\n");
        }
    }
    out
}
