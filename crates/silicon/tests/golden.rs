//! The bytes of simulated silicon, held by their hashes: same seed, same bytes, on every machine
//! and after every update of a dependency.
//!
//! If a hash changes on purpose, every committed vector and every recorded demo changes with it:
//! say so in the changelog.

use sha2::{Digest, Sha256};
use silicon::{Amd, Product, ReportRequest, Tcb};

const SEED: [u8; 32] = *b"donjon silicon golden test seed.";

/// Everything one chip can say, in a fixed order.
fn everything(amd: &Amd) -> Vec<(&'static str, Vec<u8>)> {
    let tcb = amd.tcb();
    let report = |version| {
        amd.report(&ReportRequest {
            version,
            report_data: [1; 64],
            host_data: [2; 32],
            measurement: [3; 48],
            ..amd.request()
        })
        .to_vec()
    };
    vec![
        ("ark", amd.ark_der().to_vec()),
        ("ask", amd.ask_der().to_vec()),
        ("vcek", amd.vcek_der(tcb)),
        ("vcek older", amd.vcek_der(Tcb { microcode: 0, ..tcb })),
        ("crl", amd.crl_der(1_764_547_200, 1_796_083_200, &[])),
        ("crl revoking", amd.crl_der(1_764_547_200, 2_524_608_000, &[0, amd.product().ask_serial()])),
        ("chip id", amd.chip_id().to_vec()),
        ("report 2", report(2)),
        ("report 3", report(3)),
        ("report 4", report(4)),
        ("report 5", report(5)),
        ("asvk", amd.product().asvk_der().to_vec()),
        ("vlek", amd.issue_vcek(&amd.vlek_template(tcb, "CN=simulated-public.invalid"))),
    ]
}

#[test]
fn the_bytes_of_every_product_are_the_golden_ones() {
    let mut found = String::new();
    for product in Product::ALL {
        for (what, bytes) in everything(&Amd::from_seed(SEED, product)) {
            found += &format!("{} {what}: {}\n", product.name(), hex::encode(&Sha256::digest(bytes)[..16]));
        }
    }
    assert_eq!(found, include_str!("golden.txt"));
}

#[test]
fn asking_twice_or_of_a_clone_or_in_another_order_changes_nothing() {
    let amd = Amd::from_seed(SEED, Product::Turin);
    let first = everything(&amd);
    assert_eq!(everything(&amd), first, "cached");
    assert_eq!(everything(&amd.clone()), first);
    let fresh = Amd::from_seed(SEED, Product::Turin);
    let other_order = (fresh.report(&fresh.request()), fresh.vcek_der(fresh.tcb()));
    assert_eq!(other_order, (amd.report(&amd.request()), amd.vcek_der(amd.tcb())));
}

#[test]
fn another_seed_is_another_chip_under_the_same_roots() {
    let (one, other) =
        (everything(&Amd::from_seed(SEED, Product::Milan)), everything(&Amd::from_seed([0; 32], Product::Milan)));
    for ((what, one), (_, other)) in one.into_iter().zip(other) {
        let shared = matches!(what, "ark" | "ask" | "asvk" | "crl" | "crl revoking");
        assert_eq!(one == other, shared, "{what}");
    }
}
