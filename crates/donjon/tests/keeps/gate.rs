//! Descriptor 3 of a program on simulated SEV-SNP, tried with everything: what it gets, and that no evidence is ever about
//! another brief, key, purpose or nonce than the Keep's own and those it asked for.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use evidence::snp::policy::{CrlRule, Policy, Settings};
use evidence::snp::product::Platforms;
use evidence::snp::report::PolicyFlag;
use evidence::snp::{Collateral, Input, Roots, SnpEvidence, verify};
use evidence::{AwsLc, Expected, Hex};
use gate::message::{ATTESTED, CONTEXT, Compile, Outcome, Purpose, Reply, Request};
use gate::program::{Path, Streams, Texts};
use identity::binding;
use keep::Image;
use keep::measure::{Measurement, Platform};
use silicon::Product;

use crate::Test;
use crate::host::Setting;
use crate::support::{Input as Stdin, finish, folder};

pub(crate) const TESTS: &[Test] = &[
    ("gate::evidence_is_about_this_keep_and_what_it_asked", evidence_is_about_this_keep_and_what_it_asked),
    ("gate::what_is_not_for_programs_is_unavailable", what_is_not_for_programs_is_unavailable),
    ("gate::what_is_no_request_changes_nothing", what_is_no_request_changes_nothing),
    ("gate::what_the_host_cannot_read_ends_the_keep", what_the_host_cannot_read_ends_the_keep),
    ("gate::a_sealing_key_belongs_to_machine_owner_deployment_role_workload", sealing_keys),
];

const SETTING: Setting = Setting::new("sim-snp", &["gate"]);

/// Error number of a write that was no request.
const EINVAL: u32 = 22;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Reply(Vec<u8>),
    Error(u32),
}

impl Answer {
    #[track_caller]
    fn reply(&self) -> Reply<'_> {
        match self {
            Self::Reply(payload) => Reply::decode(payload).expect("a reply"),
            Self::Error(number) => panic!("the write failed: {number}"),
        }
    }
}

/// One or more writes.
type Writes = Vec<Vec<u8>>;

fn frame(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(&mut bytes).expect("a request");
    bytes
}

fn one(request: Request<'_>) -> Writes {
    vec![frame(request)]
}

/// Bytes as a payload, whatever they are.
fn raw(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    [&length.to_le_bytes(), payload].concat()
}

/// Has the program write all of it, one after the other, and end; the answers, and how the host says that it ended.
fn talk(setting: Setting, lines: &[Writes]) -> (Vec<Answer>, String) {
    let mut input = Vec::new();
    for writes in lines {
        let line: Vec<String> = writes.iter().map(hex::encode).collect();
        writeln!(input, "{}", line.join(" ")).expect("memory");
    }
    let folder = folder(&[]);
    let ran = finish(setting.host(folder.path()), Stdin::Bytes(input));
    let answer = |line: &str| match line.strip_prefix("error ") {
        Some(number) => Answer::Error(number.parse().expect("a number")),
        None => Answer::Reply(hex::decode(line).expect("hexadecimal")),
    };
    (ran.text().lines().map(answer).collect(), ran.stderr.trim_end().to_owned())
}

/// The same, for a program that ends well and has an answer to everything.
#[track_caller]
fn answers(setting: Setting, lines: &[Writes]) -> Vec<Answer> {
    let (answers, ended) = talk(setting, lines);
    assert_eq!((ended.as_str(), answers.len()), ("Exit(0)", lines.len()), "{answers:?}");
    answers
}

/// What the gate calls a purpose, and what the binding does.
const PURPOSES: [(Purpose, binding::Purpose); 3] = [
    (Purpose::Issue, binding::Purpose::Issue),
    (Purpose::Direct, binding::Purpose::Direct),
    (Purpose::User, binding::Purpose::User),
];

/// A Steward's view of a report: the whole verifier, with the roots and the measurement that this machine must have.
struct Verifier {
    roots: Roots,
    policy: Policy,
    vcek: Vec<u8>,
    ask: Vec<u8>,
    crl: Vec<u8>,
}

