//! What is demanded of every quote and of the collateral it is judged by, whichever TEE it is of: every check in order,
//! with its stable id. Those of SGX and of TDX follow.
//!
//! Order matters: a cause stands before its consequences, and what makes bytes trustworthy before what they say.

use crate::verdict::rules;

rules! {
    /// The rules that SGX and TDX have in common, in the order of a verdict.
    pub const CHECKS, after &[];

    // Form of the quote.
    QuoteSize = "dcap.quote.size", "the quote has at most 32768 bytes",
        "limit of this verifier", "send the quote alone";
    QuoteVersion = "dcap.quote.version", "the quote has version 3, 4 or 5",
        "Intel DCAP, quote header", "update the verifier to one that knows this version";
    QuoteTee = "dcap.quote.tee", "the quote is of the TEE it is judged as: version 3 of SGX, 4 and 5 of TDX",
        "Intel DCAP, quote header, tee_type", "send the quote to be judged as what it is; an enclave's of another version than 3 needs a newer verifier";
    QuoteKeyType = "dcap.quote.key_type", "the attestation key is an ECDSA P-256 key",
        "Intel DCAP, quote header, att_key_type", "let the platform quote with its ECDSA quoting enclave";
    QuoteBody = "dcap.quote.body", "the body is that of an enclave in version 3, of TDX 1.0 in 4, of TDX 1.0 or 1.5 in 5",
        "Intel DCAP, quote version 5, body type", "update the verifier to one that knows this body";
    QuoteFormat = "dcap.quote.format", "every part of the quote is as long as the part before says",
        "Intel DCAP, quote format", "send the whole quote, as the platform gave it";
    QuoteCertification = "dcap.quote.certification", "the quote brings the certificate chain of its PCK",
        "Intel DCAP, certification data types 5 and 6", "provision the platform with its PCK certificate";
    QuoteTail = "dcap.quote.tail", "nothing but zeros follows the quote",
        "limit of this verifier", "send the quote alone";
    QuoteVendor = "dcap.quote.vendor", "the quoting enclave is Intel's",
        "Intel DCAP, quote header, qe_vendor_id", "let Intel's quoting enclave quote";

    // The root.
    RootTrusted = "dcap.root.trusted", "a pinned root signed collateral",
        "collateral: roots", "for simulated hardware, a Steward of class insecure must name the simulated root";
    RootEarly = "dcap.root.not_yet_valid", "the root certificate is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    RootExpired = "dcap.root.expired", "the root certificate is not expired",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock; else Intel has to issue a new root";
    RootCrlFormat = "dcap.root_crl.format", "the root's revocation list is a full, direct X.509 CRL version 2 with nextUpdate",
        "RFC 5280 section 5", "fetch the list from Intel's provisioning certification service again";
    RootCrlSignature = "dcap.root_crl.signature", "the root issued and signed its revocation list, and may",
        "RFC 5280 section 6.3.3 (f), (g)", "fetch the list from Intel's provisioning certification service again";
    RootCrlEarly = "dcap.root_crl.not_yet_valid", "the root's revocation list is valid already",
        "RFC 5280 section 6.3.3 (a)", "check the verifier's clock";
    RootCrlExpired = "dcap.root_crl.expired", "the root's revocation list is not expired",
        "RFC 5280 section 6.3.3 (a)", "fetch a fresh revocation list";
    RootRevoked = "dcap.root.revoked", "the root did not revoke itself",
        "RFC 5280 section 6.3", "nothing of this root is to be trusted any more";

    // Who issued the PCK.
    CaFormat = "dcap.ca.format", "the PCK was issued by a PCK Platform CA or PCK Processor CA with path length 0",
        "Intel PCK profile, section 1.2", "send the certificate chain of the PCK";
    CaSignature = "dcap.ca.signature", "the root signed the PCK's CA",
        "RFC 5280 section 6.1.3", "send the certificate chain of the PCK; this one is forged or of another root";
    CaEarly = "dcap.ca.not_yet_valid", "the PCK's CA is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    CaExpired = "dcap.ca.expired", "the PCK's CA is not expired",
        "RFC 5280 section 4.1.2.5", "provision the platform with a current certificate chain";
    CaRevoked = "dcap.ca.revoked", "the PCK's CA is not revoked",
        "RFC 5280 section 6.3", "use a platform whose PCK was issued by a current CA";
    PckCrlFormat = "dcap.pck_crl.format", "the CA's revocation list is a full, direct X.509 CRL version 2 with nextUpdate",
        "RFC 5280 section 5", "fetch the list from Intel's provisioning certification service again";
    PckCrlSignature = "dcap.pck_crl.signature", "the PCK's CA issued and signed the revocation list, and may",
        "RFC 5280 section 6.3.3 (f), (g)", "fetch the list of this CA: platform or processor";
    PckCrlEarly = "dcap.pck_crl.not_yet_valid", "the CA's revocation list is valid already",
        "RFC 5280 section 6.3.3 (a)", "check the verifier's clock";
    PckCrlExpired = "dcap.pck_crl.expired", "the CA's revocation list is not expired",
        "RFC 5280 section 6.3.3 (a)", "fetch a fresh revocation list";

    // TCB info.
    TcbSignerFormat = "dcap.tcb_signer.format", "the TCB info has the certificate of Intel's TCB signing and the root's",
        "Intel PCS API v4, TCB-Info-Issuer-Chain", "fetch the TCB info with its chain again";
    TcbSignerSignature = "dcap.tcb_signer.signature", "the root signed the certificate of the TCB info's signer",
        "RFC 5280 section 6.1.3", "fetch the TCB info with its chain again; this one is forged or of another root";
    TcbSignerEarly = "dcap.tcb_signer.not_yet_valid", "the certificate of the TCB info's signer is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    TcbSignerExpired = "dcap.tcb_signer.expired", "the certificate of the TCB info's signer is not expired",
        "RFC 5280 section 4.1.2.5", "fetch the TCB info with its chain again";
    TcbSignerRevoked = "dcap.tcb_signer.revoked", "the certificate of the TCB info's signer is not revoked",
        "RFC 5280 section 6.3", "fetch the TCB info with its chain again";
    TcbInfoFormat = "dcap.tcb_info.format", "the TCB info is what Intel's service gives, version 2 or 3",
        "Intel PCS API v4, TCB info", "fetch the TCB info again; if it is Intel's, update the verifier";
    TcbInfoSignature = "dcap.tcb_info.signature", "Intel's TCB signing key signed the TCB info as received",
        "Intel PCS API v4, TCB info, signature", "fetch the TCB info again and keep it byte for byte";
    TcbInfoEarly = "dcap.tcb_info.not_yet_valid", "the TCB info is valid already",
        "Intel PCS API v4, issueDate", "check the verifier's clock";
    TcbInfoExpired = "dcap.tcb_info.expired", "the TCB info is not expired",
        "Intel PCS API v4, nextUpdate", "fetch fresh TCB info";

    // QE identity.
    QeSignerFormat = "dcap.qe_signer.format", "the QE identity has the certificate of Intel's TCB signing and the root's",
        "Intel PCS API v4, Enclave-Identity-Issuer-Chain", "fetch the QE identity with its chain again";
    QeSignerSignature = "dcap.qe_signer.signature", "the root signed the certificate of the QE identity's signer",
        "RFC 5280 section 6.1.3", "fetch the QE identity with its chain again; this one is forged or of another root";
    QeSignerEarly = "dcap.qe_signer.not_yet_valid", "the certificate of the QE identity's signer is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    QeSignerExpired = "dcap.qe_signer.expired", "the certificate of the QE identity's signer is not expired",
        "RFC 5280 section 4.1.2.5", "fetch the QE identity with its chain again";
    QeSignerRevoked = "dcap.qe_signer.revoked", "the certificate of the QE identity's signer is not revoked",
        "RFC 5280 section 6.3", "fetch the QE identity with its chain again";
    QeIdentityFormat = "dcap.qe_identity.format", "the QE identity is what Intel's service gives, version 2",
        "Intel PCS API v4, enclave identity", "fetch the QE identity again; if it is Intel's, update the verifier";
    QeIdentitySignature = "dcap.qe_identity.signature", "Intel's TCB signing key signed the QE identity as received",
        "Intel PCS API v4, enclave identity, signature", "fetch the QE identity again and keep it byte for byte";
    QeIdentityEarly = "dcap.qe_identity.not_yet_valid", "the QE identity is valid already",
        "Intel PCS API v4, issueDate", "check the verifier's clock";
    QeIdentityExpired = "dcap.qe_identity.expired", "the QE identity is not expired",
        "Intel PCS API v4, nextUpdate", "fetch a fresh QE identity";

    // The PCK.
    PckFormat = "dcap.pck.format", "the PCK certificate is strict X.509 with Intel's extension and a P-256 key",
        "Intel PCK profile, section 1.3", "provision the platform with its PCK certificate again";
    PckSignature = "dcap.pck.signature", "the CA signed the PCK certificate",
        "RFC 5280 section 6.1.3", "provision the platform with its PCK certificate again";
    PckEarly = "dcap.pck.not_yet_valid", "the PCK certificate is valid already",
        "RFC 5280 section 4.1.2.5", "check the verifier's clock";
    PckExpired = "dcap.pck.expired", "the PCK certificate is not expired",
        "RFC 5280 section 4.1.2.5", "provision the platform with a current PCK certificate";
    PckCrlIssuer = "dcap.pck_crl.issuer", "the revocation list is of the CA that issued the PCK",
        "RFC 5280 section 6.3.3 (b)", "fetch the list of the PCK's own CA: platform or processor";
    PckRevoked = "dcap.pck.revoked", "the PCK is not revoked",
        "RFC 5280 section 6.3", "Intel has withdrawn this key; use another platform";

    // The collateral is about this quote.
    TcbInfoTee = "dcap.tcb_info.tee", "the TCB info is about the TEE of the quote",
        "Intel PCS API v4, TCB info, id", "fetch the TCB info of this TEE: /sgx or /tdx";
    TcbInfoPlatform = "dcap.tcb_info.platform", "the TCB info is about the platform's FMSPC and PCE",
        "Intel PCS API v4, TCB info, fmspc, pceId", "fetch the TCB info of the platform's FMSPC";
    QeIdentityTee = "dcap.qe_identity.tee", "the QE identity is about the quoting enclave of this TEE",
        "Intel PCS API v4, enclave identity, id", "fetch the identity of this TEE's quoting enclave: QE or TD_QE";

    // From the PCK to the body.
    QeSignature = "dcap.qe.signature", "the PCK signed the quoting enclave's report",
        "Intel DCAP, QE report signature", "send the unchanged quote with the certificate chain of its PCK";
    QeReserved = "dcap.qe.reserved", "all reserved fields of the quoting enclave's report are zero",
        "Intel SDM volume 3D, REPORT", "update the verifier: the processor says something it does not know";
    QeBinding = "dcap.qe.binding", "the quoting enclave's report data is the hash of the attestation key",
        "Intel DCAP, QE report, report data", "send the unchanged quote";
    QeSigner = "dcap.qe.mrsigner", "the quoting enclave's signer is the one in the QE identity",
        "Intel PCS API v4, enclave identity, mrsigner", "let Intel's quoting enclave quote";
    QeProduct = "dcap.qe.product", "the quoting enclave's product id is the one in the QE identity",
        "Intel PCS API v4, enclave identity, isvprodid", "let Intel's quoting enclave quote";
    QeMiscSelect = "dcap.qe.misc_select", "the quoting enclave's MISCSELECT is as in the QE identity",
        "Intel PCS API v4, enclave identity, miscselect", "let Intel's quoting enclave quote";
    QeAttributes = "dcap.qe.attributes", "the quoting enclave's attributes are as in the QE identity: no debugging",
        "Intel PCS API v4, enclave identity, attributes", "let Intel's quoting enclave quote";
    QeLevel = "dcap.qe.level", "the quoting enclave reaches a level of the QE identity",
        "Intel PCS API v4, enclave identity, tcbLevels", "update the platform's quoting enclave";
    QuoteSignature = "dcap.quote.signature", "the attestation key signed header and body as received",
        "Intel DCAP, quote signature", "send the unchanged quote";

    // Security versions.
    TcbLevel = "dcap.tcb.level", "the platform, and its TDX module, reach a level of the TCB info",
        "Intel PCS API v4, TCB info, tcbLevels", "update the platform's firmware";
    TcbRevoked = "dcap.tcb.revoked", "neither platform nor quoting enclave nor TDX module are at a revoked level",
        "Intel PCS API v4, tcbStatus", "update the platform's firmware; keys of this level are compromised";
    TcbStatus = "dcap.tcb.status", "the TCB status is an accepted one; out of date only within the days of grace",
        "policy: accepted_tcb, grace_days", "do what the status says, or accept it in the policy";
    TcbAdvisoriesAllowed = "dcap.tcb.advisories_allowed", "no advisory applies but those allowed",
        "policy: allowed_advisories", "mitigate the advisories, or allow them in the policy";
    TcbAdvisoriesRejected = "dcap.tcb.advisories_rejected", "none of the rejected advisories applies",
        "policy: rejected_advisories", "update the platform until they do not apply";
    TcbEvaluation = "dcap.tcb.evaluation", "the collateral is of a recovery as new as the policy wants",
        "policy: minimum_evaluation", "fetch collateral with update=early, or lower minimum_evaluation";

    // The platform.
    PlatformProduct = "dcap.platform.product", "the platform's FMSPC is not a refused one",
        "policy: refused_fmspc", "use a platform of another product";
    PlatformConfiguration = "dcap.platform.configuration", "the platform is configured as the policy wants",
        "policy: smt, dynamic_platform, cached_keys", "configure the platform so, or change the policy";
    PlatformAllowed = "dcap.platform.allowed", "the platform is one the policy names",
        "policy: platforms, any_platform", "add the platform to platforms if you vouch for it";
}
