//! Native code that outlives its Keep: sealed here, kept by the host, opened at the next start of a Keep like this one.
//!
//! Owns the seal: AES-256-GCM under a key that the platform derives (trust rule 5), for the hash of the brief, with the
//! program's digest and everything about the engine bound to it. Where the platform has no such key there is no cache.
//!
//! Refuses, without a word, whatever is not exactly what was sealed for this very brief, program and engine: a host that
//! changes, cuts or swaps it gets the program compiled anew. Nothing that a host does with it is an error of the start.
//!
//! Invariant: an [`Opened`] is made only of bytes whose tag was right.

use std::hash::{Hash, Hasher};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use gate::message::{CHUNK, STORED};
use wasmtime::Engine;
use workload::digest::Digest;

use crate::engine::Code;
use crate::platform::Platform;
use crate::refusal::Refusal;

/// What the context of the key and the bound bytes begin with: what for, and the version of the form below.
const DOMAIN: &[u8] = b"donjon-code\x01";

/// Programs with fewer bytes are compiled in less than a tenth of a second: not worth a file for each brief.
const WORTH: usize = 64 * 1024;

/// What stands around sealed code: the nonce before it, the tag after it.
const AROUND: u64 = NONCE_LEN as u64 + 16;

/// The place of one program's native code, for one brief and engine.
pub(crate) struct Cache {
    key: RandomizedNonceKey,
    /// Authenticated with the code.
    bound: Vec<u8>,
    /// By which the host knows it: tells which start is like another, as the brief does.
    name: [u8; 32],
}

/// Native code that was sealed by [`Cache::store`] under the same key, for the same program and engine.
pub(crate) struct Opened<'a>(&'a [u8]);

impl Opened<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl Cache {
    /// `None` where the platform cannot seal, and for what is compiled in no time.
    pub(crate) fn new(
        platform: &mut Platform,
        brief: &[u8],
        engine: &Engine,
        wasm: &[u8],
    ) -> Result<Option<Self>, Refusal> {
        if wasm.len() < WORTH {
            return Ok(None);
        }
        let context = [DOMAIN, &workload::brief::hash(brief)].concat();
        let key = platform.seal_key(&context)?;
        // All before the last has a fixed length.
        let mut bound = Notes([&context, Digest::of(wasm).as_bytes().as_slice()].concat());
        engine.precompile_compatibility_hash().hash(&mut bound);
        Ok(key.and_then(|key| Self::bound(&key, bound.0)))
    }

    fn bound(key: &[u8; 32], bound: Vec<u8>) -> Option<Self> {
        let name = *Digest::of(&bound).as_bytes();
        Some(Self { key: RandomizedNonceKey::new(&AES_256_GCM, key).ok()?, bound, name })
    }

