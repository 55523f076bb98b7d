//! Collateral that the Steward has at hand: what it makes good, what it does not, and what becomes of its files.

mod support;

#[path = "support/vendors.rs"]
mod vendors;

use std::{fs, sync::Arc};

use evidence::{
    AwsLc,
    appraisal::{Endorsements, Evidence, Need, Piece, PieceError, Roots, needs::SnpKey},
    dcap::{self, quote::Tee},
    snp::{self, ProductLine},
};
use identity::KeepCertificate;
use silicon::{Amd, Product, ReportRequest, intel};
use steward::{
    collateral::{Folder, Reader, Trouble},
    judge::Issued,
    refusal::Refusal,
};
use support::{
    CRL_END, DAY, NOW, World, cause,
    quoting::{self, Asker, SGX, tdx},
};
use tempfile::TempDir;
use vendors::{Vendors, vcek_of};

/// A folder, what is put in it, and what reads it.
struct Shelf {
    folder: TempDir,
    vendors: Vendors,
}

impl Shelf {
    /// With all there is for these.
    fn of(needs: &[Need]) -> Self {
        let shelf = Self { folder: tempfile::tempdir().unwrap(), vendors: Vendors::new(NOW - DAY, CRL_END) };
        needs.iter().for_each(|need| shelf.put(need));
        shelf
    }

    fn folder(&self) -> Folder {
        Folder::new(self.folder.path())
    }

    fn put(&self, need: &Need) {
        let (body, issuers) = self.vendors.answer(need).unwrap();
        self.folder().put(need, &body, issuers.as_bytes()).unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::open(self.folder(), roots()).unwrap()
    }

    /// The Steward has what is there now.
    fn give(&self, world: &World) {
        let reader = self.reader();
        assert_eq!(reader.troubles(), []);
        world.steward.put_collateral(Arc::clone(reader.cache()));
    }
}

fn roots() -> Roots {
    let root = intel::Certificate::root().der();
    Roots {
        snp: snp::Roots::from_arks(&Product::ALL.map(Product::ark_der)).unwrap(),
        dcap: dcap::Roots::from_certificates(&[&root]).unwrap(),
    }
}

/// What the reports of the world's chip need.
fn of_chip(world: &World) -> Vec<Need> {
    let line = ProductLine::Genoa;
    let chain = Need::SnpChain { line, key: SnpKey::Vcek };
    vec![chain, Need::SnpList { line }, vcek_of(&world.amd, world.amd.tcb())]
}

/// Why a request was refused, if it was.
fn ends(asked: &Result<Issued, Refusal>) -> Option<String> {
    asked.as_ref().err().map(cause)
}

/// What a report needs, with nothing that came with it.
fn needs(amd: &Amd, change: impl FnOnce(&mut ReportRequest)) -> Vec<Need> {
    let mut request = amd.request();
    change(&mut request);
    Need::of(&Evidence::Snp(amd.report(&request).to_vec()), &Endorsements::default())
}

#[test]
fn a_report_names_its_processor_and_its_line() {
    for (product, line) in Product::ALL.into_iter().zip(ProductLine::ALL) {
        let amd = Amd::from_seed([7; 32], product);
        let of_line = |key| vec![Need::SnpChain { line, key }, Need::SnpList { line }];
        let all: Vec<_> = of_line(SnpKey::Vcek).into_iter().chain([vcek_of(&amd, amd.tcb())]).collect();
        assert_eq!(needs(&amd, |_| {}), all);
        // Its processor's firmware as it says, and no other.
        let lower = silicon::Tcb { snp: 1, ..amd.tcb() };
        assert_eq!(needs(&amd, |report| report.reported_tcb = lower)[2], vcek_of(&amd, lower));
        // Masked: nobody but its host can name it.
        assert_eq!(needs(&amd, |report| report.chip_id = [0; 64]), of_line(SnpKey::Vcek));
        // A provider's key is for the provider.
        assert_eq!(needs(&amd, |report| report.flags = 1 << 2), of_line(SnpKey::Vlek));
        assert_eq!(needs(&amd, |report| report.flags = 7 << 2), [], "signed by nobody");
        assert_eq!(needs(&amd, |report| report.cpuid = [0x19, 0x40, 1]), [], "another line");
    }
}

