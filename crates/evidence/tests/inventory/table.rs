//! The table: which file, what it is and what must happen with it, and why.
//!
//! Days are judged at noon, UTC. `gives` is the status of a quote, the version and product of a report, or the ids of all
//! checks that fail. What is only built from others by somebody's tool is judged by the parts that were cut out of it.

/// What a file is, and thereby what must happen.
#[derive(Debug, PartialEq)]
pub(super) enum Is {
    /// Certificates of AMD's authorities, by name, in this order.
    Amd(&'static [&'static str]),
    /// Two of them in DER, without PEM.
    PkiPath(&'static [&'static str]),
    /// A VEK of this product that AMD signed.
    Vek(&'static str),
    /// Looks like one, but AMD did not sign it; what its reader says, nothing if it reads it.
    Forged(&'static str),
    /// An SNP report at this offset, judged with a VEK, under a list if there is one of its time.
    Report { at: usize, vek: &'static str, crl: Option<&'static str>, now: &'static str, gives: &'static str },
    /// A token that holds a report and the table of its certificates.
    Extended { now: &'static str, gives: &'static str },
    /// Certificates that Intel signed, by name, in this order.
    Intel(&'static [&'static str]),
    /// A PCK of this FMSPC, with its chain or without, that Intel signed.
    Pck(&'static str),
    /// A revocation list: its issuer, which signed it; its first and last day.
    List(&'static str, &'static str, &'static str),
    /// An answer of Intel's service: TCB info or QE identity, signed by Intel.
    Answer,
    /// The same in form, not signed by Intel.
    Unsigned,
    /// Not read as an answer: with this error.
    Refused(&'static str),
    /// A recorded answer with the chain of its issuer: TCB info, QE identity, revocation list.
    Pcs,
    /// The same, of numbers of recoveries, which are not read here.
    Numbers,
    /// A whole bundle, which verifies on this day and is expired later.
    Bundle(&'static str),
    /// The chain of PCKs where the TCB signer's belongs: what fails.
    WrongSigner(&'static str),
    /// A bundle in a container of somebody else, and a quote that is judged by it.
    Endorsements { now: &'static str, quote: &'static str, gives: &'static str },
    /// A quote, in binary or hexadecimal.
    Quote { by: By, now: &'static str, gives: &'static str },
    /// A quote inside of something.
    Envelope { by: By, now: &'static str, gives: &'static str },
    /// A quote with certification data of this type in place of certificates.
    NoChain(u16),
    /// What this quote is bound to.
    ReportDataOf(&'static str),
    /// Something that holds these files byte for byte.
    Holds(&'static [&'static str]),
    /// A certificate request that holds them; its key is what this evidence is bound to.
    Csr(&'static [&'static str], &'static str),
    /// The same bytes as another file.
    As(&'static str),
    /// Part of a set under a test root.
    Test(&'static str),
    /// Nothing that is read here.
    Foreign,
}

/// By what a quote is judged.
#[derive(Debug, PartialEq)]
pub(super) enum By {
    /// A bundle of `dcap-matrix/bundles`.
    Bundle(&'static str),
    /// A bundle beside the quote.
    Own(&'static str),
    /// Put together from single files.
    Parts {
        tcb_info: &'static str,
        qe_identity: &'static str,
        chain: &'static str,
        root_crl: &'static str,
        pck_crl: &'static str,
    },
}

use By::{Bundle as Of, Own, Parts};
use Is::*;

const MILAN: &[&str] = &["SEV-Milan", "ARK-Milan"];
const SIGNER: &[&str] = &["Intel SGX TCB Signing", "Intel SGX Root CA"];
const ROOT: &str = "Intel SGX Root CA";
const PLATFORM: &str = "Intel SGX PCK Platform CA";
const PROCESSOR: &str = "Intel SGX PCK Processor CA";

/// The bundle that was assembled for SGX and FMSPC 00606A, for quotes of other platforms too.
const ICELAKE: By = Of("sgx-00606a000000-platform-2025-08-15-eval17");

/// Quotes of Enarx with the collateral that was recorded beside them, and the QE identity of a month before.
const fn enarx(tcb_info: &'static str, root_crl: &'static str, pck_crl: &'static str) -> By {
    Parts {
        tcb_info,
        qe_identity: "dcap-oasis/qe_identity_v2.json",
        chain: "enarx/derived/xeon.tcb-signing-chain.pem",
        root_crl,
        pck_crl,
    }
}

/// A report that stands alone in its file, without a list of its time.
const fn report(vek: &'static str, now: &'static str, gives: &'static str) -> Is {
    Report { at: 0, vek, crl: None, now, gives }
}

pub(super) const FILES: &[(&str, Is, &str)] = &[
    // AMD's authorities and lists
    ("amd-roots/ask_ark_milan.pem", Amd(MILAN), "as AMD's key service gives it"),
    ("amd-roots/ask_ark_milan_vlek.pem", Amd(&["SEV-VLEK-Milan", "ARK-Milan"]), "the same for VLEKs"),
    ("amd-roots/ask_ark_genoa.pem", Amd(&["SEV-Genoa", "ARK-Genoa"]), "the ASK of today, not the revoked one"),
    ("amd-roots/ask_ark_genoa_vlek.pem", Amd(&["SEV-VLEK-Genoa", "ARK-Genoa"]), "the same for VLEKs"),
    ("amd-roots/ask_ark_turin_vcek.pem", Amd(&["SEV-Turin", "ARK-Turin"]), "as AMD's key service gives it"),
    ("amd-roots/ask_ark_turin_vlek.pem", Amd(&["SEV-VLEK-Turin", "ARK-Turin"]), "the same for VLEKs"),
    ("amd-roots/milan_ask_ark_asvk.pem", Amd(&["SEV-Milan", "ARK-Milan", "SEV-VLEK-Milan"]), "three in one"),
    ("amd-roots/genoa_ask_ark_asvk.pem", Amd(&["SEV-Genoa", "ARK-Genoa", "SEV-VLEK-Genoa"]), "three in one"),
    ("amd-roots/turin_ask_ark_asvk.pem", Amd(&["SEV-Turin", "ARK-Turin", "SEV-VLEK-Turin"]), "three in one"),
    ("amd-roots/milan_ark.pem", Amd(&["ARK-Milan"]), "pinned"),
    ("amd-roots/genoa_ark.pem", Amd(&["ARK-Genoa"]), "pinned"),
    ("amd-roots/turin_ark.pem", Amd(&["ARK-Turin"]), "pinned"),
    ("amd-crl/ark-milan.crl.der", List("ARK-Milan", "2022-05-09", "2023-05-09"), "revokes nothing"),
    ("amd-crl/ark-genoa.crl.der", List("ARK-Genoa", "2022-10-31", "2023-10-31"), "revokes the first ASK"),
    // SNP reports and VEKs
    (
        "snp-attestation-rs/live-report-v5-genoa.bin",
        report("snp-attestation-rs/live-vcek-genoa.der", "2026-06-01", "v5 Genoa"),
        "model A0h is of the same line",
    ),
    ("snp-attestation-rs/live-vcek-genoa.der", Vek("Genoa"), "of that report"),
    (
        "snp-dstack/sev_snp_attestation.bin",
        Report { at: 4, vek: "snp-dstack/sev_snp_vcek.pem", crl: None, now: "2026-08-01", gives: "v3 Milan-B0" },
        "reported below current; four bytes of a container before it",
    ),
    ("snp-dstack/sev_snp_vcek.pem", Vek("Milan-B0"), "of that report"),
    ("snp-dstack/sev_snp_ask.pem", Amd(&["SEV-Milan"]), "ASK alone"),
    (
        "snp-go-sev-guest/attestation.bin",
        Report {
            at: 0,
            vek: "snp-go-sev-guest/vcek.testcer",
            crl: Some("amd-crl/ark-milan.crl.der"),
            now: "2023-01-15",
            gives: "snp.policy.debug",
        },
        "genuine, but of a guest that may be debugged",
    ),
    ("snp-go-sev-guest/vcek.testcer", Vek("Milan-B0"), "of that report"),
    ("snp-go-sev-guest/milan.testcer", As("amd-roots/ask_ark_milan.pem"), "the same"),
    ("snp-go-sev-guest/milanvlek.testcer", As("amd-roots/ask_ark_milan_vlek.pem"), "the same"),
    (
        "snp-microsoft-tav/milan_attestation_report.bin",
        report("snp-microsoft-tav/milan_vcek.pem", "2026-06-01", "v3 Milan-B0"),
        "confidential container",
    ),
    ("snp-microsoft-tav/milan_vcek.pem", Vek("Milan-B0"), "of that report"),
    ("snp-microsoft-tav/milan_vcek_older.pem", Vek("Milan-B0"), "an older certificate of the same key"),
    ("snp-microsoft-tav/milan_ask.pem", As("snp-dstack/sev_snp_ask.pem"), "the same"),
    (
        "snp-microsoft-tav/genoa_attestation_report.bin",
        report("snp-microsoft-tav/genoa_vcek.pem", "2026-06-01", "v3 Genoa"),
        "confidential container",
    ),
    ("snp-microsoft-tav/genoa_vcek.pem", Vek("Genoa"), "of that report"),
    ("snp-microsoft-tav/genoa_ask.pem", Amd(&["SEV-Genoa"]), "the ASK of today"),
    ("snp-oak/cb_report.bin", report("snp-oak/cb_vcek.der", "2025-06-01", "v3 Milan-B0"), "genuine"),
    ("snp-oak/cb_vcek.der", Vek("Milan-B0"), "of that report"),
    (
        "snp-oak/milan_oc_release_report.bin",
        report("snp-oak/milan_oc_release_vcek.der", "2025-06-01", "v3 Milan-B0"),
        "genuine",
    ),
    ("snp-oak/milan_oc_release_vcek.der", Vek("Milan-B0"), "of that report"),
    ("snp-oak/milan_oc_release_evidence.binarypb", Holds(&["snp-oak/milan_oc_release_report.bin"]), "container"),
    ("snp-oak/turin_oc_report.bin", report("snp-oak/turin_oc_vcek.der", "2025-09-01", "v5 Turin"), "genuine"),
    ("snp-oak/turin_oc_vcek.der", Vek("Turin"), "of that report"),
    ("snp-oak/turin_oc_evidence.binarypb", Holds(&["snp-oak/turin_oc_report.bin"]), "container"),
    (
        "snp-trustee/test-report.bin",
        Report {
            at: 0,
            vek: "snp-trustee/test-vcek.der",
            crl: Some("amd-crl/ark-milan.crl.der"),
            now: "2023-02-15",
            gives: "v2 Milan-B0",
        },
        "genuine, with the list of its time",
    ),
    ("snp-trustee/test-vcek.der", Vek("Milan-B0"), "of that report"),
    ("snp-trustee/test-vlek-report.bin", report("snp-trustee/test-vlek.der", "2025-06-15", "v3 Milan"), "of a VLEK"),
    ("snp-trustee/test-vlek.der", Vek("Milan"), "a VLEK"),
    ("snp-trustee/test-vcek-invalid-legacy.der", Forged(""), "a VCEK in form, of another key"),
    (
        "snp-trustee/test-vcek-invalid-new.der",
        Forged("1.3.6.1.4.1.3704.1.4"),
        "its hwID is wrapped, which AMD's is not",
    ),
    ("snp-veraison/sevsnp-ratsd-token", Extended { now: "2025-06-01", gives: "v3 Genoa" }, "with all certificates"),
    ("snp-veraison/corim-*.cbor", Foreign, "reference values stand in the policy; no CoRIM is read"),
    (
        "snp-virtee-sev/report_milan.hex",
        Report {
            at: 0,
            vek: "snp-virtee-sev/vcek_milan.der",
            crl: Some("amd-crl/ark-milan.crl.der"),
            now: "2023-04-15",
            gives: "v2 Milan-B0",
        },
        "genuine, with the list of its time",
    ),
    ("snp-virtee-sev/vcek_milan.der", Vek("Milan-B0"), "of that report"),
    ("snp-virtee-sev/vcek_turin.der", Vek("Turin"), "structVersion 1, hwID of eight bytes"),
    // Enarx: SNP
    ("enarx/certs/cert_chain_milan.pem", As("amd-roots/ask_ark_milan.pem"), "the same"),
    ("enarx/certs/cert_chain_turin.pem", As("amd-roots/ask_ark_turin_vcek.pem"), "the same"),
    ("enarx/certs/enarx-milan-chain.pem", As("amd-roots/ask_ark_milan.pem"), "the same"),
    ("enarx/certs/genoa_ark.pem", As("amd-roots/genoa_ark.pem"), "the same"),
    ("enarx/certs/genoa_ask.pem", As("snp-microsoft-tav/genoa_ask.pem"), "the same"),
    ("enarx/certs/genoa.pkipath", PkiPath(&["ARK-Genoa", "SEV-Genoa"]), "the ASK that AMD revoked; see tests/snp"),
    ("enarx/certs/milan.pkipath", PkiPath(&["ARK-Milan", "SEV-Milan"]), "as in PEM"),
    ("enarx/derived/amd.crl-genoa.der", As("amd-crl/ark-genoa.crl.der"), "the same"),
    ("enarx/derived/amd.crl-milan.der", As("amd-crl/ark-milan.crl.der"), "the same"),
    (
        "enarx/derived/milan.evidence.der",
        Holds(&["enarx/derived/milan.report.bin", "enarx/derived/milan.vcek.der", "enarx/derived/amd.crl-milan.der"]),
        "the container Enarx had",
    ),
    (
        "enarx/derived/milan.report.bin",
        Report {
            at: 0,
            vek: "enarx/derived/milan.vcek.der",
            crl: Some("enarx/derived/amd.crl-milan.der"),
            now: "2023-01-15",
            gives: "v2 Milan-B0",
        },
        "genuine, with the list of its time",
    ),
    ("enarx/derived/milan.vcek.der", Vek("Milan-B0"), "of that report"),
    ("enarx/snp/enarx-milan-vcek.der", Vek("Milan-B0"), "its reports are not here"),
    (
        "enarx/snp/milan.signed.crl.csr",
        Csr(&["enarx/derived/milan.evidence.der"], "enarx/derived/milan.report.bin"),
        "a request for the key that the report is bound to",
    ),
    ("enarx/snp/report_milan.hex", As("snp-virtee-sev/report_milan.hex"), "the same"),
    ("enarx/snp/sev-id-key-signature.blob", Foreign, "a part of an ID block; the report has the digests of its keys"),
    ("enarx/snp/test_auth_block.bin", Foreign, "ID authentication; the report has the digests of its keys"),
    ("enarx/snp/vcek_milan.der", As("snp-virtee-sev/vcek_milan.der"), "the same"),
    ("enarx/snp/vcek_turin.der", As("snp-virtee-sev/vcek_turin.der"), "the same"),
    // Enarx: SGX
    ("enarx/certs/intel-sgx-root-ca.der", As("dcap-automata/root.der"), "the same"),
    ("enarx/certs/multi_pck.crt", Pck("00606a000000"), "of a platform with several processors"),
    ("enarx/certs/single_pck.crt", Pck("00706e470000"), "of a platform with one"),
    ("enarx/derived/i5.crl-pck-platform.der", List(PLATFORM, "2023-01-18", "2023-02-17"), "of another CA than the PCK"),
    ("enarx/derived/i5.crl-pck-processor.der", List(PROCESSOR, "2023-01-18", "2023-02-17"), "of the time"),
    ("enarx/derived/i5.crl-root.der", List(ROOT, "2022-04-19", "2023-04-19"), "of the time"),
    (
        "enarx/derived/i5.evidence.der",
        Holds(&[
            "enarx/derived/i5.quote.bin",
            "enarx/derived/i5.crl-root.der",
            "enarx/derived/i5.crl-pck-platform.der",
            "enarx/derived/i5.crl-pck-processor.der",
            "enarx/derived/i5.tcbinfo.json",
        ]),
        "the container Enarx had",
    ),
    ("enarx/derived/i5.pck-chain.pem", Pck("00706e470000"), "out of the quote"),
    (
        "enarx/derived/i5.quote.bin",
        Quote {
            by: enarx(
                "enarx/derived/i5.tcbinfo.json",
                "enarx/derived/i5.crl-root.der",
                "enarx/derived/i5.crl-pck-processor.der",
            ),
            now: "2023-02-10",
            gives: "dcap.qe_identity.expired",
        },
        "nothing is wrong but that no QE identity of that month was kept",
    ),
    ("enarx/derived/i5.tcb-signing-chain.pem", Intel(SIGNER), "until 2025-05-21"),
    ("enarx/derived/i5.tcbinfo.json", Answer, "of 2023-01-25"),
    ("enarx/derived/xeon.crl-pck-platform.der", List(PLATFORM, "2023-01-25", "2023-02-24"), "of the time"),
    (
        "enarx/derived/xeon.crl-pck-processor.der",
        List(PROCESSOR, "2023-01-25", "2023-02-24"),
        "of another CA than the PCK",
    ),
    ("enarx/derived/xeon.crl-root.der", List(ROOT, "2022-04-19", "2023-04-19"), "of the time"),
    (
        "enarx/derived/xeon.evidence.der",
        Holds(&[
            "enarx/derived/xeon.quote.bin",
            "enarx/derived/xeon.crl-root.der",
            "enarx/derived/xeon.crl-pck-platform.der",
            "enarx/derived/xeon.crl-pck-processor.der",
            "enarx/derived/xeon.tcbinfo.json",
        ]),
        "the container Enarx had",
    ),
    ("enarx/derived/xeon.pck-chain.pem", Pck("00606a000000"), "out of the quote"),
    (
        "enarx/derived/xeon.quote.bin",
        Quote {
            by: enarx(
                "enarx/derived/xeon.tcbinfo.json",
                "enarx/derived/xeon.crl-root.der",
                "enarx/derived/xeon.crl-pck-platform.der",
            ),
            now: "2023-02-10",
            gives: "dcap.qe_identity.expired",
        },
        "nothing is wrong but that no QE identity of that month was kept",
    ),
    ("enarx/derived/xeon.tcb-signing-chain.pem", Intel(SIGNER), "until 2025-05-21"),
    ("enarx/derived/xeon.tcbinfo.json", Answer, "of 2023-01-26"),
    ("enarx/sgx/encl.ss", Foreign, "SIGSTRUCT: the processor judges it, not we"),
    (
        "enarx/sgx/icelake.signed.tcb.crl.multi.xeon.csr",
        Csr(&["enarx/derived/xeon.evidence.der"], "enarx/derived/xeon.quote.bin"),
        "a request for the key that the quote is bound to",
    ),
    (
        "enarx/sgx/icelake.signed.tcb.crl.single.i5.csr",
        Csr(&["enarx/derived/i5.evidence.der"], "enarx/derived/i5.quote.bin"),
        "a request for the key that the quote is bound to",
    ),
    // SGX and TDX: collateral of Intel's service
    ("dcap-attestation-rs/pck_crl_platform.der", List(PLATFORM, "2026-03-16", "2026-04-15"), "as it came"),
    ("dcap-attestation-rs/qe_identity_signing_chain.pem", Intel(SIGNER), "as it came"),
    ("dcap-attestation-rs/root_ca_crl.der", List(ROOT, "2026-02-26", "2027-02-26"), "as it came"),
    ("dcap-attestation-rs/tcb_info_*.json", Answer, "as it came"),
    ("dcap-attestation-rs/tcb_signing_chain.pem", Intel(SIGNER), "as it came"),
    ("dcap-attestation-rs/td_qe_identity.json", Answer, "as it came"),
    ("dcap-automata/0625-*.json", Answer, "as it came; 0625-tcbinfo.json is of version 2"),
    ("dcap-automata/0825-platform_crl.der", List(PLATFORM, "2025-08-15", "2025-09-14"), "as it came"),
    ("dcap-automata/0825-*.json", Answer, "as it came"),
    ("dcap-automata/1025-*.json", Answer, "as it came"),
    ("dcap-automata/1025-pck_crl.der", List(PLATFORM, "2025-10-13", "2025-11-12"), "as it came"),
    (
        "dcap-automata/alibaba_quote_5.dat",
        Quote { by: Of("tdx-90c06f000000-platform-2025-06-05-eval17"), now: "2025-06-20", gives: "tdx.service_td" },
        "UpToDate, but a service TD is bound to it that no policy here names; more in the matrix",
    ),
    ("dcap-automata/intel_root_ca_crl.der", List(ROOT, "2025-03-20", "2026-04-03"), "as it came"),
    ("dcap-automata/pck_platform_crl.der", List(PLATFORM, "2025-07-07", "2025-08-06"), "as it came"),
    ("dcap-automata/platform.der", Intel(&[PLATFORM]), "built in"),
    ("dcap-automata/qe_identity.json", Answer, "as it came"),
    (
        "dcap-automata/quotev3.hex",
        Quote { by: ICELAKE, now: "2025-09-01", gives: "SWHardeningNeeded" },
        "as others say",
    ),
    (
        "dcap-automata/quotev4.hex",
        Quote { by: Of("tdx-00806f050000-platform-2025-02-13-eval17"), now: "2025-03-01", gives: "OutOfDate" },
        "with the zeros of its buffer behind it",
    ),
    ("dcap-automata/root.der", Intel(&[ROOT]), "pinned"),
    ("dcap-automata/signing.der", Intel(&["Intel SGX TCB Signing"]), "signed all answers here"),
    ("dcap-automata/tcb_info_v3_*.json", Answer, "as it came"),
    ("dcap-dcap-rs/intel_root_ca_crl.der", List(ROOT, "2024-03-20", "2025-04-03"), "as it came"),
    ("dcap-dcap-rs/pck_platform_crl.der", List(PLATFORM, "2025-02-13", "2025-03-15"), "as it came"),
    ("dcap-dcap-rs/*.json", Answer, "as it came"),
    (
        "dcap-flashbots/gcp-tdx-2026.quote",
        Quote {
            by: Of("tdx-00806f050000-platform-2025-02-13-eval17"),
            now: "2025-03-01",
            gives: "dcap.pck.not_yet_valid",
        },
        "of 2026, and no collateral of its time was kept; nothing else is wrong",
    ),
    ("dcap-fortanix/corrupt_qe3_identity.json", Unsigned, "one byte is another"),
    ("dcap-fortanix/IntelSGXRootCA.crl", List(ROOT, "2026-02-26", "2027-02-26"), "in PEM"),
    ("dcap-fortanix/IntelSGXRootCA.der", As("dcap-attestation-rs/root_ca_crl.der"), "a list, whatever its name says"),
    ("dcap-fortanix/pck_quote.cert", Pck("00906ea10000"), "alone"),
    ("dcap-fortanix/platform.crl", List(PLATFORM, "2025-05-01", "2025-05-31"), "PEM in JSON"),
    ("dcap-fortanix/processor.crl", List(PROCESSOR, "2020-05-18", "2020-06-17"), "PEM in JSON"),
    (
        "dcap-fortanix/processor_ca.cert",
        Intel(&[ROOT]),
        "the root, whatever its name says; an older certificate of its key",
    ),
    ("dcap-fortanix/qe3_identity.json", Answer, "of 2020"),
    ("dcap-fortanix/qeid-*.json", Answer, "as it came"),
    (
        "dcap-fortanix/quote_pck_cert_chain.bin",
        Quote {
            by: Of("sgx-00a067110000-processor-2025-05-05-eval17"),
            now: "2025-05-31",
            gives: "dcap.tcb_info.platform sgx.attributes.debug",
        },
        "a debug enclave; the root stands before the CA; no collateral of this platform was kept",
    ),
    (
        "dcap-fortanix/quote_pck_cert_chain_corrupted.bin",
        Quote {
            by: Of("sgx-00a067110000-processor-2025-05-05-eval17"),
            now: "2025-05-31",
            gives: "dcap.tcb_info.platform dcap.quote.signature sgx.attributes.debug",
        },
        "one byte of it is another",
    ),
    ("dcap-fortanix/quote_raw_tcb.bin", NoChain(3), "an encrypted PPID: whose PCK it is would have to be asked"),
    ("dcap-fortanix/root_ca.cert", Intel(&[PROCESSOR]), "the CA, whatever its name says"),
    ("dcap-fortanix/tcb-*.json", Answer, "as it came"),
    (
        "dcap-fortanix/tcb_evaluation_data_numbers.numbers",
        Foreign,
        "numbers of recoveries: a policy says which it wants",
    ),
    ("dcap-go-tdx-guest/ccel_data.dat", Foreign, "event log: the policy compares RTMRs"),
    ("dcap-go-tdx-guest/ccel_table.dat", Foreign, "ACPI table of the event log"),
    (
        "dcap-go-tdx-guest/cos-113-tdx-quote.dat",
        Quote { by: Of("tdx-00806f050000-platform-2025-02-13-eval17"), now: "2025-03-01", gives: "UpToDate" },
        "with the zeros of its buffer behind it",
    ),
    ("dcap-go-tdx-guest/nonce.dat", ReportDataOf("dcap-go-tdx-guest/cos-113-tdx-quote.dat"), "what it was asked for"),
    ("dcap-go-tdx-guest/pckcrl", List(PLATFORM, "2023-06-08", "2023-07-08"), "as it came"),
    ("dcap-go-tdx-guest/rootcrl.der", List(ROOT, "2023-04-03", "2024-04-02"), "as it came"),
    ("dcap-go-tdx-guest/sample_qeIdentity_response", Answer, "as it came"),
    ("dcap-go-tdx-guest/sample_tcbInfo_response", Answer, "as it came"),
    ("dcap-go-tdx-guest/sample_tcbinfo_response_v5", Answer, "as it came"),
    (
        "dcap-go-tdx-guest/tdx_prod_quote_SPR_E4.dat",
        Quote {
            by: Of("tdx-50806f000000-platform-2023-06-18-eval15"),
            now: "2023-07-01",
            gives: "dcap.quote.tail dcap.tcb.level tdx.attributes.sept_ve_disable",
        },
        "an early module, below every level; words stand behind it",
    ),
    ("dcap-intel-qvl-testroot/*Crl.der", Test("list"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/*Crl.pem", Test("list"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/pckCert.pem", Test("certificates"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/pckSignChain.pem", Test("certificates"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/qeIdentity.json", Test("answer"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/quote.dat", NoChain(1), "a PPID and no certificates"),
    ("dcap-intel-qvl-testroot/qveIdentity.json", Refused("QVE"), "of an enclave that quotes nothing"),
    ("dcap-intel-qvl-testroot/tcbInfo.json", Test("answer"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/tcbSignChain.pem", Test("certificates"), "under the test root, and no other"),
    ("dcap-intel-qvl-testroot/trustedRootCaCert.pem", Test("certificates"), "the test root"),
    ("dcap-matrix/bundles/sgx-00606a000000-platform-2025-08-15-eval17.json", Bundle("2025-09-01"), "whole"),
    ("dcap-matrix/bundles/sgx-00a067110000-processor-2025-05-05-eval17.json", Bundle("2025-05-31"), "whole"),
    ("dcap-matrix/bundles/tdx-00806f050000-platform-2025-02-13-eval17.json", Bundle("2025-03-01"), "whole"),
    ("dcap-matrix/bundles/tdx-50806f000000-platform-2023-06-18-eval15.json", Bundle("2023-07-01"), "whole"),
    ("dcap-matrix/bundles/tdx-50806f000000-platform-2026-03-16-eval18.json", Bundle("2026-04-01"), "whole"),
    ("dcap-matrix/bundles/tdx-90c06f000000-platform-2025-02-12-eval17.json", Bundle("2025-03-01"), "whole"),
    ("dcap-matrix/bundles/tdx-90c06f000000-platform-2025-02-26-eval18.json", Bundle("2025-03-01"), "whole"),
    ("dcap-matrix/bundles/tdx-90c06f000000-platform-2025-06-05-eval17.json", Bundle("2025-06-20"), "whole"),
    ("dcap-matrix/bundles/tdx-90c06f000000-platform-2026-02-01-eval18.json", Bundle("2026-02-25"), "whole"),
    ("dcap-matrix/bundles/tdx-b0c06f000000-platform-2025-06-19-eval17.json", Bundle("2025-07-04"), "whole"),
    ("dcap-oasis/qe_identity_v2*.json", Answer, "as it came"),
    (
        "dcap-oasis/quote_v3_ecdsa_p256_eppid.bin",
        NoChain(3),
        "an encrypted PPID: whose PCK it is would have to be asked",
    ),
    (
        "dcap-oasis/quote_v3_ecdsa_p256_pck_chain.bin",
        Quote { by: ICELAKE, now: "2025-09-01", gives: "OutOfDate" },
        "as others say",
    ),
    (
        "dcap-oasis/quote_v4_tdx_ecdsa_p256.bin",
        Quote {
            by: Parts {
                tcb_info: "dcap-oasis/tcb_info_v3_tdx_fmspc_C0806F000000.json",
                qe_identity: "dcap-oasis/qe_identity_v2_tdx2.json",
                chain: "enarx/derived/xeon.tcb-signing-chain.pem",
                root_crl: "dcap-dcap-rs/intel_root_ca_crl.der",
                pck_crl: "dcap-dcap-rs/pck_platform_crl.der",
            },
            now: "2024-09-20",
            gives: "dcap.pck_crl.not_yet_valid",
        },
        "nothing is wrong but that no list of that month was kept",
    ),
    ("dcap-oasis/tcb_info_v3_*.json", Answer, "as it came"),
    ("dcap-oasis/tcb_info_v3_fmspc_00606A000000_certs.pem", As("enarx/derived/xeon.tcb-signing-chain.pem"), "the same"),
    (
        "dcap-oasis/tcb_info_v3_fmspc_00606A000000_certs_bad.pem",
        WrongSigner("dcap.tcb_signer.format dcap.tcb_info.signature"),
        "Intel's, but of the CA of PCKs",
    ),
    (
        "dcap-openenclave/endorsements",
        Endorsements { now: "2022-05-01", quote: "dcap-openenclave/evidence", gives: "sgx.attributes.debug" },
        "TCB info of version 2; the quote is of a debug enclave",
    ),
    (
        "dcap-openenclave/evidence",
        Envelope {
            by: Of("sgx-00a067110000-processor-2025-05-05-eval17"),
            now: "2025-05-31",
            gives: "dcap.tcb_info.platform sgx.attributes.debug",
        },
        "the row before has the collateral of its platform; here by another's",
    ),
    (
        "dcap-openenclave/sgx_cert_ec_bad.der",
        Envelope {
            by: Of("sgx-00a067110000-processor-2025-05-05-eval17"),
            now: "2025-05-31",
            gives: "dcap.ca.format dcap.pck.signature dcap.tcb_info.platform sgx.attributes.debug",
        },
        "an attested certificate with the next row's quote in it",
    ),
    (
        "dcap-openenclave/sgx_report_bad.bin",
        Envelope {
            by: ICELAKE,
            now: "2025-09-01",
            gives: "dcap.ca.format dcap.pck.signature dcap.tcb_info.platform sgx.attributes.debug",
        },
        "somebody changed the name of the CA by a bit; a debug enclave of another platform",
    ),
    (
        "dcap-openenclave/tdx_endorsement.bin",
        Endorsements {
            now: "2025-03-01",
            quote: "dcap-openenclave/tdx_quote-moduleupdate-seamldr5.dat",
            gives: "TDRelaunchAdvised",
        },
        "a structure of Intel's library with its addresses",
    ),
    (
        "dcap-openenclave/tdx_quote.bin",
        Quote {
            by: Of("tdx-50806f000000-platform-2023-06-18-eval15"),
            now: "2023-07-01",
            gives: "tdx.attributes.sept_ve_disable",
        },
        "of a TD into which the host may inject faults",
    ),
    (
        "dcap-openenclave/tdx_quote-moduleupdate-seamldr5.dat",
        Quote { by: Of("tdx-90c06f000000-platform-2025-02-12-eval17"), now: "2025-03-01", gives: "UpToDate" },
        "before Intel's next recovery",
    ),
    (
        "dcap-openenclave/tdx_quote_v5.bin",
        Quote {
            by: Of("tdx-00806f050000-platform-2025-02-13-eval17"),
            now: "2025-03-01",
            gives: "tdx.attributes.migratable tdx.service_td",
        },
        "of a TD that may be migrated",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_attributes.json",
        Refused("missing field `attributes`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_attributesmask.json",
        Refused("missing field `attributesMask`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_issuedate.json",
        Refused("missing field `issueDate`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_isvprodid.json",
        Refused("missing field `isvprodid`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_miscselect.json",
        Refused("missing field `miscselect`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_miscselectmask.json",
        Refused("missing field `miscselectMask`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_nextupdate.json",
        Refused("missing field `nextUpdate`"),
        "as said",
    ),
    ("dcap-openenclave-json/data_v2-qe_identity_missing_qeidentity.json", Refused("key must be a string"), "as said"),
    ("dcap-openenclave-json/data_v2-qe_identity_missing_tcb_date.json", Refused("missing field `tcbDate`"), "as said"),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_tcb_eval_data_num.json",
        Refused("missing field `tcbEvaluationDataNumber`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-qe_identity_missing_tcb_status.json",
        Refused("missing field `tcbStatus`"),
        "as said",
    ),
    ("dcap-openenclave-json/data_v2-qe_identity_missing_version.json", Refused("missing field `version`"), "as said"),
    ("dcap-openenclave-json/data_v2-qe_identity_with_advisoryids.json", Unsigned, "well-formed, of nobody"),
    ("dcap-openenclave-json/data_v2-qve_identity_ok.json", Refused("QVE"), "of an enclave that quotes nothing"),
    (
        "dcap-openenclave-json/data_v2-tcbInfoAdvisoryIds.json",
        Refused("missing field `pceId`"),
        "nothing says for which platforms it is",
    ),
    ("dcap-openenclave-json/data_v2-tcbInfoNegativeCompSvn.json", Refused("integer `257`, expected u8"), "as said"),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativeIntegerOverflow.json",
        Refused("floating point `1e+34`, expected u32"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativeIntegerWithSign.json",
        Refused("integer `-1`, expected u32"),
        "as said",
    ),
    ("dcap-openenclave-json/data_v2-tcbInfoNegativeInvalidNextUpdate.json", Refused("not a date"), "as said"),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativeMissingNextUpdate.json",
        Refused("missing field `nextUpdate`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativePropertyMissingLevel0.json",
        Refused("unknown field `SIGNATURE`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativePropertyMissingLevel1.json",
        Refused("missing field `version`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativePropertyMissingLevel3.json",
        Refused("unknown field `PCESVN`"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativePropertyWrongTypeLevel0.json",
        Refused("integer `123456`, expected 128 hexadecimal digits"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativePropertyWrongTypeLevel2.json",
        Refused("expected value at line 30"),
        "as said",
    ),
    (
        "dcap-openenclave-json/data_v2-tcbInfoNegativePropertyWrongTypeLevel3.json",
        Refused("string \"128\", expected u8"),
        "as said",
    ),
    ("dcap-openenclave-json/data_v2-tcbInfoNegativeStringEscape.json", Refused("not a date"), "as said"),
    ("dcap-openenclave-json/data_v2-tcbInfoNegativeTcbType.json", Refused("tcbType 1 is not 0"), "as said"),
    ("dcap-openenclave-json/data_v3-tcbinfo_*.json", Unsigned, "well-formed, of nobody"),
    (
        "dcap-qvl/quote-from-tappd.hex",
        Quote { by: Own("dcap-qvl/tdx_quote_collateral.json"), now: "2025-07-04", gives: "dcap.tcb.level" },
        "below every level",
    ),
    (
        "dcap-qvl/sgx_quote",
        Quote {
            by: Own("dcap-qvl/sgx_quote_collateral.json"),
            now: "2025-07-04",
            gives: "ConfigurationAndSWHardeningNeeded",
        },
        "as others say",
    ),
    ("dcap-qvl/sgx_quote_collateral.json", Bundle("2025-07-04"), "whole"),
    (
        "dcap-qvl/tdx_quote",
        Quote { by: Own("dcap-qvl/tdx_quote_collateral.json"), now: "2025-07-04", gives: "UpToDate" },
        "with the zeros of its buffer behind it",
    ),
    ("dcap-qvl/tdx_quote_collateral.json", Bundle("2025-07-04"), "whole"),
    (
        "dcap-qvl/tdx_quote_outdated",
        Quote { by: Own("dcap-qvl/tdx_quote_outdated_collateral.json"), now: "2026-02-25", gives: "dcap.tcb.level" },
        "below every level",
    ),
    ("dcap-qvl/tdx_quote_outdated_collateral.json", Bundle("2026-02-25"), "whole"),
    ("dcap-teepot-pcs/fmspcs.json", Foreign, "a list of platforms that speaks for none"),
    ("dcap-teepot-pcs/pck_crl_*.json", Pcs, "with the chain of its issuer"),
    ("dcap-teepot-pcs/sgx_qe_identity.json", Pcs, "with the chain of its issuer"),
    ("dcap-teepot-pcs/sgx_tcb_eval_nums.json", Numbers, "numbers of recoveries: a policy says which it wants"),
    ("dcap-teepot-pcs/sgx_tcb_info_*.json", Pcs, "with the chain of its issuer; _v3 is of version 2"),
    ("dcap-teepot-pcs/tdx_qe_identity.json", Pcs, "with the chain of its issuer"),
    ("dcap-teepot-pcs/tdx_tcb_eval_nums.json", Numbers, "numbers of recoveries: a policy says which it wants"),
    ("dcap-teepot-pcs/tdx_tcb_info_00806F050000.json", Pcs, "with the chain of its issuer"),
    ("dcap-trustee/*.json", Answer, "as it came"),
    (
        "dcap-trustee/occlum_quote.dat",
        Quote { by: ICELAKE, now: "2025-09-01", gives: "sgx.attributes.debug" },
        "OutOfDate, and a debug enclave",
    ),
    (
        "dcap-trustee/tdx_quote_4.dat",
        Quote {
            by: Of("tdx-50806f000000-platform-2023-06-18-eval15"),
            now: "2023-07-01",
            gives: "tdx.attributes.debug",
        },
        "UpToDate, but of a TD that may be debugged",
    ),
];
