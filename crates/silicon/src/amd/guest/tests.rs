//! A guest of its own, which reads its secrets page and asks: independent of the firmware but for the envelope.

use evidence::snp::Report;

use super::super::launch::{Finish, PageKind};
use super::super::message::testing;
use super::*;
use crate::Product;

const POLICY: u64 = 0x3_0000;

/// A guest and its own state: what it read in its secrets page, and how many messages it sent.
struct World {
    guest: Guest,
    secrets: [u8; 4096],
    sent: [u64; 4],
}

fn launch(product: Product) -> Launch {
    Amd::from_seed([3; 32], product).launch(POLICY).unwrap().with_mitigations(0b1010)
}

fn identity() -> Identity {
    Identity {
        family_id: [0xfa; 16],
        image_id: [0x1a; 16],
        guest_svn: 5,
        id_key_digest: [0x1d; 48],
        author_key_digest: Some([0xaa; 48]),
    }
}

impl World {
    fn new(mut launch: Launch, host_data: [u8; 32], identity: Identity) -> Self {
        let mut secrets = [0; 4096];
        launch.update(PageKind::Secrets, 0x1000, &mut secrets).unwrap();
        Self { guest: Guest::new(&launch, host_data, identity), secrets, sent: [0; 4] }
    }

    fn genoa() -> Self {
        Self::new(launch(Product::Genoa), [2; 32], identity())
    }

    fn key(&self, vmpck: u8) -> [u8; 32] {
        let at = 0x20 + 0x20 * usize::from(vmpck);
        self.secrets[at..at + 32].try_into().unwrap()
    }

    fn ask(&mut self, vmpck: u8, kind: u8, version: u8, payload: &[u8]) -> Result<Vec<u8>, RequestError> {
        let (key, number) = (self.key(vmpck), self.sent[usize::from(vmpck)] + 1);
        let answer = self.guest.request(&testing::request(&key, number, vmpck, kind, version, payload))?;
        self.sent[usize::from(vmpck)] += 2;
        let (answered, with, payload) = testing::answer(&key, number + 1, &answer);
        assert_eq!((answered, with), (kind + 1, version));
        Ok(payload)
    }

    fn derived(&mut self, vmpck: u8, request: &KeyRequest) -> Result<[u8; 32], u32> {
        let answer = self.ask(vmpck, 3, request.version, &request.encode()).unwrap();
        assert_eq!((answer.len(), &answer[4..0x20]), (0x40, &[0; 0x1c][..]));
        match word::<0x40>(&answer.as_slice().try_into().unwrap(), 0) {
            0 => Ok(answer[0x20..].try_into().unwrap()),
            status => {
                assert_eq!(answer[0x20..], [0; 0x20], "no key beside a refusal");
                Err(status)
            }
        }
    }
}

#[derive(Clone)]
struct KeyRequest {
    version: u8,
    root: u32,
    reserved: u32,
    select: u64,
    vmpl: u32,
    svn: u32,
    tcb: [u8; 8],
    mitigations: u64,
}

impl KeyRequest {
    const NOTHING: Self =
        Self { version: 2, root: 0, reserved: 0, select: 0, vmpl: 0, svn: 0, tcb: [0; 8], mitigations: 0 };

    fn encode(&self) -> Vec<u8> {
        let mut out = [self.root.to_le_bytes(), self.reserved.to_le_bytes()].concat();
        out.extend(self.select.to_le_bytes());
        out.extend([self.vmpl.to_le_bytes(), self.svn.to_le_bytes()].concat());
        out.extend(self.tcb);
        if self.version == 2 {
            out.extend(self.mitigations.to_le_bytes());
        }
        out
    }
}

fn report_request(vmpl: u32) -> Vec<u8> {
    [&[7; 64][..], &vmpl.to_le_bytes(), &[0; 28]].concat()
}