impl Verifier {
    /// With the endorsements that the Keep got.
    fn new(endorsements: &Reply<'_>) -> Self {
        let Reply::Endorsements { certificates, crl } = endorsements else { panic!("{endorsements:?}") };
        let [vcek, ask] = certificates[..] else { panic!("{} certificates", certificates.len()) };
        let measured =
            Measurement::of(&Image::built_in().expect("an image"), Platform::SimSnp).expect("it is laid out");
        let settings = Settings {
            hash: Some(vec![Hex(measured.digest)]),
            policy_flags: Some(vec![PolicyFlag::Smt]),
            crl: CrlRule::Required,
            ..Settings::default()
        };
        Self {
            roots: Roots::from_arks(&[Product::Genoa.ark_der()]).expect("a root"),
            policy: settings.try_into().expect("a policy"),
            vcek: vcek.to_vec(),
            ask: ask.to_vec(),
            crl: crl.to_vec(),
        }
    }

    /// The checks that evidence fails as evidence for this.
    fn failures(&self, report: &[u8], report_data: [u8; 64], launch_field: [u8; 32]) -> Vec<&'static str> {
        let evidence = SnpEvidence { report, vcek: &self.vcek, ask: Some(&self.ask), crl: Some(&self.crl) };
        let input = Input {
            evidence,
            expected: Expected { report_data, launch_field },
            collateral: Collateral { roots: &self.roots, crl: None }.into(),
            policy: &self.policy,
            platforms: &Platforms::Any,
            now: SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs(),
        };
        match verify(input, &AwsLc) {
            Ok(_) => Vec::new(),
            Err(verdict) => verdict.failures().map(|check| check.id).collect(),
        }
    }
}

fn evidence_is_about_this_keep_and_what_it_asked() {
    let brief = SETTING.brief();
    let other = workload::brief::hash(&Setting { role: "other", ..SETTING }.brief());
    let own = workload::brief::hash(&brief);
    let long = vec![7; ATTESTED - 32];
    // Among them pairs that differ in nothing but where the key ends, and what looks like a binding itself.
    let data: [(&[u8], &[u8]); 7] = [
        (b"", b""),
        (b"key", b"nonce"),
        (b"keyn", b"once"),
        (b"key", b""),
        (&other, &other),
        (&long, &other),
        (b"donjon-binding", b"\0\0\0\x05issue"),
    ];
    let asked: Vec<_> =
        PURPOSES.into_iter().flat_map(|purpose| data.map(|(spki, nonce)| (purpose, spki, nonce))).collect();
    let mut lines = vec![one(Request::Brief), one(Request::Endorsements), one(Request::Deployment)];
    lines.extend(
        asked.iter().map(|((purpose, _), spki, nonce)| one(Request::Attest { purpose: *purpose, spki, nonce })),
    );
    let found = answers(SETTING, &lines);
    assert_eq!(found[0].reply(), Reply::Brief { brief: &brief });
    assert_eq!(found[2].reply(), Reply::Deployment { deployment: b"", signature: b"" });
    let endorsements = found[1].reply();
    let verifier = Verifier::new(&endorsements);
    let mut reports = 0;
    for (((purpose, bound), spki, nonce), answer) in asked.iter().zip(&found[3..]) {
        let evidence = match (purpose, answer.reply()) {
            (Purpose::Issue, Reply::Unavailable) => continue,
            (Purpose::Direct | Purpose::User, Reply::Evidence { media_type, evidence }) => {
                assert_eq!(media_type, evidence::snp::MEDIA_TYPE);
                evidence.to_vec()
            }
            (purpose, reply) => panic!("{purpose:?}: {reply:?}"),
        };
        reports += 1;
        let data_of = |purpose, spki, hash, nonce| binding::report_data(purpose, spki, hash, nonce);
        assert_eq!(verifier.failures(&evidence, data_of(*bound, spki, &own, nonce), own), [""; 0], "control");
        // As evidence for anything else it fails, by itself and by what it says of the launch.
        let failures = verifier.failures(&evidence, data_of(*bound, spki, &other, nonce), other);
        assert_eq!(failures, ["snp.report_data", "snp.host_data"], "another brief");
        for ((_, as_if), other_spki, other_nonce) in &asked {
            if (as_if, other_spki, other_nonce) != (bound, spki, nonce) {
                let failures = verifier.failures(&evidence, data_of(*as_if, other_spki, &own, other_nonce), own);
                assert_eq!(failures, ["snp.report_data"], "{as_if:?}, {bound:?}");
            }
        }
    }
    assert_eq!(reports, 2 * data.len());
}

