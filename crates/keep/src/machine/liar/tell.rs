//! What is told instead of the truth: results, data, deeds, times.
//!
//! Invariant: it is said whether what was told differs from the truth, and only that is counted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gate::plan::PROCESSORS;
use gate::ring::{ADDRESS, ALWAYS, COUNT, Call, EVENT, Kind, file};

use super::{Asked, Liar, MOST_LATER, NOISE, Seat, held};
use crate::attack::lies::{Cell, Field, Lie, Row};
use crate::attack::{Random, Scope};

impl Liar {
    /// Tells a lie, and whether it was one.
    pub(super) fn tell(&self, asked: &Asked<'_>, seat: &mut Seat, lie: Lie, aimed: bool) -> (u64, bool) {
        let Asked { machine, index, block, first, ref call } = *asked;
        let random = &mut seat.random;
        let truth = |call: &Call| self.truth(&Asked { call: *call, ..*asked });
        match lie.field() {
            Field::Result if call.kind == Kind::Processor => {
                // One that is refused does not come; whether it is believed of one that came is the aim's to ask.
                let value = self.value(lie, 0, call, random, index);
                if !self.fits(call, 0, value, aimed) {
                    return (truth(call), false);
                }
                if aimed && call.check(value).is_err() {
                    _ = truth(call);
                }
                (value, true)
            }
            Field::Result => {
                let honest = truth(call);
                let value = self.value(lie, honest, call, random, index);
                if self.fits(call, honest, value, aimed) { (value, true) } else { (honest, false) }
            }
            Field::Data => self.data(&truth, asked, random, lie),
            Field::Words => {
                let honest = truth(call);
                for word in (first..first + 6).chain([first + 7, COUNT]) {
                    block.set_word(word, random.next());
                }
                (honest, true)
            }
            Field::Deed => self.deed(&truth, asked, random, lie),
            Field::Time if lie == Lie::Late => {
                std::thread::sleep(Duration::from_micros(random.below(300)));
                (truth(call), true)
            }
            Field::Time => match call.kind {
                Kind::Poll => (truth(&Call { b: 0, ..*call }), call.b > 0),
                Kind::Wait => (truth(&Call { a: 0, ..*call }), call.a > 0),
                _ => (0, call.a > 0),
            },
            Field::Processors => {
                match lie {
                    Lie::Woken => (0..PROCESSORS as u64).for_each(|processor| machine.wake(processor)),
                    Lie::Kicked => machine.kick_all(),
                    _ => {
                        if !machine.extra() {
                            return (truth(call), false);
                        }
                        self.must_end(Cell { row: Row::Call(call.kind), lie });
                    }
                }
                (truth(call), true)
            }
            Field::While => {
                let honest = truth(call);
                let value = match lie {
                    Lie::Double => call_past(call),
                    _ => self.value(Lie::InRange, honest, call, random, index),
                };
                if lie == Lie::Rewrite && call.check(value).is_err() {
                    return (honest, false);
                }
                let data = (lie == Lie::Rewrite && self.plan.scope == Scope::All).then(|| random.next());
                self.rewriter.begin(index, first, [honest, value], data);
                (honest, true)
            }
        }
    }

    /// A result instead of the true one.
    fn value(&self, lie: Lie, honest: u64, call: &Call, random: &mut Random, index: usize) -> u64 {
        let minus = |number: u64| 0_u64.wrapping_sub(number);
        let most = largest(call);
        match lie {
            Lie::Zero => 0,
            Lie::One => 1,
            Lie::MinusOne => minus(1),
            Lie::LastError => minus(4095),
            Lie::PastErrors => minus(4096),
            Lie::Least => 1 << 63,
            Lie::Greatest => i64::MAX.unsigned_abs(),
            Lie::Most => most,
            Lie::OneLess => honest.wrapping_sub(1),
            Lie::OneMore => most + 1,
            Lie::High => honest ^ 1 << (32 + random.below(31)),
            Lie::Bit => honest ^ 1 << random.below(64),
            Lie::InRange => match call.kind {
                Kind::Poll => random.next() & most,
                Kind::Wait => random.below(most / u64::from(EVENT) + 1) * u64::from(EVENT),
                _ => random.below(most + 1),
            },
            Lie::Errno => minus(1 + random.below(133)),
            Lie::Stale => self.last[index % PROCESSORS].load(Ordering::Relaxed),
            Lie::Others => {
                let from = index + 1 + random.place(3);
                let others = (from..from + PROCESSORS).map(|other| other % PROCESSORS).filter(|other| *other != index);
                others
                    .map(|other| self.last[other].load(Ordering::Relaxed))
                    .find(|last| *last != honest)
                    .unwrap_or(honest)
            }
            _ => random.next(),
        }
    }