#[test]
fn a_report_that_names_no_line_could_be_of_some_unless_a_certificate_says() {
    let lines = |needs: &[Need]| -> Vec<ProductLine> {
        let line = |need: &Need| match need {
            Need::Vcek { line, .. } => Some(*line),
            _ => None,
        };
        needs.iter().filter_map(line).collect()
    };
    use ProductLine::{Genoa, Milan, Turin};
    for (product, could, is) in [
        (Product::Milan, vec![Milan, Genoa], Milan),
        (Product::Genoa, vec![Milan, Genoa], Genoa),
        (Product::Turin, vec![Turin], Turin),
    ] {
        let amd = Amd::from_seed([7; 32], product);
        assert_eq!(lines(&needs(&amd, |report| report.version = 2)), could);
        let report = Evidence::Snp(amd.report(&ReportRequest { version: 2, ..amd.request() }).to_vec());
        let mut brought = Endorsements::default();
        brought.certificate(&amd.vcek_der(amd.tcb())).unwrap();
        assert_eq!(lines(&Need::of(&report, &brought)), [is]);
    }
}

#[test]
fn a_quote_names_its_platforms_and_who_certified_it() {
    for (body, tee) in [
        (intel::Body::Enclave(intel::Enclave::new()), Tee::Sgx),
        (intel::Body::Td(intel::Td::new(false)), Tee::Tdx),
        (intel::Body::Td(intel::Td::new(true)), Tee::Tdx),
    ] {
        let quote = intel::Quote::new([3; 32], body);
        let chain = [quote.certificate().der(), intel::Certificate::ca(intel::Key::PlatformCa).der()];
        let chain = chain.map(|der| intel::pki::pem(&der)).concat();
        // What bytes are called does not matter: they say what they are.
        for evidence in [Evidence::Sgx, Evidence::Tdx] {
            let found = Need::of(&evidence(quote.bytes(&chain)), &Endorsements::default());
            let all = Need::of_platforms(tee, intel::info::FMSPC);
            assert_eq!(found, all[..4], "{:?} is of the other CA", all[4]);
            assert_eq!(Need::of(&evidence(quote.bytes("")), &Endorsements::default()), []);
        }
    }
}

#[test]
fn broken_evidence_needs_nothing_or_little() {
    let amd = Amd::from_seed([7; 32], Product::Milan);
    let report = amd.report(&amd.request());
    let quote = intel::Quote::new([3; 32], intel::Body::Td(intel::Td::new(true)));
    let quote = quote.bytes(&intel::pki::pem(&quote.certificate().der()));
    for whole in [Evidence::Snp(report.to_vec()), Evidence::Tdx(quote)] {
        let (Evidence::Snp(bytes) | Evidence::Tdx(bytes)) = &whole else { unreachable!() };
        let needs = |bytes: Vec<u8>| {
            let evidence = if matches!(whole, Evidence::Snp(_)) { Evidence::Snp(bytes) } else { Evidence::Tdx(bytes) };
            Need::of(&evidence, &Endorsements::default()).len()
        };
        assert!(needs(bytes.clone()) >= 3, "control");
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            assert!(needs(broken) <= 12);
            assert!(needs(bytes[..at].to_vec()) <= 12);
        }
    }
}

#[test]
fn a_report_alone_is_enough_where_the_rest_is_at_hand() {
    let world = World::new();
    let needs = of_chip(&world);
    let mut keep = world.keep();
    (keep.endorsements, keep.crl) = (Vec::new(), None);
    assert_eq!(keep.refused(), "snp.vek.format");
    Shelf::of(&needs).give(&world);
    assert_eq!(ends(&keep.ask()), None);
    // Without its issuer's certificate a VCEK is not believed to be one.
    for (missing, id) in [(0, "snp.vek.format"), (1, "snp.crl.present"), (2, "snp.vek.format")] {
        let mut others = needs.clone();
        others.remove(missing);
        world.steward.put_collateral(Arc::clone(Shelf::of(&others).reader().cache()));
        assert_eq!(keep.refused(), id, "without {}", needs[missing].place());
    }
}

