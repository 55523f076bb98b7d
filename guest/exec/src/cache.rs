//! Native code that outlives its Keep: sealed here, kept by the host, opened at the next start of a Keep like this one.
//!
//! Owns the seal: AES-256-GCM under a key that the platform derives (trust rule 5), for the hash of the brief, with the
//! program's digest and everything about the engine bound to it. Where the platform has no such key there is no cache.
//! What is found here stands for the program, which is then not even fetched.
//!
//! Refuses, without a word, whatever is not exactly what was sealed for this very brief, program and engine: a host that
//! changes, cuts or swaps it gets the program compiled anew. Nothing that a host does with it is an error of the start.
//!
//! Invariant: an [`Opened`] is made only of bytes whose tag was right.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{Read, Seek, SeekFrom};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use gate::message::{CHUNK, STORED};
use wasmtime::Engine;
use workload::digest::Digest;

use crate::engine::{Code, Form};
use crate::platform::Platform;
use crate::refusal::Refusal;
use crate::sys::Pages;

/// What the context of the key and the bound bytes begin with: what for, and the version of the form below.
const DOMAIN: &[u8] = b"donjon-code\x02";

/// Programs with fewer bytes are compiled in no time: not worth a file for each brief.
const WORTH: u64 = 4 * 1024;

/// What stands behind sealed code: the tag, the nonce, the form.
const BEHIND: usize = 16 + NONCE_LEN + 1;

/// The place of one program's native code, for one brief.
pub(crate) struct Cache {
    key: RandomizedNonceKey,
    /// Authenticated with the code, before its form and the engine's.
    bound: Vec<u8>,
    /// By which the host knows it: tells which start is like another, as the brief does.
    name: [u8; 32],
}

/// What the host has under the name, with the form that it says.
pub(crate) struct Sealed {
    bytes: Pages,
    pub(crate) form: Form,
}

/// Native code that was sealed by [`Cache::store`] under the same key, for the same program and engine: where these pages
/// begin, with this length.
pub(crate) struct Opened {
    pub(crate) pages: Pages,
    pub(crate) length: usize,
    pub(crate) form: Form,
}

impl Cache {
    /// Of a program with this digest and size. `None` where the platform cannot seal, and for what is compiled in no time.
    pub(crate) fn new(
        platform: &mut Platform,
        brief: &[u8],
        program: Digest,
        size: u64,
    ) -> Result<Option<Self>, Refusal> {
        if size < WORTH {
            return Ok(None);
        }
        let context = [DOMAIN, &workload::brief::hash(brief)].concat();
        let key = platform.seal_key(&context)?;
        Ok(key.and_then(|key| Self::bound(&key, [&context, program.as_bytes().as_slice()].concat())))
    }

    fn bound(key: &[u8; 32], bound: Vec<u8>) -> Option<Self> {
        let name = *Digest::of(&bound).as_bytes();
        Some(Self { key: RandomizedNonceKey::new(&AES_256_GCM, key).ok()?, bound, name })
    }

    /// As much as the host has under the name, and no more than it said at first.
    pub(crate) fn load(&self, platform: &mut Platform) -> Result<Option<Sealed>, Refusal> {
        let pages = match Platform::stored(self.name) {
            Some(file) => Self::read(file),
            None => self.fetch(platform)?,
        };
        let sealed = |bytes: Pages| Some(Sealed { form: Form::of(*bytes.last()?)?, bytes });
        Ok(pages.and_then(sealed))
    }

    fn read(mut file: File) -> Option<Pages> {
        let mut pages = Self::pages(file.seek(SeekFrom::End(0)).ok()?)?;
        file.rewind().and_then(|()| file.read_exact(&mut pages)).ok()?;
        Some(pages)
    }

    fn fetch(&self, platform: &mut Platform) -> Result<Option<Pages>, Refusal> {
        let (mut pages, mut held) = (None::<Pages>, 0);
        loop {
            let fed = platform.load(self.name, held as u64, |total, chunk| {
                if pages.is_none() {
                    pages = Self::pages(total);
                }
                let room = pages.as_mut()?.get_mut(held..)?;
                let last = room.len() == chunk.len();
                room.get_mut(..chunk.len()).filter(|room| !room.is_empty())?.copy_from_slice(chunk);
                held += chunk.len();
                Some(last)
            })?;
            match fed.flatten() {
                Some(false) => {}
                Some(true) => return Ok(pages),
                None => return Ok(None),
            }
        }
    }

    /// Room for so many bytes, if something that was sealed can have them.
    fn pages(total: u64) -> Option<Pages> {
        Pages::new(usize::try_from(total).ok().filter(|whole| *whole > BEHIND && total <= STORED)?)
    }