    /// An answer with other data.
    fn data(&self, truth: &dyn Fn(&Call) -> u64, asked: &Asked<'_>, random: &mut Random, lie: Lie) -> (u64, bool) {
        let Asked { block, ref call, .. } = *asked;
        let mut old = vec![0; NOISE.min(call.length as usize)];
        block.get_data(call.offset, &mut old);
        let honest = truth(call);
        let count = match call.check(honest) {
            Ok(Ok(_)) if call.kind == Kind::Firmware => old.len(),
            Ok(Ok(count)) => {
                let address = if call.kind == Kind::Receive { u64::from(ADDRESS) } else { 0 };
                usize::try_from(count + address).unwrap_or(0).min(old.len())
            }
            _ => 0,
        };
        let mut new = vec![0; old.len()];
        block.get_data(call.offset, &mut new);
        let before = new.clone();
        let mut result = honest;
        match lie {
            Lie::Flip if count > 0 => {
                // Of a guest message, what is authenticated: the tag, the number, the header's fields, the first of the body.
                let at = match call.kind {
                    Kind::Firmware => [0, 0x20, 0x30, 0x60][random.place(4)] + random.place(8),
                    _ => random.place(count),
                };
                new[at] ^= 1 << random.below(8);
                if self.firmware && (call.kind == Kind::Firmware || !self.booted.load(Ordering::SeqCst)) {
                    self.must_end(Cell { row: Row::Call(call.kind), lie });
                }
            }
            Lie::Fill if call.kind == Kind::Wait => {
                let events = new.as_chunks_mut::<{ EVENT as usize }>().0;
                let told = random.below(events.len().min(64) as u64 + 1);
                for event in events {
                    let handle = if random.below(8) == 0 { random.next() >> 32 } else { random.below(16) };
                    *event = (handle | random.next() << 32).to_le_bytes();
                }
                result = told * u64::from(EVENT);
            }
            Lie::Fill => noise(random, &mut new),
            Lie::Old => new = old,
            Lie::Replay => {
                if let Some(earlier) = held(&self.earlier).get(&(call.kind as u32)) {
                    let length = earlier.len().min(new.len());
                    new[..length].copy_from_slice(&earlier[..length]);
                }
            }
            Lie::Past => {
                let mut past = vec![0; NOISE];
                noise(random, &mut past);
                let at = u32::try_from(count).unwrap_or(0).saturating_add(call.offset);
                block.put_data(at, &past);
                return (honest, true);
            }
            _ => {}
        }
        if honest != 0 || call.kind == Kind::Firmware {
            held(&self.earlier).insert(call.kind as u32, before.clone());
        }
        block.put_data(call.offset, &new);
        (result, result != honest || new != before)
    }

    /// An answer without its deed, or to one that was done twice.
    fn deed(&self, truth: &dyn Fn(&Call) -> u64, asked: &Asked<'_>, random: &mut Random, lie: Lie) -> (u64, bool) {
        let Asked { machine, ref call, .. } = *asked;
        if lie == Lie::Twice {
            let honest = truth(call);
            if call.kind == Kind::Processor {
                if !machine.extra() {
                    return (honest, false);
                }
                self.must_end(Cell { row: Row::Call(call.kind), lie });
            } else {
                _ = truth(call);
            }
            return (honest, true);
        }
        match call.kind {
            Kind::Processor | Kind::Close => {
                let mut later = held(&self.later);
                if later.len() == MOST_LATER {
                    return (truth(call), false);
                }
                later.push((1 + random.below(12), *call));
            }
            Kind::Wake => self.withheld.store(true, Ordering::SeqCst),
            Kind::Read | Kind::Write | Kind::Send | Kind::Receive => {
                return (random.below(largest(call) + 1), true);
            }
            Kind::Accept | Kind::Name => return ([0, 8, 16, 28][random.place(4)], true),
            _ => {}
        }
        (0, true)
    }
}

/// The largest result that can be true.
fn largest(call: &Call) -> u64 {
    match call.kind {
        Kind::Read | Kind::Write | Kind::Wait => u64::from(call.length),
        Kind::Accept | Kind::Name => u64::from(ADDRESS),
        Kind::Error => 4095,
        Kind::Poll => call.a | u64::from(ALWAYS),
        Kind::What => file::TERMINAL,
        Kind::Seek | Kind::Clock => i64::MAX.unsigned_abs(),
        Kind::Send | Kind::Receive => u64::from(call.length.saturating_sub(ADDRESS)),
        Kind::Option => u64::from(i32::MAX.unsigned_abs()),
        _ => 0,
    }
}

/// A result that cannot be true, near one that can.
fn call_past(call: &Call) -> u64 {
    match call.kind {
        // So far beyond that who believes it once is seen to.
        Kind::Read | Kind::Write | Kind::Send | Kind::Receive => largest(call) + 48,
        _ => largest(call) + 1,
    }
}

fn noise(random: &mut Random, bytes: &mut [u8]) {
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
    }
}