/// Nobody but the provider has the certificate: it comes with the report, and the rest is at hand.
#[test]
fn a_report_by_a_vlek_needs_its_certificate_from_who_sends_it() {
    let world = World::new();
    Shelf::of(&Need::of_line(ProductLine::Genoa)).give(&world);
    let vlek = world.amd.issue_vcek(&world.amd.vlek_template(world.amd.tcb(), "CN=cloud.example.org"));
    let mut keep = world.keep();
    keep.report.flags = 1 << 2;
    (keep.endorsements, keep.crl) = (vec![vlek], None);
    assert_eq!(ends(&keep.ask()), None);
    keep.endorsements = Vec::new();
    assert_eq!(keep.refused(), "snp.vek.format");
}

#[test]
fn a_quote_alone_is_enough_where_the_rest_is_at_hand() {
    for (section, body, tee) in [
        (SGX.to_owned(), intel::Body::Enclave(intel::Enclave::new()), Tee::Sgx),
        (tdx(), intel::Body::Td(intel::Td::new(true)), Tee::Tdx),
    ] {
        let world = quoting::world(&section);
        let mut asker = Asker::new(&world, body);
        (asker.brought, asker.signers) = (Vec::new(), false);
        assert_eq!(asker.refused(), "dcap.root_crl.format");
        let all = Need::of_platforms(tee, intel::info::FMSPC);
        Shelf::of(&all).give(&world);
        assert_eq!(ends(&asker.ask()), None);
        let ids = ["dcap.tcb_info.format", "dcap.qe_identity.format", "dcap.root_crl.format", "dcap.pck_crl.format"];
        for (missing, id) in ids.into_iter().enumerate() {
            let mut others = all.clone();
            others.remove(missing);
            Shelf::of(&others).give(&world);
            assert_eq!(asker.refused(), id, "without {}", all[missing].place());
        }
    }
}

/// A request of its own makes good what is stale here, and what is here what is stale in a request.
#[test]
fn of_what_is_at_hand_and_what_is_brought_the_good_is_taken() {
    let world = World::new();
    let mut keep = world.keep();
    let (good, stale) = ((NOW - DAY, CRL_END), (NOW - 2 * DAY, NOW - DAY));
    for (here, brought, ends) in
        [(good, good, None), (good, stale, None), (stale, good, None), (stale, stale, Some("snp.crl.expired"))]
    {
        let mut shelf = Shelf::of(&[]);
        (shelf.vendors.from, shelf.vendors.to) = here;
        shelf.put(&Need::SnpList { line: ProductLine::Genoa });
        shelf.give(&world);
        keep.crl = Some(world.amd.crl_der(brought.0, brought.1, &[]));
        assert_eq!(self::ends(&keep.ask()).as_deref(), ends);
    }
}

#[test]
fn a_certificate_never_outlives_what_was_at_hand() {
    let world = World::new();
    let mut keep = world.keep();
    (keep.endorsements, keep.crl) = (Vec::new(), None);
    for end in [NOW + 7200, NOW + 3600] {
        let mut shelf = Shelf::of(&of_chip(&world));
        shelf.vendors.to = end;
        shelf.put(&Need::SnpList { line: ProductLine::Genoa });
        shelf.give(&world);
        let issued = keep.ask().unwrap();
        assert_eq!(KeepCertificate::read(&issued.chain[0]).unwrap().not_after, end);
    }
}

/// More of a kind than a request may bring, many times over.
#[test]
fn a_fleet_is_at_hand_and_hinders_nobody() {
    let world = quoting::world(SGX);
    let mut asker = Asker::new(&world, intel::Body::Enclave(intel::Enclave::new()));
    (asker.brought, asker.signers) = (Vec::new(), false);
    let mut fleet = Need::of_platforms(Tee::Sgx, intel::info::FMSPC);
    for kind in 0..=u8::MAX {
        fleet.push(Need::TcbInfo { tee: Tee::Sgx, fmspc: [0, 0, 0, 0, 1, kind] });
        fleet.push(Need::TcbInfo { tee: Tee::Tdx, fmspc: [0, 0, 0, 0, 1, kind] });
    }
    let mut shelf = Shelf::of(&fleet);
    let chips: Vec<_> = (0..80).map(|seed| Amd::from_seed([seed; 32], Product::Genoa)).collect();
    chips.iter().for_each(|chip| shelf.vendors.know(chip));
    let genoa = Need::of_line(ProductLine::Genoa);
    genoa
        .iter()
        .chain(&chips.iter().map(|chip| vcek_of(chip, chip.tcb())).collect::<Vec<_>>())
        .for_each(|need| shelf.put(need));
    shelf.give(&world);
    assert_eq!(world.steward.collateral().len(), 5 + 512 + 3 + 80);
    assert_eq!(ends(&asker.ask()), None);

    let world = World::new();
    shelf.give(&world);
    let mut keep = world.keep();
    (keep.endorsements, keep.crl) = (Vec::new(), None);
    assert_eq!(ends(&keep.ask()), None);
}

