//! Round trips, truncations and bounds of every message.

use super::*;
use alloc::vec;

fn requests() -> Vec<Request<'static>> {
    vec![
        Request::Brief,
        Request::Deployment,
        Request::Endorsements,
        Request::SealKey { context: b"" },
        Request::SealKey { context: b"disk" },
        Request::Attest { purpose: Purpose::Issue, spki: b"spki", nonce: b"" },
        Request::Attest { purpose: Purpose::Direct, spki: b"", nonce: b"n" },
        Request::Attest { purpose: Purpose::User, spki: b"s", nonce: b"n" },
        Request::Blob { digest: [7; 32], offset: u64::MAX },
        Request::Bind { name: "web" },
        Request::Resolve { authority: "steward.example:443" },
        Request::Lookup { authority: "shop.example:1" },
        Request::Folder { mount: "/data", path: "", after: "" },
        Request::Folder { mount: "/", path: "a/b", after: "c" },
        Request::Read { mount: "/data", path: "a", offset: 1 },
        Request::Listening { name: "web", address: "127.0.0.1:1" },
        Request::Milestone { step: 13, detail: "ok" },
        Request::Load { name: [7; 32], offset: 1 },
        Request::Store { name: [7; 32], rest: u64::MAX, bytes: b"sealed" },
        Request::Compile(Compile::Begun),
        Request::Compile(Compile::Done),
        Request::Compile(Compile::Spared),
        Request::Part { bytes: b"\x7fELF" },
        Request::File { path: Path::new("/a/b").unwrap(), bytes: b"" },
        replace(b"program\0\0", b"A=\0B=1\0"),
        replace(b"\0", b""),
        Request::Outcome(Outcome::Exit(255)),
        Request::Outcome(Outcome::Trap),
        Request::Outcome(Outcome::Refused { step: 8, code: "a.b", message: "m", hint: "" }),
    ]
}

fn replace<'a>(arguments: &'a [u8], environment: &'a [u8]) -> Request<'a> {
    let streams = Streams { stdin: true, stdout: false, stderr: true };
    let texts = |bytes| Texts::new(bytes).unwrap();
    Request::Replace { arguments: texts(arguments), environment: texts(environment), streams }
}

fn replies() -> Vec<Reply<'static>> {
    vec![
        Reply::Brief { brief: b"b" },
        Reply::Deployment { deployment: b"", signature: b"" },
        Reply::Deployment { deployment: b"deployment", signature: b"signature" },
        Reply::Evidence { media_type: "t", evidence: b"e" },
        Reply::Endorsements { certificates: vec![b"1", b""], crl: b"c" },
        Reply::Key { key: [7; 32] },
        Reply::Unavailable,
        Reply::Blob { total: 1, bytes: b"x" },
        Reply::Absent,
        Reply::Address("127.0.0.1:0"),
        Reply::Noted,
        Reply::Pending,
        Reply::NotReplaced { reason: "r" },
        Reply::Folder { entries: vec![], more: false },
        Reply::Folder { entries: vec![FILE, Entry { name: "b", size: None, modified: 0 }], more: true },
    ]
}

const FILE: Entry<'static> = Entry { name: "a", size: Some(u64::MAX), modified: 7 };

/// Round trip, every truncation and one byte too many, for every variant.
#[test]
fn exactly_one_value_or_an_error() {
    for request in requests() {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        let (payload, rest) = frame::split(&bytes).unwrap().unwrap();
        assert!(rest.is_empty());
        assert_eq!(Request::decode(payload), Ok(request));
        for end in 0..payload.len() {
            assert!(Request::decode(&payload[..end]).is_err(), "{request:?} cut at {end}");
        }
        let longer = [payload, &[0]].concat();
        assert!(Request::decode(&longer).is_err(), "{request:?} with a byte more");
    }
    for reply in replies() {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes).unwrap();
        let (payload, _) = frame::split(&bytes).unwrap().unwrap();
        assert_eq!(Reply::decode(payload), Ok(reply.clone()));
        for end in 0..payload.len() {
            assert!(Reply::decode(&payload[..end]).is_err(), "{reply:?} cut at {end}");
        }
        let longer = [payload, &[0]].concat();
        assert!(Reply::decode(&longer).is_err(), "{reply:?} with a byte more");
    }
}

