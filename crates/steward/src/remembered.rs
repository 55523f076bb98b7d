//! What was verified and read before.
//!
//! A vendor's certificates and lists come with every request, an owner's Deployment with that of each of his Keeps, and are the same for
//! days: what they say, and whether their signatures verify, does not depend on when it is asked. Owns what was found good, by its
//! hash. Refuses to remember what was not, and objects that came with evidence that was refused. Dates, revocation and policy are not
//! its business: they are looked at each time. Invariant: it answers what would be answered without it, and what it remembers has bounds.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evidence::{Provider, SignatureAlgorithm, appraisal::Endorsements, pki::Object};
use identity::keys::{Algorithm, Verifier};
use sha2::{Digest as _, Sha256};

/// How many signatures are remembered before those go that nobody asked for since as many others were.
const SIGNATURES: usize = 4096;
/// How many bytes of certificates and lists.
const BYTES: usize = 2 << 20;

type Name = [u8; 32];

/// Who asks another one once.
pub(crate) struct Remembered<P> {
    verifier: P,
    good: Mutex<Lately<()>>,
}

impl<P> Remembered<P> {
    pub(crate) fn new(verifier: P) -> Self {
        Self { verifier, good: Mutex::new(Lately::new(SIGNATURES)) }
    }

    fn ask(&self, asked: Name, verify: impl FnOnce() -> bool) -> bool {
        if lock(&self.good).get(&asked).is_some() {
            return true;
        }
        let verified = verify();
        if verified {
            lock(&self.good).put(asked, (), 1);
        }
        verified
    }
}

impl<P: Provider> Provider for Remembered<P> {
    fn verify(&self, algorithm: SignatureAlgorithm, spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let asked = name(&format!("{algorithm:?}"), spki_der, message, signature);
        self.ask(asked, || self.verifier.verify(algorithm, spki_der, message, signature))
    }
}

impl<P: Verifier> Verifier for Remembered<P> {
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let asked = name(&format!("{algorithm:?}"), spki, message, signature);
        self.ask(asked, || self.verifier.verify(algorithm, spki, message, signature))
    }
}

/// Certificates and lists that were read before.
pub(crate) struct Objects(Mutex<Lately<Arc<Object>>>);

/// Those that are not among them.
pub(crate) struct Strange(Vec<(Name, Arc<Object>)>);

impl Objects {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Lately::new(BYTES)))
    }

    /// Puts what was read before in the place of the same that was not.
    pub(crate) fn recognise(&self, endorsements: &mut Endorsements) -> Strange {
        let mut strange = Vec::new();
        for object in endorsements.objects().filter(|object| object.is_kept()) {
            let name = Sha256::digest(object.der()).into();
            match lock(&self.0).get(&name) {
                Some(known) => *object = known,
                None => strange.push((name, Arc::clone(object))),
            }
        }
        Strange(strange)
    }

    /// Of evidence that was verified.
    pub(crate) fn keep(&self, Strange(strange): Strange) {
        for (name, object) in strange {
            let length = object.der().len();
            lock(&self.0).put(name, object, length);
        }
    }
}

/// What was asked for lately: two generations.
struct Lately<V> {
    most: usize,
    size: usize,
    young: HashMap<Name, (V, usize)>,
    old: HashMap<Name, (V, usize)>,
}

