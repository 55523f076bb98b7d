//! What is demanded of Azure's wrapping: every check in order, with its stable id, before those of the evidence inside.

use crate::verdict::{Rule, chained, rules};
use crate::{snp, tdx};

rules! {
    /// The rules about what the paravisor and its vTPM say.
    pub(crate) const OWN, after &[];

    // HCL report.
    HclFormat = "azure.hcl.format", "the bytes are an HCL report whose sizes add up",
        "OpenHCL, igvm_attest, attestation report", "send NV index 0x01400001 of the vTPM as it is";
    HclVersion = "azure.hcl.version", "the HCL report has version 1 or 2, its runtime data version 1",
        "OpenHCL, igvm_attest, attestation report", "update the verifier to one that knows this version";
    HclRequest = "azure.hcl.request", "the HCL report certifies an attestation key, and was made without an error",
        "OpenHCL, igvm_attest, request type, status", "read the HCL report again";
    HclTee = "azure.hcl.tee", "the HCL report has a hardware report of the TEE that the evidence is of",
        "OpenHCL, igvm_attest, report type", "send the endorsements of the hardware that the virtual machine runs on";
    HclReserved = "azure.hcl.reserved", "what nobody uses of the HCL report is zero",
        "OpenHCL, igvm_attest, attestation report", "send NV index 0x01400001 of the vTPM as it is";
    Vmpl = "azure.hcl.vmpl", "the paravisor asked for the SNP report, at VMPL 0, and not the guest at another",
        "AMD 56860, ATTESTATION_REPORT, VMPL", "send the SNP report of the paravisor";

    // Runtime data.
    HashType = "azure.runtime.hash_type", "the runtime data are hashed by SHA-256",
        "OpenHCL, igvm_attest, report data hash type", "update the verifier: it does not know this hash";
    RuntimeHash = "azure.runtime.hash", "REPORT_DATA of the hardware's report is the runtime data's hash and zeros",
        "OpenHCL, igvm_attest, runtime claims", "send the HCL report as the paravisor made it";
    RuntimeFormat = "azure.runtime.format", "the runtime data are the JSON that is expected",
        "OpenHCL, igvm_attest, runtime claims", "update the verifier: the paravisor says something it does not know";
    TdReport = "azure.td_report", "the TDREPORT of the HCL report is the one that the TD quote is of",
        "Intel TDX module ABI (348551), TDREPORT_STRUCT", "have the TDREPORT of this HCL report quoted";

    // Attestation key and quote.
    Key = "azure.ak", "the runtime data name one attestation key, RSA-2048 with the exponent 65537",
        "OpenHCL, igvm_attest, runtime claims, HCLAkPub", "update the verifier: the vTPM has a key of another kind";
    QuoteFormat = "azure.quote.format", "the message is a TPMS_ATTEST whose lengths add up",
        "TPM 2.0 Library, part 2, TPMS_ATTEST", "send what TPM2_Quote gave, neither cut nor padded";
    QuoteMagic = "azure.quote.magic", "a TPM made the message",
        "TPM 2.0 Library, part 2, TPM_GENERATED", "send what TPM2_Quote gave";
    QuoteType = "azure.quote.type", "the message is a quote, not another thing that a TPM attests",
        "TPM 2.0 Library, part 2, TPMI_ST_ATTEST", "send what TPM2_Quote gave";
    QuoteSignature = "azure.quote.signature", "the attestation key signed the message",
        "TPM 2.0 Library, part 3, TPM2_Quote; RFC 8017 section 8.2.2",
        "quote with the key of handle 0x81000003, by RSASSA and SHA-256";
    QuoteSelection = "azure.quote.selection", "the quote is of PCRs of the SHA-256 bank alone",
        "TPM 2.0 Library, part 2, TPML_PCR_SELECTION", "quote PCRs of the SHA-256 bank";
    QuoteValues = "azure.quote.values", "there is a value for every PCR of the quote",
        "TPM 2.0 Library, part 3, TPM2_PCR_Read", "send the values of all PCRs that are quoted";
    QuoteDigest = "azure.quote.digest", "the quote's digest is that of the values of the PCRs it selects",
        "TPM 2.0 Library, part 2, TPMS_QUOTE_INFO", "send the PCRs' values of the time of the quote";

    // Policy.
    Pcrs = "azure.pcrs", "every PCR the policy names is in the quote, with an accepted value",
        "policy: azure.pcrs", "start an accepted system and quote these PCRs, or add its values to pcrs";
    SecureBoot = "azure.secure_boot", "Secure Boot is as the policy wants it",
        "policy: azure.secure_boot", "set Secure Boot of the virtual machine";
    TpmEnabled = "azure.tpm_enabled", "the paravisor says that there is a vTPM",
        "policy: azure.tpm_enabled", "use a virtual machine with a vTPM";
    TpmPersisted = "azure.tpm_persisted", "whether the vTPM's state is kept is as the policy wants it",
        "policy: azure.tpm_persisted", "set the security type of the virtual machine's disk";
    ConsoleEnabled = "azure.console_enabled", "the virtual machine's console is as the policy wants it",
        "policy: azure.console_enabled", "set the console of the virtual machine";
    RootCertificate = "azure.root_cert_thumbprint", "the root certificate is an accepted one",
        "policy: azure.root_cert_thumbprint", "add its thumbprint to root_cert_thumbprint if you vouch for it";
    VmUniqueId = "azure.vm_unique_id", "the virtual machine is an accepted one",
        "policy: azure.vm_unique_id", "add its id to vm_unique_id if you vouch for it";

    // Binding.
    ReportData = "azure.report_data", "extraData is the SHA-256 of the binding the relying party expects",
        "expectation: report data", "make the quote for this key, this nonce and this brief";
    LaunchField = "azure.launch_field", "the PCR that the policy names was extended with the hash of the brief, once",
        "expectation: launch field; policy: azure.brief_pcr",
        "extend brief_pcr with the hash of the brief, and quote it; or name it in the policy";
}

/// Every rule of Azure's virtual machines on SEV-SNP, in the order of a verdict.
pub const CHECKS_SNP: &[Rule] = &chained::<{ OWN.len() + snp::CHECKS.len() }>(OWN, snp::CHECKS);

/// Every rule of Azure's virtual machines on TDX, in the order of a verdict.
pub const CHECKS_TDX: &[Rule] = &chained::<{ OWN.len() + tdx::CHECKS.len() }>(OWN, tdx::CHECKS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_dotted_and_complete() {
        for all in [CHECKS_SNP, CHECKS_TDX] {
            for (at, rule) in all.iter().enumerate() {
                assert!(all[..at].iter().all(|earlier| earlier.id != rule.id), "{}", rule.id);
                assert_eq!(rule.id.starts_with("azure."), at < OWN.len(), "{}", rule.id);
                for text in [rule.meaning, rule.source, rule.remedy] {
                    assert!(!text.is_empty(), "{}", rule.id);
                }
            }
        }
        assert_eq!(RuleId::LaunchField as usize + 1, OWN.len());
    }
}