#[test]
fn every_first_byte_is_a_known_kind_or_refused() {
    for kind in 0..=u8::MAX {
        let payload = [kind];
        let request = Request::decode(&payload);
        let reply = Reply::decode(&payload);
        if !matches!(kind, 1..=20) {
            assert_eq!(request, Err(FrameError::Unknown { what: "request", found: kind }));
        }
        if !matches!(kind, 1..=13) {
            assert_eq!(reply, Err(FrameError::Unknown { what: "reply", found: kind }));
        }
    }
}

#[test]
fn more_endorsements_than_the_bound_are_refused_on_both_sides() {
    let with = |count| Reply::Endorsements { certificates: vec![&b""[..]; count], crl: b"" };
    let nine = Err(FrameError::Over { what: "endorsements", found: 9, most: 8 });
    assert_eq!(with(9).encode(&mut Vec::new()), nine);
    let payload = |count: u8| [&[9u8][..], &[0; 4], &[count], &vec![0; usize::from(count) * 4]].concat();
    assert_eq!(Reply::decode(&payload(9)), nine.map(|()| with(9)));
    assert_eq!(with(8).encode(&mut Vec::new()), Ok(()), "control");
    assert_eq!(Reply::decode(&payload(8)), Ok(with(8)), "control");
}

#[test]
fn more_entries_than_the_bound_are_refused_on_both_sides() {
    let with = |count| Reply::Folder { entries: vec![FILE; count], more: false };
    let mut bytes = Vec::new();
    with(ENTRIES).encode(&mut bytes).unwrap();
    assert_eq!(Reply::decode(&bytes[frame::HEADER..]), Ok(with(ENTRIES)), "control");
    assert!(matches!(with(ENTRIES + 1).encode(&mut Vec::new()), Err(FrameError::Over { .. })));
    let payload = &mut bytes[frame::HEADER..];
    payload[2..10].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(Reply::decode(payload), Err(FrameError::Invalid { what: "count" }));
}

#[test]
fn more_than_a_shim_has_room_for_is_refused_on_both_sides() {
    let long = vec![7; ATTESTED + 1];
    let attest = |spki, nonce| Request::Attest { purpose: Purpose::Issue, spki, nonce };
    let seal = |context| Request::SealKey { context };
    for (fits, over) in [
        (attest(&long[..ATTESTED - 1], &[7]), attest(&long[..ATTESTED], &[7])),
        (seal(&long[..CONTEXT]), seal(&long[..=CONTEXT])),
    ] {
        let mut bytes = Vec::new();
        fits.encode(&mut bytes).unwrap();
        assert_eq!(Request::decode(&bytes[frame::HEADER..]), Ok(fits), "control");
        assert!(matches!(over.encode(&mut bytes), Err(FrameError::Over { .. })));
    }
    let payload = |length: usize| {
        let length32 = u32::try_from(length).unwrap().to_le_bytes();
        [&[6u8][..], &length32, &vec![7; length]].concat()
    };
    assert!(Request::decode(&payload(CONTEXT)).is_ok(), "control");
    assert!(matches!(Request::decode(&payload(CONTEXT + 1)), Err(FrameError::Over { .. })));
}

#[test]
fn a_byte_over_a_chunk_is_refused_on_both_sides() {
    let most = u32::try_from(CHUNK).unwrap();
    let payload = |length: u32| [&[4u8][..], &[0; 8], &length.to_le_bytes(), &vec![7; length as usize]].concat();
    let full = vec![7; CHUNK];
    let full = Reply::Blob { total: 0, bytes: &full };
    assert_eq!(full.encode(&mut Vec::new()), Ok(()), "control");
    assert_eq!(Reply::decode(&payload(most)), Ok(full), "control");
    let over = vec![7; CHUNK + 1];
    let refused = FrameError::Over { what: "bytes of a blob", found: CHUNK + 1, most: CHUNK };
    assert_eq!(Reply::Blob { total: 0, bytes: &over }.encode(&mut Vec::new()), Err(refused));
    assert_eq!(Reply::decode(&payload(most + 1)), Err(refused));
}

