//! What a program does with its Keep's identity (`spec/keep-interface.md`): the same for every version of WASI.
//!
//! Owns the bounds of what it brings, and what the answer is where a platform has none. Refuses signers that this Keep could
//! not talk to ("Keep to Keep" in trust.md). What stands around the program's bytes is [`identity::user`]'s.
//!
//! Invariant: the program chooses neither report data, nor the whole of what is signed, nor the whole context of a key; and
//! no answer of the host is more than "unavailable" to it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gate::message::{ATTESTED, CONTEXT, Purpose};
use identity::binding;
use identity::csr::Evidence;
use identity::keys::{Algorithm, Signer};
use identity::{pem, user};
use wasmtime::component::{ComponentType, Lower};
use workload::brief::{self, Brief};
use workload::names::Name;

use crate::clock;
use crate::enrol::Identity;
use crate::files::{self, Node, Tree};
use crate::keys::AwsLc;
use crate::platform::{self, Platform};
use crate::refusal::Refusal;
use crate::tls::{Keeps, NoPeers};

/// The most bytes that evidence is about: all that goes to the platform, because there is no key beside them.
pub(crate) const EVIDENCE: usize = ATTESTED;
/// The most bytes of a key's context.
pub(crate) const KEY: usize = 128;
/// The most bytes that are signed, or checked.
pub(crate) const DATA: usize = 1 << 20;
/// The most bytes of a signature: more than any has.
pub(crate) const SIGNATURE: usize = 256;
/// The most bytes of a chain in PEM.
pub(crate) const CHAIN: usize = 64 * 1024;
/// The most roles, and the most bytes of them as one text.
pub(crate) const ROLES: usize = 64;
pub(crate) const ROLES_TEXT: usize = 64 * 64;

const _: () = assert!(user::CONTEXT.len() + 32 + KEY <= CONTEXT);

/// Why a program does not get what it asked for. The numbers are those of modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Lack {
    #[component(name = "unavailable")]
    Unavailable,
    #[component(name = "too-long")]
    TooLong,
    #[component(name = "malformed")]
    Malformed,
    #[component(name = "not-a-peer")]
    NotAPeer,
    #[component(name = "untrusted")]
    Untrusted,
    #[component(name = "wrong-signature")]
    WrongSignature,
}

type Result<T> = std::result::Result<T, Lack>;

/// A signature, and by whose key.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Signature {
    pub(crate) algorithm: String,
    /// `ECDSA-Sig-Value`, DER.
    pub(crate) signature: Vec<u8>,
    /// PEM, Keep first, root last.
    pub(crate) certificates: String,
}

/// What a program has of its Keep.
pub(crate) struct Own {
    platform: Mutex<Platform>,
    brief: Brief,
    bytes: Bytes,
    identity: Option<Arc<Identity>>,
}

impl Own {
    pub(crate) fn new(platform: Platform, brief: &Brief, bytes: &[u8], identity: Option<&Arc<Identity>>) -> Self {
        let bytes = Bytes::copy_from_slice(bytes);
        Self { platform: Mutex::new(platform), brief: brief.clone(), bytes, identity: identity.cloned() }
    }

    /// The directory in which the program finds it.
    pub(crate) fn files(&self) -> files::Result<Node> {
        let directory = Tree::root(false, 0);
        directory.place("brief", self.bytes.clone())?;
        if let Some(identity) = &self.identity {
            identity.show(directory.clone())?;
        }
        Ok(directory)
    }