#[test]
fn a_report_says_what_the_launch_fixed() {
    for product in Product::ALL {
        let mut world = World::new(launch(product), [2; 32], identity());
        let answer = world.ask(0, 5, 1, &report_request(0)).unwrap();
        assert_eq!(answer[..0x20], [&[0, 0, 0, 0, 0xa0, 4, 0, 0][..], &[0; 24]].concat());
        let report = Report::parse(&answer[0x20..]).unwrap();
        assert_eq!(*report.measurement(), world.guest.measurement());
        assert_eq!((*report.report_data(), *report.host_data()), ([7; 64], [2; 32]));
        assert_eq!((*report.family_id(), *report.image_id(), report.guest_svn()), ([0xfa; 16], [0x1a; 16], 5));
        assert_eq!((*report.id_key_digest(), *report.author_key_digest()), ([0x1d; 48], [0xaa; 48]));
        assert!(report.author_key_enabled());
        assert_eq!((report.policy().0, report.vmpl()), (POLICY, 0));
        assert_eq!(*report.chip_id(), world.guest.amd.chip_id());
        let mitigations = report.mitigations().unwrap();
        assert_eq!((mitigations.launch, mitigations.current), (0b1010, 0b1010));
        let request = ReportRequest {
            report_data: [7; 64],
            measurement: world.guest.measurement(),
            host_data: [2; 32],
            guest_svn: 5,
            policy: POLICY,
            family_id: [0xfa; 16],
            image_id: [0x1a; 16],
            id_key_digest: [0x1d; 48],
            author_key_digest: [0xaa; 48],
            flags: 1,
            report_id: *report.report_id(),
            launch_mitigations: 0b1010,
            current_mitigations: 0b1010,
            ..world.guest.amd.request()
        };
        assert_eq!(answer[0x20..], world.guest.amd.report(&request), "and nothing else");
    }
}

#[test]
fn nobody_vouches_for_a_guest_without_id_block() {
    let launch = launch(Product::Genoa);
    let guest = launch.finish(&Finish { host_data: [2; 32], id_block: None }).unwrap();
    let mut world = World { guest, ..World::genoa() };
    let answer = world.ask(0, 5, 1, &report_request(0)).unwrap();
    let report = Report::parse(&answer[0x20..]).unwrap();
    assert_eq!((*report.id_key_digest(), *report.author_key_digest()), ([0; 48], [0; 48]));
    assert!(!report.author_key_enabled() && report.guest_svn() == 0 && *report.family_id() == [0; 16]);
}

#[test]
fn a_hostile_host_changes_the_report_and_the_firmware_signs_it() {
    let mut world = World::genoa();
    world.guest = world.guest.with_hostile_host(|request| request.measurement = [0xee; 48]);
    let answer = world.ask(0, 5, 1, &report_request(0)).unwrap();
    assert_eq!(*Report::parse(&answer[0x20..]).unwrap().measurement(), [0xee; 48]);
    assert_ne!(world.guest.measurement(), [0xee; 48]);
}

#[test]
fn a_vmpl_asks_for_itself_and_those_below() {
    let mut world = World::genoa();
    for vmpck in 0..4 {
        for vmpl in [0, 1, 2, 3, 4, u32::MAX] {
            let allowed = u32::from(vmpck) <= vmpl && vmpl < 4;
            let answer = world.ask(vmpck, 5, 1, &report_request(vmpl)).unwrap();
            assert_eq!(answer[0] == 0, allowed, "VMPCK{vmpck} for VMPL{vmpl}");
            if allowed {
                assert_eq!(Report::parse(&answer[0x20..]).unwrap().vmpl(), vmpl);
            } else {
                assert_eq!(answer, [&[0x16][..], &[0; 31]].concat(), "no report beside a refusal");
            }
            let key = world.derived(vmpck, &KeyRequest { vmpl, ..KeyRequest::NOTHING });
            assert_eq!(key.is_ok(), allowed);
        }
    }
}

