//! Claims of every TEE as data: the names of the vendors' documents in snake_case, bytes in hexadecimal, times in RFC 3339.

use crate::azure::{AzureClaims, HardwareClaims};
use crate::dcap::Platform;
use crate::sgx::SgxClaims;
use crate::snp::SnpClaims;
use crate::tdx::TdxClaims;
use crate::time::date;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What genuine and accepted evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claims {
    /// SEV-SNP.
    Snp(Box<SnpClaims>),
    /// SGX.
    Sgx(Box<SgxClaims>),
    /// TDX.
    Tdx(Box<TdxClaims>),
    /// A virtual machine of Azure, on SEV-SNP or TDX.
    Azure(Box<AzureClaims>),
}

impl Claims {
    /// Last second at which all that the evidence was judged by is still good, unix time.
    pub fn collateral_end(&self) -> u64 {
        match self {
            Self::Snp(claims) => claims.collateral_end,
            Self::Sgx(claims) => claims.platform.collateral_end,
            Self::Tdx(claims) => claims.platform.collateral_end,
            Self::Azure(claims) => claims.collateral_end(),
        }
    }

    /// Names the platform, as a policy does.
    pub(super) fn platform(&self) -> String {
        let snp = |claims: &SnpClaims| claims.platform.to_string();
        let intel = |platform: &Platform| platform.ppid.to_string();
        match self {
            Self::Snp(claims) => snp(claims),
            Self::Sgx(claims) => intel(&claims.platform),
            Self::Tdx(claims) => intel(&claims.platform),
            Self::Azure(claims) => match &claims.hardware {
                HardwareClaims::Snp(claims) => snp(claims),
                HardwareClaims::Tdx(claims) => intel(&claims.platform),
            },
        }
    }
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Snp(claims) => snp(&mut map, claims)?,
            Self::Sgx(claims) => sgx(&mut map, claims)?,
            Self::Tdx(claims) => tdx(&mut map, claims)?,
            Self::Azure(claims) => azure(&mut map, claims)?,
        }
        map.serialize_entry("collateral_end", &date(self.collateral_end()))?;
        map.end()
    }
}

fn snp<M: SerializeMap>(map: &mut M, claims: &SnpClaims) -> Result<(), M::Error> {
    map.serialize_entry("tee", "snp")?;
    map.serialize_entry("product", claims.product.name())?;
    map.serialize_entry("report_version", &claims.report_version.number())?;
    map.serialize_entry("signing_key", &claims.signing_key.to_string())?;
    map.serialize_entry("platform", &claims.platform)?;
    if let Some(cpuid) = claims.cpuid {
        map.serialize_entry("cpuid", &[cpuid.family, cpuid.model, cpuid.stepping])?;
    }
    map.serialize_entry("measurement", &claims.measurement)?;
    map.serialize_entry("report_data", &hex::encode(claims.report_data))?;
    map.serialize_entry("host_data", &hex::encode(claims.host_data))?;
    map.serialize_entry("id_key_digest", &claims.id_key_digest)?;
    map.serialize_entry("author_key_digest", &claims.author_key_digest)?;
    map.serialize_entry("family_id", &hex::encode(claims.family_id))?;
    map.serialize_entry("image_id", &hex::encode(claims.image_id))?;
    map.serialize_entry("guest_svn", &claims.guest_svn)?;
    map.serialize_entry("policy", &format!("{:#x}", claims.policy.0))?;
    map.serialize_entry("policy_flags", &claims.policy.flags().collect::<Vec<_>>())?;
    map.serialize_entry("vmpl", &claims.vmpl)?;
    map.serialize_entry("platform_info", &format!("{:#x}", claims.platform_info.0))?;
    map.serialize_entry("platform_info_flags", &claims.platform_info.flags().collect::<Vec<_>>())?;
    map.serialize_entry("reported_tcb", &claims.reported_tcb)?;
    map.serialize_entry("committed_tcb", &claims.committed_tcb)?;
    map.serialize_entry("current_tcb", &claims.current_tcb)?;
    map.serialize_entry("launch_tcb", &claims.launch_tcb)?;
    map.serialize_entry("current_version", &claims.current_version)?;
    map.serialize_entry("committed_version", &claims.committed_version)?;
    if let Some(mitigations) = claims.mitigations {
        map.serialize_entry("launch_mitigations", &format!("{:#x}", mitigations.launch))?;
        map.serialize_entry("current_mitigations", &format!("{:#x}", mitigations.current))?;
    }
    Ok(())
}

