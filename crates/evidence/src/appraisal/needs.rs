//! What a piece of evidence is judged by and its vendor gives to everybody: by name, each with its place in a folder.
//!
//! ```text
//!   amd/Milan/crl.der                              SnpList        amd/Milan/vcek/<chip>/bl04-tee00-snp24-ucode219.der   Vcek
//!   amd/Milan/vcek/chain.pem, vlek/chain.pem       SnpChain
//!   intel/crl.der, intel/platform/crl.der          RootList, PckList
//!   intel/sgx/qe.json, intel/tdx/tcb/<fmspc>.json  QeIdentity, TcbInfo
//! ```
//!
//! Owns the names and the places, both ways, and from evidence to what it needs. Refuses other spellings of a place. A VLEK has
//! no name here: its certificate is for the provider whose key it is, who gives it with the report. Invariant: evidence is
//! hostile, and names nothing or too much at worst, never more than a dozen.

use super::{Endorsements, Evidence};
use crate::azure::Envelope;
use crate::azure::envelope::Endorsement;
use crate::dcap::pck::Pck;
use crate::dcap::quote::{Quote, Tee};
use crate::dcap::tcb_info::MAX_JSON;
use crate::dcap::{self, PCK_CAS, is_named};
use crate::hexadecimal;
use crate::pki::MAX_CERTIFICATE;
use crate::pki::crl::MAX_CRL;
use crate::snp::report::{Report, SigningKey};
use crate::snp::vek::{Kind, Vek};
use crate::snp::{ChipId, ProductLine, Tcb};

/// One piece of collateral, by what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Who issues keys' certificates of a product line: ASK or ASVK.
    SnpChain {
        /// Which line.
        line: ProductLine,
        /// Of which keys.
        key: SnpKey,
    },
    /// The ARK's revocation list.
    SnpList {
        /// Of which line.
        line: ProductLine,
    },
    /// The certificate of a processor's key.
    Vcek {
        /// Of which line.
        line: ProductLine,
        /// Which processor.
        chip: ChipId,
        /// At which firmware.
        tcb: Tcb,
    },
    /// The revocation list of Intel's root.
    RootList,
    /// The revocation list of a CA of PCKs.
    PckList {
        /// Which one.
        ca: PckCa,
    },
    /// What Intel says of quoting enclaves.
    QeIdentity {
        /// Of which TEE.
        tee: Tee,
    },
    /// What Intel says of a kind of platform.
    TcbInfo {
        /// For which TEE.
        tee: Tee,
        /// Which kind.
        fmspc: [u8; 6],
    },
}

/// The keys that sign reports of SEV-SNP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnpKey {
    /// Of a processor.
    Vcek,
    /// Of a provider.
    Vlek,
}

impl SnpKey {
    const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    /// As AMD's addresses have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    /// How the common name of who certifies such keys begins.
    pub(super) fn authority(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-",
            Self::Vlek => "SEV-VLEK-",
        }
    }
}

/// Intel's CAs of PCKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Of platforms with several processors.
    Platform,
    /// Of platforms with one.
    Processor,
}

impl PckCa {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Platform, Self::Processor];

    /// As Intel's addresses have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// Its common name.
    pub(super) fn subject(self) -> &'static str {
        let [platform, processor] = PCK_CAS;
        match self {
            Self::Platform => platform,
            Self::Processor => processor,
        }
    }
}

const TEES: [Tee; 2] = [Tee::Sgx, Tee::Tdx];

/// As Intel's addresses have it.
fn tee_name(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "sgx",
        Tee::Tdx => "tdx",
    }
}

impl Need {
    /// What this evidence needs, beside what its sender alone can bring. A report of version 2 does not name its product line:
    /// who brings its key's certificate names it, else there is a [`Self::Vcek`] for each line that it could be of.
    pub fn of(evidence: &Evidence, brought: &Endorsements) -> Vec<Self> {
        match evidence {
            Evidence::Snp(report) => of_report(report, brought),
            Evidence::Sgx(quote) | Evidence::Tdx(quote) => of_quote(quote),
            Evidence::Azure(json) => match Envelope::parse(json).map(|envelope| envelope.endorsement) {
                Ok(Endorsement::Vcek(vcek)) => of_key(&vcek),
                Ok(Endorsement::TdQuote(quote)) => of_quote(&quote),
                Err(_) => Vec::new(),
            },
        }
    }