fn what_is_not_for_programs_is_unavailable() {
    let texts = |bytes| Texts::new(bytes).expect("texts");
    let streams = Streams { stdin: true, stdout: true, stderr: true };
    let requests = [
        Request::Attest { purpose: Purpose::Issue, spki: b"key", nonce: b"nonce" },
        Request::Blob { digest: [0; 32], offset: 0 },
        Request::Milestone { step: 13, detail: "all is well" },
        Request::Compile(Compile::Done),
        Request::Load { name: [0; 32], offset: 0 },
        Request::Store { name: [0; 32], rest: 0, bytes: b"mine" },
        Request::Part { bytes: b"\x7fELF" },
        Request::File { path: Path::new("/donjon/identity/key.pem").expect("a path"), bytes: b"mine" },
        Request::Replace { arguments: texts(b"program\0"), environment: texts(b""), streams },
        Request::Outcome(Outcome::Exit(7)),
        Request::Outcome(Outcome::Trap),
    ];
    let found = answers(SETTING, &requests.map(one));
    assert!(found.iter().all(|answer| answer.reply() == Reply::Unavailable), "{found:?}");
    // The controls: what is for programs, those that only the host can answer among them.
    let requests = [
        Request::Brief,
        Request::Bind { name: "web" },
        Request::Resolve { authority: "127.0.0.1:80" },
        Request::Lookup { authority: "127.0.0.1:80" },
        Request::Listening { name: "web", address: "127.0.0.1:80" },
    ];
    let found = answers(SETTING, &requests.map(one));
    let brief = SETTING.brief();
    let address = Reply::Address("127.0.0.1:80");
    let expected = [Reply::Brief { brief: &brief }, Reply::Absent, address, Reply::Pending, Reply::Noted];
    assert_eq!(found.iter().map(Answer::reply).collect::<Vec<_>>(), expected);
}

