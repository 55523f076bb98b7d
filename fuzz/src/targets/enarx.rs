//! Certificate requests of Enarx (RFC 2986, and what the Enarx Steward has in an extension).
//!
//! What must hold: what comes out of one is in it, was signed by its key (the provider said so last), and is bound to
//! nothing but a hash.

use evidence::appraisal::Evidence;
use evidence::appraisal::enarx::{Request, RequestError};

use super::evidence::{Witnessed, base64, element, hexadecimal, text, vectors};
use super::quote::bundled;
use crate::{Defect, Target, number, shape};

pub(crate) const ENARX: Target =
    Target { name: "enarx", reads: "evidence::appraisal::enarx::Request", short: 3_000, seeds, run };

fn run(input: &[u8], defect: Defect) -> Vec<u64> {
    let (says, request) = input.split_first().unwrap_or((&0, &[]));
    let asked = Witnessed::of(*says, defect == Defect::Planted);
    match Request::parse(request, &asked) {
        Ok(None) => vec![0],
        Ok(Some(Request { evidence, endorsements, report_data, .. })) => {
            assert!(asked.yes(), "its sender does not hold the key");
            let (kind, bytes) = match &evidence {
                Evidence::Snp(report) => (1, report),
                Evidence::Sgx(quote) => (2, quote),
                Evidence::Tdx(_) | Evidence::Azure(_) => panic!("Enarx has none"),
            };
            let within = |part: &[u8]| part.is_empty() || request.windows(part.len()).any(|window| window == part);
            assert!(within(bytes) && endorsements.certificates().chain(endorsements.lists()).all(within));
            assert!(report_data[48..] == [0; 16] && report_data[..32] != [0; 32], "bound to nothing");
            vec![kind, number(&(endorsements.certificates().len(), endorsements.lists().len()))]
        }
        Err(RequestError::Der(said)) => vec![3, number(&said.split(['`', '0', '1', '2', '3']).next())],
        Err(error) => vec![shape(&error)],
    }
}

/// A request with a point on no curve; `Witnessed` does not mind.
fn request(curve: &str, arc: u8, value: &[u8]) -> Vec<u8> {
    let oid = |text: &str| element(6, &hex::decode(text).expect("hexadecimal"));
    let p384 = curve == "2b81040022";
    let key = [vec![0, 4], vec![7; if p384 { 96 } else { 64 }]].concat();
    let spki = [element(0x30, &[oid("2a8648ce3d0201"), oid(curve)].concat()), element(3, &key)].concat();
    let extension = [oid(&format!("2b0601040183c71e01{arc:02x}")), element(4, value)].concat();
    let extensions = element(0x30, &element(0x30, &extension));
    let attribute = element(0x30, &[oid("2a864886f70d01090e"), element(0x31, &extensions)].concat());
    let info = [vec![2, 1, 0], element(0x30, &[]), element(0x30, &spki), element(0xa0, &attribute)].concat();
    let algorithm = element(0x30, &oid(if p384 { "2a8648ce3d040303" } else { "2a8648ce3d040302" }));
    [vec![0], element(0x30, &[element(0x30, &info), algorithm, element(3, &[0, 1])].concat())].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let (p256, p384) = ("2a8648ce3d030107", "2b81040022");
    let good = |folder: &str, key: &str| {
        vectors(folder).into_iter().find(|vector| vector["expect"] == "ok" && vector[key] != "tdx").expect("a good one")
    };
    let list = |der: &[u8]| element(0x30, &[element(0x0c, b"https://example.org"), der.to_vec()].concat());
    let lists =
        |ders: &[&[u8]]| element(0x30, &element(0x30, &ders.iter().flat_map(|der| list(der)).collect::<Vec<_>>()));
    let snp = good("snp", "expect");
    let (report, vek, crl) = (element(4, &hexadecimal(&snp["report"])), base64(&snp["vcek"]), base64(&snp["crl"]));
    let sgx = good("dcap", "tee");
    let quote = element(4, &base64(&sgx["quote"]));
    let [tcb_info, signature, _, _, _, _, root_crl, pck_crl, _] = bundled(&sgx);
    let answer =
        [&b"{\"tcbInfo\":"[..], &tcb_info, b",\"signature\":\"", hex::encode(signature).as_bytes(), b"\"}"].concat();
    let tcb = element(0x30, &[element(0x30, &vek), element(4, &answer)].concat());
    let of_sgx = [quote.clone(), lists(&[&root_crl, &pck_crl])].concat();
    let many = vec![&[0x30, 0][..]; 100];
    vec![
        request(
            p384,
            3,
            &element(0x30, &[element(0x30, &[vek.clone(), lists(&[&crl, &crl])].concat()), report.clone()].concat()),
        ),
        request(p384, 3, &element(0x30, &[vek.clone(), report.clone()].concat())),
        request(p384, 3, &element(0x30, &[element(0x30, &[vek, lists(&many)].concat()), report].concat())),
        request(p256, 2, &element(0x30, &[of_sgx.clone(), tcb].concat())),
        request(p256, 2, &element(0x30, &of_sgx)),
        request(p256, 2, &base64(&sgx["quote"])),
        request(p256, 1, text(&sgx["tee"])),
        request(p256, 9, &[]),
    ]
}
