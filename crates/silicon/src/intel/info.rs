//! TCB info and QE identities: what Intel's service says of platforms and of quoting enclaves, as JSON in its order.
//!
//! Intel PCS API version 4.

use super::Key;

/// One level of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbLevel {
    /// SGX components.
    pub sgx: [u8; 16],
    /// PCESVN.
    pub pce: u16,
    /// TDX components; only in TDX TCB info.
    pub tdx: Option<[u8; 16]>,
    /// `2026-01-01T00:00:00Z`.
    pub date: String,
    /// `UpToDate`.
    pub status: String,
    /// `INTEL-SA-00615`.
    pub advisories: Vec<String>,
}

/// One level of a quoting enclave or of a TDX module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvnLevel {
    /// ISVSVN.
    pub svn: u16,
    /// `2026-01-01T00:00:00Z`.
    pub date: String,
    /// `UpToDate`.
    pub status: String,
    /// `INTEL-SA-00615`.
    pub advisories: Vec<String>,
}

impl SvnLevel {
    fn json(&self) -> String {
        let Self { svn, date, status, advisories } = self;
        format!(r#"{{"tcb":{{"isvsvn":{svn}}},"tcbDate":"{date}","tcbStatus":"{status}"{}}}"#, ids(advisories))
    }
}

fn ids(advisories: &[String]) -> String {
    if advisories.is_empty() {
        return String::new();
    }
    format!(r#","advisoryIDs":["{}"]"#, advisories.join("\",\""))
}

/// A TDX module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxModule {
    /// Its version; none for the first, which has no levels of its own.
    pub version: Option<u8>,
    /// MRSIGNERSEAM.
    pub signer: [u8; 48],
    /// SEAMATTRIBUTES.
    pub attributes: [u8; 8],
    /// Which of them count.
    pub mask: [u8; 8],
    /// Its levels.
    pub levels: Vec<SvnLevel>,
}

impl TdxModule {
    fn json(&self) -> String {
        let [signer, attributes, mask] = [&self.signer[..], &self.attributes, &self.mask].map(hexadecimal);
        let what = format!(r#""mrsigner":"{signer}","attributes":"{attributes}","attributesMask":"{mask}""#);
        match self.version {
            None => format!("{{{what}}}"),
            Some(version) => {
                let levels: Vec<String> = self.levels.iter().map(SvnLevel::json).collect();
                format!(r#"{{"id":"TDX_{version:02X}",{what},"tcbLevels":[{}]}}"#, levels.join(","))
            }
        }
    }
}

/// TCB info, version 3; version 2, of SGX alone, has no name of the TEE and other words for components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbInfo {
    /// `SGX` or `TDX`.
    pub id: String,
    /// 2 or 3; another looks like 3.
    pub version: u32,
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds.
    pub next_update: u64,
    /// For which platforms.
    pub fmspc: [u8; 6],
    /// For which PCE.
    pub pce_id: [u8; 2],
    /// Intel's count of recoveries.
    pub evaluation: u32,
    /// TDX modules, the first of which has no version; only in TDX TCB info.
    pub modules: Vec<TdxModule>,
    /// Highest first.
    pub levels: Vec<TcbLevel>,
    /// The key that signs.
    pub signer: Key,
}

/// FMSPC of simulated platforms.
pub const FMSPC: [u8; 6] = [0x5d, 0x0a, 0x6f, 0, 0, 0];

const DATES: [&str; 2] = ["2025-11-12T00:00:00Z", "2024-03-13T00:00:00Z"];

impl TcbInfo {
    /// About simulated platforms: one level that is up to date, one out of date, one revoked.
    pub fn new(tdx: bool, issued: u64, next_update: u64) -> Self {
        let level = |svn: u8, pce, date: &str, status: &str, advisories: &[&str]| TcbLevel {
            sgx: [svn; 16],
            pce,
            tdx: tdx.then(|| {
                let mut components = [0; 16];
                components[0] = svn;
                components[2] = svn;
                components
            }),
            date: date.into(),
            status: status.into(),
            advisories: advisories.iter().map(|id| (*id).to_owned()).collect(),
        };
        let module = |version: Option<u8>| TdxModule {
            version,
            signer: [0; 48],
            attributes: [0; 8],
            mask: [0xff; 8],
            levels: vec![
                SvnLevel { svn: 5, date: DATES[0].into(), status: "UpToDate".into(), advisories: Vec::new() },
                SvnLevel {
                    svn: 3,
                    date: DATES[1].into(),
                    status: "OutOfDate".into(),
                    advisories: vec!["INTEL-SA-01036".into()],
                },
                SvnLevel { svn: 1, date: DATES[1].into(), status: "Revoked".into(), advisories: Vec::new() },
            ],
        };
        Self {
            id: if tdx { "TDX" } else { "SGX" }.into(),
            version: 3,
            issued,
            next_update,
            fmspc: FMSPC,
            pce_id: [0; 2],
            evaluation: 20,
            modules: if tdx { vec![module(None), module(Some(1))] } else { Vec::new() },
            levels: vec![
                level(7, 13, DATES[0], "UpToDate", &[]),
                level(6, 13, DATES[0], "SWHardeningNeeded", &["INTEL-SA-00615"]),
                level(5, 11, DATES[1], "OutOfDate", &["INTEL-SA-00615", "INTEL-SA-00828"]),
                level(2, 5, DATES[1], "Revoked", &[]),
            ],
            signer: Key::TcbSigning,
        }
    }