    /// What every quote of this TEE from such platforms needs; who issued their PCKs is not known, so it is both CAs.
    pub fn of_platforms(tee: Tee, fmspc: [u8; 6]) -> Vec<Self> {
        let lists = PckCa::ALL.map(|ca| Self::PckList { ca });
        [Self::TcbInfo { tee, fmspc }, Self::QeIdentity { tee }, Self::RootList].into_iter().chain(lists).collect()
    }

    /// What every report of a product line needs, whoever's key signs it.
    pub fn of_line(line: ProductLine) -> Vec<Self> {
        let chains = SnpKey::ALL.map(|key| Self::SnpChain { line, key });
        chains.into_iter().chain([Self::SnpList { line }]).collect()
    }

    /// Where it lies, below a folder.
    pub fn place(&self) -> String {
        match self {
            Self::SnpChain { line, key } => format!("amd/{line}/{}/chain.pem", key.name()),
            Self::SnpList { line } => format!("amd/{line}/crl.der"),
            Self::Vcek { line, chip, tcb } => {
                let Tcb { fmc, bootloader, tee, snp, microcode } = tcb;
                let fmc = fmc.map(|fmc| format!("fmc{fmc:02}-")).unwrap_or_default();
                format!("amd/{line}/vcek/{chip}/{fmc}bl{bootloader:02}-tee{tee:02}-snp{snp:02}-ucode{microcode:02}.der")
            }
            Self::RootList => "intel/crl.der".to_owned(),
            Self::PckList { ca } => format!("intel/{}/crl.der", ca.name()),
            Self::QeIdentity { tee } => format!("intel/{}/qe.json", tee_name(*tee)),
            Self::TcbInfo { tee, fmspc } => {
                format!("intel/{}/tcb/{}.json", tee_name(*tee), hexadecimal::encode(fmspc))
            }
        }
    }

    /// Where the certificates of those lie who issued it: beside it, or, of a VCEK, for all of them; none if a root did.
    pub fn issuers(&self) -> Option<String> {
        match self {
            Self::SnpChain { .. } | Self::SnpList { .. } | Self::RootList => None,
            Self::Vcek { line, .. } => Some(Self::SnpChain { line: *line, key: SnpKey::Vcek }.place()),
            Self::PckList { .. } | Self::QeIdentity { .. } | Self::TcbInfo { .. } => {
                let place = self.place();
                place.rsplit_once('.').map(|(stem, _)| format!("{stem}.chain.pem"))
            }
        }
    }

    /// Whether those certificates came with it, and are replaced with it.
    pub fn brings_issuers(&self) -> bool {
        matches!(self, Self::PckList { .. } | Self::QeIdentity { .. } | Self::TcbInfo { .. })
    }

    /// What lies at a place.
    pub fn at(place: &str) -> Option<Self> {
        const MOST: usize = 5;
        let line = |name: &str| ProductLine::ALL.into_iter().find(|line| line.name() == name);
        let tee = |name: &str| TEES.into_iter().find(|tee| tee_name(*tee) == name);
        let parts: Vec<&str> = place.split('/').take(MOST.saturating_add(1)).collect();
        let need = match *parts.as_slice() {
            ["amd", of, "crl.der"] => Self::SnpList { line: line(of)? },
            ["amd", of, key, "chain.pem"] => {
                Self::SnpChain { line: line(of)?, key: SnpKey::ALL.into_iter().find(|known| known.name() == key)? }
            }
            ["amd", of, "vcek", chip, tcb] => {
                Self::Vcek { line: line(of)?, chip: chip.parse().ok()?, tcb: levels(tcb)? }
            }
            ["intel", "crl.der"] => Self::RootList,
            ["intel", ca, "crl.der"] => Self::PckList { ca: PckCa::ALL.into_iter().find(|known| known.name() == ca)? },
            ["intel", of, "qe.json"] => Self::QeIdentity { tee: tee(of)? },
            ["intel", of, "tcb", file] => {
                let mut fmspc = [0; 6];
                hex::decode_to_slice(file.strip_suffix(".json")?, &mut fmspc).ok()?;
                Self::TcbInfo { tee: tee(of)?, fmspc }
            }
            _ => return None,
        };
        // One spelling.
        (need.place() == place).then_some(need)
    }

