//! What a shim reads of a brief: who owns it and what it runs, without an allocation.
//!
//! Refuses what no brief begins with. Does not check the rest: exec does ([`super::Brief::decode`]), over the same bytes.

use minicbor::Decoder;
use minicbor::data::Type;

use super::BRIEF_LIMIT;

/// The fields of a brief that choose its sealing keys (trust rule 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance<'b> {
    /// SHA-256 of the owner key's SPKI; `None` if nobody speaks for the workload.
    pub owner: Option<&'b [u8; 32]>,
    /// The deployment's name.
    pub deployment: &'b str,
    /// The role's name.
    pub role: &'b str,
    /// Digest of the workload.
    pub workload: &'b [u8; 32],
}

impl<'b> Glance<'b> {
    /// Reads a brief; `None` if it is none.
    #[must_use]
    pub fn new(brief: &'b [u8]) -> Option<Self> {
        if brief.len() > BRIEF_LIMIT {
            return None;
        }
        let mut cbor = Decoder::new(brief);
        let (mut owner, mut deployment, mut role, mut workload) = (None, None, None, None);
        let mut above = None;
        for _ in 0..cbor.map().ok()?? {
            // In ascending order, so that no key is there twice.
            let key = cbor.u64().ok().filter(|key| above.is_none_or(|above| *key > above))?;
            above = Some(key);
            match key {
                4 => owner = Some(cbor.bytes().ok()?.try_into().ok()?),
                5 => deployment = Some(cbor.str().ok()?),
                6 => role = Some(cbor.str().ok()?),
                7 => workload = Some(cbor.bytes().ok()?.try_into().ok()?),
                _ => skip(&mut cbor, 3)?,
            }
        }
        Some(Self { owner, deployment: deployment?, role: role?, workload: workload? })
    }
}

/// Passes over an item with at most so many levels.
fn skip(cbor: &mut Decoder<'_>, levels: u8) -> Option<()> {
    let items = match cbor.datatype().ok()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => return cbor.u64().ok().map(drop),
        Type::Bytes => return cbor.bytes().ok().map(drop),
        Type::String => return cbor.str().ok().map(drop),
        Type::Array => cbor.array().ok()??,
        Type::Map => cbor.map().ok()??.checked_mul(2)?,
        _ => return None,
    };
    let levels = levels.checked_sub(1)?;
    (0..items).try_for_each(|_| skip(cbor, levels))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{full, small};
    use super::*;

    #[test]
    fn a_glance_sees_what_the_whole_brief_says() {
        for brief in [small(), full()] {
            let bytes = brief.encode();
            let glance = Glance::new(&bytes).unwrap();
            assert_eq!(glance.owner, brief.owner.as_ref().map(|owner| owner.as_bytes()));
            assert_eq!((glance.deployment, glance.role), (brief.deployment.as_str(), brief.role.as_str()));
            assert_eq!(glance.workload, brief.workload.as_bytes());
            // It needs all of a brief but may not need its last bytes' meaning.
            for end in 0..bytes.len() {
                assert_eq!(Glance::new(&bytes[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn no_field_is_there_twice() {
        let twice = b"\xa5\x05\x61a\x06\x61b\x06\x61c\x07\x58\x2000000000000000000000000000000000\x08\x80";
        assert_eq!(Glance::new(twice), None);
        let once = b"\xa4\x05\x61a\x06\x61b\x07\x58\x2000000000000000000000000000000000\x08\x80";
        assert_eq!(Glance::new(once).unwrap().role, "b", "control");
    }

    #[test]
    fn a_deep_or_endless_item_is_no_part_of_a_brief() {
        for item in [&[0x81; 70][..], b"\xbf\xff", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xf6"] {
            let bytes = [b"\xa1\x03", item].concat();
            assert_eq!(Glance::new(&bytes), None, "{item:02x?}");
        }
    }
}