/// Each is refused where it is written, and what follows is answered as if it had not been.
fn what_is_no_request_changes_nothing() {
    let attest = Request::Attest { purpose: Purpose::User, spki: b"key", nonce: b"nonce" };
    let good = frame(attest);
    let bytes = |length: usize| [&u32::try_from(length).expect("short").to_le_bytes(), &*vec![0; length]].concat();
    let bad: Vec<Writes> = vec![
        // Frames in pieces, cut short, empty, two at once; a length over the bound, and none.
        vec![good[..4].to_vec(), good[4..].to_vec()],
        vec![good[..good.len() - 1].to_vec(), good[good.len() - 1..].to_vec()],
        vec![good[..3].to_vec()],
        vec![raw(b"")],
        vec![[&good[..], &good].concat()],
        vec![[&good[..], b"x"].concat()],
        vec![[&u32::MAX.to_le_bytes()[..], &good[4..]].concat()],
        vec![[&0x0008_0001_u32.to_le_bytes()[..], &good[4..]].concat()],
        // Payloads: purposes that are none, lengths that reach too far, bytes behind the last field, too much.
        vec![raw(b"\x02\0\0\0\0\0\0\0\0\0")],
        vec![raw(b"\x02\x04\0\0\0\0\0\0\0\0")],
        vec![raw(b"\x02\x03\xff\xff\xff\xff\0\0\0\0")],
        vec![raw(b"\x02\x03\0\0\0\0\0\0\0\0x")],
        vec![raw(b"\x02\x03\0\0\0\0")],
        vec![raw(&[b"\x02\x03", &bytes(ATTESTED)[..], &bytes(1)].concat())],
        vec![raw(&[b"\x06", &bytes(CONTEXT + 1)[..]].concat())],
        vec![raw(b"\x01\0")],
        // What is only the host's to read, in pieces.
        vec![frame(Request::Deployment)[..4].to_vec(), frame(Request::Deployment)[4..].to_vec()],
    ];
    let lines: Vec<Writes> = bad.iter().flat_map(|bad| [bad.clone(), one(attest)]).collect();
    let found = answers(SETTING, &lines);
    let own = workload::brief::hash(&SETTING.brief());
    let expected = binding::report_data(binding::Purpose::User, b"key", &own, b"nonce");
    for (pair, bad) in found.chunks(2).zip(&bad) {
        assert_eq!(pair[0], Answer::Error(EINVAL), "{bad:?}");
        let Reply::Evidence { evidence, .. } = pair[1].reply() else { panic!("{:?} after {bad:?}", pair[1]) };
        let report = evidence::snp::Report::parse(evidence).expect("a report");
        assert_eq!((report.report_data(), report.host_data()), (&expected, &own), "after {bad:?}");
    }
    // Longer than what one call to the host moves: nobody takes its middle for a frame.
    let authority = "x".repeat(3 * ::gate::ring::DATA);
    let found = answers(SETTING, &[one(Request::Resolve { authority: &authority }), one(attest)]);
    assert_eq!(found[0].reply(), Reply::Absent);
    assert!(matches!(found[1].reply(), Reply::Evidence { .. }));
}

/// As on every backend: what its platform cannot read is not guessed at.
fn what_the_host_cannot_read_ends_the_keep() {
    for (payload, why) in [
        (&b"\x63"[..], "unknown request 99"),
        (b"\x0b\0", "1 bytes follow the last field of a message"),
        (b"\x04\x01\0\0\0\xff", "text in a message is not UTF-8"),
        (b"\x03\0", "a message ended in the middle of a field"),
    ] {
        let (answers, ended) = talk(SETTING, &[one(Request::Deployment), vec![raw(payload)]]);
        assert_eq!(ended, format!("the Keep broke the protocol of the gate: {why}"));
        assert_eq!(answers.len(), 1, "the control is answered, and nothing else");
    }
}

/// Rule 5.
fn sealing_keys() {
    let longest = [5; CONTEXT];
    let contexts: [&[u8]; 4] = [b"disk", b"", b"disks", &longest];
    let keys = |setting| {
        let found = answers(setting, &contexts.map(|context| one(Request::SealKey { context })));
        let key = |answer: &Answer| match answer.reply() {
            Reply::Key { key } => key,
            other => panic!("{other:?}"),
        };
        found.iter().map(key).collect::<Vec<_>>()
    };
    let base = keys(SETTING);
    assert_eq!(keys(SETTING), base, "another run");
    let given = Setting { args: &["gate", "more"], env: &[("A", "b")], ..SETTING };
    assert_ne!(given.brief(), SETTING.brief());
    assert_eq!(keys(given), base, "what the host gives does not count");
    let mut seen: Vec<[u8; 32]> = base;
    for setting in [
        Setting { machine: 1, ..SETTING },
        Setting { owner: Some(1), ..SETTING },
        Setting { owner: Some(2), ..SETTING },
        Setting { deployment: "other", ..SETTING },
        Setting { role: "other", ..SETTING },
        // Another workload: the same program under another manifest.
        Setting { manifest: "[env]\nA = \"b\"\n", ..SETTING },
    ] {
        seen.extend(keys(setting));
    }
    assert_eq!(seen.len(), 7 * contexts.len());
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all, "every field and context has another key");
}