    /// The longest that there can be.
    pub fn limit(&self) -> usize {
        match self {
            Self::SnpChain { .. } => MAX_CHAIN,
            Self::Vcek { .. } => MAX_CERTIFICATE,
            Self::SnpList { .. } | Self::RootList | Self::PckList { .. } => MAX_CRL,
            Self::QeIdentity { .. } | Self::TcbInfo { .. } => MAX_JSON,
        }
    }
}

/// The longest chain of certificates.
pub const MAX_CHAIN: usize = dcap::chain::MAX_CHAIN;

/// The name of a VCEK's file.
fn levels(file: &str) -> Option<Tcb> {
    let mut parts = file.strip_suffix(".der")?.split('-').peekable();
    let mut level = |name: &str| {
        let level = parts.peek()?.strip_prefix(name)?.parse().ok();
        parts.next();
        level
    };
    let fmc = level("fmc");
    let tcb = Tcb { fmc, bootloader: level("bl")?, tee: level("tee")?, snp: level("snp")?, microcode: level("ucode")? };
    Some(tcb)
}

fn of_report(bytes: &[u8], brought: &Endorsements) -> Vec<Need> {
    let Ok(report) = Report::parse(bytes) else { return Vec::new() };
    let key = match report.signing_key() {
        SigningKey::Vcek => SnpKey::Vcek,
        SigningKey::Vlek => SnpKey::Vlek,
        SigningKey::None | SigningKey::Reserved(_) => return Vec::new(),
    };
    let chip: Option<ChipId> = hexadecimal::encode(report.chip_id()).parse().ok();
    let of_line = |line: ProductLine| {
        // Each line has a layout of its own: bytes that do not fit it are another line's.
        let tcb = Tcb::decode(line, report.reported_tcb()).ok()?;
        let vcek = match &chip {
            Some(chip) if chip.as_bytes().len() != line.chip_id_len() => return None,
            Some(chip) if key == SnpKey::Vcek => Some(Need::Vcek { line, chip: chip.clone(), tcb }),
            // Masked: nobody but its host knows which processor it is.
            Some(_) | None => None,
        };
        Some([Need::SnpChain { line, key }, Need::SnpList { line }].into_iter().chain(vcek))
    };
    let lines = match report.cpuid() {
        Some(cpuid) => ProductLine::from_cpuid(cpuid.family, cpuid.model).into_iter().collect(),
        None => {
            let mut named: Vec<_> = brought.certificates().filter_map(|der| Vek::parse(der).ok()).collect();
            named.retain(|vek| vek.tcb().encode() == report.reported_tcb());
            match named.first() {
                Some(vek) => vec![vek.product().line()],
                None => ProductLine::ALL.to_vec(),
            }
        }
    };
    lines.into_iter().filter_map(of_line).flatten().collect()
}

/// With its certificate at hand.
fn of_key(vek: &[u8]) -> Vec<Need> {
    let Ok(vek) = Vek::parse(vek) else { return Vec::new() };
    let line = vek.product().line();
    let key = match vek.kind() {
        Kind::Vcek { .. } => SnpKey::Vcek,
        Kind::Vlek { .. } => SnpKey::Vlek,
    };
    vec![Need::SnpChain { line, key }, Need::SnpList { line }]
}

fn of_quote(bytes: &[u8]) -> Vec<Need> {
    let Ok(quote) = Quote::parse(bytes) else { return Vec::new() };
    let tee = quote.body().tee();
    let Some(pck) = dcap::pck_of(&quote) else { return Vec::new() };
    let of_platforms = Need::of_platforms(tee, pck.fmspc());
    let others = |need: &Need| !matches!(need, Need::PckList { ca } if Some(*ca) != ca_of(&pck));
    of_platforms.into_iter().filter(others).collect()
}

