//! Release policies: what an owner signed about a repository.
//!
//! What must hold: what is read has one encoding, which is what was read, and says whom it lets in: nobody is let in by silence.

use std::collections::BTreeSet;

use identity::ear::{Class, Measurement};
use identity::publisher::Accepted;
use identity::release::{Allowed, ReleasePolicy};
use identity::signed::Document as _;
use workload::Digest;

use crate::{Defect, Target, number};

pub(crate) const RELEASE: Target =
    Target { name: "release", reads: "identity::ReleasePolicy", short: 5_000, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    // Planted: what follows is not looked at.
    let read = match (defect, input.split_last()) {
        (Defect::Planted, Some((_, head))) if ReleasePolicy::decode(input).is_err() => ReleasePolicy::decode(head),
        _ => ReleasePolicy::decode(input),
    };
    let policy = match read {
        Ok(policy) => policy,
        Err(error) => {
            // Numbers and names are in the texts, after what they are of.
            let text = error.to_string();
            let of_what = text.split(|c: char| c.is_ascii_digit() || ":`\"".contains(c)).next();
            return vec![number(&of_what)];
        }
    };
    assert_eq!(policy.encode(), input, "another encoding");
    assert!(!policy.anchors.is_empty() && !policy.measurements.is_empty() && policy.version > 0);
    assert!((policy.version == 1) == policy.previous.is_none());
    assert!(policy.secrets.values().all(|workloads| !workloads.is_empty()));
    let all = |any: bool, count: usize| if any { usize::MAX } else { count.min(3) };
    let workloads = match &policy.workloads {
        Allowed::Any => all(true, 0),
        Allowed::Only(some) => all(false, some.len()),
    };
    vec![number(&(
        policy.class == Class::Hardware,
        workloads,
        policy.secrets.len().min(3),
        policy.maximum_age.is_some(),
    ))]
}

fn seeds() -> Vec<Vec<u8>> {
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004").expect("hexadecimal");
    let taken = |text: &str| -> BTreeSet<Accepted> {
        let (signer, product) = (Digest::of(b"publisher"), "shop".parse().expect("a name"));
        [Digest::of(text.as_bytes()).into(), Accepted::Product { signer, product, minimum: 3 }].into()
    };
    let some = |text: &str| -> BTreeSet<Digest> { [Digest::of(text.as_bytes()), Digest::of(b"other")].into() };
    let first = ReleasePolicy {
        repository: "acme/shop".parse().expect("a repository"),
        version: 1,
        previous: None,
        owner: [head, vec![7; 64]].concat(),
        trust_domain: "example.org".parse().expect("a trust domain"),
        anchors: some("anchor"),
        class: Class::Hardware,
        measurements: [Measurement::new([7; 48]).expect("a measurement")].into(),
        workloads: Allowed::Only(taken("workload")),
        deployments: Allowed::Only(["shop".parse().expect("a name")].into()),
        policies: Allowed::Any,
        maximum_age: None,
        secrets: [("db", "a"), ("tls", "b")].map(|(name, of)| (name.parse().expect("a name"), taken(of))).into(),
    };
    let next = ReleasePolicy {
        version: 2,
        previous: Some(Digest::of(b"first")),
        class: Class::Insecure,
        workloads: Allowed::Any,
        deployments: Allowed::Any,
        policies: Allowed::Only(some("policy")),
        maximum_age: Some(900),
        ..first.clone()
    };
    let bare = ReleasePolicy { secrets: Default::default(), ..first.clone() };
    [first, next, bare].iter().map(ReleasePolicy::encode).collect()
}
