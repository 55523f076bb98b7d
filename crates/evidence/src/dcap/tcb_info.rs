//! TCB info and QE identity: what Intel signs about platforms and about quoting enclaves.
//!
//! Intel PCS API version 4, "Get SGX TCB Info", "Get TDX TCB Info", "Get Quoting Enclave Identity". The signed bytes are the
//! inner JSON object exactly as received. Read strictly: a field that is not known, missing, twice there, or has another
//! length than it must is refused, and so is a status that does not belong to its structure.
//!
//! Invariant: levels are in the order in which they are to be tried, whatever their order in the document.

use super::pck::PlatformTcb;
use super::quote::{EnclaveReport, Tee};
use super::status::{Standing, TcbStatus};
use crate::Hex;
use crate::hexadecimal;
use crate::verdict::said;
use core::cmp::Reverse;
use core::fmt;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// Longest TCB info or QE identity that is looked at; those of today have up to 20 KB.
pub const MAX_JSON: usize = 256 * 1024;

/// Most levels of one list; those of today have up to 20.
const MAX_LEVELS: usize = 256;

/// Most advisories of one level; those of today have up to 24.
const MAX_ADVISORIES: usize = 128;

/// Why bytes are no TCB info or QE identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InfoError {
    /// Longer than [`MAX_JSON`].
    #[error("{found} bytes, limit {MAX_JSON}")]
    TooLong {
        /// Bytes received.
        found: usize,
    },
    /// Not the JSON it must be.
    #[error("{0}")]
    Json(String),
    /// A version this verifier does not know.
    #[error("version {0} is not known")]
    Version(u32),
    /// It ends before it begins.
    #[error("nextUpdate is before issueDate")]
    Validity,
    /// More levels than any genuine document has, or none.
    #[error("{0} levels")]
    Levels(usize),
    /// More advisories of one level than any genuine document has.
    #[error("{0} advisories")]
    Advisories(usize),
    /// A status that this structure cannot have.
    #[error("status {status} in {structure}")]
    Status {
        /// The status.
        status: TcbStatus,
        /// Where it stands.
        structure: &'static str,
    },
    /// What TDX TCB info must have and SGX TCB info must not.
    #[error("TDX components or modules are missing, twice there, or stand where there are none")]
    Tdx,
}

impl InfoError {
    /// Names in it are the sender's: cut, and without control characters.
    fn json(error: &serde_json::Error) -> Self {
        const LONGEST: usize = 200;
        Self::Json(said(error, LONGEST))
    }
}

/// What Intel's service answers: an object and its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// TCB info or QE identity, byte for byte as it was signed.
    pub body: &'a [u8],
    /// r||s, big-endian.
    pub signature: [u8; 64],
}

impl<'a> Answer<'a> {
    /// Takes the answer of `tcb` or `qe/identity` apart.
    pub fn parse(json: &'a [u8]) -> Result<Self, InfoError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole<'a> {
            #[serde(borrow, rename = "tcbInfo", alias = "enclaveIdentity")]
            body: &'a RawValue,
            signature: Hex<64>,
        }
        if json.len() > MAX_JSON {
            return Err(InfoError::TooLong { found: json.len() });
        }
        let Whole { body, signature } = serde_json::from_slice(json).map_err(|error| InfoError::json(&error))?;
        Ok(Self { body: body.get().as_bytes(), signature: signature.0 })
    }
}

/// TCB info, version 2 (SGX) or 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcbInfo {
    /// For which TEE.
    pub tee: Tee,
    /// When it was issued, unix time.
    pub issued: u64,
    /// The last second it may be relied on, unix time.
    pub next_update: u64,
    /// For which platforms.
    pub fmspc: [u8; 6],
    /// For which provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// Intel's count of recoveries; higher is newer.
    pub evaluation: u32,
    levels: Vec<Level>,
    /// Intel's TDX module; only for TDX.
    module: Option<Module>,
    modules: Vec<(u8, Module, Vec<SvnLevel>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    sgx: [u8; 16],
    pce: u16,
    tdx: [u8; 16],
    standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SvnLevel {
    svn: u16,
    standing: Standing,
}

/// Who must have signed a TDX module, and how it must be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// MRSIGNERSEAM.
    pub signer: [u8; 48],
    /// SEAMATTRIBUTES; bits outside the mask are zero.
    pub attributes: [u8; 8],
    /// Which of them count.
    pub mask: [u8; 8],
}

