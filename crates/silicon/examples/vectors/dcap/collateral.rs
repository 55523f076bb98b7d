//! What Intel's service says, wrong in one way each.

use silicon::intel::{Certificate, Crl, Key, Service};

use super::{Bytes, Cases, FROM, NOW, TO};

const DAY: u64 = 86_400;

/// A change to finished bytes.
type Edit = fn(&mut Bytes);

/// One certificate of the service.
type Pick = fn(&mut Service) -> &mut Certificate;
/// One list of the service.
type List = fn(&mut Service) -> &mut Crl;

impl Cases {
    /// The four ways in which a certificate may be out of its time or withdrawn, or not its issuer's.
    fn certificate(&mut self, name: &str, what: &str, pick: Pick) {
        self.sgx(&format!("{name}-signature"), &format!("dcap.{name}.signature"), what, |draft| {
            pick(&mut draft.service).signer = Key::Other;
        });
        self.sgx(&format!("{name}-not-yet-valid"), &format!("dcap.{name}.not_yet_valid"), what, |draft| {
            pick(&mut draft.service).not_before = NOW + 1;
        });
        self.sgx(&format!("{name}-expired"), &format!("dcap.{name}.expired"), what, |draft| {
            pick(&mut draft.service).not_after = NOW - 1;
        });
        self.sgx(&format!("{name}-revoked"), &format!("dcap.{name}.revoked"), what, |draft| {
            draft.service.root_crl.revoked = vec![77, pick(&mut draft.service).serial];
        });
    }

    fn crl(&mut self, name: &str, what: &str, pick: List, truncate: fn(&mut Bytes)) {
        let id = |rule: &str| format!("dcap.{name}.{rule}");
        self.sgx(&format!("{name}-truncated"), &id("format"), what, |draft| draft.edit = truncate);
        self.sgx(&format!("{name}-without-end"), &id("format"), "a list that would be good for ever", |draft| {
            pick(&mut draft.service).next_update = None;
        });
        self.sgx(&format!("{name}-backwards"), &id("format"), "a list that ends before it begins", |draft| {
            pick(&mut draft.service).next_update = Some(FROM - DAY);
        });
        self.sgx(&format!("{name}-signature"), &id("signature"), what, |draft| {
            pick(&mut draft.service).signer = Key::Other;
        });
        self.sgx(&format!("{name}-not-yet-valid"), &id("not_yet_valid"), what, |draft| {
            pick(&mut draft.service).this_update = NOW + 1;
        });
        self.sgx(&format!("{name}-expired"), &id("expired"), what, |draft| {
            pick(&mut draft.service).next_update = Some(NOW - 1);
        });
    }

    pub(super) fn root(&mut self) {
        let id = "dcap.root.trusted";
        self.sgx("root-of-another-key", id, "the right name, and another key is pinned", |draft| {
            draft.pinned = Some(Certificate { key: Key::Other, signer: Key::Other, ..Certificate::root() });
        });
        self.tdx("root-of-another-name", id, "another root is pinned", |draft| {
            let name = "Somebody's Root CA".to_owned();
            draft.pinned = Some(Certificate { subject: name.clone(), issuer: name, ..Certificate::root() });
        });
        self.sgx("root-not-yet-valid", "dcap.root.not_yet_valid", "judged before the root was made", |draft| {
            draft.now = 1_500_000_000;
        });
        self.sgx("root-expired", "dcap.root.expired", "the root ended a second ago", |draft| {
            draft.service.root.not_after = NOW - 1;
        });
        self.sgx("root-revoked", "dcap.root.revoked", "the root's list has the root", |draft| {
            draft.service.root_crl.revoked = vec![draft.service.root.serial];
        });
        self.crl("root_crl", "the root's list", |service| &mut service.root_crl, |bytes| bytes.root_crl.truncate(100));
        self.sgx("root_crl-without-the-right", "dcap.root_crl.signature", "the root may sign no lists", |draft| {
            draft.service.root.lists = false;
        });
        self.sgx("root_crl-of-the-ca", "dcap.root_crl.signature", "the CA's list in the root's place", |draft| {
            draft.service.root_crl = draft.service.pck_crl.clone();
        });
    }