    /// Opens it in its place, for the engine of its form.
    pub(crate) fn open(&self, sealed: Sealed, engine: &Engine) -> Option<Opened> {
        let Sealed { bytes: mut pages, form } = sealed;
        let (_, sealed) = pages.split_last_mut()?;
        let (sealed, nonce) = sealed.split_last_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(self.all(form, engine)), sealed).ok()?.len();
        Some(Opened { pages, length, form })
    }

    /// Seals it, and gives it to the host.
    pub(crate) fn store(
        &self,
        platform: &mut Platform,
        code: &Code,
        form: Form,
        engine: &Engine,
    ) -> Result<(), Refusal> {
        let native = match code {
            Code::Module(module) => module.serialize(),
            Code::Component(component) => component.serialize(),
        };
        native.map_or(Ok(()), |native| self.give(platform, native, form, engine))
    }

    /// Seals it in its place, and sends it until the host has enough.
    fn give(&self, platform: &mut Platform, mut native: Vec<u8>, form: Form, engine: &Engine) -> Result<(), Refusal> {
        let Some(mut rest) = native.len().checked_add(BEHIND).filter(|all| *all as u64 <= STORED) else {
            return Ok(());
        };
        let sealed = self.key.seal_in_place_separate_tag(Aad::from(self.all(form, engine)), &mut native);
        let Ok((nonce, tag)) = sealed else { return Ok(()) };
        let behind = [tag.as_ref(), nonce.as_ref(), &[form.byte()]].concat();
        for bytes in native.chunks(CHUNK).chain([behind.as_slice()]) {
            rest -= bytes.len();
            if !platform.store(self.name, rest as u64, bytes)? {
                break;
            }
        }
        Ok(())
    }

    /// All that the seal binds.
    fn all(&self, form: Form, engine: &Engine) -> Vec<u8> {
        let mut bound = Notes([self.bound.as_slice(), &[form.byte()]].concat());
        engine.precompile_compatibility_hash().hash(&mut bound);
        bound.0
    }
}

/// Takes down what is hashed: the seal binds all of it.
struct Notes(Vec<u8>);

