//! What a platform says, and what a policy wants.

use silicon::intel::{Certificate, Key};

use super::{Cases, Draft, NOW};

impl Cases {
    pub(super) fn form(&mut self) {
        self.sgx("quote-too-long", "dcap.quote.size", "40000 bytes", |draft| draft.quote.tail = vec![0; 40_000]);
        self.sgx("quote-version", "dcap.quote.version", "version 2", |draft| draft.quote.version = 2);
        self.sgx("quote-tee-type", "dcap.quote.tee", "version 3 of a TD", |draft| draft.quote.tee_type = 0x81);
        self.tdx("quote-of-an-enclave", "dcap.quote.tee", "an enclave's, judged as a TD's", |draft| {
            let Draft { quote, .. } = Draft::sgx();
            draft.quote = quote;
        });
        self.sgx("quote-key-type", "dcap.quote.key_type", "an ECDSA P-384 key", |draft| draft.quote.key_type = 3);
        self.tdx("quote-body", "dcap.quote.body", "a body of an unknown type", |draft| draft.quote.body_type = 4);
        let id = "dcap.quote.format";
        self.sgx("quote-empty", id, "nothing", |draft| draft.edit = |bytes| bytes.quote.clear());
        self.sgx("quote-header", id, "a byte less than a header", |draft| {
            draft.edit = |bytes| bytes.quote.truncate(47);
        });
        self.tdx("quote-truncated", id, "a byte less", |draft| {
            draft.edit = |bytes| bytes.quote.truncate(bytes.quote.len() - 1);
        });
        self.sgx("quote-longer", id, "signature data that is longer than its parts", |draft| {
            draft.edit = |bytes| {
                bytes.quote[432] = bytes.quote[432].wrapping_add(1);
                bytes.quote.push(0);
            };
        });
        self.sgx("quote-ppid", "dcap.quote.certification", "an encrypted PPID in the chain's place", |draft| {
            draft.quote.certification = 3;
        });
        self.sgx("quote-tail", "dcap.quote.tail", "another byte after the quote", |draft| {
            draft.quote.tail = vec![0, 1]
        });
        self.sgx("quote-vendor", "dcap.quote.vendor", "another vendor's quoting enclave", |draft| {
            draft.quote.vendor[0] ^= 1;
        });
    }

    pub(super) fn pck(&mut self) {
        let id = "dcap.pck.format";
        self.sgx("pck-without-extension", id, "no extension of Intel's", |draft| draft.pck().sgx = None);
        self.sgx("pck-is-a-ca", id, "the PCK's certificate is a CA's", |draft| draft.pck().authority = Some(0));
        self.sgx("pck-extension-truncated", id, "half of the extension", |draft| {
            draft.pck().sgx.as_mut().expect("there is one").truncate(100);
        });
        self.sgx("pck-type", id, "an unknown kind of platform", |draft| draft.quote.platform.sgx_type = 3);
        self.sgx("pck-signature", "dcap.pck.signature", "signed by another key", |draft| {
            draft.pck().signer = Key::Other;
        });
        self.sgx("pck-not-yet-valid", "dcap.pck.not_yet_valid", "it begins in a second", |draft| {
            draft.pck().not_before = NOW + 1;
        });
        self.sgx("pck-expired", "dcap.pck.expired", "it ended a second ago", |draft| {
            draft.pck().not_after = NOW - 1;
        });
        self.sgx("pck-of-another-ca", "dcap.pck_crl.issuer", "the list is of the platform CA", |draft| {
            let ca = Certificate::ca(Key::ProcessorCa);
            let pck = draft.pck();
            (pck.issuer, pck.signer) = (ca.subject.clone(), ca.key);
            draft.ca = Some(ca);
        });
        self.sgx("pck-revoked", "dcap.pck.revoked", "the list has this PCK", |draft| {
            draft.service.pck_crl.revoked = vec![77, draft.pck().serial];
        });
    }

