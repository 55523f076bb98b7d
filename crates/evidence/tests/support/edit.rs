//! Edits DER: something else in the place of something, with the lengths around it mended.

/// Replaces the first `old` by `new` wherever it lies and mends the lengths around it.
pub(crate) fn replace(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = der.windows(old.len()).position(|window| window == old).expect("old is there");
    rebuild(der, at, old.len(), new)
}

/// `tlvs` is a row of elements; the one that holds all of `at..at + len` in its value is rebuilt.
pub(crate) fn rebuild(tlvs: &[u8], at: usize, len: usize, new: &[u8]) -> Vec<u8> {
    let mut start = 0;
    while let Some((header, length)) = header(&tlvs[start..]) {
        let value = start + header..start + header + length;
        if value.end > tlvs.len() {
            break;
        }
        if value.contains(&at) && at + len <= value.end {
            let inner = rebuild(&tlvs[value.clone()], at - value.start, len, new);
            let mut out = tlvs[..=start].to_vec();
            out.push(0x82);
            out.extend(u16::try_from(inner.len()).expect("small").to_be_bytes());
            if inner.len() < 128 {
                out.truncate(start + 1);
                out.push(u8::try_from(inner.len()).expect("small"));
            } else if inner.len() < 256 {
                out.truncate(start + 1);
                out.extend([0x81, u8::try_from(inner.len()).expect("small")]);
            }
            out.extend(inner);
            out.extend(&tlvs[value.end..]);
            return out;
        }
        start = value.end;
    }
    [&tlvs[..at], new, &tlvs[at + len..]].concat()
}

/// Bytes of the header of the first element, and of its value.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [_, len @ 0..=0x7F, ..] => Some((2, len.into())),
        [_, 0x81, len, ..] => Some((3, len.into())),
        [_, 0x82, high, low, ..] => Some((4, u16::from_be_bytes([high, low]).into())),
        _ => None,
    }
}