#[test]
fn the_bytes_of_a_blob_end_its_frame() {
    for (reply, last) in [(Reply::Blob { total: 1 << 40, bytes: b"bytes" }, "bytes"), (Reply::Key { key: [7; 32] }, "")]
    {
        let (mut whole, mut head) = (b"before".to_vec(), b"before".to_vec());
        reply.encode(&mut whole).unwrap();
        let after = reply.encode_head(&mut head).unwrap();
        assert_eq!((after, [&head, after].concat()), (last.as_bytes(), whole));
    }
}

#[test]
fn what_does_not_fit_a_frame_is_not_sent() {
    let brief = vec![0; frame::MAX];
    let reply = Reply::Brief { brief: &brief };
    assert!(matches!(reply.encode(&mut Vec::new()), Err(FrameError::TooLong { .. })));
}

#[test]
fn a_part_is_at_most_a_chunk_on_both_sides() {
    let bytes = vec![7; CHUNK + 1];
    let path = Path::new("/a").unwrap();
    let store = |bytes| Request::Store { name: [7; 32], rest: 0, bytes };
    for (fits, over) in [
        (Request::Part { bytes: &bytes[1..] }, Request::Part { bytes: &bytes }),
        (Request::File { path, bytes: &bytes[1..] }, Request::File { path, bytes: &bytes }),
        (store(&bytes[1..]), store(&bytes)),
    ] {
        let mut frame = Vec::new();
        fits.encode(&mut frame).unwrap();
        assert_eq!(Request::decode(&frame[frame::HEADER..]), Ok(fits), "control");
        let refused = Err(FrameError::Over { what: "bytes of a part", found: CHUNK + 1, most: CHUNK });
        assert_eq!(over.encode(&mut Vec::new()), refused);
    }
    let length = u32::try_from(CHUNK + 1).unwrap().to_le_bytes();
    for head in [&[13][..], &[&[16][..], &[0; 40]].concat()] {
        assert!(matches!(Request::decode(&[head, &length, &bytes].concat()), Err(FrameError::Over { .. })));
    }
}

#[test]
fn what_a_program_cannot_start_with_is_refused_on_both_sides() {
    let invalid = |what| Err(FrameError::Invalid { what });
    let payload = |arguments: &[u8], environment: &[u8]| {
        let bytes = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
        [&[7][..], &bytes(arguments), &bytes(environment), &[0]].concat()
    };
    let fits = [&vec![b'x'; STACK - 9][..], &[0]].concat();
    let over = [&[b'x'][..], &fits].concat();
    for (arguments, environment, expected) in [
        (&b""[..], &b""[..], invalid("list of arguments")),
        (b"a\0", b"A\0", invalid("variable")),
        (&over, b"", Err(FrameError::Over { what: "bytes of a stack", found: STACK + 1, most: STACK })),
        (&fits, b"", Ok(())),
    ] {
        assert_eq!(replace(arguments, environment).encode(&mut Vec::new()), expected);
        assert_eq!(Request::decode(&payload(arguments, environment)).map(|_| ()), expected);
    }
    assert_eq!(Request::decode(&payload(b"a", b"")), Err(FrameError::Invalid { what: "list of texts" }));
    let mut streams = payload(b"a\0", b"");
    *streams.last_mut().unwrap() = 8;
    assert_eq!(Request::decode(&streams), Err(FrameError::Unknown { what: "streams", found: 8 }));
    assert_eq!(Request::decode(&[17, 4]), Err(FrameError::Unknown { what: "stage", found: 4 }));
    assert_eq!(Request::decode(&[14, 1, 0, 0, 0, b'a', 0, 0, 0, 0]), Err(FrameError::Invalid { what: "path" }));
}
