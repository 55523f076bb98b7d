//! Frames and messages of descriptor 3, as exec and its platform read them (`spec/gate.md`, Descriptor 3).
//!
//! What must hold: a message that is read is written as the very bytes it was read from, so there is one spelling of each;
//! nothing of it reaches past its frame or over its bound.

use gate::frame::{self, FrameError, HEADER, MAX};
use gate::message::{ATTESTED, CHUNK, CONTEXT, Compile, Entry, Outcome, Purpose, Reply, Request};
use gate::program::{Path, STACK, Streams, Texts};

use crate::{Defect, Target, magnitude, number, shape};

pub(crate) const REQUEST: Target = Target {
    name: "request",
    reads: "gate::frame, gate::message::Request",
    short: 20_000,
    seeds: requests,
    run: |input, defect| message(input, |payload| request(payload, defect)),
};

pub(crate) const REPLY: Target = Target {
    name: "reply",
    reads: "gate::frame, gate::message::Reply",
    short: 20_000,
    seeds: replies,
    run: |input, defect| message(input, |payload| reply(payload, defect)),
};

/// Takes an input for frames, and for a payload; `read` gives back the frame that its message is written as.
fn message(input: &[u8], read: impl Fn(&[u8]) -> Result<Vec<u8>, FrameError>) -> Vec<u64> {
    match frame::split(input) {
        Ok(Some((payload, rest))) => assert_eq!(HEADER + payload.len() + rest.len(), input.len()),
        Ok(None) => {}
        Err(error) => assert!(matches!(error, FrameError::TooLong { found } if found > MAX), "{error:?}"),
    }
    match read(input) {
        Ok(written) => {
            let split = frame::split(&written).expect("what was written is a frame");
            assert_eq!(split, Some((input, &[][..])), "another spelling");
            vec![number(&(input.first(), magnitude(input.len())))]
        }
        Err(error) => vec![shape(&error)],
    }
}

fn request(payload: &[u8], defect: Defect) -> Result<Vec<u8>, FrameError> {
    let found = match Request::decode(payload) {
        // Planted: who may seal is asked for a context of any length.
        Err(FrameError::Over { what: "bytes of a context", .. }) if defect == Defect::Planted => {
            Request::SealKey { context: &payload[5..] }
        }
        found => found?,
    };
    match found {
        Request::Attest { spki, nonce, .. } => assert!(spki.len() + nonce.len() <= ATTESTED),
        Request::SealKey { context } => assert!(context.len() <= CONTEXT),
        Request::Part { bytes } | Request::File { bytes, .. } | Request::Store { bytes, .. } => {
            assert!(bytes.len() <= CHUNK);
        }
        Request::Replace { arguments, environment, .. } => {
            assert!(arguments.iter().count() > 0 && arguments.room() + environment.room() <= STACK);
            assert!(environment.iter().all(|text| text.iter().position(|byte| *byte == b'=').unwrap_or(0) > 0));
        }
        _ => {}
    }
    Ok(written(|to| found.encode(to)))
}

fn reply(payload: &[u8], defect: Defect) -> Result<Vec<u8>, FrameError> {
    let found = match Reply::decode(payload) {
        // Planted: what follows the last field rides along.
        Err(FrameError::Trailing { found }) if defect == Defect::Planted => {
            Reply::decode(&payload[..payload.len() - found])?
        }
        found => found?,
    };
    match &found {
        Reply::Blob { bytes, .. } => assert!(bytes.len() <= CHUNK),
        Reply::Endorsements { certificates, .. } => assert!(certificates.len() <= 8),
        _ => {}
    }
    Ok(written(|to| found.encode(to)))
}

/// What is written, which always can be: it was read, or is a seed.
fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame).expect("it can be written");
    frame
}

fn requests() -> Vec<Vec<u8>> {
    let texts = |bytes| Texts::new(bytes).expect("each has an end");
    let streams = Streams { stdin: true, stdout: false, stderr: true };
    let path = Path::new("/a/b").expect("a path");
    let context = [7; CONTEXT];
    let all = [
        Request::Brief,
        Request::Deployment,
        Request::Endorsements,
        Request::SealKey { context: b"disk" },
        Request::SealKey { context: &context },
        Request::Attest { purpose: Purpose::Issue, spki: b"spki", nonce: b"nonce" },
        Request::Blob { digest: [7; 32], offset: 4096 },
        Request::Bind { name: "web" },
        Request::Resolve { authority: "steward.example:443" },
        Request::Lookup { authority: "shop.example:1" },
        Request::Folder { mount: "/data", path: "a/b", after: "c" },
        Request::Read { mount: "/data", path: "a/b", offset: 4096 },
        Request::Listening { name: "web", address: "127.0.0.1:1" },
        Request::Milestone { step: 13, detail: "ok" },
        Request::Load { name: [7; 32], offset: 9 },
        Request::Store { name: [7; 32], rest: 9, bytes: b"sealed" },
        Request::Compile(Compile::Spared),
        Request::Part { bytes: b"\x7fELF" },
        Request::File { path, bytes: b"content" },
        Request::Replace { arguments: texts(b"program\0\0"), environment: texts(b"A=\0B=1\0"), streams },
        Request::Outcome(Outcome::Exit(255)),
        Request::Outcome(Outcome::Trap),
        Request::Outcome(Outcome::Refused { step: 8, code: "a.b", message: "m", hint: "" }),
    ];
    all.iter().map(|request| written(|to| request.encode(to)).split_off(HEADER)).collect()
}

fn replies() -> Vec<Vec<u8>> {
    let all = [
        Reply::Brief { brief: b"brief" },
        Reply::Deployment { deployment: b"", signature: b"signature" },
        Reply::Evidence { media_type: "application/x", evidence: b"evidence" },
        Reply::Endorsements { certificates: vec![b"1", b"", b"3"], crl: b"crl" },
        Reply::Endorsements { certificates: vec![b""; 8], crl: b"" },
        Reply::Key { key: [7; 32] },
        Reply::Unavailable,
        Reply::Blob { total: 9, bytes: b"bytes" },
        Reply::Absent,
        Reply::Address("127.0.0.1:0"),
        Reply::Noted,
        Reply::Pending,
        Reply::NotReplaced { reason: "reason" },
        Reply::Folder { entries: vec![Entry { name: "a", size: Some(9), modified: 7 }], more: true },
    ];
    all.iter().map(|reply| written(|to| reply.encode(to)).split_off(HEADER)).collect()
}
