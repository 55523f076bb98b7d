//! Signatures of workloads: what a publisher, and whoever stands in between, makes a Steward, a Keep and a command line read.
//!
//! What must hold: what is read has one encoding, which is what was read; nothing is said of a workload that is not the payload's, and
//! nothing at all where the signature is wrong.

use std::cell::Cell;

use identity::publisher::{Claim, Signature};
use identity::{Algorithm, Verifier};
use workload::Digest;

use crate::{Defect, Target, number, shape};

pub(crate) const PUBLISHER: Target =
    Target { name: "publisher", reads: "identity::publisher::Signature", short: 20_000, seeds, run };

/// Says of every signature the same, and remembers that it was asked.
struct Says(bool, Cell<bool>);

impl Verifier for Says {
    fn verify(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        self.1.set(true);
        self.0
    }
}

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    // Planted: what follows is not looked at.
    let read = match (defect, input.split_last()) {
        (Defect::Planted, Some((_, head))) if Signature::decode(input).is_err() => Signature::decode(head),
        _ => Signature::decode(input),
    };
    let signature = match read {
        Ok(signature) => signature,
        Err(error) => return vec![shape(&error)],
    };
    assert_eq!(signature.encode(), input, "another encoding");
    let workload = Digest::of(b"workload");
    let refused = signature.verify(&workload, &Says(false, Cell::new(false)));
    assert!(refused.is_err(), "a wrong signature");
    let asked = Says(true, Cell::new(false));
    match signature.verify(&workload, &asked) {
        Ok(published) => {
            assert!(asked.1.get(), "nobody was asked whether the signature is right");
            assert_eq!(signature.workload(), Ok(workload));
            vec![number(&(published.svn == 3, published.product.len().min(8)))]
        }
        Err(error) => vec![shape(&error)],
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004").expect("hexadecimal");
    let spki = [head, vec![7; 64]].concat();
    let claim = |workload: &[u8], svn| Claim {
        reference: "registry.example.org/acme/shop".to_owned(),
        workload: Digest::of(workload),
        product: "shop".parse().expect("a name"),
        svn,
    };
    let payload = |workload, svn| claim(workload, svn).payload().into_bytes();
    let spaced = String::from_utf8(payload(b"workload", 3)).expect("text").replace(':', ": ").replace(',', ",\n");
    [payload(b"workload", 3), payload(b"other", 0), payload(b"workload", u64::MAX), spaced.into_bytes()]
        .map(|payload| Signature::of(spki.clone(), vec![0x30, 0], payload).encode())
        .into()
}