#[test]
fn what_is_put_in_the_folder_is_read_and_what_is_taken_away_is_gone() {
    let list = Need::SnpList { line: ProductLine::Milan };
    let mut shelf = Shelf::of(std::slice::from_ref(&list));
    let mut reader = shelf.reader();
    let until = |reader: &Reader| reader.cache().piece(&list).map(|piece| piece.until());
    assert_eq!(until(&reader), Some(CRL_END));
    assert_eq!(reader.again(), Ok(false), "nothing has changed");

    shelf.vendors.to = CRL_END + DAY;
    shelf.put(&list);
    assert_eq!(reader.again(), Ok(true));
    assert_eq!(until(&reader), Some(CRL_END + DAY));

    fs::remove_file(shelf.folder.path().join(list.place())).unwrap();
    assert_eq!(reader.again(), Ok(true));
    assert_eq!(until(&reader), None);
    assert_eq!(reader.troubles(), []);

    // A folder that is gone is no folder without anything in it.
    shelf.put(&list);
    assert_eq!(reader.again(), Ok(true));
    let away = shelf.folder.path().with_extension("away");
    fs::rename(shelf.folder.path(), &away).unwrap();
    assert_eq!(reader.again().unwrap_err().kind, std::io::ErrorKind::NotFound);
    assert_eq!(until(&reader), Some(CRL_END + DAY));
    fs::rename(&away, shelf.folder.path()).unwrap();
    assert_eq!(reader.again(), Ok(false));
}

#[test]
fn a_file_that_is_no_good_leaves_what_was_there() {
    let tee = Tee::Sgx;
    let info = Need::TcbInfo { tee, fmspc: intel::info::FMSPC };
    let other = Need::TcbInfo { tee, fmspc: [9; 6] };
    let needs = [info.clone(), Need::SnpList { line: ProductLine::Genoa }, Need::RootList];
    let shelf = Shelf::of(&needs);
    let mut reader = shelf.reader();
    let good = Arc::clone(reader.cache());
    let path = |need: &Need| shelf.folder.path().join(need.place());
    let forged = |body: &str| vendors::answer("tcbInfo", body, intel::Key::Other);
    let body = intel::TcbInfo::new(false, NOW, CRL_END + DAY).json();
    let milan = shelf.vendors.answer(&Need::SnpList { line: ProductLine::Milan }).unwrap().0;
    let whole = fs::read(path(&info)).unwrap();
    let refused = |error: &dyn Fn(&PieceError) -> bool, reader: &Reader| match reader.troubles() {
        [Trouble::Refused { error: found, .. }] => assert!(error(found), "{found}"),
        other => panic!("{other:?}"),
    };
    type Is = fn(&PieceError) -> bool;
    let cases: [(&Need, Vec<u8>, Is); 7] = [
        (&info, whole[..whole.len() / 2].to_vec(), |error| matches!(error, PieceError::Info(_))),
        (&info, Vec::new(), |error| matches!(error, PieceError::Info(_))),
        (&info, forged(&body), |error| matches!(error, PieceError::Signature(_))),
        (&info, shelf.vendors.answer(&other).unwrap().0, |error| matches!(error, PieceError::Other { .. })),
        (&needs[1], milan, |error| matches!(error, PieceError::Other { .. })),
        (&needs[1], b"-----BEGIN".to_vec(), |error| matches!(error, PieceError::Pki(_))),
        (&Need::RootList, intel::Crl::new(intel::Key::PlatformCa, NOW, CRL_END).der(), |error| {
            matches!(error, PieceError::Untrusted(_))
        }),
    ];
    for (need, bytes, is) in cases {
        fs::write(path(need), bytes).unwrap();
        assert_eq!(reader.again(), Ok(false), "{}", need.place());
        refused(&is, &reader);
        assert_eq!(*reader.cache(), good);
        assert_eq!(shelf.reader().cache().piece(need), None, "who starts now has nothing to keep");
        shelf.put(need);
        assert_eq!(reader.again(), Ok(false), "the same as before");
        assert_eq!(reader.troubles(), []);
    }
    // Longer than any: not read at all. A folder, and a name that nobody has.
    fs::write(path(&info), vec![b' '; info.limit() + 1]).unwrap();
    fs::create_dir_all(shelf.folder.path().join("intel/tdx/qe.json")).unwrap();
    fs::write(shelf.folder.path().join("amd/crl.der"), "").unwrap();
    fs::write(shelf.folder.path().join("amd/.crl.der.1"), "begun").unwrap();
    assert_eq!(reader.again(), Ok(false));
    let troubles: Vec<_> = reader.troubles().iter().map(ToString::to_string).collect();
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    assert!(troubles[0].starts_with("amd/crl.der: no piece"), "{troubles:?}");
    assert!(troubles[1].contains("file too large"), "{troubles:?}");
    assert_eq!(*reader.cache(), good);
}