impl TcbInfo {
    /// Parses the inner object, exactly as it was signed.
    pub fn parse(json: &[u8]) -> Result<Self, InfoError> {
        // Nearly all are of this version; what is not is looked at from the start, to say what is wrong with it.
        if let Ok(info) = read::<TcbInfo3>(json)
            && info.version == 3
        {
            return info.info();
        }
        let Probe { version } = read(json)?;
        match version {
            2 => read::<TcbInfo2>(json)?.info(),
            3 => read::<TcbInfo3>(json)?.info(),
            other => Err(InfoError::Version(other)),
        }
    }

    /// True from `issueDate` to `nextUpdate`, both included.
    pub fn valid_at(&self, now: u64) -> bool {
        (self.issued..=self.next_update).contains(&now)
    }

    /// The first level that an SGX platform reaches.
    pub fn sgx_level(&self, platform: &PlatformTcb) -> Option<&Standing> {
        self.level(platform, &[u8::MAX; 16])
    }

    fn level(&self, platform: &PlatformTcb, tdx: &[u8]) -> Option<&Standing> {
        let reaches = |level: &&Level| {
            let tdx_of_level = level.tdx.get(16_usize.saturating_sub(tdx.len())..).unwrap_or(&level.tdx);
            at_least(&platform.components, &level.sgx) && platform.pce >= level.pce && at_least(tdx, tdx_of_level)
        };
        self.levels.iter().find(reaches).map(|level| &level.standing)
    }

    /// What a TDX platform with a module of these versions (TEE_TCB_SVN) reaches, or what it does not.
    pub fn tdx_level(&self, platform: &PlatformTcb, svn: &[u8; 16]) -> Result<Standing, &'static str> {
        let [module_svn, version, rest @ ..] = svn;
        // A module with a version of its own has levels of its own, which stand for the first two components.
        let components: &[u8] = if *version > 0 { rest } else { svn };
        let level = self.level(platform, components).ok_or("no level of the TCB info is reached")?;
        if *version == 0 {
            return Ok(level.clone());
        }
        let (.., levels) = self.versioned(*version).ok_or("the TCB info has no TDX module of this version")?;
        let reached = levels.iter().find(|level| u16::from(*module_svn) >= level.svn);
        let module = reached.ok_or("no level of the TDX module is reached")?;
        Ok(level.clone().with(&module.standing))
    }

    fn versioned(&self, version: u8) -> Option<&(u8, Module, Vec<SvnLevel>)> {
        self.modules.iter().find(|(of, ..)| *of == version)
    }

    /// What a TDX module of these versions must be.
    pub fn module(&self, svn: &[u8; 16]) -> Option<&Module> {
        match svn {
            [_, 0, ..] => self.module.as_ref(),
            [_, version, ..] => self.versioned(*version).map(|(_, module, _)| module),
        }
    }
}

fn at_least(found: &[u8], wanted: &[u8]) -> bool {
    found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| found >= wanted)
}

/// QE identity, version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QeIdentity {
    /// For the quoting enclave of which TEE.
    pub tee: Tee,
    /// When it was issued, unix time.
    pub issued: u64,
    /// The last second it may be relied on, unix time.
    pub next_update: u64,
    /// Intel's count of recoveries; higher is newer.
    pub evaluation: u32,
    /// MRSIGNER.
    pub signer: [u8; 32],
    /// ISVPRODID.
    pub product_id: u16,
    misc_select: [u8; 4],
    misc_select_mask: [u8; 4],
    attributes: [u8; 16],
    attributes_mask: [u8; 16],
    levels: Vec<SvnLevel>,
}

impl QeIdentity {
    /// Parses the inner object, exactly as it was signed.
    pub fn parse(json: &[u8]) -> Result<Self, InfoError> {
        // As above.
        if let Ok(identity) = read::<QeIdentity2>(json)
            && identity.version == 2
        {
            return identity.identity();
        }
        let Probe { version } = read(json)?;
        if version == 2 { read::<QeIdentity2>(json)?.identity() } else { Err(InfoError::Version(version)) }
    }

    /// True from `issueDate` to `nextUpdate`, both included.
    pub fn valid_at(&self, now: u64) -> bool {
        (self.issued..=self.next_update).contains(&now)
    }

    /// Whether MISCSELECT is what it must be, where that counts.
    pub fn misc_select_matches(&self, report: &EnclaveReport) -> bool {
        let found = report.misc_select.to_bytes();
        masked(&found, &self.misc_select_mask) == masked(&self.misc_select, &self.misc_select_mask)
    }

    /// MISCSELECT and which of its bits count, in words.
    pub(super) fn misc_select(&self) -> String {
        let [select, mask] = [self.misc_select, self.misc_select_mask].map(u32::from_le_bytes);
        format!("{select:#010x} of {mask:#010x}")
    }

