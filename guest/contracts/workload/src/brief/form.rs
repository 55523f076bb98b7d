//! The brief's one form: deterministic CBOR, written and read item by item.
//!
//! Owns the map keys and their order. The reader checks shapes only; what it leaves open (order, duplicates, longer forms)
//! [`Brief::decode`] closes by encoding again and comparing bytes.
//! Invariant: counts in the input are allegations. Nothing is reserved by them, and each counted item costs input.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;

use minicbor::{Decoder, Encoder};

use super::{Brief, BriefError, Source, StewardRef};
use crate::digest::Digest;
use crate::names::NameError;

/// The format version, key 0. Another number is another format.
const VERSION: u64 = 1;

/// The canonical bytes; sets are sorted on the way.
pub(super) fn write(brief: &Brief) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    match write_map(brief, &mut encoder) {
        Ok(()) => encoder.into_writer(),
        // Writing text, numbers and bytes to a `Vec` cannot fail. If it did: no bytes, which everybody refuses.
        Err(_) => Vec::new(),
    }
}

/// The brief in these bytes, of whatever form.
pub(super) fn read(bytes: &[u8]) -> Result<Brief, BriefError> {
    Reader(Decoder::new(bytes)).brief()
}

fn write_map(brief: &Brief, out: &mut Encoder<Vec<u8>>) -> Result<(), EncodeError> {
    let Brief { trust_domain, steward, source, owner, deployment, role, workload, args, env } = brief;
    let mandatory = 8_u64;
    let optional = u64::from(steward.is_some()).saturating_add(u64::from(owner.is_some()));
    out.map(mandatory.saturating_add(optional))?;
    out.u64(0)?.u64(VERSION)?;
    out.u64(1)?.str(trust_domain)?;
    if let Some(StewardRef { url, anchors, tls }) = steward {
        out.u64(2)?.map(3)?;
        out.u64(0)?.str(url)?;
        write_set(out.u64(1)?, anchors)?;
        write_set(out.u64(2)?, tls)?;
    }
    out.u64(3)?;
    match source {
        Source::Host => {
            out.array(1)?.u64(0)?;
        }
        Source::Drawbridge { authority, repository, tls } => {
            out.array(4)?.u64(1)?.str(authority)?.str(repository)?;
            write_set(out, tls)?;
        }
    }
    if let Some(owner) = owner {
        out.u64(4)?.bytes(owner.as_bytes())?;
    }
    out.u64(5)?.str(deployment)?;
    out.u64(6)?.str(role)?;
    out.u64(7)?.bytes(workload.as_bytes())?;
    out.u64(8)?.array(args.len() as u64)?;
    for arg in args {
        out.str(arg)?;
    }
    let mut sorted: Vec<_> = env.iter().collect();
    sorted.sort();
    out.u64(9)?.array(sorted.len() as u64)?;
    for (name, value) in sorted {
        out.array(2)?.str(name)?.str(value)?;
    }
    Ok(())
}

type EncodeError = minicbor::encode::Error<Infallible>;

fn write_set(out: &mut Encoder<Vec<u8>>, digests: &[Digest]) -> Result<(), EncodeError> {
    let sorted: BTreeSet<_> = digests.iter().collect();
    out.array(sorted.len() as u64)?;
    for digest in sorted {
        out.bytes(digest.as_bytes())?;
    }
    Ok(())
}

struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    fn brief(mut self) -> Result<Brief, BriefError> {
        const PLACE: &str = "the brief";
        let (mut version, mut trust_domain, mut steward, mut source, mut owner) = (None, None, None, None, None);
        let (mut deployment, mut role, mut workload, mut args, mut env) = (None, None, None, None, None);
        for _ in 0..self.map(PLACE)? {
            match self.number(PLACE)? {
                0 => {
                    let found = self.number("version")?;
                    if found != VERSION {
                        return Err(BriefError::Version { expected: VERSION, found });
                    }
                    version = Some(found);
                }
                1 => trust_domain = Some(self.name("trust domain")?),
                2 => steward = Some(self.steward()?),
                3 => source = Some(self.source()?),
                4 => owner = Some(self.digest("owner")?),
                5 => deployment = Some(self.name("deployment")?),
                6 => role = Some(self.name("role")?),
                7 => workload = Some(self.digest("workload")?),
                8 => args = Some(self.list("args", |reader| Ok(reader.text("args")?.to_owned()))?),
                9 => env = Some(self.list("env", Self::variable)?),
                key => return Err(BriefError::UnknownKey { place: PLACE, key }),
            }
        }
        if self.0.position() != self.0.input().len() {
            return Err(BriefError::NotCanonical);
        }
        let missing = |key| BriefError::MissingKey { place: PLACE, key };
        version.ok_or(missing(0))?;
        Ok(Brief {
            trust_domain: trust_domain.ok_or(missing(1))?,
            steward,
            source: source.ok_or(missing(3))?,
            owner,
            deployment: deployment.ok_or(missing(5))?,
            role: role.ok_or(missing(6))?,
            workload: workload.ok_or(missing(7))?,
            args: args.ok_or(missing(8))?,
            env: env.ok_or(missing(9))?,
        })
    }

    fn steward(&mut self) -> Result<StewardRef, BriefError> {
        const PLACE: &str = "the steward";
        let (mut url, mut anchors, mut tls) = (None, None, None);
        for _ in 0..self.map(PLACE)? {
            match self.number(PLACE)? {
                0 => url = Some(self.text("steward url")?.to_owned()),
                1 => anchors = Some(self.list("anchors", |reader| reader.digest("anchors"))?),
                2 => tls = Some(self.list("steward tls", |reader| reader.digest("steward tls"))?),
                key => return Err(BriefError::UnknownKey { place: PLACE, key }),
            }
        }
        let missing = |key| BriefError::MissingKey { place: PLACE, key };
        Ok(StewardRef { url: url.ok_or(missing(0))?, anchors: anchors.ok_or(missing(1))?, tls: tls.ok_or(missing(2))? })
    }

    fn source(&mut self) -> Result<Source, BriefError> {
        const PLACE: &str = "the source";
        let length = self.array(PLACE)?;
        match (self.number(PLACE)?, length) {
            (0, 1) => Ok(Source::Host),
            (1, 4) => Ok(Source::Drawbridge {
                authority: self.text("drawbridge authority")?.to_owned(),
                repository: self.text("repository")?.to_owned(),
                tls: self.list("drawbridge tls", |reader| reader.digest("drawbridge tls"))?,
            }),
            (0 | 1, _) => Err(self.malformed(PLACE)),
            (kind, _) => Err(BriefError::UnknownSource(kind)),
        }
    }

    fn variable(&mut self) -> Result<(String, String), BriefError> {
        match self.array("env")? {
            2 => Ok((self.text("env")?.to_owned(), self.text("env")?.to_owned())),
            _ => Err(self.malformed("env")),
        }
    }

    fn list<T>(
        &mut self,
        place: &'static str,
        item: impl Fn(&mut Self) -> Result<T, BriefError>,
    ) -> Result<Vec<T>, BriefError> {
        let count = self.array(place)?;
        (0..count).map(|_| item(self)).collect()
    }

    fn name<T: TryFrom<String, Error = NameError>>(&mut self, place: &'static str) -> Result<T, BriefError> {
        T::try_from(self.text(place)?.to_owned()).map_err(|error| BriefError::Name { place, error })
    }

    fn digest(&mut self, place: &'static str) -> Result<Digest, BriefError> {
        let at = self.0.position();
        self.0.bytes().ok().and_then(|bytes| Digest::try_from(bytes).ok()).ok_or(BriefError::Malformed { at, place })
    }

    fn text(&mut self, place: &'static str) -> Result<&'b str, BriefError> {
        let at = self.0.position();
        self.0.str().map_err(|_| BriefError::Malformed { at, place })
    }

    fn number(&mut self, place: &'static str) -> Result<u64, BriefError> {
        let at = self.0.position();
        self.0.u64().map_err(|_| BriefError::Malformed { at, place })
    }

    fn array(&mut self, place: &'static str) -> Result<u64, BriefError> {
        let at = self.0.position();
        self.0.array().map_err(|_| BriefError::Malformed { at, place })?.ok_or(BriefError::NotCanonical)
    }

    fn map(&mut self, place: &'static str) -> Result<u64, BriefError> {
        let at = self.0.position();
        self.0.map().map_err(|_| BriefError::Malformed { at, place })?.ok_or(BriefError::NotCanonical)
    }

    fn malformed(&self, place: &'static str) -> BriefError {
        BriefError::Malformed { at: self.0.position(), place }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::tests::{full, small};
    use super::*;
    use crate::brief::hash;

    /// The example of `spec/brief.md`.
    const GOLDEN: &str = "aa0001016b6578616d706c652e6f726702a3007768747470733a2f2f737465776172642e6578616d706c650181582011\
        1111111111111111111111111111111111111111111111111111111111111102800384017472656769737472792e6578\
        616d706c653a3434336473686f7080045820222222222222222222222222222222222222222222222222222222222222\
        222205647465737406637765620758203333333333333333333333333333333333333333333333333333333333333333\
        0881662d2d66617374098182644c414e476143";

    /// xorshift64*: the same briefs in every run, on every machine.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
        }

        fn index(&mut self, bound: usize) -> usize {
            usize::try_from(self.below(bound as u64)).unwrap()
        }

        fn byte(&mut self) -> u8 {
            u8::try_from(self.below(256)).unwrap()
        }

        fn text(&mut self, alphabet: &str, min: u64, max: u64) -> String {
            let alphabet: Vec<char> = alphabet.chars().collect();
            (0..min + self.below(max - min + 1)).map(|_| alphabet[self.index(alphabet.len())]).collect()
        }

        fn digests(&mut self, min: u64) -> Vec<Digest> {
            (0..min + self.below(4)).map(|_| Digest::of(&[self.byte(), self.byte()])).collect()
        }

        fn brief(&mut self) -> Brief {
            let steward = (self.below(3) > 0).then(|| {
                let url = ["http://127.0.0.1:3000", "https://steward.example/ca", "https://[::1]/"][self.index(3)];
                let tls = if url.starts_with("https:") { self.digests(0) } else { vec![] };
                StewardRef { url: url.to_owned(), anchors: self.digests(1), tls }
            });
            let source = match (&steward, self.below(2)) {
                (Some(_), 0) => Source::Drawbridge {
                    authority: alloc::format!("{}.example:{}", self.text("abc", 1, 20), 1 + self.below(65535)),
                    repository: self.text("abc09", 1, 60),
                    tls: self.digests(0),
                },
                _ => Source::Host,
            };
            let mut env = vec![];
            for number in 0..self.below(30) {
                env.push((alloc::format!("{}{number}", self.text("AbÄ_ ", 0, 9)), self.text("a=ü \n", 0, 300)));
            }
            Brief {
                trust_domain: self.text("ab.-_9", 1, 255).try_into().unwrap(),
                steward,
                source,
                owner: (self.below(2) == 0).then(|| Digest::of(&[self.byte()])),
                deployment: self.text("aB-_9", 1, 63).try_into().unwrap(),
                role: self.text("aB-_9", 1, 63).try_into().unwrap(),
                workload: Digest::of(&[self.byte()]),
                args: (0..self.below(30)).map(|_| self.text("a-=\u{1F3F0} ", 0, 300)).collect(),
                env,
            }
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(hex::encode(full().encode()), GOLDEN);
        assert_eq!(Brief::decode(&hex::decode(GOLDEN).unwrap()), Ok(full()));
        assert_eq!(Brief::decode(&small().encode()), Ok(small()));
        assert_eq!(
            hex::encode(hash(&full().encode())),
            "8facc02c9eb24315ce70c56871775b96ea10f846331d8fee8993e0cb6dbeac07"
        );
    }

    #[test]
    fn every_accepted_brief_encodes_to_itself() {
        let mut random = Random(1);
        for _ in 0..300 {
            let brief = random.brief();
            let bytes = brief.try_encode().unwrap();
            let read = Brief::decode(&bytes).unwrap();
            assert_eq!(read.encode(), bytes);
            assert_eq!(Brief::decode(&read.encode()), Ok(read));
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_brief() {
        let bytes = full().encode();
        let mut refused = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                match Brief::decode(&changed) {
                    Ok(brief) => {
                        assert_ne!(brief, full());
                        assert_eq!(brief.encode(), changed);
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        // What survives are other digests and other letters in free text.
        assert!(refused > bytes.len() * 2, "{refused} of {} mutations", bytes.len() * 8);
    }

    #[test]
    fn random_damage_never_passes_as_the_same_brief() {
        let mut random = Random(2);
        for _ in 0..300 {
            let bytes = random.brief().encode();
            for _ in 0..10 {
                let mut damaged = bytes.clone();
                match random.below(4) {
                    0 => drop(damaged.remove(random.index(bytes.len()))),
                    1 => damaged.insert(random.index(bytes.len()), random.byte()),
                    2 => damaged.truncate(random.index(bytes.len())),
                    _ => damaged[random.index(bytes.len())] = random.byte(),
                }
                if let Ok(brief) = Brief::decode(&damaged) {
                    assert_eq!(brief.encode(), damaged);
                }
            }
        }
    }

    #[test]
    fn no_prefix_and_no_suffix() {
        let bytes = full().encode();
        for length in 0..bytes.len() {
            assert!(Brief::decode(&bytes[..length]).is_err(), "{length} bytes were enough");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Brief::decode(&longer), Err(BriefError::NotCanonical));
        assert_eq!(Brief::decode(&bytes), Ok(full()), "control");
    }

    /// Replaces one stretch of hex digits of the golden bytes.
    fn with(old: &str, new: &str) -> Result<Brief, BriefError> {
        assert_eq!(GOLDEN.matches(old).count(), 1, "{old} must stand there once");
        Brief::decode(&hex::decode(GOLDEN.replace(old, new)).unwrap())
    }

    #[test]
    fn other_encodings_of_the_same_value_are_refused() {
        let web = "0663776562";
        let test = "056474657374";
        assert_eq!(with(web, web), Ok(full()), "control");
        assert_eq!(with(web, "180663776562"), Err(BriefError::NotCanonical), "key in two bytes");
        assert_eq!(with(web, "067803776562"), Err(BriefError::NotCanonical), "length in two bytes");
        assert_eq!(with(&[test, web].concat(), &[web, test].concat()), Err(BriefError::NotCanonical), "order");
        assert_eq!(with("aa000101", "b80a000101"), Err(BriefError::NotCanonical), "map length in two bytes");
        assert_eq!(with("0881662d2d66617374", "089f662d2d66617374ff"), Err(BriefError::NotCanonical), "indefinite");
        assert_eq!(with("aa000101", "bf000101"), Err(BriefError::NotCanonical), "indefinite map");
        assert_eq!(with("aa0001", "ab00010001"), Err(BriefError::NotCanonical), "a key twice");
        assert!(matches!(with(web, "067f63776562ff"), Err(BriefError::Malformed { .. })), "indefinite text");
        assert!(matches!(with(web, "06c063776562"), Err(BriefError::Malformed { .. })), "tag");
        assert!(matches!(with(web, "0643776562"), Err(BriefError::Malformed { .. })), "bytes for text");
        assert!(matches!(with(web, "06637765ff"), Err(BriefError::Malformed { .. })), "not UTF-8");
        assert!(matches!(with("0881", "089bffffffffffffffff"), Err(BriefError::Malformed { .. })), "endless list");
    }

    #[test]
    fn keys_and_versions() {
        assert_eq!(with("aa000101", "aa000201"), Err(BriefError::Version { expected: 1, found: 2 }));
        let place = "the brief";
        assert_eq!(with("0663776562", "0a63776562"), Err(BriefError::UnknownKey { place, key: 10 }));
        for (item, key) in [("0001", 0), ("0663776562", 6), ("0881662d2d66617374", 8)] {
            let shorter = GOLDEN.replacen("aa", "a9", 1).replacen(item, "", 1);
            let bytes = hex::decode(shorter).unwrap();
            assert_eq!(Brief::decode(&bytes), Err(BriefError::MissingKey { place, key }));
        }
        let without_owner = GOLDEN.replacen("aa", "a9", 1).replace(&["045820", &"22".repeat(32)].concat(), "");
        let brief = Brief { owner: None, ..full() };
        assert_eq!(Brief::decode(&hex::decode(without_owner).unwrap()), Ok(brief), "control: an optional key");
        assert_eq!(with("038401", "038402"), Err(BriefError::UnknownSource(2)));
        assert!(matches!(with("038401", "038400"), Err(BriefError::Malformed { place: "the source", .. })));
    }
}