/// The issuer that came with a statement is no other statement's.
#[test]
fn an_issuer_that_nobody_vouches_for_is_refused() {
    let identity = Need::QeIdentity { tee: Tee::Sgx };
    let shelf = Shelf::of(std::slice::from_ref(&identity));
    let mut reader = shelf.reader();
    let issuers = shelf.folder.path().join(identity.issuers().unwrap());
    let good = fs::read_to_string(&issuers).unwrap();
    let pem = |certificate: &intel::Certificate| intel::pki::pem(&certificate.der());
    let signer = intel::Certificate::tcb_signer();
    let forger = intel::Certificate { key: intel::Key::Other, signer: intel::Key::Other, ..signer.clone() };
    let renamed = intel::Certificate { subject: "Intel SGX TCB Signers".to_owned(), ..signer };
    for (wrong, why) in [
        (pem(&forger), "no trusted root vouches for Intel SGX TCB Signing SIMULATED-PUBLIC"),
        (pem(&renamed), "no certificate of Intel SGX TCB Signing is with it"),
        (String::new(), "no certificate of Intel SGX TCB Signing is with it"),
        (good.replace("BEGIN", "BEGUN"), "the issuers are no chain of PEM certificates"),
    ] {
        fs::write(&issuers, wrong).unwrap();
        assert_eq!(reader.again(), Ok(false));
        let troubles: Vec<_> = reader.troubles().iter().map(ToString::to_string).collect();
        assert_eq!(troubles, [format!("{}: {why}", identity.place())]);
    }
    fs::write(&issuers, good).unwrap();
    assert_eq!((reader.again(), reader.troubles()), (Ok(false), &[][..]));
}

/// Whatever is changed on the way: the piece is refused, or it is the same piece.
#[test]
fn no_changed_byte_makes_another_piece() {
    let shelf = Shelf::of(&[]);
    let chip = Amd::from_seed([7; 32], Product::Turin);
    let line = ProductLine::Turin;
    let mut needs = Need::of_line(line);
    needs.push(vcek_of(&chip, chip.tcb()));
    needs.extend(Need::of_platforms(Tee::Tdx, intel::info::FMSPC));
    let roots = roots();
    let (mut refused, mut same) = (0_usize, 0_usize);
    for need in &needs {
        let (body, issuers) = shelf.vendors.answer(need).unwrap();
        let issuers = match need {
            Need::Vcek { .. } => shelf.vendors.answer(&Need::SnpChain { line, key: SnpKey::Vcek }).unwrap().0,
            _ => issuers.into_bytes(),
        };
        let read = |body: &[u8], issuers: &[u8]| Piece::read(need, body, issuers, &roots, &AwsLc);
        let good = read(&body, &issuers).unwrap();
        for (at, bit) in (0..body.len() + issuers.len()).zip((0..8).cycle()) {
            let (mut body, mut issuers) = (body.clone(), issuers.clone());
            match body.get_mut(at) {
                Some(byte) => *byte ^= 1 << bit,
                None => issuers[at - body.len()] ^= 1 << bit,
            }
            match read(&body, &issuers) {
                Ok(piece) => {
                    assert_eq!(piece, good, "{} at {at}", need.place());
                    same += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    // The root at the end of a chain is the sender's word, which nobody takes; digits of a signature may be large.
    assert!(refused > 20_000 && same > 0, "{refused} refused, {same} the same");
}
