//! What AMD's and Intel's services give out, of simulated vendors: the bytes for a name, and the certificates with them.

use std::collections::HashMap;

use evidence::{
    appraisal::{
        Need,
        needs::{PckCa, SnpKey},
    },
    dcap::quote::Tee,
    snp::{ChipId, ProductLine, Tcb},
};
use silicon::{
    Amd, Product,
    intel::{Certificate, Crl, Key, QeIdentity, TcbInfo, pki},
};

/// Everything they know.
pub(crate) struct Vendors {
    /// From when what they say is good.
    pub(crate) from: u64,
    /// And until when.
    pub(crate) to: u64,
    /// Intel's count of recoveries.
    pub(crate) evaluation: u32,
    /// The processors that there are.
    pub(crate) chips: HashMap<Need, Vec<u8>>,
}

impl Vendors {
    /// With the chip of most tests.
    pub(crate) fn new(from: u64, to: u64) -> Self {
        let mut vendors = Self { from, to, evaluation: 20, chips: HashMap::new() };
        for product in Product::ALL {
            vendors.know(&Amd::from_seed([7; 32], product));
        }
        vendors
    }

    /// A processor at the TCB that it reports.
    pub(crate) fn know(&mut self, amd: &Amd) {
        self.chips.insert(vcek_of(amd, amd.tcb()), amd.vcek_der(amd.tcb()));
    }

    /// The bytes, and the issuers' certificates in PEM, where they come with them; none for what they do not know.
    pub(crate) fn answer(&self, need: &Need) -> Option<(Vec<u8>, String)> {
        let Self { from, to, evaluation, chips } = self;
        let (from, to) = (*from, *to);
        let alone = |bytes: Vec<u8>| Some((bytes, String::new()));
        let chain = |leaf: &Certificate| pki::pem(&leaf.der()) + &pki::pem(&Certificate::root().der());
        match need {
            Need::SnpChain { line, key } => {
                let product = product(*line);
                let authority = match key {
                    SnpKey::Vcek => product.ask_der(),
                    SnpKey::Vlek => product.asvk_der(),
                };
                alone((pki::pem(authority) + &product.ark_pem()).into_bytes())
            }
            Need::SnpList { line } => alone(Amd::from_seed([7; 32], product(*line)).crl_der(from, to, &[])),
            Need::Vcek { .. } => alone(chips.get(need)?.clone()),
            Need::RootList => alone(Crl::new(Key::Root, from, to).der()),
            Need::PckList { ca } => {
                let key = match ca {
                    PckCa::Platform => Key::PlatformCa,
                    PckCa::Processor => Key::ProcessorCa,
                };
                Some((Crl::new(key, from, to).der(), chain(&Certificate::ca(key))))
            }
            Need::QeIdentity { tee } => {
                let identity = QeIdentity { evaluation: *evaluation, ..QeIdentity::new(*tee == Tee::Tdx, from, to) };
                Some((answer("enclaveIdentity", &identity.json(), Key::TcbSigning), chain(&Certificate::tcb_signer())))
            }
            Need::TcbInfo { tee, fmspc } => {
                let about = TcbInfo::new(*tee == Tee::Tdx, from, to);
                let info = TcbInfo { evaluation: *evaluation, fmspc: *fmspc, ..about };
                Some((answer("tcbInfo", &info.json(), Key::TcbSigning), chain(&Certificate::tcb_signer())))
            }
        }
    }
}

/// A statement of Intel's as its service sends it.
pub(crate) fn answer(name: &str, body: &str, key: Key) -> Vec<u8> {
    let signature = hex::encode(key.sign(body.as_bytes()));
    format!(r#"{{"{name}":{body},"signature":"{signature}"}}"#).into_bytes()
}

fn product(line: ProductLine) -> Product {
    match line {
        ProductLine::Milan => Product::Milan,
        ProductLine::Genoa => Product::Genoa,
        ProductLine::Turin => Product::Turin,
    }
}

/// The name of the VCEK of a chip at a TCB.
pub(crate) fn vcek_of(amd: &Amd, tcb: silicon::Tcb) -> Need {
    let line = ProductLine::ALL.into_iter().find(|line| line.name() == amd.product().name()).unwrap();
    let chip = ChipId::new(&amd.chip_id()[..line.chip_id_len()]).unwrap();
    Need::Vcek { line, chip, tcb: Tcb::decode(line, tcb.to_bytes(amd.product())).unwrap() }
}