#[test]
fn a_report_under_a_key_that_is_not_there_is_refused() {
    let mut world = World::genoa();
    let mut status = |at: usize, value: u8| {
        let mut payload = report_request(0);
        payload[at] = value;
        world.ask(0, 5, 1, &payload).unwrap()[0]
    };
    assert_eq!((status(0x44, 0), status(0x44, 1)), (0, 0), "the VCEK");
    assert_eq!(status(0x44, 2), 0x27, "no VLEK");
    assert_eq!((status(0x44, 3), status(0x45, 1)), (0x16, 0x16));
    assert_eq!((status(0x48, 1), status(0x5f, 1)), (0x16, 0x16), "reserved");
}

/// With every field selected the key depends on each; with none on none of them; each bit on its own field alone.
#[test]
fn a_key_depends_on_the_selected_fields_and_on_no_other() {
    let committed = Product::Genoa.tcb().to_bytes(Product::Genoa);
    let base = || (launch(Product::Genoa), identity(), [2; 32]);
    let asked = KeyRequest { svn: 4, tcb: committed, mitigations: 0b0010, ..KeyRequest::NOTHING };
    let lower = std::array::from_fn(|at| if at == 7 { committed[at] - 1 } else { committed[at] });
    // What is changed, by bit; the launch digest of these guests differs by pages.
    let changed = |bit: u32| {
        let ((mut launch, mut identity, mut host_data), mut asked) = (base(), asked.clone());
        match bit {
            0 => {
                launch =
                    Amd::from_seed([3; 32], Product::Genoa).launch(POLICY | 1 << 19).unwrap().with_mitigations(0b1010)
            }
            1 => identity.image_id[15] ^= 1,
            2 => identity.family_id[15] ^= 1,
            3 => launch.update(PageKind::Normal, 0x5000, &mut [0; 4096]).unwrap(),
            4 => asked.svn = 3,
            5 => asked.tcb = lower,
            6 => asked.mitigations = 0b1000,
            // Nothing a key may depend on.
            7 => host_data[0] ^= 1,
            8 => identity.id_key_digest[0] ^= 1,
            9 => identity.author_key_digest = None,
            10 => launch = launch.with_randomness(&[1; 32]),
            11 => identity.guest_svn = 7,
            _ => {}
        }
        (World::new(launch, host_data, identity), asked)
    };
    let key = |bit: u32, select: u64| {
        let (mut world, asked) = changed(bit);
        world.derived(0, &KeyRequest { select, ..asked }).unwrap()
    };
    for select in [0, 0x7f, 1, 2, 4, 8, 0x10, 0x20, 0x40] {
        let control = key(u32::MAX, select);
        assert_eq!(control, key(u32::MAX, select));
        for bit in 0..12 {
            let depends = bit < 7 && select >> bit & 1 != 0;
            assert_eq!(control != key(bit, select), depends, "field {bit} of selection {select:#x}");
        }
    }
}

#[test]
fn a_key_is_the_chips_or_the_guests_and_its_vmpls() {
    let key = |seed: u8, random: u8, change: &dyn Fn(&mut KeyRequest)| {
        let launch = Amd::from_seed([seed; 32], Product::Genoa).launch(POLICY).unwrap().with_randomness(&[random; 32]);
        let mut asked = KeyRequest::NOTHING;
        change(&mut asked);
        World::new(launch, [0; 32], Identity::default()).derived(0, &asked).unwrap()
    };
    let one = key(1, 1, &|_| {});
    assert_eq!(one, key(1, 2, &|_| {}), "the chip's: for every guest");
    assert_ne!(one, key(2, 1, &|_| {}), "of another chip");
    assert_ne!(one, key(1, 1, &|asked| asked.vmpl = 1));
    assert_ne!(one, key(1, 1, &|asked| asked.select = 1), "selected and zero is not the same as not selected");
    assert_eq!(one, key(1, 1, &|asked| asked.version = 1));
    assert_eq!(one, key(1, 1, &|asked| asked.root = 1 << 1), "the VCEK by name");
    let own = key(1, 1, &|asked| asked.root = 1);
    assert_ne!(one, own);
    assert_ne!(own, key(1, 2, &|asked| asked.root = 1), "the guest's: of this guest alone");
}