    /// The object that is signed.
    pub fn json(&self) -> String {
        let old = self.version == 2;
        let levels: Vec<String> = self.levels.iter().map(if old { old_level } else { level }).collect();
        let id = if old { String::new() } else { format!(r#""id":"{}","#, self.id) };
        let mut modules = String::new();
        if let Some((first, others)) = self.modules.split_first() {
            let others: Vec<String> = others.iter().map(TdxModule::json).collect();
            modules = format!(r#","tdxModule":{},"tdxModuleIdentities":[{}]"#, first.json(), others.join(","));
        }
        format!(
            concat!(
                r#"{{{}"version":{},"issueDate":"{}","nextUpdate":"{}","fmspc":"{}","pceId":"{}","tcbType":0,"#,
                r#""tcbEvaluationDataNumber":{}{},"tcbLevels":[{}]}}"#
            ),
            id,
            self.version,
            date(self.issued),
            date(self.next_update),
            hexadecimal(&self.fmspc),
            hexadecimal(&self.pce_id),
            self.evaluation,
            modules,
            levels.join(","),
        )
    }
}

fn level(level: &TcbLevel) -> String {
    let TcbLevel { sgx, pce, tdx, .. } = level;
    let list = |svns: &[u8; 16]| svns.map(|svn| format!(r#"{{"svn":{svn}}}"#)).join(",");
    let tdx = tdx.as_ref().map(|tdx| format!(r#","tdxtcbcomponents":[{}]"#, list(tdx))).unwrap_or_default();
    with_status(level, &format!(r#"{{"sgxtcbcomponents":[{}],"pcesvn":{pce}{tdx}}}"#, list(sgx)))
}

/// Of version 2.
fn old_level(level: &TcbLevel) -> String {
    let component = |(at, svn): (usize, &u8)| format!(r#""sgxtcbcomp{:02}svn":{svn},"#, at + 1);
    let components: String = level.sgx.iter().enumerate().map(component).collect();
    with_status(level, &format!(r#"{{{components}"pcesvn":{}}}"#, level.pce))
}

fn with_status(TcbLevel { date, status, advisories, .. }: &TcbLevel, tcb: &str) -> String {
    format!(r#"{{"tcb":{tcb},"tcbDate":"{date}","tcbStatus":"{status}"{}}}"#, ids(advisories))
}

/// QE identity, version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeIdentity {
    /// `QE` or `TD_QE`.
    pub id: String,
    /// 2.
    pub version: u32,
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds.
    pub next_update: u64,
    /// Intel's count of recoveries.
    pub evaluation: u32,
    /// MRSIGNER.
    pub signer: [u8; 32],
    /// ISVPRODID.
    pub product_id: u16,
    /// Highest first.
    pub levels: Vec<SvnLevel>,
    /// The key that signs.
    pub key: Key,
}

/// MRSIGNER of simulated quoting enclaves.
pub const QE_SIGNER: [u8; 32] = [0x8c; 32];

impl QeIdentity {
    /// About simulated quoting enclaves: one level that is up to date, one out of date, one revoked.
    pub fn new(tdx: bool, issued: u64, next_update: u64) -> Self {
        let level = |svn, date: &str, status: &str| SvnLevel {
            svn,
            date: date.into(),
            status: status.into(),
            advisories: if status == "OutOfDate" { vec!["INTEL-SA-00477".into()] } else { Vec::new() },
        };
        Self {
            id: if tdx { "TD_QE" } else { "QE" }.into(),
            version: 2,
            issued,
            next_update,
            evaluation: 20,
            signer: QE_SIGNER,
            product_id: if tdx { 2 } else { 1 },
            levels: vec![
                level(8, DATES[0], "UpToDate"),
                level(6, DATES[1], "OutOfDate"),
                level(1, DATES[1], "Revoked"),
            ],
            key: Key::TcbSigning,
        }
    }

    /// The object that is signed.
    pub fn json(&self) -> String {
        let levels: Vec<String> = self.levels.iter().map(SvnLevel::json).collect();
        format!(
            concat!(
                r#"{{"id":"{}","version":{},"issueDate":"{}","nextUpdate":"{}","tcbEvaluationDataNumber":{},"#,
                r#""miscselect":"00000000","miscselectMask":"FFFFFFFF","#,
                r#""attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","#,
                r#""mrsigner":"{}","isvprodid":{},"tcbLevels":[{}]}}"#
            ),
            self.id,
            self.version,
            date(self.issued),
            date(self.next_update),
            self.evaluation,
            hexadecimal(&self.signer),
            self.product_id,
            levels.join(","),
        )
    }
}

/// Unix seconds as Intel writes them.
fn date(seconds: u64) -> String {
    let (year, month, day) = crate::der::civil(seconds / 86_400);
    let second = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
