//! Name constraints of authorities (RFC 5280 section 4.2.1.10): under which DNS names a Keep may be certified at all.
//!
//! Owns their one form: subtrees of DNS names, permitted, excluded or both. Refuses names of other kinds, distances, and
//! whatever is no DNS name as `workload` has them, leading dots, capitals and the empty name included: software disagrees about
//! what those mean. Invariant: what is read is all of what was written; nothing that is not evaluated is read past.

use alloc::vec::Vec;
use core::fmt;

use workload::names::DnsName;

use crate::asn1::{Der, Malformed, tag, tlv};
use crate::issuer::IssuerError;

/// The most subtrees of each kind: each is compared with each name.
pub const MAX_SUBTREES: usize = 64;

/// Which DNS names may stand below an authority. By default all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameConstraints {
    permitted: Vec<DnsName>,
    excluded: Vec<DnsName>,
}

const PLACE: &str = "nameConstraints";
/// dNSName (RFC 5280 section 4.2.1.6).
const DNS: u8 = tag::implicit(2);

impl NameConstraints {
    /// These names and all below them; any, if none is given.
    #[must_use]
    pub fn permitting(mut names: Vec<DnsName>) -> Self {
        names.sort();
        names.dedup();
        Self { permitted: names, excluded: Vec::new() }
    }

    /// Whether a certificate may have this name: it is below a permitted one, if there are such, and below no excluded one.
    #[must_use]
    pub fn permit(&self, name: &DnsName) -> bool {
        let Self { permitted, excluded } = self;
        let among = |subtrees: &[DnsName]| subtrees.iter().any(|subtree| below(name, subtree));
        (permitted.is_empty() || among(permitted)) && !among(excluded)
    }

    /// Whether every name is permitted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { permitted, excluded } = self;
        let subtrees = |number, names: &[DnsName]| match names {
            [] => Vec::new(),
            names => {
                let subtree = |name: &DnsName| tlv(tag::SEQUENCE, &[&tlv(DNS, &[name.as_bytes()])]);
                let subtrees: Vec<u8> = names.iter().flat_map(subtree).collect();
                tlv(tag::constructed(number), &[&subtrees])
            }
        };
        tlv(tag::SEQUENCE, &[&subtrees(0, permitted), &subtrees(1, excluded)])
    }

    pub(crate) fn read(value: &[u8]) -> Result<Self, IssuerError> {
        let mut outer = Der::new(value);
        let mut lists = Der::new(outer.take(tag::SEQUENCE, PLACE)?);
        outer.done(PLACE)?;
        let mut subtrees = |number| match lists.next_is(tag::constructed(number)) {
            true => read_subtrees(lists.take(tag::constructed(number), PLACE)?),
            false => Ok(Vec::new()),
        };
        let read = Self { permitted: subtrees(0)?, excluded: subtrees(1)? };
        lists.done(PLACE)?;
        // A sequence of nothing says nothing, and must not be there; and there is one spelling of the rest.
        if read.is_empty() || read.encode() != value { Err(Malformed(PLACE).into()) } else { Ok(read) }
    }
}

fn read_subtrees(list: &[u8]) -> Result<Vec<DnsName>, IssuerError> {
    let mut list = Der::new(list);
    let mut names = Vec::new();
    while list.more() {
        let mut subtree = Der::new(list.take(tag::SEQUENCE, PLACE)?);
        if !subtree.next_is(DNS) {
            return Err(IssuerError::NameConstraints("other names than DNS names"));
        }
        let name = core::str::from_utf8(subtree.take(DNS, PLACE)?).ok().and_then(|name| name.parse().ok());
        names.push(name.ok_or(IssuerError::NameConstraints("a subtree that is no DNS name in lower case"))?);
        if subtree.more() {
            return Err(IssuerError::NameConstraints("a minimum or maximum, which no profile has"));
        }
        if names.len() > MAX_SUBTREES {
            return Err(IssuerError::NameConstraints("more subtrees than are compared"));
        }
    }
    if names.is_empty() { Err(Malformed(PLACE).into()) } else { Ok(names) }
}

/// The name itself, or with labels added on the left.
fn below(name: &str, subtree: &str) -> bool {
    name.strip_suffix(subtree).is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
}