    /// ATTRIBUTES and which of their bits count, in words.
    pub(super) fn attributes(&self) -> String {
        format!("{} of {}", hexadecimal::encode(self.attributes), hexadecimal::encode(self.attributes_mask))
    }

    /// Whether ATTRIBUTES are what they must be, where that counts.
    pub fn attributes_match(&self, report: &EnclaveReport) -> bool {
        masked(&report.attributes, &self.attributes_mask) == masked(&self.attributes, &self.attributes_mask)
    }

    /// The first level that a quoting enclave of this version reaches.
    pub fn level(&self, svn: u16) -> Option<&Standing> {
        self.levels.iter().find(|level| svn >= level.svn).map(|level| &level.standing)
    }
}

fn masked(bytes: &[u8], mask: &[u8]) -> Vec<u8> {
    bytes.iter().zip(mask).map(|(byte, mask)| byte & mask).collect()
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, InfoError> {
    if json.len() > MAX_JSON {
        return Err(InfoError::TooLong { found: json.len() });
    }
    serde_json::from_slice(json).map_err(|error| InfoError::json(&error))
}

/// All documents have this; the others depend on it.
#[derive(Deserialize)]
struct Probe {
    version: u32,
}

/// What a text means, which is not kept; documents have thousands.
fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Option<T>,
    wrong: fmt::Arguments<'_>,
) -> Result<T, D::Error> {
    struct Text<'w, F>(F, fmt::Arguments<'w>);
    impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Text<'_, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            let Self(read, wrong) = self;
            read(text).ok_or_else(|| E::custom(wrong))
        }
    }
    deserializer.deserialize_str(Text(read, wrong))
}

/// Seconds of `2025-08-15T05:08:18Z`.
#[derive(Clone, Copy)]
struct Instant(u64);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| text.parse().ok().map(|date: der::DateTime| Self(date.unix_duration().as_secs()));
        text(deserializer, read, format_args!("not a date such as 2025-08-15T05:08:18Z"))
    }
}