impl Hasher for Notes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use gate::message::{Reply, Request};

    use super::*;
    use crate::engine;
    use crate::platform::tests::with;

    fn cache(key: u8, bound: &[u8]) -> Cache {
        Cache::bound(&[key; 32], bound.to_vec()).unwrap()
    }

    const FORM: Form = Form { component: false, turns: true, pool: false };

    /// What a host has been given, when it takes so many messages.
    fn given(cache: &Cache, native: &[u8], most: usize) -> Vec<u8> {
        let (mut taken, mut stored) = (0, Vec::new());
        let host = |request: &Request<'_>, out: &mut Vec<u8>| {
            let Request::Store { bytes, .. } = request else { panic!("{request:?}") };
            stored.extend_from_slice(bytes);
            taken += 1;
            if taken < most { Reply::Noted } else { Reply::Unavailable }.encode(out).unwrap();
        };
        let engine = engine::engine(FORM).unwrap();
        with(host, |platform| cache.give(platform, native.to_vec(), FORM, &engine).unwrap());
        stored
    }

    /// What becomes of a Load for which a host has these bytes, and says that there are so many.
    fn opened(cache: &Cache, stored: &[u8], says: impl Fn(u64) -> u64 + Sync) -> Option<Vec<u8>> {
        let host = |request: &Request<'_>, out: &mut Vec<u8>| {
            let Request::Load { offset, .. } = *request else { panic!("{request:?}") };
            let bytes = stored.chunks(CHUNK).nth(usize::try_from(offset).unwrap() / CHUNK).unwrap_or_default();
            Reply::Blob { total: says(offset), bytes }.encode(out).unwrap();
        };
        let sealed = with(host, |platform| cache.load(platform).unwrap())?;
        let engine = engine::engine(sealed.form).unwrap();
        let opened = cache.open(sealed, &engine)?;
        assert_eq!(opened.form, FORM);
        Some(opened.pages[..opened.length].to_vec())
    }

    /// More than a chunk, so that it travels in several.
    fn native() -> Vec<u8> {
        (0..=u8::MAX).cycle().take(CHUNK + 99).collect()
    }

    #[test]
    fn whatever_is_not_what_was_sealed_opens_nothing() {
        let (cache_a, native) = (cache(1, b"a"), native());
        let sealed = given(&cache_a, &native, 99);
        let opens = |cache: &Cache, bytes: &[u8]| opened(cache, bytes, |_| bytes.len() as u64);
        assert_eq!(opens(&cache_a, &sealed), Some(native.clone()), "control");
        assert!(!sealed.windows(16).any(|bytes| native.starts_with(bytes)), "it is encrypted");
        assert_ne!(given(&cache_a, &native, 99), sealed, "under another nonce each time");
        assert_eq!(opens(&cache(2, b"a"), &sealed), None, "another key");
        assert_eq!(opens(&cache(1, b"b"), &sealed), None, "another program or brief");
        let end = sealed.len();
        // The last byte is the form: each other one is another engine, another kind, or none.
        let places = [0, CHUNK, end - BEHIND, end - 14, end - 13, end - 2].map(|at| (at, 0));
        for (at, bit) in places.into_iter().chain([(end - 1, 0), (end - 1, 1), (end - 1, 2)]) {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(opens(&cache_a, &damaged), None, "bit {bit} of byte {at}");
        }
        for length in [0, 1, BEHIND - 1, BEHIND, CHUNK, sealed.len() - 1] {
            assert_eq!(opens(&cache_a, &sealed[..length]), None, "cut to {length}");
        }
        assert_eq!(opens(&cache_a, &[&sealed[..], &[FORM.byte()]].concat()), None, "a byte more");
    }

    #[test]
    fn another_engine_does_not_open_it() {
        let cache = cache(1, b"a");
        let stored = given(&cache, b"native", 99);
        let sealed = || {
            let mut bytes = Pages::new(stored.len()).unwrap();
            bytes.copy_from_slice(&stored);
            Sealed { bytes, form: FORM }
        };
        let other = Engine::new(wasmtime::Config::new().memory_init_cow(false).consume_fuel(true)).unwrap();
        assert!(cache.open(sealed(), &engine::engine(FORM).unwrap()).is_some(), "control");
        assert!(cache.open(sealed(), &engine::engine(Form { turns: false, ..FORM }).unwrap()).is_none());
        assert!(cache.open(sealed(), &other).is_none());
    }

    #[test]
    fn a_host_that_lies_about_lengths_is_not_believed() {
        let cache = cache(1, b"a");
        let sealed = given(&cache, &native(), 99);
        let length = sealed.len() as u64;
        let says = |says: fn(u64, u64) -> u64| opened(&cache, &sealed, move |offset| says(length, offset)).is_some();
        assert!(says(|length, _| length), "control");
        assert!(says(|length, offset| length + offset), "its first word counts");
        for lie in [|_, _| 0, |_, _| BEHIND as u64 - 1, |length, _| length - 1, |length, _| length + 1] {
            assert!(!says(lie));
        }
        assert!(!says(|_, _| STORED) && !says(|_, _| STORED + 1) && !says(|_, _| u64::MAX));
    }

    #[test]
    fn a_host_that_has_enough_is_sent_no_more() {
        assert_eq!(given(&cache(1, b"a"), &native(), 1).len(), CHUNK);
    }

    #[test]
    fn rule_5_the_key_is_for_one_brief_and_the_name_for_one_program() {
        let asked = |brief: &[u8], program: Digest, size: u64| {
            let mut contexts = Vec::new();
            let host = |request: &Request<'_>, out: &mut Vec<u8>| {
                let Request::SealKey { context } = *request else { panic!("{request:?}") };
                contexts.push(context.to_vec());
                Reply::Key { key: [9; 32] }.encode(out).unwrap();
            };
            let cache = with(host, |platform| Cache::new(platform, brief, program, size).unwrap());
            (cache.map(|cache| cache.name), contexts)
        };
        let (program, other) = (Digest::of(b"program"), Digest::of(b"another"));
        let (name, contexts) = asked(b"brief", program, WORTH);
        assert_eq!(contexts, [[DOMAIN, &workload::brief::hash(b"brief")].concat()]);
        assert_eq!(asked(b"brief", program, WORTH), (name, contexts.clone()), "the next start");
        assert_ne!(asked(b"briefs", program, WORTH).1, contexts);
        for (other, _) in [asked(b"briefs", program, WORTH), asked(b"brief", other, WORTH)] {
            assert!(other.is_some() && other != name);
        }
        assert_eq!(asked(b"brief", program, WORTH - 1), (None, Vec::new()), "not worth a question");
        let host = |_: &Request<'_>, out: &mut Vec<u8>| Reply::Unavailable.encode(out).unwrap();
        let none = with(host, |platform| Cache::new(platform, b"brief", program, WORTH).unwrap().is_none());
        assert!(none, "no key, no cache");
    }
}