    pub(super) fn quoting(&mut self) {
        self.sgx("qe-signature", "dcap.qe.signature", "another key signed the QE report", |draft| {
            draft.quote.qe_signer = Key::Other;
        });
        self.sgx("qe-reserved", "dcap.qe.reserved", "a reserved byte", |draft| draft.quote.qe.reserved = 1);
        self.sgx("qe-binding", "dcap.qe.binding", "the QE vouches for another key", |draft| {
            draft.quote.bound = Some([9; 64]);
        });
        self.tdx("qe-mrsigner", "dcap.qe.mrsigner", "another signer's QE", |draft| draft.quote.qe.mr_signer[0] ^= 1);
        self.sgx("qe-product", "dcap.qe.product", "another of Intel's enclaves", |draft| draft.quote.qe.product_id = 2);
        self.sgx("qe-misc-select", "dcap.qe.misc_select", "MISCSELECT", |draft| draft.quote.qe.misc_select = 1);
        self.sgx("qe-debug", "dcap.qe.attributes", "a QE that can be debugged", |draft| draft.quote.qe.flags |= 2);
        self.sgx("qe-level", "dcap.qe.level", "an older QE than any level", |draft| {
            draft.quote.qe.security_version = 0
        });
        self.sgx("quote-signature", "dcap.quote.signature", "another key signed", |draft| {
            draft.quote.signer = Key::Other;
        });
        self.tdx("quote-flipped", "dcap.quote.signature", "a bit of the body", |draft| {
            draft.edit = |bytes| bytes.quote[300] ^= 1;
        });
    }