#[test]
fn a_key_that_may_not_be_asked_for_is_refused() {
    let mut world = World::genoa();
    let committed = Product::Genoa.tcb().to_bytes(Product::Genoa);
    let mut with = |change: &dyn Fn(&mut KeyRequest)| {
        let mut request = KeyRequest { svn: 5, tcb: committed, mitigations: 0b1010, ..KeyRequest::NOTHING };
        change(&mut request);
        world.derived(0, &request).err()
    };
    assert_eq!(with(&|_| {}), None, "control: everything at its limit");
    assert_eq!(with(&|request| request.svn = 6), Some(0x16), "above the launch's");
    for at in 0..8 {
        assert_eq!(with(&|request| request.tcb[at] += 1), Some(0x16), "above the committed one, byte {at}");
    }
    assert_eq!(with(&|request| request.mitigations = 0b1110), Some(0x16), "not in force at launch");
    assert_eq!(with(&|request| request.reserved = 1), Some(0x16));
    assert_eq!(with(&|request| request.select = 1 << 7), Some(0x16));
    assert_eq!(with(&|request| request.select = 1 << 63), Some(0x16));
    assert_eq!(with(&|request| (request.version, request.select) = (1, 1 << 6)), Some(0x16));
    assert_eq!(with(&|request| (request.version, request.select) = (1, 1 << 5)), None, "control");
    assert_eq!(with(&|request| request.root = 2 << 1), Some(0x27), "no VLEK");
    assert_eq!(with(&|request| request.root = 3 << 1), Some(0x16));
    assert_eq!(with(&|request| request.root = 1 << 3), Some(0x16));
}

#[test]
fn the_counter_is_told_as_it_was_set() {
    let tsc = Tsc { scale: 0x0102_0304_0506_0708, offset: 0x1112_1314_1516_1718, factor: 0x2122_2324 };
    let mut world = World::new(launch(Product::Turin).with_tsc(tsc), [0; 32], Identity::default());
    let answer = world.ask(0, 17, 1, &[0; 0x80]).unwrap();
    let words = [[0; 8], tsc.scale.to_le_bytes(), tsc.offset.to_le_bytes(), [0x24, 0x23, 0x22, 0x21, 0, 0, 0, 0]];
    assert_eq!(answer, [&words.concat()[..], &[0; 0x60]].concat());
    let mut payload = [0; 0x80];
    payload[0x7f] = 1;
    assert_eq!(world.ask(0, 17, 1, &payload).unwrap(), [&[0x16][..], &[0; 0x7f]].concat());
}

#[test]
fn what_is_no_question_gets_no_answer_and_uses_no_number() {
    let mut world = World::genoa();
    let ask = |world: &mut World, kind, version, length| world.ask(0, kind, version, &vec![0; length]).unwrap_err();
    for kind in [0, 1, 2, 4, 6, 7, 18, 19, 255] {
        assert_eq!(ask(&mut world, kind, 1, 0x60), RequestError::Type { found: kind });
    }
    for (kind, version, length) in [(5, 0, 0x60), (5, 2, 0x60), (3, 0, 0x20), (3, 3, 0x28), (17, 2, 0x80)] {
        assert_eq!(ask(&mut world, kind, version, length), RequestError::Version { found: version });
    }
    for (kind, version, expected) in [(5, 1, 0x60), (3, 1, 0x20), (3, 2, 0x28), (17, 1, 0x80)] {
        for found in [0, expected - 1, expected + 1, 4000] {
            assert_eq!(ask(&mut world, kind, version, found), RequestError::Length { expected, found });
        }
    }
    assert_eq!(world.ask(0, 5, 1, &report_request(0)).unwrap()[0], 0, "the first number is still free");
}
