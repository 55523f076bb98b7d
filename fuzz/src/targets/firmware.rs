//! Guest messages as the simulated firmware answers them: whole conversations under the four keys of one guest, with
//! messages that were changed, sent again, left out or made up.
//!
//! What must hold: exactly the next message of a key is answered, once, with the number that follows; after any other the
//! firmware is as it was before.

use std::sync::LazyLock;

use silicon::{Amd, Finish, Guest, PageKind, Product, RequestError};

use super::Script;
use super::envelope::{Letter, MOST};
use crate::{Defect, Target, number as number_of, shape};

pub(crate) const FIRMWARE: Target =
    Target { name: "firmware", reads: "silicon::Guest::request, message after message", short: 200, seeds, run };

/// The most messages of a conversation.
const MESSAGES: usize = 24;
/// MSG_KEY_REQ, MSG_REPORT_REQ, MSG_TSC_INFO_REQ.
const KINDS: [u8; 3] = [3, 5, 17];

/// A guest that was launched, and the keys of its secrets page.
static LAUNCHED: LazyLock<(Guest, [[u8; 32]; 4])> = LazyLock::new(|| {
    let mut launch = Amd::from_seed([7; 32], Product::Genoa).launch(0x3_0000).expect("a policy");
    let mut secrets = [0; 4096];
    launch.update(PageKind::Secrets, 0x8000, &mut secrets).expect("an address");
    let key = |number: usize| *secrets[0x20 + 0x20 * number..].first_chunk().expect("inside the page");
    (launch.finish(&Finish::default()).expect("nobody else vouches for it"), [0, 1, 2, 3].map(key))
});

/// One end of the wire.
struct Firmware {
    guest: Guest,
    defect: Defect,
    last: Option<([u8; 4096], [u8; 4096])>,
}

impl Firmware {
    fn request(&mut self, page: &[u8; 4096]) -> Result<[u8; 4096], RequestError> {
        let answer = self.guest.request(page);
        match (&answer, &self.last) {
            // Planted: who did not hear the answer asks again, and hears it again.
            (Err(RequestError::Sequence { .. }), Some((last, answer)))
                if self.defect == Defect::Planted && last == page =>
            {
                return Ok(*answer);
            }
            (Ok(answer), _) => self.last = Some((*page, *answer)),
            _ => {}
        }
        answer
    }
}

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let (guest, keys) = &*LAUNCHED;
    let mut firmware = Firmware { guest: guest.clone(), defect, last: None };
    let mut next = [1_u64; 4];
    let mut script = Script(input);
    let mut sent: Vec<[u8; 4096]> = Vec::new();
    // Each with what happened before it.
    let mut happened: Vec<u64> = Vec::new();
    let mut before = 0;
    // A signature takes longer than everything else here.
    let mut reports = 0;
    while !script.is_over() && sent.len() < MESSAGES {
        let page = match script.byte() % 8 {
            0..=3 => {
                let mut letter = letter(&mut script, &next);
                reports += usize::from(letter.kind == 5);
                if letter.kind == 5 && reports > 1 {
                    letter.kind = 17;
                }
                letter.seal(&keys[usize::from(letter.vmpck) % 4])
            }
            4 => {
                let Some(again) = sent.get(script.number() % sent.len().max(1)) else { continue };
                *again
            }
            5 | 6 => {
                let Some(last) = sent.last() else { continue };
                let mut page = *last;
                for _ in 0..=script.byte() % 4 {
                    page[script.number() % 0x100] ^= script.byte();
                }
                page
            }
            _ => {
                let mut page = [script.byte(); 4096];
                let bytes = script.bytes(0x70);
                page[..bytes.len()].copy_from_slice(bytes);
                page
            }
        };
        let index = usize::from(page[0x3c]);
        let asked = keys.get(index).and_then(|key| Letter::open(&page, key)).filter(|letter| {
            // What is authenticated, and what has to be zero beside it.
            letter.seal(&keys[index])[..letter.length()] == page[..letter.length()] && next[index] == letter.number
        });
        let answer = firmware.request(&page);
        let this = match (&asked, &answer) {
            (Some(asked), Ok(answer)) => {
                let answer = Letter::open(answer, &keys[index]).expect("an answer is under the key of its question");
                let Letter { vmpck, number, kind, version, payload } = &answer;
                assert_eq!((*vmpck, *version), (asked.vmpck, asked.version));
                assert_eq!((*number, *kind), (asked.number + 1, asked.kind + 1));
                next[index] += 2;
                number_of(&(asked.kind, payload.first()))
            }
            (None, Ok(_)) => {
                panic!("an answer to what is no question, or to one that was answered: {:02x?}", &page[..0x60])
            }
            (Some(asked), Err(error)) => {
                let known = KINDS.contains(&asked.kind) && [1, 2].contains(&asked.version);
                let length = [(3, 1, 0x20), (3, 2, 0x28), (5, 1, 0x60), (17, 1, 0x80)];
                let good = known && length.contains(&(asked.kind, asked.version, asked.payload.len()));
                assert!(!good, "no answer to {asked:?}: {error}");
                shape(error)
            }
            (None, Err(error)) => shape(error),
        };
        happened.push(number_of(&(before, this)));
        before = this;
        sent.push(page);
    }
    for (vmpck, (key, number)) in (0..).zip(keys.iter().zip(next)) {
        let letter = Letter { vmpck, number, kind: 17, version: 1, payload: vec![0; 0x80] };
        assert!(firmware.request(&letter.seal(key)).is_ok(), "VMPCK{vmpck} no longer goes on at {number}");
    }
    happened
}

/// A message under a key of the guest, most often the next one and of a kind that there is.
fn letter(script: &mut Script<'_>, next: &[u64; 4]) -> Letter {
    let [vmpck, kind, version, size] = [(); 4].map(|()| script.byte());
    let vmpck = vmpck % 4;
    let kind = if kind < 0xe0 { KINDS[usize::from(kind) % 3] } else { kind };
    let version = if version < 0xe0 { 1 + version % 2 } else { version };
    let size = match size {
        0..0x40 => 0x20,
        0x40..0x80 => 0x28,
        0x80..0xb0 => 0x60,
        0xb0..0xe0 => 0x80,
        _ => script.number() % (MOST + 1),
    };
    let number = next[usize::from(vmpck)];
    let number = match script.byte() {
        0xf0.. => number.wrapping_add(script.number() as u64).wrapping_sub(4),
        _ => number,
    };
    let mut payload = vec![0; size];
    let count = usize::from(script.byte()) % 0x81;
    let bytes = script.bytes(count.min(size));
    payload[..bytes.len()].copy_from_slice(bytes);
    Letter { vmpck, number, kind, version, payload }
}

fn seeds() -> Vec<Vec<u8>> {
    let key = [&[0, 0, 0, 0, 0x10, 0, 0x20][..], &[0; 8], &[9], &[0; 23]].concat();
    let report = [&[0, 0, 1, 0, 0x90, 0, 0x60][..], &[5; 64], &[0; 32]].concat();
    let time = [0, 1, 2, 0, 0xc0, 0, 0].to_vec();
    vec![
        key.clone(),
        report.clone(),
        time.clone(),
        [&key[..], &[4, 0, 0], &time, &[4, 1, 0]].concat(),
        [&time[..], &time, &[5, 0, 0x20, 0, 1], &time].concat(),
        [&time[..], &[7, 0], &[1; 0x60], &report, &[6, 1, 0x10, 0, 1, 0x3c, 0, 3]].concat(),
    ]
}