    pub(super) fn levels(&mut self) {
        let id = "dcap.tcb.level";
        self.sgx("level-component", id, "one component below every level", |draft| {
            draft.quote.platform.components[15] = 1;
        });
        self.sgx("level-pce", id, "a PCE below every level", |draft| draft.quote.platform.pce = 4);
        self.tdx("level-module", id, "a TDX module below every level of its version", |draft| {
            draft.td().tee_tcb_svn[0] = 0;
        });
        self.tdx("level-module-now", id, "the module that runs now is below every level", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").0[0] = 0;
        });
        self.tdx("level-tdx-component", id, "a TDX component below every level", |draft| {
            draft.td().tee_tcb_svn[2] = 1;
        });
        self.tdx("level-module-0", id, "a TDX module without levels of its own, below the platform's", |draft| {
            draft.td().tee_tcb_svn[..3].copy_from_slice(&[1, 0, 7]);
        });
        self.tdx("level-module-unknown", id, "a TDX module of a version that the TCB info does not have", |draft| {
            draft.td().tee_tcb_svn[1] = 2;
        });
        self.tdx("level-module-unknown-now", id, "such a module runs now", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").0[1] = 2;
        });
        let id = "dcap.tcb.revoked";
        let all = "accepted_tcb = [\"UpToDate\", \"OutOfDate\", \"SWHardeningNeeded\"]\n";
        self.sgx("revoked-platform", id, "keys of this level are compromised", |draft| {
            draft.components(3);
            draft.policy += all;
        });
        self.sgx("revoked-qe", id, "so are the quoting enclave's", |draft| {
            draft.quote.qe.security_version = 2;
            draft.policy += all;
        });
        self.tdx("revoked-module", id, "so is the TDX module", |draft| {
            draft.td().tee_tcb_svn[0] = 1;
            draft.policy += all;
        });
        self.tdx("revoked-module-now", id, "so is the TDX module that runs now", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").0[0] = 1;
            draft.policy += all;
        });
        let id = "dcap.tcb.status";
        self.sgx("status-hardening", id, "software has to be hardened", |draft| draft.components(6));
        self.sgx("status-old", id, "out of date", |draft| draft.components(5));
        self.sgx("status-qe-old", id, "the quoting enclave is out of date", |draft| {
            draft.quote.qe.security_version = 7;
        });
        self.tdx("status-module-old", id, "the TDX module is out of date, at launch and now", |draft| {
            let td = draft.td();
            td.tee_tcb_svn[0] = 4;
            td.extension.as_mut().expect("TDX 1.5").0[0] = 4;
        });
        self.tdx("status-relaunch", id, "the TDX module was out of date at launch", |draft| {
            draft.td().tee_tcb_svn[0] = 4;
        });
        self.tdx("status-worse-now", id, "the TDX module is older now than at launch", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").0[0] = 4;
        });
        self.sgx("status-configuration", id, "the platform has to be configured", |draft| {
            draft.service.tcb_info.levels[0].status = "ConfigurationNeeded".into();
        });
        self.sgx("status-configuration-hardening", id, "that, and software has to be hardened", |draft| {
            draft.service.tcb_info.levels[0].status = "ConfigurationAndSWHardeningNeeded".into();
        });
        self.sgx("status-configuration-old", id, "that, and it is out of date", |draft| {
            draft.service.tcb_info.levels[0].status = "OutOfDateConfigurationNeeded".into();
        });
        for (name, status) in [("old", "OutOfDateConfigurationNeeded"), ("needed", "ConfigurationNeeded")] {
            self.sgx(&format!("status-qe-configuration-{name}"), id, "an enclave is up to date or is not", |draft| {
                draft.service.qe_identity.levels[0].status = status.into();
            });
        }
        self.tdx("status-worse-now-after-grace", id, "what runs now is out of date for longer", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").0[0] = 4;
            draft.policy += "accepted_tcb = [\"OutOfDate\"]\ngrace_days = 100\n";
        });
        self.sgx("status-after-grace", id, "out of date for longer than the policy accepts", |draft| {
            draft.components(5);
            draft.policy += "accepted_tcb = [\"OutOfDate\"]\ngrace_days = 600\n";
        });
        self.sgx("advisories-allowed", "dcap.tcb.advisories_allowed", "an advisory that is not allowed", |draft| {
            draft.components(5);
            draft.policy += "accepted_tcb = [\"OutOfDate\"]\nallowed_advisories = [\"INTEL-SA-00615\"]\n";
        });
        self.sgx("advisories-rejected", "dcap.tcb.advisories_rejected", "an advisory that is rejected", |draft| {
            draft.components(6);
            draft.policy += "accepted_tcb = [\"SWHardeningNeeded\"]\nrejected_advisories = [\"INTEL-SA-00615\"]\n";
        });
        self.tdx("advisories-now", "dcap.tcb.advisories_rejected", "an advisory of what runs now", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").0[0] = 4;
            draft.policy += "accepted_tcb = [\"OutOfDate\"]\nrejected_advisories = [\"INTEL-SA-01036\"]\n";
        });
        self.sgx("evaluation", "dcap.tcb.evaluation", "an older recovery than the policy wants", |draft| {
            draft.policy += "minimum_evaluation = 21\n";
        });
        self.sgx("evaluation-qe", "dcap.tcb.evaluation", "the QE identity is of an older recovery", |draft| {
            draft.service.qe_identity.evaluation = 19;
            draft.policy += "minimum_evaluation = 20\n";
        });
    }

    pub(super) fn platform(&mut self) {
        self.sgx("product", "dcap.platform.product", "a product that is refused", |draft| {
            draft.policy += "refused_fmspc = [\"5d0a6f000000\"]\n";
        });
        let id = "dcap.platform.configuration";
        self.sgx("smt", id, "multithreading is on", |draft| draft.policy += "smt = false\n");
        self.tdx("dynamic", id, "processors cannot be added", |draft| draft.policy += "dynamic_platform = true\n");
        self.sgx("cached-keys", id, "nothing says that Intel keeps no keys", |draft| {
            draft.quote.platform.configuration = None;
            draft.policy += "cached_keys = false\n";
        });
        self.sgx("platform", "dcap.platform.allowed", "a platform that the policy does not name", |draft| {
            draft.platforms = Some(vec![[1; 16]]);
        });
    }

    pub(super) fn enclave(&mut self) {
        self.sgx("reserved", "sgx.report.reserved", "a reserved byte", |draft| draft.enclave().reserved = 1);
        let id = "sgx.attributes.fixed";
        self.sgx("not-initialised", id, "INIT is not set", |draft| draft.enclave().flags &= !1);
        self.sgx("unknown-attribute", id, "an undefined attribute", |draft| draft.enclave().flags |= 1 << 8);
        self.sgx("xfrm", id, "no SSE", |draft| draft.enclave().xfrm = 1);
        self.sgx("debug", "sgx.attributes.debug", "it can be debugged", |draft| draft.enclave().flags |= 2);
        self.sgx("features", "sgx.attributes.features", "it can get the provisioning key", |draft| {
            draft.enclave().flags |= 1 << 4;
            draft.policy += "features = [\"KSS\"]\n";
        });
        self.sgx("misc-select", "sgx.misc_select", "EXINFO is not listed", |draft| {
            draft.enclave().misc_select = 1;
            draft.policy += "misc_select = []\n";
        });
        let list = |key: &str, byte: &str| format!("{key} = [\"{}\"]\n", byte.repeat(32));
        self.sgx("measurement", "sgx.measurement.allowed", "another enclave", |draft| {
            draft.policy = list("hash", "77");
        });
        self.sgx("measurement-denied", "sgx.measurement.denied", "an enclave that is refused", |draft| {
            draft.policy += &list("hash_blacklist", "31");
        });
        self.sgx("signer", "sgx.signer.allowed", "another signer", |draft| draft.policy = list("signer", "77"));
        let signed = list("signer", "32");
        self.sgx("product-id", "sgx.product_id", "another product", |draft| {
            draft.policy = signed.clone() + "enclave_product_id = 2\n";
        });
        self.sgx("security-version", "sgx.security_version", "an older enclave", |draft| {
            draft.policy = signed.clone() + "enclave_security_version = 3\n";
        });
        self.sgx("family", "sgx.family_id", "another family", |draft| {
            draft.policy = format!("{signed}family_id = \"{}\"\n", "01".repeat(16));
        });
        self.sgx("extended-product", "sgx.extended_product_id", "another product", |draft| {
            draft.policy = format!("{signed}extended_product_id = \"{}\"\n", "01".repeat(16));
        });
        self.sgx("report-data", "sgx.report_data", "bound to something else", |draft| {
            draft.enclave().report_data[63] ^= 1;
        });
        self.sgx("brief", "sgx.config_id", "launched with another brief", |draft| draft.enclave().config_id[0] ^= 1);
        self.sgx("brief-longer", "sgx.config_id", "more than a hash", |draft| draft.enclave().config_id[32] = 1);
        self.sgx("brief-without-kss", "sgx.config_id", "nothing that the hardware carries", |draft| {
            draft.enclave().flags &= !(1 << 7);
        });
    }

    pub(super) fn domain(&mut self) {
        self.tdx("module-signer", "tdx.module.signer", "a module of another signer", |draft| {
            draft.td().mr_signer_seam[0] = 1;
        });
        self.tdx("module-attributes", "tdx.module.attributes", "a module that can be debugged", |draft| {
            draft.td().seam_attributes = 1;
        });
        let list = |key: &str, byte: &str| format!("{key} = [\"{}\"]\n", byte.repeat(48));
        self.tdx("module", "tdx.module.allowed", "a module that is not accepted", |draft| {
            draft.policy += &list("module", "77");
        });
        self.tdx("attribute-reserved", "tdx.attributes.reserved", "an undefined attribute", |draft| {
            draft.td().attributes |= 1 << 40;
        });
        self.tdx("debug", "tdx.attributes.debug", "it can be debugged", |draft| draft.td().attributes |= 1);
        self.tdx("profiling", "tdx.attributes.debug", "it can be profiled", |draft| draft.td().attributes |= 1 << 5);
        self.tdx("sept-ve", "tdx.attributes.sept_ve_disable", "SEPT_VE_DISABLE is not set", |draft| {
            draft.td().attributes = 0;
        });
        self.tdx("migratable", "tdx.attributes.migratable", "it can be migrated", |draft| {
            draft.td().attributes |= 1 << 29;
        });
        let id = "tdx.attributes.flags";
        self.tdx("attribute-not-listed", id, "key locker is not listed", |draft| {
            draft.td().attributes |= 1 << 31;
            draft.policy += "attributes = [\"PKS\", \"PERFMON\"]\n";
        });
        self.tdx("attribute-servtd", id, "SERVTD_EXT, about which the policy says nothing", |draft| {
            draft.td().attributes |= 1 << 17;
        });
        self.tdx("xfam", "tdx.xfam", "state that no TD has", |draft| draft.td().xfam |= 1 << 20);
        self.tdx("service-td", "tdx.service_td", "a service TD is bound to it", |draft| {
            draft.td().extension.as_mut().expect("TDX 1.5").1 = [7; 48];
        });
        self.tdx("measurement", "tdx.measurement.allowed", "another image", |draft| {
            draft.policy = list("hash", "77");
        });
        self.tdx("measurement-denied", "tdx.measurement.denied", "an image that is refused", |draft| {
            draft.policy += &list("hash_blacklist", "42");
        });
        for key in ["rtmr0", "rtmr1", "rtmr2", "rtmr3", "owner", "owner_config"] {
            self.tdx(&key.replace('_', "-"), &format!("tdx.{key}"), "another value", |draft| {
                draft.policy += &list(key, "77");
            });
        }
        self.tdx("report-data", "tdx.report_data", "bound to something else", |draft| {
            draft.td().report_data[63] ^= 1;
        });
        self.tdx("brief", "tdx.config_id", "launched with another brief", |draft| draft.td().mr_config_id[0] ^= 1);
        self.tdx("brief-longer", "tdx.config_id", "more than a hash", |draft| draft.td().mr_config_id[32] = 1);
    }
}
