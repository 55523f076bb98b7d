//! Calls of the ring as the host reads them, and their results as the Keep does (`spec/gate.md`, The ring).
//!
//! What must hold: a call that is read is written as the same words, and names bytes within its block; a result is an
//! error number, a value that the document allows for this call, or a lie.

use gate::ring::{Call, DATA, HANDLES, KINDS, Kind};

use crate::{Defect, Target, shape};

pub(crate) const RING: Target = Target {
    name: "ring",
    reads: "gate::ring::Call, on the host's side, and its results, on the Keep's",
    short: 20_000,
    seeds,
    run,
};

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let word = |index: usize| {
        let bytes = input.get(8 * index..8 * index + 8).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let words: [u64; 6] = std::array::from_fn(word);
    let call = match Call::decode(words) {
        Ok(call) => call,
        Err(_) if defect == Defect::Planted => {
            // Planted: offset and length are added in 32 bits.
            let [offset, length] =
                [words[2] & 0xffff_ffff, words[2] >> 32].map(|half| u32::try_from(half).unwrap_or(0));
            let mut elsewhere = words;
            elsewhere[2] = 0;
            match Call::decode(elsewhere) {
                Ok(call) if offset.wrapping_add(length) <= 0x1_0000 => Call { offset, length, ..call },
                _ => return vec![],
            }
        }
        Err(_) => return vec![],
    };
    let Call { kind, handle, offset, length, a, b: _ } = call;
    assert_eq!(words, call.encode());
    assert!(KINDS.contains(&kind) && handle < HANDLES);
    assert!(u64::from(offset) + u64::from(length) <= DATA as u64, "{call:?}");

    let result = word(6);
    let checked = call.check(result);
    match checked {
        Err(_) => assert!(kind == Kind::Exit || kind == Kind::Fatal || result != 0, "{call:?} cannot be answered"),
        Ok(Err(error)) => {
            assert!((1..=4095).contains(&error) && result == 0u64.wrapping_sub(u64::from(error)), "{call:?}");
        }
        Ok(Ok(value)) => {
            assert_eq!(value, result);
            let fits = match kind {
                Kind::Exit | Kind::Fatal => false,
                Kind::Read | Kind::Write => value <= u64::from(length),
                Kind::Wait => value <= u64::from(length) && value % 8 == 0,
                Kind::Accept | Kind::Name => value <= 28,
                Kind::Error => value <= 4095,
                Kind::Poll => value & !(a | 0x18) == 0,
                Kind::What => value <= 2,
                Kind::Seek | Kind::Clock => value >> 63 == 0,
                Kind::Send | Kind::Receive => value == 0 || value + 28 <= u64::from(length),
                Kind::Option => value >> 31 == 0,
                _ => value == 0,
            };
            assert!(fits, "{call:?} with {value:#x}");
        }
    }
    vec![shape(&(kind, checked.is_ok(), length == 0, result == 0))]
}

fn seeds() -> Vec<Vec<u8>> {
    let all = KINDS.iter().flat_map(|kind| {
        let call = Call { kind: *kind, handle: 7, offset: 24, length: 64, a: 0x41, b: 3 };
        [0, 8, 0u64.wrapping_sub(11)].map(|result| (call, result))
    });
    all.map(|(call, result)| call.encode().into_iter().chain([result]).flat_map(u64::to_le_bytes).collect()).collect()
}
