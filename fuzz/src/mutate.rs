//! Changing an input: what a hostile writer would try on bytes that somebody parses.
//!
//! Invariant: a change is a function of the input and the state of [`Random`]; no input grows over [`LONGEST`].

/// The most bytes of an input.
pub const LONGEST: usize = 1 << 15;

/// Numbers at which arithmetic and comparisons break.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0xfff,
    0x1000,
    0x7fff,
    0xffff,
    0x1_0000,
    0x8_0000,
    0x20_0000,
    0x4000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 52,
    1 << 63,
    u64::MAX - 0xfff,
    u64::MAX,
];

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// One below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.word() % bound).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.word().to_le_bytes()[0]
    }

    /// Two places of which the second is not before the first.
    fn range(&mut self, length: usize, most: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        (from, from + self.below((length - from).min(most) + 1))
    }
}

/// Changes `input` in one to eight ways; `other` is an input to borrow from.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(8).min(random.below(8)) {
        change(random, input, other);
    }
    input.truncate(LONGEST);
}

fn change(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(input.len());
    match random.below(12) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.byte();
            }
        }
        // A number of two, four or eight bytes, where numbers usually lie or anywhere.
        2..=4 => {
            let size = 2 << random.below(3);
            let at = if random.below(4) > 0 { at / size * size } else { at };
            if let Some(place) = input.get_mut(at..at + size) {
                let mut word = [0; 8];
                word[..size].copy_from_slice(place);
                let near = random.word() % 17;
                let number = match random.below(3) {
                    0 => u64::from_le_bytes(word).wrapping_add(near).wrapping_sub(8),
                    1 => NUMBERS[random.below(NUMBERS.len())].wrapping_add(near).wrapping_sub(8),
                    _ => NUMBERS[random.below(NUMBERS.len())],
                };
                place.copy_from_slice(&number.to_le_bytes()[..size]);
            }
        }
        5 => input.truncate(at),
        6 => {
            let count = random.below(40);
            let byte = random.byte();
            input.extend((0..count).map(|_| if byte & 1 == 0 { byte } else { random.byte() }));
        }
        7 => {
            let (from, to) = random.range(input.len(), 64);
            input.drain(from..to);
        }
        8 => {
            let (from, to) = random.range(input.len(), 64);
            let piece = input[from..to].to_vec();
            input.splice(at..at, piece);
        }
        // A piece of another input, over what is here or between it.
        9 => {
            let (from, to) = random.range(other.len(), 128);
            let end = if random.below(2) == 0 { at } else { (at + to - from).min(input.len()) };
            input.splice(at..end, other[from..to].iter().copied());
        }
        10 => {
            let at = if random.below(2) == 0 { at } else { random.below(16) };
            resize(random, input, at);
        }
        _ => {
            let cut = random.below(other.len());
            input.truncate(at);
            input.extend(&other[cut..]);
        }
    }
}

/// If there are the length of a field and the field, makes both longer or shorter: each alone is soon refused. Lengths are
/// those of the gate, or short ones of CBOR (RFC 8949, section 3).
fn resize(random: &mut Random, input: &mut Vec<u8>, at: usize) {
    let short = random.below(2) == 0;
    let field = |at: usize| {
        let rest = input.get(at..)?;
        let (size, length) = match (short, rest) {
            (true, [head, ..]) => (1, u32::from(head & 0x1f)),
            (false, [a, b, c, d, ..]) => (4, u32::from_le_bytes([*a, *b, *c, *d])),
            _ => return None,
        };
        let end = usize::try_from(length).ok().and_then(|length| length.checked_add(at + size))?;
        (length > 0 && end <= input.len()).then_some((at, at + size, end))
    };
    let Some((at, from, end)) = (at..at + 64).find_map(field) else { return };
    let most = if short { 8 } else { 64 };
    let mut bytes: Vec<u8> = (0..random.below(most)).map(|_| random.byte()).collect();
    if random.below(2) == 0 {
        bytes.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    }
    let kept = if random.below(2) == 0 { end } else { from + random.below(end - from + 1) };
    let length = u32::try_from(kept - from + bytes.len()).unwrap_or(0);
    input.splice(kept..end, bytes);
    if short {
        input[at] = input[at] & 0xe0 | length.to_le_bytes()[0] & 0x1f;
    } else {
        input[at..from].copy_from_slice(&length.to_le_bytes());
    }
}
