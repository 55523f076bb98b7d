//! The host's side of descriptor 3: one reply for each request, until the Keep says how it ended.
//!
//! Owns the composition of the report data for the process backends (in a micro-VM the shim does it): purpose, key,
//! brief hash and nonce by the binding rule, never bytes of the Keep's choice. Owns cleaning the texts that a Keep sends.
//!
//! Refuses requests outside the closed list; that ends the conversation and with it the Keep.

use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use gate::frame;
use gate::message::{CHUNK, Outcome, Purpose, Reply, Request};
use workload::digest::Digest;

use crate::backend::{Attester, Endorsements};
use crate::launch::{End, Event, Host, Launch, RunError};

/// How long a Keep may take to end after it said how it ended.
const TO_LEAVE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

pub(crate) struct Service {
    launch: Launch,
    host: Host,
    attester: Arc<dyn Attester>,
}

impl Service {
    pub(crate) fn new(launch: Launch, host: Host, attester: Arc<dyn Attester>) -> Self {
        Self { launch, host, attester }
    }

    /// Serves until the Keep told its outcome and had time to leave, or closed its end before (`None`).
    pub(crate) fn serve(mut self, mut stream: UnixStream) -> Result<Option<End>, RunError> {
        let mut payload = Vec::new();
        let mut out = Vec::new();
        loop {
            let mut header = [0; frame::HEADER];
            if stream.read_exact(&mut header).is_err() {
                return Ok(None);
            }
            payload.resize(frame::length(header).map_err(protocol)?, 0);
            stream.read_exact(&mut payload).map_err(protocol)?;
            out.clear();
            let request = Request::decode(&payload).map_err(protocol)?;
            let end = if let Request::Outcome(outcome) = request { Some(ended(outcome)) } else { None };
            self.answer(request, &mut out)?;
            let written = stream.write_all(&out);
            if end.is_some() {
                // Whatever it does now but to leave, nobody listens any more.
                _ = stream.set_read_timeout(Some(TO_LEAVE)).and_then(|()| stream.read(&mut header));
                return Ok(end);
            }
            if written.is_err() {
                return Ok(None);
            }
        }
    }

    fn answer(&mut self, request: Request<'_>, out: &mut Vec<u8>) -> Result<(), RunError> {
        match request {
            Request::Brief => Reply::Brief { brief: &self.launch.brief }.encode(out),
            Request::Deployment => {
                let deployment = self.launch.deployment.as_deref().unwrap_or_default();
                Reply::Deployment { deployment }.encode(out)
            }
            Request::Attest { purpose, spki, nonce } => {
                let purpose = match purpose {
                    Purpose::Issue => identity::binding::Purpose::Issue,
                    Purpose::Direct => identity::binding::Purpose::Direct,
                    Purpose::User => identity::binding::Purpose::User,
                };
                let report_data = identity::binding::report_data(purpose, spki, &self.launch.brief_hash, nonce);
                match self.attester.attest(report_data, self.launch.brief_hash, self.launch.image.measurement()) {
                    Some(evidence) => {
                        Reply::Evidence { media_type: identity::csr::SNP_MEDIA_TYPE, evidence: &evidence }.encode(out)
                    }
                    None => Reply::Unavailable.encode(out),
                }
            }
            Request::Endorsements => {
                let Endorsements { certificates, crl } = self.attester.endorsements();
                let certificates = certificates.iter().map(Vec::as_slice).collect();
                Reply::Endorsements { certificates, crl: &crl }.encode(out)
            }
            // Nothing protects such a key where the platform is this process.
            Request::SealKey { .. } => Reply::Unavailable.encode(out),
            Request::Blob { digest, offset } => match self.host.blobs.read(Digest::from(digest), offset, CHUNK) {
                Some((total, bytes)) => Reply::Blob { total, bytes: &bytes }.encode(out),
                None => Reply::Absent.encode(out),
            },
            Request::Bind { name } => match self.host.listen.get(name) {
                Some(address) => Reply::Address(address).encode(out),
                None => Reply::Absent.encode(out),
            },
            Request::Resolve { authority } => {
                let address = authority.to_socket_addrs().ok().and_then(|mut found| found.next());
                match address {
                    Some(address) => Reply::Address(&address.to_string()).encode(out),
                    None => Reply::Absent.encode(out),
                }
            }
            Request::Listening { name, address } => {
                (self.host.events)(Event::Listening { name: clean(name), address: clean(address) });
                Reply::Noted.encode(out)
            }
            Request::Milestone { step, detail } => {
                (self.host.events)(Event::Milestone { step, detail: clean(detail) });
                Reply::Noted.encode(out)
            }
            Request::Outcome(_) => Reply::Noted.encode(out),
        }
        .map_err(protocol)
    }
}

fn ended(outcome: Outcome<'_>) -> End {
    match outcome {
        Outcome::Exit(status) => End::Exit(status),
        Outcome::Trap => End::Trap,
        Outcome::Refused { step, code, message, hint } => {
            End::Refused { step, code: clean(code), message: clean(message), hint: clean(hint) }
        }
    }
}

/// Text of a Keep as it may be shown on a terminal: no control characters but line ends, no more than the gate's bound.
fn clean(text: &str) -> String {
    text.chars().take(gate::message::TEXT).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

fn protocol(error: impl std::fmt::Display) -> RunError {
    RunError::Protocol(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_keep_says_cannot_drive_a_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\nc");
        assert_eq!(clean(&"x".repeat(gate::message::TEXT + 9)).len(), gate::message::TEXT);
    }
}