fn sgx<M: SerializeMap>(map: &mut M, claims: &SgxClaims) -> Result<(), M::Error> {
    map.serialize_entry("tee", "sgx")?;
    map.serialize_entry("measurement", &hex::encode(claims.measurement))?;
    map.serialize_entry("signer", &hex::encode(claims.signer))?;
    map.serialize_entry("product_id", &claims.product_id)?;
    map.serialize_entry("security_version", &claims.security_version)?;
    map.serialize_entry("family_id", &hex::encode(claims.family_id))?;
    map.serialize_entry("extended_product_id", &hex::encode(claims.extended_product_id))?;
    map.serialize_entry("flags", &format!("{:#x}", claims.flags))?;
    map.serialize_entry("xfrm", &format!("{:#x}", claims.xfrm))?;
    map.serialize_entry("misc_select", &format!("{:#x}", claims.misc_select))?;
    map.serialize_entry("config_id", &hex::encode(claims.config_id))?;
    map.serialize_entry("config_svn", &claims.config_svn)?;
    map.serialize_entry("report_data", &hex::encode(claims.report_data))?;
    platform(map, &claims.platform)
}

fn tdx<M: SerializeMap>(map: &mut M, claims: &TdxClaims) -> Result<(), M::Error> {
    map.serialize_entry("tee", "tdx")?;
    map.serialize_entry("measurement", &hex::encode(claims.measurement))?;
    map.serialize_entry("rtmr", &claims.rtmr.map(hex::encode))?;
    map.serialize_entry("module", &hex::encode(claims.module))?;
    map.serialize_entry("module_svn", &hex::encode(claims.module_svn))?;
    map.serialize_entry("module_svn_now", &claims.module_svn_now.map(hex::encode))?;
    map.serialize_entry("attributes", &format!("{:#x}", claims.attributes))?;
    map.serialize_entry("xfam", &format!("{:#x}", claims.xfam))?;
    map.serialize_entry("config_id", &hex::encode(claims.config_id))?;
    map.serialize_entry("owner", &hex::encode(claims.owner))?;
    map.serialize_entry("owner_config", &hex::encode(claims.owner_config))?;
    map.serialize_entry("service_td", &claims.service_td.map(hex::encode))?;
    map.serialize_entry("report_data", &hex::encode(claims.report_data))?;
    platform(map, &claims.platform)
}

/// The hardware's claims as they are everywhere, and the virtual machine's in an object of its own.
fn azure<M: SerializeMap>(map: &mut M, claims: &AzureClaims) -> Result<(), M::Error> {
    #[derive(Serialize)]
    struct Machine<'a> {
        console_enabled: Option<bool>,
        root_cert_thumbprint: Option<&'a str>,
        secure_boot: Option<bool>,
        tpm_enabled: Option<bool>,
        tpm_persisted: Option<bool>,
        vm_unique_id: Option<&'a str>,
        user_data: Option<String>,
        extra_data: String,
        pcrs: BTreeMap<u8, String>,
        reset_count: u32,
        restart_count: u32,
        firmware_version: String,
    }
    match &claims.hardware {
        HardwareClaims::Snp(claims) => snp(map, claims)?,
        HardwareClaims::Tdx(claims) => tdx(map, claims)?,
    }
    let of = &claims.configuration;
    let machine = Machine {
        console_enabled: of.console_enabled,
        root_cert_thumbprint: of.root_cert_thumbprint.as_deref(),
        secure_boot: of.secure_boot,
        tpm_enabled: of.tpm_enabled,
        tpm_persisted: of.tpm_persisted,
        vm_unique_id: of.vm_unique_id.as_deref(),
        user_data: claims.user_data.map(hex::encode),
        extra_data: hex::encode(&claims.extra_data),
        pcrs: claims.pcrs.iter().map(|(index, value)| (*index, hex::encode(value))).collect(),
        reset_count: claims.clock.reset_count,
        restart_count: claims.clock.restart_count,
        firmware_version: format!("{:#x}", claims.firmware_version),
    };
    map.serialize_entry("azure", &machine)
}

fn platform<M: SerializeMap>(map: &mut M, platform: &Platform) -> Result<(), M::Error> {
    map.serialize_entry("platform", &platform.ppid.to_string())?;
    map.serialize_entry("platform_instance", &platform.instance.map(hex::encode))?;
    map.serialize_entry("fmspc", &hex::encode(platform.fmspc))?;
    map.serialize_entry("sgx_type", &format!("{:?}", platform.sgx_type))?;
    map.serialize_entry("smt", &platform.configuration.smt)?;
    map.serialize_entry("dynamic_platform", &platform.configuration.dynamic)?;
    map.serialize_entry("cached_keys", &platform.configuration.cached_keys)?;
    map.serialize_entry("sgx_tcb_components", &platform.tcb.components)?;
    map.serialize_entry("pce_svn", &platform.tcb.pce)?;
    map.serialize_entry("tcb_date", &date(platform.standing.date))?;
    map.serialize_entry("tcb_evaluation_data_number", &platform.evaluation)
}
