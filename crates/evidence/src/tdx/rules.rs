//! What is demanded of a trust domain: every check in order, with its stable id, after those that are common to all quotes.

use crate::dcap;
use crate::verdict::{Rule, chained, rules};

rules! {
    /// The rules about the trust domain itself.
    const OWN, after dcap::CHECKS;

    ModuleSigner = "tdx.module.signer", "MRSIGNERSEAM is the one the TCB info names for this version of the TDX module",
        "Intel PCS API v4, TCB info, tdxModule, tdxModuleIdentities", "load Intel's TDX module";
    ModuleAttributes = "tdx.module.attributes",
        "SEAMATTRIBUTES are as in the TCB info, and zero where it has no say",
        "Intel PCS API v4, TCB info, tdxModule, tdxModuleIdentities", "load Intel's TDX module";
    ModuleAllowed = "tdx.module.allowed", "MRSEAM is an accepted one",
        "policy: tdx.module", "load an accepted TDX module, or add its measurement to module";
    AttributesReserved = "tdx.attributes.reserved", "all undefined bits of TDATTRIBUTES are zero",
        "Intel TDX module ABI (348551), ATTRIBUTES", "update the verifier: the TDX module says something it does not know";
    AttributesDebug = "tdx.attributes.debug", "the TD can neither be debugged nor profiled",
        "policy: tdx.insecure_debug", "launch the TD without DEBUG and profiling";
    AttributesSeptVe = "tdx.attributes.sept_ve_disable",
        "what the host does to pages is not told to the TD as exceptions, which it could not tell from others",
        "policy: tdx.sept_ve_disable", "launch the TD with SEPT_VE_DISABLE, or write sept_ve_disable = \"optional\"";
    AttributesMigratable = "tdx.attributes.migratable", "the TD cannot be migrated",
        "policy: tdx.attributes", "launch the TD without MIGRATABLE, or list \"Migratable\" in attributes";
    AttributesFlags = "tdx.attributes.flags", "the TD has no attributes but those the policy lists",
        "policy: tdx.attributes", "launch the TD without them, or list them in attributes";
    Xfam = "tdx.xfam", "XFAM has the state that every TD has, and none that no TD may have",
        "Intel TDX module ABI (348551), XFAM", "update the verifier: the TDX module says something it does not know";
    ServiceTd = "tdx.service_td", "no service TD is bound to the TD, or an accepted one",
        "policy: tdx.service_td", "launch the TD without service TD, or add its hash to service_td";
    MeasurementAllowed = "tdx.measurement.allowed", "MRTD is an accepted one",
        "policy: tdx.hash", "launch an accepted image, or add its measurement to hash";
    MeasurementDenied = "tdx.measurement.denied", "MRTD is not a refused one",
        "policy: tdx.hash_blacklist", "launch a newer image";
    Rtmr0 = "tdx.rtmr0", "RTMR 0, the firmware's configuration, is an accepted one",
        "policy: tdx.rtmr0", "launch with an accepted configuration, or add it to rtmr0";
    Rtmr1 = "tdx.rtmr1", "RTMR 1, the kernel, is an accepted one",
        "policy: tdx.rtmr1", "launch an accepted kernel, or add it to rtmr1";
    Rtmr2 = "tdx.rtmr2", "RTMR 2, the kernel's command line and initial files, is an accepted one",
        "policy: tdx.rtmr2", "launch with an accepted command line, or add it to rtmr2";
    Rtmr3 = "tdx.rtmr3", "RTMR 3, what the guest measured itself, is an accepted one",
        "policy: tdx.rtmr3", "launch an accepted guest, or add its value to rtmr3";
    Owner = "tdx.owner", "MROWNER is an accepted one",
        "policy: tdx.owner", "launch with an accepted owner";
    OwnerConfig = "tdx.owner_config", "MROWNERCONFIG is an accepted one",
        "policy: tdx.owner_config", "launch with an accepted configuration of the owner";
    ReportData = "tdx.report_data", "REPORTDATA is the binding the relying party expects",
        "expectation: report data", "make the evidence for this key, this nonce and this brief";
    ConfigId = "tdx.config_id", "MRCONFIGID is the hash of the brief and zeros",
        "expectation: launch field", "launch the Keep with the brief that is presented";
}

/// Every rule of TDX, in the order of a verdict.
pub const CHECKS: &[Rule] = &chained::<{ dcap::CHECKS.len() + OWN.len() }>(dcap::CHECKS, OWN);
