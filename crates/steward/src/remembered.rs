//! Signatures that were verified before.
//!
//! A vendor's certificates and lists come with every request, and are the same for days: whether their signatures verify does not
//! depend on when it is asked. Owns what was found good, by the hash of key, message and signature. Refuses to remember what was not.
//! Dates, revocation and policy are not its business: they are looked at each time. Invariant: it answers what the provider
//! behind it would, and remembers no more than [`MOST`] twice.

use std::{
    collections::HashSet,
    fmt, mem,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use evidence::{Provider, SignatureAlgorithm};

/// How many are remembered before those go that nobody asked for since as many others were.
const MOST: usize = 4096;

/// A provider that asks another one once.
pub(crate) struct Remembered<P> {
    provider: P,
    good: Mutex<Good>,
}

#[derive(Default)]
struct Good {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl<P> Remembered<P> {
    pub(crate) fn new(provider: P) -> Self {
        Self { provider, good: Mutex::default() }
    }
}

impl<P: Provider> Provider for Remembered<P> {
    fn verify(&self, algorithm: SignatureAlgorithm, spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let asked = name(algorithm, spki_der, message, signature);
        let good = || self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good().knows(asked) {
            return true;
        }
        let verified = self.provider.verify(algorithm, spki_der, message, signature);
        if verified {
            good().remember(asked);
        }
        verified
    }
}

impl Good {
    fn knows(&mut self, asked: [u8; 32]) -> bool {
        if self.young.contains(&asked) {
            return true;
        }
        let old = self.old.remove(&asked);
        if old {
            self.remember(asked);
        }
        old
    }

    fn remember(&mut self, asked: [u8; 32]) {
        if self.young.len() == MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(asked);
    }
}

/// One for each question: no two have the same.
fn name(algorithm: SignatureAlgorithm, spki_der: &[u8], message: &[u8], signature: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [format!("{algorithm:?}").as_bytes(), spki_der, message, signature] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut name = [0; 32];
    name.copy_from_slice(context.finish().as_ref());
    name
}

impl<P> fmt::Debug for Remembered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
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
        let remembered = Remembered::new(Counting::default());
        let asked = |part: &[u8; 4], signature: &[u8]| {
            let before = remembered.provider.0.load(Ordering::Relaxed);
            let good = remembered.verify(ALGORITHM, b"key", part, signature);
            (good, remembered.provider.0.load(Ordering::Relaxed) - before)
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
        assert_eq!(remembered.provider.0.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let remembered = Remembered::new(Counting::default());
        let ask = |message: &[u8]| assert!(remembered.verify(ALGORITHM, b"key", message, b"good"));
        ask(b"list");
        for number in 0..5 * MOST {
            ask(&number.to_be_bytes());
            ask(b"list");
        }
        assert_eq!(remembered.provider.0.load(Ordering::Relaxed), 5 * MOST + 1, "the list is asked once");
        let good = remembered.good.lock().unwrap();
        assert!(good.young.len() <= MOST && good.old.len() <= MOST);
    }
}
