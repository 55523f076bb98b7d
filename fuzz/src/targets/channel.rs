//! The shim's end of guest messages, against a host that carries answers as it likes, and a firmware that says what it
//! likes.
//!
//! What must hold: an answer counts if it is the firmware's to the very message that was sent last, and then is what the
//! firmware said; no number is used for two messages.

use super::Script;
use super::envelope::{HEADER, Letter};
use crate::{Defect, Target, number};

#[allow(dead_code, reason = "there is more in it than is looked at here")]
#[path = "../../../guest/shim/src/attest/snp.rs"]
mod snp;

use snp::{Channel, LONGEST, Message, NoAnswer, REPORT};

pub(crate) const CHANNEL: Target =
    Target { name: "channel", reads: "the shim's attest::snp::Channel", short: 500, seeds, run };

const KEY: [u8; 32] = [7; 32];
/// The most messages of a conversation.
const MESSAGES: usize = 16;

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let mut script = Script(input);
    let (mut channel, mut message) = (Channel::new(&KEY), Message::new());
    let mut happened = Vec::new();
    let mut numbers = Vec::new();
    // Everything the firmware said. It has the key, so what it says under a number of later counts when that comes.
    let mut answers: Vec<(Letter, [u8; LONGEST])> = Vec::new();
    let mut before = 0;
    while !script.is_over() && numbers.len() < MESSAGES {
        let wants_report = script.byte() & 1 == 0;
        // What the firmware said in the answer, if that came as it was.
        let mut said = None;
        let (mut how, mut old) = (0, false);
        let carry = |message: &mut Message| {
            let mut page = [0; 4096];
            page[..message.length].copy_from_slice(&message.bytes[..message.length]);
            let asked = Letter::open(&page, &KEY).expect("the shim's own message");
            numbers.push(asked.number);
            let letter = answer(&mut script, &asked, wants_report);
            message.bytes.copy_from_slice(&letter.seal(&KEY)[..LONGEST]);
            answers.push((letter, message.bytes));
            how = script.byte() % 8;
            match how {
                0..=3 => {}
                4 | 5 => {
                    for _ in 0..=script.byte() % 4 {
                        message.bytes[script.number() % LONGEST] ^= script.byte();
                    }
                }
                6 => {
                    message.bytes = answers[script.number() % answers.len()].1;
                    old = true;
                }
                _ => return Err(NoAnswer),
            }
            let came = answers.iter().find(|(letter, sealed)| {
                let Letter { vmpck, number, kind, version, payload } = letter;
                // Bytes that are neither authenticated nor read: the rest of AUTHTAG, those after the number, those behind.
                let end = letter.length();
                let read = |bytes: &[u8]| [&bytes[..0x10], &bytes[0x20..0x28], &bytes[0x30..end]].concat();
                let follows = (*number, *kind) == (asked.number + 1, asked.kind + 1) && (*vmpck, *version) == (0, 1);
                follows && payload.starts_with(&[0; 4]) && end <= LONGEST && read(&message.bytes) == read(sealed)
            });
            said = came.map(|(letter, _)| letter.payload.clone());
            Ok(())
        };
        let heard = if wants_report {
            channel.report(&[5; 64], &mut message, carry).map(|report| report.to_vec())
        } else {
            channel.key(&mut message, carry).map(|key| key.to_vec())
        };
        let heard = match heard {
            // Planted: an answer to an older message is one.
            Err(NoAnswer) if defect == Defect::Planted && old => Ok(message.bytes[HEADER..].to_vec()),
            heard => heard,
        };
        // STATUS and what follows it, then what was asked for and nothing more.
        let length = if wants_report { REPORT } else { 32 };
        let expected =
            said.filter(|said| said.len() == 0x20 + length && (!wants_report || said[4..8] == 1184_u32.to_le_bytes()));
        let as_said = heard.as_deref().ok() == expected.as_deref().map(|said| &said[0x20..]);
        assert!(as_said, "heard {}, after {numbers:?}", if heard.is_ok() { "what was not said" } else { "nothing" });
        happened.push(number(&(wants_report, heard.is_ok(), message.length, how, before)));
        before = how;
    }
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    happened
}

/// What the firmware says: most often what was asked for.
fn answer(script: &mut Script<'_>, asked: &Letter, report: bool) -> Letter {
    let length = 0x20 + if report { REPORT } else { 32 };
    let mut payload = vec![asked.number.to_le_bytes()[0]; length];
    payload[..0x20].fill(0);
    payload[4..8].copy_from_slice(&1184_u32.to_le_bytes());
    let mut letter = Letter { number: asked.number + 1, kind: asked.kind + 1, payload, ..asked.clone() };
    match script.byte() {
        0..0xa0 => {}
        0xa0..0xc0 => letter.payload.resize(script.number() % 0x600, 0),
        0xc0..0xe0 => {
            let at = usize::from(script.byte()) % 0x20;
            letter.payload[at] = script.byte();
        }
        0xe0..0xe8 => letter.number = letter.number.wrapping_add(u64::from(script.byte())),
        0xe8..0xf0 => letter.kind = script.byte(),
        0xf0..0xf8 => letter.version = script.byte(),
        _ => letter.vmpck = script.byte(),
    }
    letter
}

fn seeds() -> Vec<Vec<u8>> {
    // A report or a key, what the firmware says, what the host makes of it.
    let good = [[0, 0, 0], [1, 0, 0]];
    let status = [0, 0xc0, 0, 0x16, 0];
    let changed = [0, 0, 4, 0, 0x61, 0, 1];
    let again = [0, 0, 6, 0, 0];
    vec![
        good.concat(),
        [&status[..], &good.concat()].concat(),
        [&changed[..], &good.concat()].concat(),
        [&good.concat()[..], &again, &good.concat()].concat(),
        [&good[0][..], &[1, 0xa0, 0x20, 0, 0], &good[1], &[0, 0, 7], &good[0]].concat(),
    ]
}