fn ca_of(pck: &Pck) -> Option<PckCa> {
    PckCa::ALL.into_iter().find(|ca| is_named(pck.certificate().issuer(), ca.subject()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Need> {
        let mut all: Vec<_> = ProductLine::ALL.into_iter().flat_map(Need::of_line).collect();
        for line in ProductLine::ALL {
            let chip = ChipId::new(&vec![0xa5; line.chip_id_len()]).expect("its length");
            let fmc = (line == ProductLine::Turin).then_some(1);
            let tcb = Tcb { fmc, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
            all.push(Need::Vcek { line, chip, tcb });
        }
        all.extend(TEES.into_iter().flat_map(|tee| Need::of_platforms(tee, [0, 0x60, 0x6a, 0, 0, 0])));
        all
    }

    #[test]
    fn a_place_is_read_back_and_is_nobody_elses() {
        let all = all();
        for need in &all {
            assert_eq!(Need::at(&need.place()).as_ref(), Some(need), "{}", need.place());
            let others = all.iter().filter(|other| *other != need);
            assert!(others.clone().all(|other| other.place() != need.place()), "{}", need.place());
            if let Some(issuers) = need.issuers().filter(|_| need.brings_issuers()) {
                assert_eq!(Need::at(&issuers), None, "{issuers}");
                assert!(others.clone().all(|other| other.issuers().as_ref() != Some(&issuers)), "{issuers}");
            }
        }
        assert_eq!(all[9].place(), format!("amd/Milan/vcek/{}/bl04-tee00-snp24-ucode219.der", "a5".repeat(64)));
        assert_eq!(all[11].place(), "amd/Turin/vcek/a5a5a5a5a5a5a5a5/fmc01-bl04-tee00-snp24-ucode219.der");
        assert_eq!(all[12].place(), "intel/sgx/tcb/00606a000000.json");
        assert_eq!(all[12].issuers().as_deref(), Some("intel/sgx/tcb/00606a000000.chain.pem"));
    }

    #[test]
    fn other_spellings_are_no_places() {
        let chip = "a5".repeat(64);
        for place in [
            "",
            "/",
            "amd",
            "amd/Milan",
            "amd/milan/crl.der",
            "amd/Milan/crl.pem",
            "amd/Milan/crl.der/",
            "/amd/Milan/crl.der",
            "./amd/Milan/crl.der",
            "amd//Milan/crl.der",
            "amd/../amd/Milan/crl.der",
            "amd/Milan/vlek/crl.der",
            "intel/sgx/tcb/00606A000000.json",
            "intel/sgx/tcb/00606a0000.json",
            "intel/sgx/tcb/.json",
            "intel/sev/qe.json",
            "intel/sgx/qe.json/a/b/c/d/e",
            &format!("amd/Milan/vcek/{chip}/bl4-tee0-snp24-ucode219.der"),
            &format!("amd/Milan/vcek/{chip}/bl04-tee00-snp24-ucode300.der"),
            &format!("amd/Milan/vcek/{chip}/bl04-tee00-snp24.der"),
            &format!("amd/Milan/vcek/{chip}/bl04-tee00-snp24-ucode219-more.der"),
            &format!("amd/Milan/vcek/{}/bl04-tee00-snp24-ucode219.der", chip.to_uppercase()),
            &format!("amd/Milan/vcek/{}/bl04-tee00-snp24-ucode219.der", "00".repeat(64)),
        ] {
            assert_eq!(Need::at(place), None, "{place}");
        }
    }

    #[test]
    fn what_is_no_evidence_needs_nothing() {
        for bytes in [&[][..], &[0; 1184], &[0xff; 1184], &[3; 5000], b"{}"] {
            for evidence in [Evidence::Snp, Evidence::Sgx, Evidence::Tdx, Evidence::Azure] {
                assert_eq!(Need::of(&evidence(bytes.to_vec()), &Endorsements::default()), []);
            }
        }
    }
}