    /// A platform that breaks the protocol has nothing now; at the program's end, where it is told, the Keep says so.
    fn ask<T>(&self, ask: impl FnOnce(&mut Platform) -> std::result::Result<Option<T>, Refusal>) -> Result<T> {
        let mut platform = self.platform.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut platform).ok().flatten().ok_or(Lack::Unavailable)
    }

    /// Evidence over `data`, as a bundle.
    pub(crate) fn evidence(&self, data: &[u8]) -> Result<String> {
        within(data.len(), EVIDENCE)?;
        let found = self.ask(|platform| platform.attest(Purpose::User, &[], data))?;
        let platform::Evidence { media_type, bytes, endorsements, crl } = found;
        let hash = brief::hash(&self.bytes);
        let report_data = binding::report_data(binding::Purpose::User, &[], &hash, data);
        let evidence = Evidence { media_type, bytes };
        let now = clock::now().as_secs();
        user::bundle(&evidence, &endorsements, crl.as_deref(), &report_data, &hash, now).ok_or(Lack::Unavailable)
    }

    /// A key for this context.
    pub(crate) fn derive_key(&self, context: &[u8]) -> Result<[u8; 32]> {
        within(context.len(), KEY)?;
        let context = user::context(&self.brief, context);
        self.ask(|platform| platform.seal_key(&context))
    }

    /// A signature over `data` by the key of the present certificate.
    pub(crate) fn sign(&self, data: &[u8]) -> Result<Signature> {
        within(data.len(), DATA)?;
        let identity = self.identity.as_ref().ok_or(Lack::Unavailable)?;
        // Who could not renew it has none: nobody would believe it.
        if identity.dates().1 < clock::now() {
            return Err(Lack::Unavailable);
        }
        let now = identity.now();
        let signature = now.key.sign(&user::message(data)).map_err(|_| Lack::Unavailable)?;
        let algorithm = match now.key.algorithm() {
            Algorithm::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Algorithm::EcdsaP384Sha384 => "ecdsa-p384-sha384",
        };
        Ok(Signature { algorithm: algorithm.to_owned(), signature, certificates: pem::encode(now.chain()) })
    }

    /// What a Steward found about the Keep that signed `data`, if it is one of these roles that this Keep may talk to.
    pub(crate) fn verify<'a>(
        &self,
        data: &[u8],
        signature: &[u8],
        certificates: &str,
        roles: impl Iterator<Item = &'a str>,
    ) -> Result<String> {
        for (found, most) in [(data.len(), DATA), (signature.len(), SIGNATURE), (certificates.len(), CHAIN)] {
            within(found, most)?;
        }
        let roles: std::result::Result<Vec<Name>, _> = roles.take(ROLES + 1).map(str::parse).collect();
        let roles = roles.map_err(|_| Lack::Malformed)?;
        within(roles.len(), ROLES)?;
        let chain = pem::decode(certificates).map_err(|_| Lack::Malformed)?;
        let keeps = Keeps::among(&roles, &self.brief, self.identity.as_deref()).map_err(|error| match error {
            NoPeers::Role { .. } => Lack::NotAPeer,
            NoPeers::Certificate
            | NoPeers::Deployment
            | NoPeers::Open(_)
            | NoPeers::Signature(_)
            | NoPeers::NotCovered(_) => Lack::Unavailable,
        })?;
        let keep = keeps.verified(&chain, clock::now().as_secs()).ok_or(Lack::Untrusted)?;
        if !user::signed_by(&keep.spki, data, signature, &AwsLc) {
            return Err(Lack::WrongSignature);
        }
        keep.ear.to_json().map_err(|_| Lack::Untrusted)
    }
}

