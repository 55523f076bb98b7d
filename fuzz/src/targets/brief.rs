//! Briefs, as exec reads them and as a shim glances at them (`spec/brief.md`).
//!
//! What must hold: a brief that is read is written as the very bytes it was read from, and whoever only glances at it sees
//! the same owner, deployment, role and workload.

use workload::brief::{Brief, BriefError, Glance, Source, StewardRef};
use workload::digest::Digest;

use crate::{Defect, Target, shape};

pub(crate) const BRIEF: Target = Target {
    name: "brief",
    reads: "workload::brief::Brief and Glance, over the same bytes",
    short: 20_000,
    seeds,
    run,
};

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let mut glance = Glance::new(input);
    if let Some(glance) = glance.as_mut().filter(|_| defect == Defect::Planted) {
        // Planted: the rest of a longer role is not looked at.
        glance.role = glance.role.get(..4).unwrap_or(glance.role);
    }
    let happened = match Brief::decode(input) {
        Ok(brief) => {
            assert_eq!(brief.try_encode().as_deref(), Ok(input));
            let glance = glance.expect("a brief is one at a glance too");
            assert_eq!(glance.owner, brief.owner.as_ref().map(Digest::as_bytes));
            assert_eq!((glance.deployment, glance.role), (brief.deployment.as_str(), brief.role.as_str()));
            assert_eq!(glance.workload, brief.workload.as_bytes());
            let Brief { trust_domain: _, steward, source, owner, deployment: _, role: _, workload: _, args, env } =
                brief;
            shape(&(steward.is_some(), source == Source::Host, owner.is_some(), args.is_empty(), env.is_empty()))
        }
        // Names the text that was found.
        Err(BriefError::DuplicateVariable(_)) => 1,
        Err(BriefError::Name { place, error: _ }) => shape(&(place, glance.is_some())),
        Err(error) => shape(&(error, glance.is_some())),
    };
    vec![happened]
}

fn seeds() -> Vec<Vec<u8>> {
    let small = Brief {
        trust_domain: "example.org".parse().expect("a domain"),
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: "test".parse().expect("a name"),
        role: "web".parse().expect("a name"),
        workload: Digest::new([0x33; 32]),
        args: vec![],
        env: vec![],
    };
    let full = Brief {
        steward: Some(StewardRef {
            url: "https://steward.example".to_owned(),
            anchors: vec![Digest::new([0x11; 32]), Digest::new([0x12; 32])],
            tls: vec![Digest::new([0x13; 32])],
        }),
        source: Source::Drawbridge {
            authority: "registry.example:443".to_owned(),
            repository: "shop".to_owned(),
            tls: vec![],
        },
        owner: Some(Digest::new([0x22; 32])),
        args: vec!["--fast".to_owned(), String::new()],
        env: vec![("LANG".to_owned(), "C".to_owned()), ("PATH".to_owned(), "/".to_owned())],
        ..small.clone()
    };
    [small, full].iter().map(Brief::encode).collect()
}
