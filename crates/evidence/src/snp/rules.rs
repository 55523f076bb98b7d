//! The rules of SEV-SNP: every check a verdict lists, in order, with its stable id.
//!
//! Order matters: a cause stands before its consequences, and what makes the report's bytes
//! trustworthy (chain, revocation, signature) before what the bytes say. Ids are published.

use crate::verdict::rules;

rules! {
    /// Every rule of SEV-SNP, in the order of a verdict.
    pub const CHECKS, after &[];

    // Form of the report.
    ReportSize = "snp.report.size", "the report has exactly 1184 bytes",
        "AMD 56860, ATTESTATION_REPORT", "send the report alone, neither cut nor padded";
    ReportVersion = "snp.report.version", "the report has version 2, 3, 4 or 5",
        "AMD 56860, ATTESTATION_REPORT, VERSION", "update the verifier to one that knows this version";
    ReportAlgorithm = "snp.report.signature_algorithm", "the report is signed with ECDSA P-384, SHA-384",
        "AMD 56860, ATTESTATION_REPORT, SIGNATURE_ALGO", "the bytes are no report of today's firmware; ask the platform again";
    ReportTail = "snp.report.tail", "every unsigned byte of the report that is no digit of the signature is zero",
        "AMD 56860, ATTESTATION_REPORT, SIGNATURE", "send the report as the firmware gave it";

    // VEK certificate as such.
    VekFormat = "snp.vek.format", "the VEK certificate is strict X.509 with AMD's extensions and a P-384 key",
        "AMD 57230, VCEK and VLEK certificate format", "fetch the certificate from AMD's key distribution service again";
    VekKind = "snp.vek.kind", "the report names the kind of key (VCEK or VLEK) that the certificate certifies",
        "AMD 56860, ATTESTATION_REPORT, SIGNING_KEY", "send the certificate of the key that signed the report";

    // Chain.
    AskFormat = "snp.ask.format", "an ASK certificate that names the VEK's issuer is at hand and well-formed",
        "AMD 57230, ASK and ASVK certificate format", "send the ASK (VCEK) or ASVK (VLEK) of the product line with the evidence";
    AskAuthority = "snp.ask.authority", "the ASK may issue keys of this kind for this product line",
        "AMD 57230; RFC 5280 section 4.2.1.9", "send the ASK of the product line the VEK names";
    ArkTrusted = "snp.ark.trusted", "a pinned ARK of the product line bears the name of the ASK's issuer",
        "collateral: roots", "for simulated hardware, a Steward of class insecure must name the simulated root";
    ArkEarly = "snp.ark.not_yet_valid", "the ARK certificate is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    ArkExpired = "snp.ark.expired", "the ARK certificate is not expired",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock; else AMD has to issue a new root";
    AskSignature = "snp.ask.signature", "the pinned ARK key signed the ASK",
        "RFC 5280 section 6.1.3", "fetch the ASK from AMD's key distribution service; this one is forged or of another root";
    AskEarly = "snp.ask.not_yet_valid", "the ASK certificate is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    AskExpired = "snp.ask.expired", "the ASK certificate is not expired",
        "RFC 5280 section 4.1.2.5", "fetch the current ASK";
    VekSignature = "snp.vek.signature", "the ASK signed the VEK certificate",
        "RFC 5280 section 6.1.3", "fetch the VEK certificate and its ASK from AMD's key distribution service";
    VekEarly = "snp.vek.not_yet_valid", "the VEK certificate is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    VekExpired = "snp.vek.expired", "the VEK certificate is not expired",
        "RFC 5280 section 4.1.2.5", "fetch a current VEK certificate";

    // Revocation.
    CrlPresent = "snp.crl.present", "a revocation list is at hand",
        "policy: snp.crl", "send AMD's revocation list with the evidence, or write crl = \"optional\" in [snp]";
    CrlFormat = "snp.crl.format", "the revocation list is a full, direct X.509 CRL version 2 with nextUpdate",
        "RFC 5280 section 5", "fetch the list from AMD's key distribution service again";
    CrlSignature = "snp.crl.signature", "the pinned ARK issued and signed the revocation list, and may",
        "RFC 5280 section 6.3.3 (f), (g)", "fetch the list of this product line";
    CrlEarly = "snp.crl.not_yet_valid", "the revocation list is valid already",
        "RFC 5280 section 6.3.3 (a)", "check the verifier's clock";
    CrlExpired = "snp.crl.expired", "the revocation list is not expired",
        "RFC 5280 section 6.3.3 (a)", "fetch a fresh revocation list";
    AskRevoked = "snp.ask.revoked", "the ASK is not revoked",
        "RFC 5280 section 6.3", "use a platform whose VEK was issued by a current ASK";

    // The report is what the firmware said.
    ReportSignature = "snp.report.signature", "the VEK signed the report's first 672 bytes as received",
        "AMD 56860, ATTESTATION_REPORT, SIGNATURE", "send the unchanged report with the certificate of the key that signed it";
    ReportReserved = "snp.report.reserved", "all reserved fields of this report version are zero",
        "AMD 56860, ATTESTATION_REPORT", "update the verifier: the firmware says something it does not know";
    ReportProduct = "snp.report.product", "the processor's CPUID belongs to the product the VEK certificate names",
        "AMD 56860, ATTESTATION_REPORT, CPUID_FAM_ID, CPUID_MOD_ID", "send the VEK certificate of this processor";
    ReportChip = "snp.report.chip", "CHIP_ID is the VCEK's hwID, or masked",
        "AMD 57230, hwID", "send the VCEK of the processor the report comes from";

    // Firmware levels.
    TcbFormat = "snp.tcb.format", "the reserved bytes of all TCB versions are zero in the product's layout",
        "AMD 56860, TCB_VERSION", "update the verifier: the layout is not the one it knows for this product";
    VekTcb = "snp.vek.tcb", "the levels in the VEK certificate equal REPORTED_TCB",
        "AMD 57230, SPL extensions", "fetch the VEK certificate for the reported TCB";
    TcbOrder = "snp.tcb.order", "REPORTED_TCB <= COMMITTED_TCB <= CURRENT_TCB",
        "AMD 56860, SNP_COMMIT and SNP_CONFIG", "the firmware state is inconsistent; update and commit the platform's firmware";
    TcbMinimum = "snp.tcb.minimum", "reported, committed and launch TCB reach the policy's floor",
        "policy: snp.minimum_tcb", "update the platform's firmware, commit it and launch again";
    FirmwareOrder = "snp.firmware.order", "the committed firmware version is not above the current one",
        "AMD 56860, SNP_COMMIT", "the firmware state is inconsistent; update and commit the platform's firmware";

    FirmwareMinimum = "snp.firmware.minimum", "the committed firmware version reaches the policy's floor",
        "policy: snp.minimum_firmware", "update the platform's firmware and commit it";
    Mitigations = "snp.mitigations", "the mitigations the policy names were there at launch and are there now",
        "policy: snp.mitigations", "update the platform's firmware and launch again";

    // Guest policy.
    PolicyReserved = "snp.policy.reserved", "bit 17 of the guest policy is one, all undefined bits are zero",
        "AMD 56860, GUEST_POLICY", "launch with a policy this report version defines";
    PolicyDebug = "snp.policy.debug", "the guest policy does not permit debugging",
        "policy: snp.insecure_debug", "launch without the DEBUG policy bit";
    PolicyMigration = "snp.policy.migration", "the guest policy does not permit a migration agent",
        "AMD 56860, GUEST_POLICY, MIGRATE_MA", "launch without the MIGRATE_MA policy bit";
    PolicyFlags = "snp.policy.flags", "the guest policy is not weaker than the policy's flags",
        "policy: snp.policy_flags", "launch with a stricter guest policy, or change policy_flags";
    PolicyAbi = "snp.policy.abi", "the ABI version in the guest policy satisfies the requirement",
        "policy: snp.abi", "launch with a newer minimum ABI in the guest policy";
    PolicyFirmware = "snp.policy.firmware", "the committed firmware is not older than the guest policy's ABI version",
        "AMD 56860, GUEST_POLICY, ABI_MAJOR, ABI_MINOR", "update the platform's firmware and commit it";

    // Platform and caller.
    PlatformReserved = "snp.platform_info.reserved", "all undefined bits of PLATFORM_INFO are zero",
        "AMD 56860, PLATFORM_INFO", "update the verifier: the firmware says something it does not know";
    PlatformFlags = "snp.platform_info.flags", "the platform is not weaker than the policy's flags",
        "policy: snp.platform_info_flags", "change the platform's firmware settings, or platform_info_flags";
    PlatformProduct = "snp.platform.product", "the platform's product line is not a refused one",
        "policy: snp.refused_products", "use a platform of another product line";
    PlatformAllowed = "snp.platform.allowed", "the platform is one the policy names",
        "policy: platforms, any_platform", "add the platform to platforms if you vouch for it";
    Vmpl = "snp.vmpl", "the report was asked for at the accepted privilege level",
        "policy: snp.vmpl", "ask for the report at the level the policy states";

    // Code.
    MeasurementAllowed = "snp.measurement.allowed", "the launch measurement is an accepted one",
        "policy: snp.hash", "launch an accepted image, or add its measurement to hash";
    MeasurementDenied = "snp.measurement.denied", "the launch measurement is not a refused one",
        "policy: snp.hash_blacklist", "launch a newer image";
    SignerAllowed = "snp.signer.allowed", "an accepted author key signed the ID key",
        "policy: snp.signer", "launch with an ID block of an accepted author";
    IdKeyAllowed = "snp.id_key.allowed", "an accepted ID key signed the launch",
        "policy: snp.id_key_digest", "launch with an ID block of an accepted ID key";
    IdKeyDenied = "snp.id_key.denied", "the ID key is not a refused one",
        "policy: snp.id_key_digest_blacklist", "launch with an ID block of another ID key";
    GuestSvn = "snp.guest_svn", "GUEST_SVN is at least what the policy states",
        "policy: snp.minimum_guest_svn", "launch a newer image";
    FamilyId = "snp.family_id", "FAMILY_ID is an accepted one",
        "policy: snp.family_id", "launch an image of an accepted family";
    ImageId = "snp.image_id", "IMAGE_ID is an accepted one",
        "policy: snp.image_id", "launch an accepted image";

    // Binding.
    ReportData = "snp.report_data", "REPORT_DATA is the binding the relying party expects",
        "expectation: report data", "make the evidence for this key, this nonce and this brief";
    HostData = "snp.host_data", "HOST_DATA is the hash of the brief",
        "expectation: launch field", "launch the Keep with the brief that is presented";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_dotted_and_complete() {
        for (at, rule) in CHECKS.iter().enumerate() {
            assert!(CHECKS[..at].iter().all(|earlier| earlier.id != rule.id), "{}", rule.id);
            assert!(rule.id.starts_with("snp."), "{}", rule.id);
            let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
            assert!(rule.id.chars().all(plain), "{}", rule.id);
            for text in [rule.meaning, rule.source, rule.remedy] {
                assert!(!text.is_empty(), "{}", rule.id);
            }
        }
        assert_eq!(RuleId::HostData as usize + 1, CHECKS.len());
    }
}