pub(crate) fn within(found: usize, most: usize) -> Result<()> {
    if found > most { Err(Lack::TooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use gate::frame;
    use gate::message::{Reply, Request};
    use workload::brief::Source;

    use super::*;

    fn brief() -> Brief {
        Brief {
            trust_domain: "local".parse().unwrap(),
            steward: None,
            source: Source::Host,
            owner: None,
            deployment: "run".parse().unwrap(),
            role: "main".parse().unwrap(),
            workload: workload::Digest::of(b""),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// What a program gets of a host that answers each request so; and what was asked.
    fn with<R>(
        answer: impl Fn(&Request<'_>) -> Reply<'static> + Send,
        ask: impl FnOnce(&Own) -> R,
    ) -> (R, Vec<String>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let host = scope.spawn(move || {
                let (mut asked, mut header) = (Vec::new(), [0; frame::HEADER]);
                while theirs.read_exact(&mut header).is_ok() {
                    let mut payload = vec![0; frame::length(header).unwrap()];
                    theirs.read_exact(&mut payload).unwrap();
                    let (request, mut out) = (Request::decode(&payload).unwrap(), Vec::new());
                    asked.push(format!("{request:?}"));
                    answer(&request).encode(&mut out).unwrap();
                    theirs.write_all(&out).unwrap();
                }
                asked
            });
            let brief = brief();
            let own = Own::new(Platform::new(OwnedFd::from(ours).into()), &brief, &brief.encode(), None);
            let got = ask(&own);
            // Else the host waits for ever.
            drop(own);
            (got, host.join().unwrap())
        })
    }

    const SNP: &str = identity::csr::SNP_MEDIA_TYPE;

    fn attests(request: &Request<'_>) -> Reply<'static> {
        match request {
            Request::Attest { .. } => Reply::Evidence { media_type: SNP, evidence: b"report" },
            Request::Endorsements => Reply::Endorsements { certificates: vec![b"vcek"], crl: b"" },
            Request::SealKey { .. } => Reply::Key { key: [7; 32] },
            _ => Reply::Noted,
        }
    }

    #[test]
    fn rule_2_a_program_chooses_the_nonce_and_nothing_else() {
        let (bundle, asked) = with(attests, |own| own.evidence(b"data").unwrap());
        let attest = Request::Attest { purpose: Purpose::User, spki: &[], nonce: b"data" };
        assert_eq!(asked, [format!("{attest:?}"), format!("{:?}", Request::Endorsements)]);
        assert!(
            bundle.contains(r#""kind":"snp-report","evidence":"cmVwb3J0","certificates":["dmNlaw=="]"#),
            "{bundle}"
        );

        let (key, asked) = with(attests, |own| own.derive_key(b"disk").unwrap());
        assert_eq!(key, [7; 32]);
        assert_eq!(asked, [format!("{:?}", Request::SealKey { context: &user::context(&brief(), b"disk") })]);
    }

    #[test]
    fn bounds_are_kept_before_anybody_is_asked() {
        let (longest, asked) = with(attests, |own| {
            assert_eq!(own.evidence(&[0; EVIDENCE + 1]), Err(Lack::TooLong));
            assert_eq!(own.derive_key(&[0; KEY + 1]), Err(Lack::TooLong));
            (own.evidence(&[0; EVIDENCE]).is_ok(), own.derive_key(&[0; KEY]).is_ok())
        });
        assert_eq!((longest, asked.len()), ((true, true), 3));
    }

    /// Whatever a host says it is no more than that there is none.
    #[test]
    fn another_answer_is_none() {
        let nothing = |_: &Request<'_>| Reply::Unavailable;
        let lie = |_: &Request<'_>| Reply::Absent;
        let no_bundle = |request: &Request<'_>| match attests(request) {
            Reply::Evidence { evidence, .. } => Reply::Evidence { media_type: "application/other", evidence },
            other => other,
        };
        let ask = |own: &Own| (own.evidence(b"x").err(), own.derive_key(b"x").err());
        let none = Some(Lack::Unavailable);
        assert_eq!(with(nothing, ask).0, (none, none));
        assert_eq!(with(lie, ask).0, (none, none));
        assert_eq!(with(no_bundle, ask).0, (none, None), "a kind that no bundle has");
        assert_eq!(with(attests, ask).0, (None, None), "control");
    }

    #[test]
    fn without_a_certificate_nothing_is_signed_and_nobody_believed() {
        let chain = pem::encode(&[b"0".to_vec()]);
        let ((signed, verified), asked) =
            with(attests, |own| (own.sign(b"x").err(), own.verify(b"x", b"", &chain, ["web"].into_iter())));
        assert_eq!((signed, verified), (Some(Lack::Unavailable), Err(Lack::Unavailable)));
        assert!(asked.is_empty());
        let verify = |chain: &str, roles: &[&str]| {
            with(attests, |own| own.verify(b"x", b"", chain, roles.iter().copied())).0.unwrap_err()
        };
        assert_eq!(verify("x", &["web"]), Lack::Malformed);
        assert_eq!(verify(&chain, &["we b"]), Lack::Malformed);
        assert_eq!(verify(&chain, &["web"; ROLES + 1]), Lack::TooLong);
        assert_eq!(verify(&"\n".repeat(CHAIN + 1), &["web"]), Lack::TooLong);
    }
}