    pub(super) fn ca(&mut self) {
        let id = "dcap.ca.format";
        self.sgx("ca-of-any-length", id, "the CA may have CAs below it", |draft| draft.service.ca.authority = Some(1));
        self.sgx("ca-is-none", id, "the CA's certificate is no CA's", |draft| draft.service.ca.authority = None);
        self.tdx("ca-of-another-name", id, "the root certified it, but not for PCKs", |draft| {
            let name = "Intel SGX TCB Signing".to_owned();
            draft.service.ca.subject.clone_from(&name);
            draft.service.pck_crl.issuer.clone_from(&name);
            draft.pck().issuer = name;
        });
        self.certificate("ca", "the PCK's CA", |service| &mut service.ca);
        self.sgx("pck_crl-without-the-right", "dcap.pck_crl.signature", "the CA may sign no lists", |draft| {
            draft.service.ca.lists = false;
        });
        self.crl("pck_crl", "the CA's list", |service| &mut service.pck_crl, |bytes| bytes.pck_crl.truncate(100));
    }

    pub(super) fn tcb_info(&mut self) {
        let id = "dcap.tcb_signer.format";
        self.sgx("tcb_signer-of-another-name", id, "the root certified it, but not for TCB info", |draft| {
            draft.service.tcb_signer.subject = "Intel SGX PCK Platform CA".into();
        });
        self.sgx("tcb_signer-is-a-ca", id, "a CA signs", |draft| draft.service.tcb_signer.authority = Some(0));
        self.sgx("tcb_signer-no-pem", id, "a chain that is none", |draft| {
            draft.edit = |bytes| bytes.tcb_chain.insert(0, ' ');
        });
        self.sgx("tcb_signer-many", id, "a chain of three", |draft| {
            draft.edit = |bytes| bytes.tcb_chain = bytes.tcb_chain.clone() + &bytes.tcb_chain;
        });
        self.certificate("tcb_signer", "the TCB info's signer", |service| &mut service.tcb_signer);

        let id = "dcap.tcb_info.format";
        let edits: [(&str, &str, Edit); 9] = [
            ("unknown-field", "a field that nobody knows", |bytes| {
                bytes.tcb_info.insert_str(1, r#""more":1,"#);
            }),
            ("twice", "a field twice", |bytes| bytes.tcb_info.insert_str(1, r#""id":"SGX","#)),
            ("missing-field", "no pceId", |bytes| bytes.tcb_info = bytes.tcb_info.replace(r#""pceId":"0000","#, "")),
            ("trailing", "something after the object", |bytes| bytes.tcb_info.push('x')),
            ("half", "half of it", |bytes| bytes.tcb_info.truncate(900)),
            ("tcb-type", "components that are compared in another way", |bytes| {
                bytes.tcb_info = bytes.tcb_info.replace(r#""tcbType":0"#, r#""tcbType":1"#);
            }),
            ("status", "a status that nobody knows", |bytes| {
                bytes.tcb_info = bytes.tcb_info.replace("SWHardeningNeeded", "Fine");
            }),
            ("relaunch", "a status that is a verifier's conclusion", |bytes| {
                bytes.tcb_info = bytes.tcb_info.replace("SWHardeningNeeded", "TDRelaunchAdvised");
            }),
            ("svn", "a component of 256", |bytes| {
                bytes.tcb_info = bytes.tcb_info.replacen(r#"{"svn":7}"#, r#"{"svn":256}"#, 1);
            }),
        ];
        for (name, about, edit) in edits {
            self.sgx(&format!("tcb_info-{name}"), id, about, |draft| draft.edit = edit);
        }
        self.sgx("tcb_info-version", id, "version 4", |draft| draft.service.tcb_info.version = 4);
        self.sgx("tcb_info-empty", id, "no levels", |draft| draft.service.tcb_info.levels.clear());
        self.sgx("tcb_info-components", id, "TDX components in SGX TCB info", |draft| {
            draft.service.tcb_info.levels[0].tdx = Some([0; 16]);
        });
        self.tdx("tcb_info-no-module", id, "TDX TCB info without modules", |draft| {
            draft.service.tcb_info.modules.clear();
        });
        self.tdx("tcb_info-module-twice", id, "two TDX modules of one version", |draft| {
            let modules = &mut draft.service.tcb_info.modules;
            modules.push(modules[1].clone());
        });
        self.sgx("tcb_info-advisories", id, "more advisories than there are", |draft| {
            draft.service.tcb_info.levels[0].advisories = vec!["INTEL-SA-00615".into(); 129];
        });
        self.tdx("tcb_info-module-status", id, "a status that no module has", |draft| {
            draft.service.tcb_info.modules[1].levels[0].status = "ConfigurationNeeded".into();
        });
        self.sgx("tcb_info-backwards", id, "nextUpdate before issueDate", |draft| {
            draft.service.tcb_info.next_update = FROM - 1;
        });
        self.sgx("tcb_info-signature", "dcap.tcb_info.signature", "signed by another key", |draft| {
            draft.service.tcb_info.signer = Key::Other;
        });
        self.sgx("tcb_info-not-yet-valid", "dcap.tcb_info.not_yet_valid", "it begins in a second", |draft| {
            draft.service.tcb_info.issued = NOW + 1;
        });
        self.sgx("tcb_info-expired", "dcap.tcb_info.expired", "it ended a second ago", |draft| {
            draft.service.tcb_info.next_update = NOW - 1;
        });
        self.sgx("tcb_info-of-tdx", "dcap.tcb_info.tee", "TDX TCB info for an enclave", |draft| {
            draft.service.tcb_info = silicon::intel::TcbInfo::new(true, FROM, TO);
        });
        self.tdx("tcb_info-of-sgx", "dcap.tcb_info.tee", "SGX TCB info for a TD", |draft| {
            draft.service.tcb_info = silicon::intel::TcbInfo::new(false, FROM, TO);
        });
        let id = "dcap.tcb_info.platform";
        self.sgx("tcb_info-fmspc", id, "about other platforms", |draft| draft.service.tcb_info.fmspc[0] ^= 1);
        self.sgx("tcb_info-pce-id", id, "about another PCE", |draft| draft.service.tcb_info.pce_id[1] ^= 1);
    }

    pub(super) fn qe_identity(&mut self) {
        let own = |service: &mut Service| service.qe_signer.serial = 5;
        self.sgx("qe_signer-of-another-name", "dcap.qe_signer.format", "not certified for this", |draft| {
            own(&mut draft.service);
            draft.service.qe_signer.subject = "Intel SGX PCK Platform CA".into();
        });
        self.certificate("qe_signer", "the QE identity's signer", |service| {
            service.qe_signer.serial = 5;
            &mut service.qe_signer
        });
        let id = "dcap.qe_identity.format";
        self.sgx("qe_identity-missing", id, "none", |draft| draft.edit = |bytes| bytes.qe_identity.clear());
        self.sgx("qe_identity-version", id, "version 3", |draft| draft.service.qe_identity.version = 3);
        self.sgx("qe_identity-empty", id, "no levels", |draft| draft.service.qe_identity.levels.clear());
        self.sgx("qe_identity-of-qve", id, "of the enclave that verifies quotes", |draft| {
            draft.service.qe_identity.id = "QVE".into();
        });
        self.sgx("qe_identity-unknown-field", id, "a field that nobody knows", |draft| {
            draft.edit = |bytes| bytes.qe_identity.insert_str(1, r#""more":1,"#);
        });
        self.sgx("qe_identity-status", id, "a status that no enclave has", |draft| {
            draft.service.qe_identity.levels[0].status = "SWHardeningNeeded".into();
        });
        self.sgx("qe_identity-advisories", id, "more advisories than there are", |draft| {
            draft.service.qe_identity.levels[0].advisories = vec!["INTEL-SA-00615".into(); 129];
        });
        self.sgx("qe_identity-signature", "dcap.qe_identity.signature", "signed by another key", |draft| {
            draft.service.qe_identity.key = Key::Other;
        });
        self.sgx("qe_identity-not-yet-valid", "dcap.qe_identity.not_yet_valid", "it begins in a second", |draft| {
            draft.service.qe_identity.issued = NOW + 1;
        });
        self.sgx("qe_identity-expired", "dcap.qe_identity.expired", "it ended a second ago", |draft| {
            draft.service.qe_identity.next_update = NOW - 1;
        });
        self.tdx("qe_identity-of-sgx", "dcap.qe_identity.tee", "of SGX's quoting enclave, for a TD", |draft| {
            draft.service.qe_identity = silicon::intel::QeIdentity::new(false, FROM, TO);
        });
    }
}