impl<V: Clone> Lately<V> {
    /// At most twice that much.
    fn new(most: usize) -> Self {
        Self { most, size: 0, young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&mut self, name: &Name) -> Option<V> {
        if let Some((value, _)) = self.young.get(name) {
            return Some(value.clone());
        }
        let (value, size) = self.old.remove(name)?;
        self.put(*name, value.clone(), size);
        Some(value)
    }

    fn put(&mut self, name: Name, value: V, size: usize) {
        if self.size.saturating_add(size) > self.most {
            (self.old, self.size) = (mem::take(&mut self.young), 0);
        }
        if size <= self.most && self.young.insert(name, (value, size)).is_none() {
            self.size = self.size.saturating_add(size);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One for each question: no two have the same.
fn name(algorithm: &str, spki_der: &[u8], message: &[u8], signature: &[u8]) -> Name {
    let mut context = Sha256::new();
    for part in [algorithm.as_bytes(), spki_der, message, signature] {
        context.update((part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finalize().into()
}

impl<P> fmt::Debug for Remembered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Finds good what begins with `good`, and counts.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Provider for Counting {
        fn verify(&self, _: SignatureAlgorithm, _: &[u8], _: &[u8], signature: &[u8]) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            signature.starts_with(b"good")
        }
    }

    const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::RsaPssSha384;

    #[test]
    fn what_was_good_is_asked_once_and_what_was_not_each_time() {
        let remembered = &Remembered::new(Counting::default());
        let asked = |part: &[u8; 4], signature: &[u8]| {
            let before = remembered.verifier.0.load(Ordering::Relaxed);
            let good = remembered.verify(ALGORITHM, b"key", part, signature);
            (good, remembered.verifier.0.load(Ordering::Relaxed) - before)
        };
        assert_eq!(asked(b"list", b"good"), (true, 1));
        assert_eq!(asked(b"list", b"good"), (true, 0));
        assert_eq!(asked(b"list", b"bad"), (false, 1));
        assert_eq!(asked(b"list", b"bad"), (false, 1));
        // Whatever differs is another question.
        assert_eq!(asked(b"lisp", b"good"), (true, 1));
        assert_eq!(asked(b"list", b"good2"), (true, 1));
        assert!(remembered.verify(SignatureAlgorithm::EcdsaP384Sha384, b"key", b"list", b"good"));
        assert!(remembered.verify(ALGORITHM, b"keylist", b"", b"good"));
        assert_eq!(remembered.verifier.0.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let remembered = Remembered::new(Counting::default());
        let ask = |message: &[u8]| assert!(remembered.verify(ALGORITHM, b"key", message, b"good"));
        ask(b"list");
        for number in 0..5 * SIGNATURES {
            ask(&number.to_be_bytes());
            ask(b"list");
        }
        assert_eq!(remembered.verifier.0.load(Ordering::Relaxed), 5 * SIGNATURES + 1, "the list is asked once");
        let good = remembered.good.lock().unwrap();
        assert!(good.young.len() <= SIGNATURES && good.old.len() <= SIGNATURES);
    }

    #[test]
    fn what_was_read_with_good_evidence_is_not_read_again() {
        let objects = Objects::new();
        let brought = |first: u8| {
            let mut endorsements = Endorsements::default();
            endorsements.certificate(&[first; 40]).unwrap();
            endorsements.list(b"list").unwrap();
            endorsements
        };
        let read =
            |endorsements: &mut Endorsements| endorsements.objects().map(|one| Arc::as_ptr(one)).collect::<Vec<_>>();
        let mut first = brought(1);
        let strange = objects.recognise(&mut first);
        assert_eq!(strange.0.len(), 2);
        // Its evidence was refused: nothing of it is kept.
        let mut again = brought(1);
        let strange_again = objects.recognise(&mut again);
        assert_ne!(read(&mut first), read(&mut again));
        drop(strange);
        objects.keep(strange_again);
        let (mut same, mut other) = (brought(1), brought(2));
        assert!(objects.recognise(&mut same).0.is_empty());
        assert_eq!(read(&mut same), read(&mut again));
        assert_eq!(objects.recognise(&mut other).0.len(), 1);
        assert_eq!((read(&mut other)[1], other.certificates().next()), (read(&mut again)[1], Some(&[2; 40][..])));
    }

    #[test]
    fn objects_are_bounded_by_their_bytes() {
        let objects = Objects::new();
        for number in 0..2_000_u32 {
            let mut endorsements = Endorsements::default();
            endorsements.list(&[&number.to_be_bytes()[..], &vec![0; 4_000]].concat()).unwrap();
            objects.keep(objects.recognise(&mut endorsements));
            let lately = objects.0.lock().unwrap();
            let bytes = |of: &HashMap<Name, (Arc<Object>, usize)>| of.values().map(|(_, size)| size).sum::<usize>();
            assert!(bytes(&lately.young) <= BYTES && bytes(&lately.old) <= BYTES);
            assert_eq!(bytes(&lately.young), lately.size);
        }
    }
}
