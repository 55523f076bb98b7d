//! Small pieces of work of different kinds, which a compiler does better or worse: each a round of some milliseconds.

use std::collections::BTreeMap;
use std::hint::black_box;

use sha2::{Digest, Sha256};

/// The kernel of this name.
pub(crate) fn named(name: &str) -> Option<fn()> {
    Some(match name {
        "sieve" => sieve,
        "matrix" => matrix,
        "bodies" => bodies,
        "hash" => hash,
        "chase" => chase,
        "tree" => tree,
        _ => return None,
    })
}

/// A pseudo-random sequence (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Bytes and branches: the primes below a million.
fn sieve() {
    let mut composite = vec![false; 1_000_000];
    for at in 2..1000 {
        if !composite[at] {
            composite[at * at..].iter_mut().step_by(at).for_each(|composite| *composite = true);
        }
    }
    black_box(composite.iter().filter(|composite| !**composite).count());
}

/// Floating point over memory: a product of two matrices.
fn matrix() {
    const SIDE: usize = 160;
    let (left, right) = (black_box(vec![1.5_f64; SIDE * SIDE]), black_box(vec![0.25_f64; SIDE * SIDE]));
    let mut product = vec![0.0; SIDE * SIDE];
    for row in 0..SIDE {
        for inner in 0..SIDE {
            let factor = left[row * SIDE + inner];
            for column in 0..SIDE {
                product[row * SIDE + column] += factor * right[inner * SIDE + column];
            }
        }
    }
    black_box(product);
}

/// Floating point with division and roots: five bodies that attract each other.
fn bodies() {
    let mut at = [[0.0, 0.0, 0.0], [4.8, -1.2, -0.1], [8.3, 4.1, -0.4], [12.9, -15.1, -0.2], [15.4, -25.9, 0.2]];
    let mut speed = [[0.0, 0.0, 0.0], [0.6, 2.8, -0.02], [-1.0, 1.8, 0.008], [1.1, 0.9, -0.01], [0.9, 0.6, -0.03]];
    let mass = [39.5, 0.04, 0.01, 0.002, 0.002_f64];
    for _ in 0..20_000 {
        for first in 0..5 {
            for second in first + 1..5 {
                let apart: [f64; 3] = std::array::from_fn(|axis| at[first][axis] - at[second][axis]);
                let square = apart.iter().map(|distance| distance * distance).sum::<f64>();
                let force = 0.001 / (square * square.sqrt());
                for axis in 0..3 {
                    speed[first][axis] -= apart[axis] * mass[second] * force;
                    speed[second][axis] += apart[axis] * mass[first] * force;
                }
            }
        }
        for body in 0..5 {
            for axis in 0..3 {
                at[body][axis] += 0.001 * speed[body][axis];
            }
        }
    }
    black_box((at, speed));
}

/// Whole numbers, rotated and added: SHA-256 of a megabyte.
fn hash() {
    black_box(Sha256::digest(black_box(vec![7; 1 << 20])));
}

/// Memory in an order that nobody foresees.
fn chase() {
    const CELLS: usize = 1 << 18;
    let mut order: Vec<usize> = (0..CELLS).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    // One cycle through all (Sattolo's shuffle).
    for last in (1..CELLS).rev() {
        let other = next(&mut state) as usize % last;
        order.swap(last, other);
    }
    black_box((0..CELLS).fold(0, |cell, _| order[cell]));
}

/// Allocations and calls: a map of a hundred thousand.
fn tree() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut map = BTreeMap::new();
    for _ in 0..50_000 {
        map.insert(next(&mut state), next(&mut state));
    }
    black_box(map.range(1 << 62..).map(|(_, value)| value & 1).sum::<u64>());
}
