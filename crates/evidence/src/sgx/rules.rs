//! What is demanded of an enclave: every check in order, with its stable id, after those that are common to all quotes.

use crate::dcap;
use crate::verdict::{Rule, chained, rules};

rules! {
    /// The rules about the enclave itself.
    const OWN, after dcap::CHECKS;

    ReportReserved = "sgx.report.reserved", "all reserved fields of the report are zero",
        "Intel SDM volume 3D, REPORT", "update the verifier: the processor says something it does not know";
    AttributesFixed = "sgx.attributes.fixed",
        "INIT, MODE64BIT and the state of x87 and SSE are set, undefined flags are not",
        "Intel SDM volume 3D, ATTRIBUTES", "update the verifier: the processor says something it does not know";
    AttributesDebug = "sgx.attributes.debug", "the enclave cannot be debugged",
        "policy: sgx.insecure_debug", "launch the enclave without DEBUG";
    AttributesFeatures = "sgx.attributes.features", "the enclave has no attributes but those the policy lists",
        "policy: sgx.features", "launch the enclave without them, or list them in features";
    MiscSelect = "sgx.misc_select", "the enclave selects nothing but what the policy lists",
        "policy: sgx.misc_select", "launch the enclave without them, or list them in misc_select";
    MeasurementAllowed = "sgx.measurement.allowed", "MRENCLAVE is an accepted one",
        "policy: sgx.hash", "launch an accepted enclave, or add its measurement to hash";
    MeasurementDenied = "sgx.measurement.denied", "MRENCLAVE is not a refused one",
        "policy: sgx.hash_blacklist", "launch a newer enclave";
    SignerAllowed = "sgx.signer.allowed", "MRSIGNER is an accepted one",
        "policy: sgx.signer", "launch an enclave of an accepted signer";
    ProductId = "sgx.product_id", "ISVPRODID is the one the policy states",
        "policy: sgx.enclave_product_id", "launch the product the policy is about";
    SecurityVersion = "sgx.security_version", "ISVSVN is at least what the policy states",
        "policy: sgx.enclave_security_version", "launch a newer enclave";
    FamilyId = "sgx.family_id", "ISVFAMILYID is the one the policy states",
        "policy: sgx.family_id", "launch an enclave of this family";
    ExtendedProductId = "sgx.extended_product_id", "ISVEXTPRODID is the one the policy states",
        "policy: sgx.extended_product_id", "launch the product the policy is about";
    ReportData = "sgx.report_data", "REPORTDATA is the binding the relying party expects",
        "expectation: report data", "make the evidence for this key, this nonce and this brief";
    ConfigId = "sgx.config_id", "CONFIGID, with Key Separation and Sharing, is the hash of the brief and zeros",
        "expectation: launch field", "launch the Keep with the brief that is presented";
}

/// Every rule of SGX, in the order of a verdict.
pub const CHECKS: &[Rule] = &chained::<{ dcap::CHECKS.len() + OWN.len() }>(dcap::CHECKS, OWN);
