//! Every key of a policy's sections, for people: what it means, how it is written, which check asks it.
//!
//! Invariant: the keys here are the keys that are read; a test of this crate compares them.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// In which sections it stands.
    pub sections: &'static [&'static str],
    /// How it is called.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// As in [`Key::example`], with `{n}` for the digits of n bytes.
    example: &'static str,
    /// The check that it is about; none if it only states that nothing is demanded.
    pub check: Option<&'static str>,
}

impl Key {
    /// How it is written, in TOML; with other keys where it needs them.
    pub fn example(&self) -> String {
        let digits = |text: String, bytes: usize| text.replace(&format!("{{{bytes}}}"), &"a5".repeat(bytes));
        [16, 32, 48].into_iter().fold(self.example.to_owned(), digits)
    }
}

const fn key(
    sections: &'static [&'static str],
    name: &'static str,
    meaning: &'static str,
    example: &'static str,
    check: Option<&'static str>,
) -> Key {
    Key { sections, name, meaning, example, check }
}

const SNP: &[&str] = &["snp"];
const SGX: &[&str] = &["sgx"];
const TDX: &[&str] = &["tdx"];
const AZURE: &[&str] = &["azure"];
const DCAP: &[&str] = &["sgx", "tdx"];

/// Every key.
pub const KEYS: &[Key] = &[
    key(
        SNP,
        "signer",
        "accepted author key digests (AUTHOR_KEY_DIGEST)",
        r#"signer = ["{48}"]"#,
        Some("snp.signer.allowed"),
    ),
    key(SNP, "hash", "accepted launch measurements", r#"hash = ["{48}"]"#, Some("snp.measurement.allowed")),
    key(
        SNP,
        "hash_blacklist",
        "refused launch measurements",
        r#"hash_blacklist = ["{48}"]"#,
        Some("snp.measurement.denied"),
    ),
    key(
        SNP,
        "id_key_digest",
        "accepted ID key digests (ID_KEY_DIGEST)",
        r#"id_key_digest = ["{48}"]"#,
        Some("snp.id_key.allowed"),
    ),
    key(
        SNP,
        "id_key_digest_blacklist",
        "refused ID key digests",
        r#"id_key_digest_blacklist = ["{48}"]"#,
        Some("snp.id_key.denied"),
    ),
    key(
        SNP,
        "any_measurement",
        "must be said if neither `signer`, `hash` nor `id_key_digest` names the code",
        "any_measurement = true",
        None,
    ),
    key(
        SNP,
        "minimum_guest_svn",
        "least GUEST_SVN; beside `signer` or `id_key_digest`, whose it is to give",
        "minimum_guest_svn = 3",
        Some("snp.guest_svn"),
    ),
    key(
        SNP,
        "family_id",
        "accepted FAMILY_IDs; beside `signer` or `id_key_digest`",
        r#"family_id = ["{16}"]"#,
        Some("snp.family_id"),
    ),
    key(
        SNP,
        "image_id",
        "accepted IMAGE_IDs; beside `signer` or `id_key_digest`",
        r#"image_id = ["{16}"]"#,
        Some("snp.image_id"),
    ),
    key(
        SNP,
        "abi",
        "requirement on the ABI version in the guest's policy",
        r#"abi = ">=1.51""#,
        Some("snp.policy.abi"),
    ),
    key(
        SNP,
        "policy_flags",
        "the weakest guest policy: permissions (`SMT`, `CxlAllow`, `Debug`) that a guest may give, restrictions (`SingleSocket`, `MemAes256Xts`, `RaplDisable`, `CiphertextHidingDram`, `PageSwapDisable`) that it must have",
        r#"policy_flags = ["SMT", "SingleSocket"]"#,
        Some("snp.policy.flags"),
    ),
    key(
        SNP,
        "platform_info_flags",
        "the weakest platform: `SMT`, `TIO` may be on; `TSME`, `ECC`, `RaplDisabled`, `CiphertextHidingDram`, `AliasCheckComplete`, `IommuWriteSafe` must be",
        r#"platform_info_flags = ["SMT", "ECC", "AliasCheckComplete"]"#,
        Some("snp.platform_info.flags"),
    ),
    key(
        SNP,
        "minimum_tcb",
        "floors on the reported, committed and launch TCB, for each product line; a line without one is refused",
        "minimum_tcb.milan = { bootloader = 4, tee = 0, snp = 24, microcode = 219 }",
        Some("snp.tcb.minimum"),
    ),
    key(
        SNP,
        "minimum_firmware",
        "least committed firmware version",
        r#"minimum_firmware = "1.55.30""#,
        Some("snp.firmware.minimum"),
    ),
    key(
        SNP,
        "mitigations",
        "bits that both mitigation vectors must have; reports before version 5 have none",
        "mitigations = 3",
        Some("snp.mitigations"),
    ),
    key(
        SNP,
        "refused_products",
        "product lines that are not accepted: `milan`, `genoa`, `turin`",
        r#"refused_products = ["milan"]"#,
        Some("snp.platform.product"),
    ),
    key(SNP, "vmpl", "the one VMPL accepted, 0 to 3; 0 if it is not said", "vmpl = 1", Some("snp.vmpl")),
    key(
        SNP,
        "crl",
        "`required`, or `optional`: then evidence without a revocation list is accepted",
        r#"crl = "optional""#,
        Some("snp.crl.present"),
    ),
    key(
        SNP,
        "insecure_debug",
        "accepts guests whose policy permits debugging: no protection from the host",
        "insecure_debug = true",
        Some("snp.policy.debug"),
    ),
    key(SGX, "signer", "accepted signers (MRSIGNER)", r#"signer = ["{32}"]"#, Some("sgx.signer.allowed")),
    key(SGX, "hash", "accepted measurements (MRENCLAVE)", r#"hash = ["{32}"]"#, Some("sgx.measurement.allowed")),
    key(SGX, "hash_blacklist", "refused measurements", r#"hash_blacklist = ["{32}"]"#, Some("sgx.measurement.denied")),
    key(
        SGX,
        "any_measurement",
        "must be said if neither `signer` nor `hash` names the code",
        "any_measurement = true",
        None,
    ),
    key(
        SGX,
        "enclave_product_id",
        "the one ISVPRODID accepted; beside `signer`",
        "enclave_product_id = 1",
        Some("sgx.product_id"),
    ),
    key(
        SGX,
        "enclave_security_version",
        "least ISVSVN; beside `signer`",
        "enclave_security_version = 2",
        Some("sgx.security_version"),
    ),
    key(
        SGX,
        "family_id",
        "the one ISVFAMILYID accepted; beside `signer`",
        r#"family_id = "{16}""#,
        Some("sgx.family_id"),
    ),
    key(
        SGX,
        "extended_product_id",
        "the one ISVEXTPRODID accepted; beside `signer`",
        r#"extended_product_id = "{16}""#,
        Some("sgx.extended_product_id"),
    ),
    key(
        SGX,
        "features",
        "attributes that an enclave may have: `ProvisioningKey`, `EInitKey`, `CET`, `KSS`, `AexNotify`, `Debug`",
        r#"features = ["KSS"]"#,
        Some("sgx.attributes.features"),
    ),
    key(
        SGX,
        "misc_select",
        "what it may select: `EXINFO`, `CPINFO`",
        r#"misc_select = ["EXINFO"]"#,
        Some("sgx.misc_select"),
    ),
    key(
        SGX,
        "insecure_debug",
        "accepts enclaves that can be debugged: no protection from the host",
        "insecure_debug = true",
        Some("sgx.attributes.debug"),
    ),
    key(
        SGX,
        "insecure_without_qe_identity",
        "accepts quotes for which nobody brings Intel's QE identity: the platform's owner can have written the enclave that signed them",
        "insecure_without_qe_identity = true",
        Some("dcap.qe_identity.format"),
    ),
    key(TDX, "hash", "accepted measurements (MRTD)", r#"hash = ["{48}"]"#, Some("tdx.measurement.allowed")),
    key(TDX, "hash_blacklist", "refused measurements", r#"hash_blacklist = ["{48}"]"#, Some("tdx.measurement.denied")),
    key(TDX, "any_measurement", "must be said if `hash` does not name the code", "any_measurement = true", None),
    key(TDX, "rtmr0", "accepted values of RTMR 0", r#"rtmr0 = ["{48}"]"#, Some("tdx.rtmr0")),
    key(TDX, "rtmr1", "accepted values of RTMR 1", r#"rtmr1 = ["{48}"]"#, Some("tdx.rtmr1")),
    key(TDX, "rtmr2", "accepted values of RTMR 2", r#"rtmr2 = ["{48}"]"#, Some("tdx.rtmr2")),
    key(TDX, "rtmr3", "accepted values of RTMR 3", r#"rtmr3 = ["{48}"]"#, Some("tdx.rtmr3")),
    key(TDX, "owner", "accepted owners (MROWNER)", r#"owner = ["{48}"]"#, Some("tdx.owner")),
    key(
        TDX,
        "owner_config",
        "accepted configurations of the owner (MROWNERCONFIG)",
        r#"owner_config = ["{48}"]"#,
        Some("tdx.owner_config"),
    ),
    key(TDX, "module", "accepted TDX modules (MRSEAM)", r#"module = ["{48}"]"#, Some("tdx.module.allowed")),
    key(
        TDX,
        "service_td",
        "accepted service TDs (MRSERVICETD); none if it is not said",
        r#"service_td = ["{48}"]"#,
        Some("tdx.service_td"),
    ),
    key(
        TDX,
        "attributes",
        "attributes that a TD may have: `ICSSD`, `SERVTD_EXT`, `LASS`, `Migratable`, `PKS`, `KL`, `TPA`, `PERFMON`; all but `Migratable` and `SERVTD_EXT` if it is not said",
        r#"attributes = ["PKS"]"#,
        Some("tdx.attributes.flags"),
    ),
    key(
        TDX,
        "sept_ve_disable",
        "`required`, or `optional`: then TDs without SEPT_VE_DISABLE are accepted",
        r#"sept_ve_disable = "optional""#,
        Some("tdx.attributes.sept_ve_disable"),
    ),
    key(
        TDX,
        "insecure_debug",
        "accepts TDs that can be debugged or profiled: no protection from the host",
        "insecure_debug = true",
        Some("tdx.attributes.debug"),
    ),
    key(
        DCAP,
        "accepted_tcb",
        "accepted TCB statuses, in Intel's words; `UpToDate` alone if it is not said",
        r#"accepted_tcb = ["UpToDate", "SWHardeningNeeded"]"#,
        Some("dcap.tcb.status"),
    ),
    key(
        DCAP,
        "grace_days",
        "how many days after its date a level that is out of date is accepted, if `accepted_tcb` lists it",
        r#"accepted_tcb = ["UpToDate", "OutOfDate"]
grace_days = 30"#,
        Some("dcap.tcb.status"),
    ),
    key(
        DCAP,
        "allowed_advisories",
        "the only advisories that may apply",
        r#"allowed_advisories = ["INTEL-SA-00615"]"#,
        Some("dcap.tcb.advisories_allowed"),
    ),
    key(
        DCAP,
        "rejected_advisories",
        "advisories none of which may apply",
        r#"rejected_advisories = ["INTEL-SA-00828"]"#,
        Some("dcap.tcb.advisories_rejected"),
    ),
    key(
        DCAP,
        "minimum_evaluation",
        "least tcbEvaluationDataNumber of the collateral",
        "minimum_evaluation = 17",
        Some("dcap.tcb.evaluation"),
    ),
    key(
        DCAP,
        "refused_fmspc",
        "products (FMSPC) that are not accepted",
        r#"refused_fmspc = ["00906ed50000"]"#,
        Some("dcap.platform.product"),
    ),
    key(
        DCAP,
        "smt",
        "whether simultaneous multithreading must be on, or off",
        "smt = false",
        Some("dcap.platform.configuration"),
    ),
    key(
        DCAP,
        "dynamic_platform",
        "whether processors can be added to the platform: must be, or must not",
        "dynamic_platform = false",
        Some("dcap.platform.configuration"),
    ),
    key(
        DCAP,
        "cached_keys",
        "whether Intel keeps the platform's root keys: must be, or must not",
        "cached_keys = false",
        Some("dcap.platform.configuration"),
    ),
    key(AZURE, "any_pcrs", "must be said if `pcrs` names no system to accept", "any_pcrs = true", None),
    key(
        AZURE,
        "pcrs",
        "for each PCR of the SHA-256 bank that is named, the accepted values",
        r#"pcrs.4 = ["{32}"]"#,
        Some("azure.pcrs"),
    ),
    key(
        AZURE,
        "brief_pcr",
        "the PCR, 8 to 15, that is extended once with the hash of the brief; without it nothing is bound to a launch field",
        "brief_pcr = 13",
        Some("azure.launch_field"),
    ),
    key(
        AZURE,
        "secure_boot",
        "whether the firmware must enforce Secure Boot, or must not",
        "secure_boot = true",
        Some("azure.secure_boot"),
    ),
    key(
        AZURE,
        "tpm_enabled",
        "`true`: the paravisor must say that there is a vTPM",
        "tpm_enabled = true",
        Some("azure.tpm_enabled"),
    ),
    key(
        AZURE,
        "tpm_persisted",
        "whether the vTPM's state must outlive the virtual machine's stop, or must not",
        "tpm_persisted = false",
        Some("azure.tpm_persisted"),
    ),
    key(
        AZURE,
        "console_enabled",
        "whether there must be a console, or must not",
        "console_enabled = false",
        Some("azure.console_enabled"),
    ),
    key(
        AZURE,
        "root_cert_thumbprint",
        "accepted thumbprints of the root certificate, base64url of SHA-256",
        r#"root_cert_thumbprint = ["47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"]"#,
        Some("azure.root_cert_thumbprint"),
    ),
    key(
        AZURE,
        "vm_unique_id",
        "accepted virtual machines, UUIDs",
        r#"vm_unique_id = ["6d5ee5cd-9d4b-4cf4-b30d-8d3c1a6ff2a1"]"#,
        Some("azure.vm_unique_id"),
    ),
];