#[derive(Deserialize)]
enum SgxId {
    #[serde(rename = "SGX")]
    Sgx,
    #[serde(rename = "TDX")]
    Tdx,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TcbInfo3 {
    id: SgxId,
    version: u32,
    issue_date: Instant,
    next_update: Instant,
    fmspc: Hex<6>,
    pce_id: Hex<2>,
    #[serde(rename = "tcbType")]
    _tcb_type: Zero,
    tcb_evaluation_data_number: u32,
    tdx_module: Option<ModuleText>,
    #[serde(default)]
    tdx_module_identities: Vec<ModuleIdentity>,
    tcb_levels: Vec<LevelText<Tcb3>>,
}

/// TCB type 0: the only one, with components that are compared one by one.
struct Zero;

impl<'de> Deserialize<'de> for Zero {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            0 => Ok(Self),
            other => Err(D::Error::custom(format_args!("tcbType {other} is not 0"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TcbInfo2 {
    #[serde(rename = "version")]
    _version: u32,
    issue_date: Instant,
    next_update: Instant,
    fmspc: Hex<6>,
    pce_id: Hex<2>,
    #[serde(rename = "tcbType")]
    _tcb_type: Zero,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<LevelText<Tcb2>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LevelText<T> {
    tcb: T,
    tcb_date: Instant,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisory_ids: Vec<String>,
}

impl<T> LevelText<T> {
    fn split(self, structure: &'static str, may: &[TcbStatus]) -> Result<(T, Standing), InfoError> {
        let Self { tcb, tcb_date, tcb_status: status, advisory_ids: advisories } = self;
        if !may.contains(&status) {
            return Err(InfoError::Status { status, structure });
        }
        if advisories.len() > MAX_ADVISORIES {
            return Err(InfoError::Advisories(advisories.len()));
        }
        Ok((tcb, Standing { status, date: tcb_date.0, advisories }))
    }
}

/// Statuses of platforms; those of modules and quoting enclaves are fewer.
const OF_PLATFORM: &[TcbStatus] = &[
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];
const OF_MODULE: &[TcbStatus] = &[TcbStatus::UpToDate, TcbStatus::OutOfDate, TcbStatus::Revoked];
const OF_ENCLAVE: &[TcbStatus] = &[
    TcbStatus::UpToDate,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcb3 {
    sgxtcbcomponents: [Component; 16],
    pcesvn: u16,
    tdxtcbcomponents: Option<[Component; 16]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    svn: u8,
    #[serde(rename = "category")]
    _category: Option<Words>,
    #[serde(rename = "type")]
    _type: Option<Words>,
}

/// A text that nobody reads.
struct Words;

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |_| Some(Self), format_args!(""))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcb2 {
    sgxtcbcomp01svn: u8,
    sgxtcbcomp02svn: u8,
    sgxtcbcomp03svn: u8,
    sgxtcbcomp04svn: u8,
    sgxtcbcomp05svn: u8,
    sgxtcbcomp06svn: u8,
    sgxtcbcomp07svn: u8,
    sgxtcbcomp08svn: u8,
    sgxtcbcomp09svn: u8,
    sgxtcbcomp10svn: u8,
    sgxtcbcomp11svn: u8,
    sgxtcbcomp12svn: u8,
    sgxtcbcomp13svn: u8,
    sgxtcbcomp14svn: u8,
    sgxtcbcomp15svn: u8,
    sgxtcbcomp16svn: u8,
    pcesvn: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ModuleText {
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
}

impl ModuleText {
    fn module(&self) -> Module {
        Module { signer: self.mrsigner.0, attributes: self.attributes.0, mask: self.attributes_mask.0 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ModuleIdentity {
    id: ModuleId,
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
    tcb_levels: Vec<LevelText<Svn>>,
}

/// `TDX_03`: version 3.
struct ModuleId(u8);

impl<'de> Deserialize<'de> for ModuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| {
            let mut version = [0];
            hex::decode_to_slice(text.strip_prefix("TDX_")?, &mut version).ok()?;
            Some(Self(u8::from_be_bytes(version)))
        };
        text(deserializer, read, format_args!("not the id of a TDX module such as TDX_03"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Svn {
    isvsvn: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct QeIdentity2 {
    id: QeId,
    version: u32,
    issue_date: Instant,
    next_update: Instant,
    tcb_evaluation_data_number: u32,
    miscselect: Hex<4>,
    miscselect_mask: Hex<4>,
    attributes: Hex<16>,
    attributes_mask: Hex<16>,
    mrsigner: Hex<32>,
    isvprodid: u16,
    tcb_levels: Vec<LevelText<Svn>>,
}

#[derive(Deserialize)]
enum QeId {
    #[serde(rename = "QE")]
    Qe,
    #[serde(rename = "TD_QE")]
    TdQe,
}

fn few(levels: usize) -> Result<(), InfoError> {
    if (1..=MAX_LEVELS).contains(&levels) { Ok(()) } else { Err(InfoError::Levels(levels)) }
}

fn dates(issued: Instant, next_update: Instant) -> Result<(u64, u64), InfoError> {
    if next_update.0 < issued.0 { Err(InfoError::Validity) } else { Ok((issued.0, next_update.0)) }
}

/// Highest first.
fn sorted(mut levels: Vec<Level>) -> Vec<Level> {
    levels.sort_by_key(|level| Reverse((level.sgx, level.pce, level.tdx)));
    levels
}

fn svn_levels(
    levels: Vec<LevelText<Svn>>,
    structure: &'static str,
    may: &[TcbStatus],
) -> Result<Vec<SvnLevel>, InfoError> {
    few(levels.len())?;
    let read = |level: LevelText<Svn>| {
        let (tcb, standing) = level.split(structure, may)?;
        Ok(SvnLevel { svn: tcb.isvsvn, standing })
    };
    let mut levels = levels.into_iter().map(read).collect::<Result<Vec<_>, InfoError>>()?;
    levels.sort_by_key(|level| Reverse(level.svn));
    Ok(levels)
}

impl TcbInfo2 {
    fn info(self) -> Result<TcbInfo, InfoError> {
        let (issued, next_update) = dates(self.issue_date, self.next_update)?;
        few(self.tcb_levels.len())?;
        let level = |level: LevelText<Tcb2>| {
            let (tcb, standing) = level.split("TCB info", OF_PLATFORM)?;
            let sgx = [
                tcb.sgxtcbcomp01svn,
                tcb.sgxtcbcomp02svn,
                tcb.sgxtcbcomp03svn,
                tcb.sgxtcbcomp04svn,
                tcb.sgxtcbcomp05svn,
                tcb.sgxtcbcomp06svn,
                tcb.sgxtcbcomp07svn,
                tcb.sgxtcbcomp08svn,
                tcb.sgxtcbcomp09svn,
                tcb.sgxtcbcomp10svn,
                tcb.sgxtcbcomp11svn,
                tcb.sgxtcbcomp12svn,
                tcb.sgxtcbcomp13svn,
                tcb.sgxtcbcomp14svn,
                tcb.sgxtcbcomp15svn,
                tcb.sgxtcbcomp16svn,
            ];
            Ok(Level { sgx, pce: tcb.pcesvn, tdx: [0; 16], standing })
        };
        Ok(TcbInfo {
            tee: Tee::Sgx,
            issued,
            next_update,
            fmspc: self.fmspc.0,
            pce_id: self.pce_id.0,
            evaluation: self.tcb_evaluation_data_number,
            levels: sorted(self.tcb_levels.into_iter().map(level).collect::<Result<_, InfoError>>()?),
            module: None,
            modules: Vec::new(),
        })
    }
}

impl TcbInfo3 {
    fn info(self) -> Result<TcbInfo, InfoError> {
        let (issued, next_update) = dates(self.issue_date, self.next_update)?;
        few(self.tcb_levels.len())?;
        let tee = match self.id {
            SgxId::Sgx => Tee::Sgx,
            SgxId::Tdx => Tee::Tdx,
        };
        let is_tdx = tee == Tee::Tdx;
        if self.tdx_module.is_some() != is_tdx || !(is_tdx || self.tdx_module_identities.is_empty()) {
            return Err(InfoError::Tdx);
        }
        let svns = |components: [Component; 16]| components.map(|component| component.svn);
        let level = |level: LevelText<Tcb3>| {
            let (tcb, standing) = level.split("TCB info", OF_PLATFORM)?;
            if tcb.tdxtcbcomponents.is_some() != is_tdx {
                return Err(InfoError::Tdx);
            }
            let tdx = tcb.tdxtcbcomponents.map_or([0; 16], svns);
            Ok(Level { sgx: svns(tcb.sgxtcbcomponents), pce: tcb.pcesvn, tdx, standing })
        };
        let module = |identity: ModuleIdentity| {
            let ModuleIdentity { id, mrsigner, attributes, attributes_mask, tcb_levels } = identity;
            let module = ModuleText { mrsigner, attributes, attributes_mask }.module();
            Ok((id.0, module, svn_levels(tcb_levels, "a TDX module", OF_MODULE)?))
        };
        let modules = self.tdx_module_identities;
        if modules.len() > MAX_LEVELS {
            return Err(InfoError::Levels(modules.len()));
        }
        let modules = modules.into_iter().map(module).collect::<Result<Vec<_>, InfoError>>()?;
        let mut versions: Vec<u8> = modules.iter().map(|(version, ..)| *version).collect();
        versions.sort_unstable();
        versions.dedup();
        if versions.len() != modules.len() {
            return Err(InfoError::Tdx);
        }
        Ok(TcbInfo {
            tee,
            issued,
            next_update,
            fmspc: self.fmspc.0,
            pce_id: self.pce_id.0,
            evaluation: self.tcb_evaluation_data_number,
            levels: sorted(self.tcb_levels.into_iter().map(level).collect::<Result<_, InfoError>>()?),
            module: self.tdx_module.map(|module| module.module()),
            modules,
        })
    }
}

impl QeIdentity2 {
    fn identity(self) -> Result<QeIdentity, InfoError> {
        let (issued, next_update) = dates(self.issue_date, self.next_update)?;
        let mut levels = svn_levels(self.tcb_levels, "a QE identity", OF_ENCLAVE)?;
        for level in &mut levels {
            // Intel's library knows no third answer about an enclave.
            if !matches!(level.standing.status, TcbStatus::UpToDate | TcbStatus::Revoked) {
                level.standing.status = TcbStatus::OutOfDate;
            }
        }
        Ok(QeIdentity {
            tee: match self.id {
                QeId::Qe => Tee::Sgx,
                QeId::TdQe => Tee::Tdx,
            },
            issued,
            next_update,
            evaluation: self.tcb_evaluation_data_number,
            signer: self.mrsigner.0,
            product_id: self.isvprodid,
            misc_select: self.miscselect.0,
            misc_select_mask: self.miscselect_mask.0,
            attributes: self.attributes.0,
            attributes_mask: self.attributes_mask.0,
            levels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_little_of_what_was_sent() {
        let json = format!("{{\"version\":3,\"{}\\u0007\":1}}", "x".repeat(10_000));
        let Err(InfoError::Json(said)) = TcbInfo::parse(json.as_bytes()) else { panic!("it is refused") };
        assert!(said.contains("xxx") && said.len() <= 200 && !said.chars().any(char::is_control), "{said}");
    }

    #[test]
    fn absurd_lengths_are_refused_at_once() {
        let found = MAX_JSON + 1;
        let bytes = vec![b' '; found];
        assert_eq!(TcbInfo::parse(&bytes), Err(InfoError::TooLong { found }));
        assert_eq!(QeIdentity::parse(&bytes), Err(InfoError::TooLong { found }));
        assert_eq!(Answer::parse(&bytes), Err(InfoError::TooLong { found }));
    }
}