impl fmt::Display for NameConstraints {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { permitted, excluded } = self;
        let list = |names: &[DnsName]| names.iter().map(|name| &**name).collect::<Vec<&str>>().join(", ");
        match &permitted[..] {
            [] => out.write_str("any DNS name")?,
            some => write!(out, "{} and below", list(some))?,
        }
        if excluded.is_empty() { Ok(()) } else { write!(out, ", but not {} and below", list(excluded)) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    /// One list of subtrees with these contents.
    fn list(number: u8, subtrees: &[Vec<u8>]) -> Vec<u8> {
        let subtrees: Vec<u8> = subtrees.iter().flat_map(|subtree| tlv(tag::SEQUENCE, &[subtree])).collect();
        tlv(tag::constructed(number), &[&subtrees])
    }

    fn dns(text: &str) -> Vec<u8> {
        tlv(DNS, &[text.as_bytes()])
    }

    fn read(lists: &[Vec<u8>]) -> Result<NameConstraints, IssuerError> {
        NameConstraints::read(&tlv(tag::SEQUENCE, &[&lists.concat()]))
    }

    #[test]
    fn a_subtree_is_the_name_and_what_is_left_of_it() {
        let constraints = NameConstraints::permitting(vec![name("example.org"), name("shop.example.com")]);
        for inside in ["example.org", "shop.example.org", "a.b.example.org", "shop.example.com", "www.shop.example.com"]
        {
            assert!(constraints.permit(&name(inside)), "{inside}");
        }
        for outside in ["example.com", "badexample.org", "org", "example.org.example.net", "www.example.com", "x"] {
            assert!(!constraints.permit(&name(outside)), "{outside}");
        }
        assert!(NameConstraints::default().permit(&name("example.org")) && NameConstraints::default().is_empty());
    }

    #[test]
    fn what_is_excluded_is_so_below_what_is_permitted() {
        let both = read(&[list(0, &[dns("example.org")]), list(1, &[dns("bank.example.org")])]).unwrap();
        assert!(both.permit(&name("shop.example.org")) && both.permit(&name("notbank.example.org")));
        for outside in ["bank.example.org", "www.bank.example.org", "example.com"] {
            assert!(!both.permit(&name(outside)), "{outside}");
        }
        let excluded = read(&[list(1, &[dns("bank.example.org")])]).unwrap();
        assert!(excluded.permit(&name("example.com")) && !excluded.permit(&name("bank.example.org")));
        for (constraints, said) in [
            (both, "example.org and below, but not bank.example.org and below"),
            (excluded, "any DNS name, but not bank.example.org and below"),
            (NameConstraints::permitting(vec![name("b.org"), name("a.org"), name("b.org")]), "a.org, b.org and below"),
            (NameConstraints::default(), "any DNS name"),
        ] {
            assert_eq!(constraints.to_string(), said);
            if !constraints.is_empty() {
                assert_eq!(NameConstraints::read(&constraints.encode()), Ok(constraints));
            }
        }
    }

    /// The octets of RFC 5280, appendix A.2: both lists and the name have implicit tags.
    #[test]
    fn the_encoding_is_that_of_rfc_5280() {
        let bytes = NameConstraints::permitting(vec![name("a.org")]).encode();
        assert_eq!(bytes, b"\x30\x0b\xa0\x09\x30\x07\x82\x05a.org");
    }

    #[test]
    fn nothing_is_read_that_is_not_evaluated() {
        let good = || list(0, &[dns("example.org")]);
        assert!(read(&[good()]).is_ok(), "control");
        let malformed = IssuerError::Malformed(PLACE);
        for bad in
            [vec![], vec![list(0, &[])], vec![good(), list(1, &[])], vec![good(), good()], vec![list(2, &[dns("a")])]]
        {
            assert_eq!(read(&bad), Err(malformed), "{bad:?}");
        }
        assert_eq!(read(&[list(1, &[dns("a.org")]), good()]), Err(malformed), "in another order");
        let value = tlv(tag::SEQUENCE, &[&good()]);
        assert_eq!(NameConstraints::read(&[&value[..], &[5, 0]].concat()), Err(malformed));
        for length in 0..value.len() {
            assert!(NameConstraints::read(&value[..length]).is_err(), "{length}");
        }
        let other = |subtree: Vec<u8>| match read(&[list(0, &[dns("example.org"), subtree])]) {
            Err(IssuerError::NameConstraints(why)) => why,
            other => panic!("{other:?}"),
        };
        let spelling = "a subtree that is no DNS name in lower case";
        for text in
            ["", ".", ".example.org", "example.org.", "Example.org", "*.example.org", "127.0.0.1", "ex\u{e4}mple.org"]
        {
            assert_eq!(other(dns(text)), spelling, "{text}");
        }
        let kind = "other names than DNS names";
        for number in [1, 6, 7] {
            assert_eq!(other(tlv(tag::implicit(number), &[b"example.org"])), kind, "{number}");
        }
        assert_eq!(other(tlv(tag::constructed(4), &[&[tag::SEQUENCE, 0]])), kind);
        let distance = "a minimum or maximum, which no profile has";
        for number in [0, 1] {
            assert_eq!(other([dns("a.org"), tlv(tag::implicit(number), &[&[0]])].concat()), distance, "{number}");
        }
        // No change of a byte is read past.
        for index in 0..value.len() {
            for bit in 0..8 {
                let mut changed = value.clone();
                changed[index] ^= 1 << bit;
                if let Ok(read) = NameConstraints::read(&changed) {
                    assert_eq!(read.encode(), changed, "byte {index}, bit {bit}");
                    assert!(!read.permit(&name("shop.example.org")), "byte {index}, bit {bit}: {read}");
                }
            }
        }
        let many = |count| read(&[list(0, &vec![dns("a.org"); count])]).map(drop);
        assert_eq!(many(MAX_SUBTREES), Ok(()));
        assert!(matches!(many(MAX_SUBTREES + 1), Err(IssuerError::NameConstraints(_))));
    }
}