    /// What the host has of it, read by `read`.
    pub(crate) fn load<T>(
        &self,
        platform: &mut Platform,
        read: impl FnOnce(&Opened<'_>) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let mut sealed = self.fetch(platform)?;
        Ok(sealed.as_deref_mut().and_then(|sealed| self.open(sealed)).and_then(|code| read(&code)))
    }

    /// Seals it, and gives it to the host.
    pub(crate) fn store(&self, platform: &mut Platform, code: &Code) -> Result<(), Refusal> {
        let native = match code {
            Code::Module(module) => module.serialize(),
            Code::Component(component) => component.serialize(),
        };
        native.map_or(Ok(()), |native| self.give(platform, native))
    }

    /// As much as the host has under the name, and no more than it said at first.
    fn fetch(&self, platform: &mut Platform) -> Result<Option<Vec<u8>>, Refusal> {
        let (mut sealed, mut whole) = (Vec::new(), 0);
        loop {
            let offset = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
            let fed = platform.load(self.name, offset, |total, bytes| {
                if sealed.is_empty() {
                    whole = usize::try_from(total).ok().filter(|_| (AROUND..=STORED).contains(&total))?;
                    // Once and for all: what grows is copied, and there may be hundreds of megabytes.
                    sealed.try_reserve_exact(whole).ok()?;
                }
                let fits = !bytes.is_empty() && bytes.len() <= whole - sealed.len();
                fits.then(|| sealed.extend_from_slice(bytes)).map(|()| sealed.len() == whole)
            })?;
            match fed.flatten() {
                Some(false) => {}
                last => return Ok(last.map(|_| sealed)),
            }
        }
    }

    /// Opens it in its place.
    fn open<'a>(&self, sealed: &'a mut [u8]) -> Option<Opened<'a>> {
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(&self.bound), sealed).ok()?;
        Some(Opened(opened))
    }

    /// Seals it in its place, and sends it until the host has enough.
    fn give(&self, platform: &mut Platform, mut native: Vec<u8>) -> Result<(), Refusal> {
        let length = u64::try_from(native.len()).unwrap_or(u64::MAX);
        let Some(mut rest) = length.checked_add(AROUND).filter(|length| *length <= STORED) else { return Ok(()) };
        let Ok((nonce, tag)) = self.key.seal_in_place_separate_tag(Aad::from(&self.bound), &mut native) else {
            return Ok(());
        };
        for bytes in [nonce.as_ref().as_slice()].into_iter().chain(native.chunks(CHUNK)).chain([tag.as_ref()]) {
            rest -= u64::try_from(bytes.len()).unwrap_or(rest);
            if !platform.store(self.name, rest, bytes)? {
                break;
            }
        }
        Ok(())
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
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use gate::frame;
    use gate::message::{Reply, Request};

    use super::*;
    use crate::engine;

    /// What comes of this with a host that answers so.
    fn with<R>(mut host: impl FnMut(&Request<'_>, &mut Vec<u8>) + Send, keep: impl FnOnce(&mut Platform) -> R) -> R {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut platform = Platform::new(OwnedFd::from(ours).into());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut header = [0; frame::HEADER];
                while theirs.read_exact(&mut header).is_ok() {
                    let mut payload = vec![0; frame::length(header).unwrap()];
                    theirs.read_exact(&mut payload).unwrap();
                    let mut out = Vec::new();
                    host(&Request::decode(&payload).unwrap(), &mut out);
                    theirs.write_all(&out).unwrap();
                }
            });
            let kept = keep(&mut platform);
            // Else the host waits for ever.
            drop(platform);
            kept
        })
    }

    fn cache(key: u8, bound: &[u8]) -> Cache {
        Cache::bound(&[key; 32], bound.to_vec()).unwrap()
    }

    /// What a host has been given, when it takes so many messages.
    fn given(cache: &Cache, native: &[u8], most: usize) -> Vec<u8> {
        let (mut taken, mut stored) = (0, Vec::new());
        let host = |request: &Request<'_>, out: &mut Vec<u8>| {
            let Request::Store { bytes, .. } = request else { panic!("{request:?}") };
            stored.extend_from_slice(bytes);
            taken += 1;
            if taken < most { Reply::Noted } else { Reply::Unavailable }.encode(out).unwrap();
        };
        with(host, |platform| cache.give(platform, native.to_vec()).unwrap());
        stored
    }

    /// What becomes of a Load for which a host has these bytes, and says that there are so many.
    fn opened(cache: &Cache, stored: &[u8], says: impl Fn(u64) -> u64 + Sync) -> Option<Vec<u8>> {
        let host = |request: &Request<'_>, out: &mut Vec<u8>| {
            let Request::Load { offset, .. } = *request else { panic!("{request:?}") };
            let bytes = stored.chunks(CHUNK).nth(usize::try_from(offset).unwrap() / CHUNK).unwrap_or_default();
            Reply::Blob { total: says(offset), bytes }.encode(out).unwrap();
        };
        with(host, |platform| cache.load(platform, |code| Some(code.bytes().to_vec())).unwrap())
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
        assert_eq!(opens(&cache(1, b"b"), &sealed), None, "another program, engine or brief");
        for at in [0, NONCE_LEN, CHUNK, sealed.len() - 17, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(opens(&cache_a, &damaged), None, "bit of byte {at}");
        }
        for length in [0, NONCE_LEN, NONCE_LEN + 16, CHUNK, sealed.len() - 1] {
            assert_eq!(opens(&cache_a, &sealed[..length]), None, "cut to {length}");
        }
        assert_eq!(opens(&cache_a, &[&sealed[..], &[0]].concat()), None, "a byte more");
    }

    #[test]
    fn a_host_that_lies_about_lengths_is_not_believed() {
        let cache = cache(1, b"a");
        let sealed = given(&cache, &native(), 99);
        let length = sealed.len() as u64;
        let says = |says: fn(u64, u64) -> u64| opened(&cache, &sealed, move |offset| says(length, offset)).is_some();
        assert!(says(|length, _| length), "control");
        assert!(says(|length, offset| length + offset), "its first word counts");
        for lie in [|_, _| 0, |_, _| AROUND - 1, |length, _| length - 1, |length, _| length + 1] {
            assert!(!says(lie));
        }
        assert!(!says(|_, _| STORED) && !says(|_, _| STORED + 1) && !says(|_, _| u64::MAX));
    }

    #[test]
    fn a_host_that_has_enough_is_sent_no_more() {
        assert_eq!(given(&cache(1, b"a"), &native(), 2).len(), NONCE_LEN + CHUNK);
    }

    #[test]
    fn rule_5_the_key_is_for_one_brief_and_the_code_for_one_program_and_engine() {
        let engine = engine::engine(false).unwrap();
        let other = Engine::new(wasmtime::Config::new().memory_init_cow(false).consume_fuel(true)).unwrap();
        let asked = |brief: &[u8], engine: &Engine, wasm: &[u8]| {
            let mut contexts = Vec::new();
            let host = |request: &Request<'_>, out: &mut Vec<u8>| {
                let Request::SealKey { context } = *request else { panic!("{request:?}") };
                contexts.push(context.to_vec());
                Reply::Key { key: [9; 32] }.encode(out).unwrap();
            };
            let cache = with(host, |platform| Cache::new(platform, brief, engine, wasm).unwrap());
            (cache.map(|cache| cache.name), contexts)
        };
        let (wasm, more, little) = (&[0; WORTH], &[0; WORTH + 1], &[0; WORTH - 1]);
        let (name, contexts) = asked(b"brief", &engine, wasm);
        assert_eq!(contexts, [[DOMAIN, &workload::brief::hash(b"brief")].concat()]);
        assert_eq!(asked(b"brief", &engine::engine(false).unwrap(), wasm), (name, contexts.clone()), "the next start");
        assert_ne!(asked(b"briefs", &engine, wasm).1, contexts);
        for (other, _) in
            [asked(b"briefs", &engine, wasm), asked(b"brief", &other, wasm), asked(b"brief", &engine, more)]
        {
            assert!(other.is_some() && other != name);
        }
        assert_eq!(asked(b"brief", &engine, little), (None, Vec::new()), "not worth a question");
        let host = |_: &Request<'_>, out: &mut Vec<u8>| Reply::Unavailable.encode(out).unwrap();
        let none = with(host, |platform| Cache::new(platform, b"brief", &engine, wasm).unwrap().is_none());
        assert!(none, "no key, no cache");
    }
}
