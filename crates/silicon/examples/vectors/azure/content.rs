//! What is quoted, what is said of the machine, and what it is bound to.

use sha2::{Digest, Sha256};
use silicon::azure;

use super::{BRIEF, BRIEF_PCR, Cases, Hardware, REPORT_DATA};

impl Cases {
    pub(super) fn pcrs(&mut self) {
        let id = "azure.quote.values";
        self.snp("pcrs-missing", id, "no value of PCR 23, which is quoted", |draft| {
            draft.edit = |bytes| bytes.pcrs.truncate(23);
        });
        self.snp("pcrs-none", id, "no value at all", |draft| draft.edit = |bytes| bytes.pcrs.clear());
        let id = "azure.quote.digest";
        self.snp("pcrs-value", id, "the value of PCR 4 is an accepted one, but not the quoted one", |draft| {
            draft.demand(&[(4, [4; 32])]);
            draft.edit = |bytes| bytes.pcrs[4] = [4; 32];
        });
        let about = "what is quoted is PCR 12, extended as PCR 13 has to be: sent as that";
        self.snp("pcrs-of-another-index", id, about, |draft| {
            draft.quote.pcrs[12] = draft.quote.pcrs[BRIEF_PCR];
            draft.quote.pcrs[BRIEF_PCR] = [0; 32];
            draft.quote.select(&[4, 12]);
            draft.edit = |bytes| {
                bytes.pcrs.swap(12, BRIEF_PCR);
            };
        });
        let about = "the digest is over all PCRs in order, the selection of some";
        self.snp("pcrs-digest-of-all", id, about, |draft| {
            let whole = draft.quote.pcrs.concat();
            draft.quote.select(&[4, 13]);
            draft.quote.digest = Some(Sha256::digest(whole).into());
        });
        let id = "azure.pcrs";
        self.snp("pcr-not-accepted", id, "PCR 4 has another value than the policy's", |draft| {
            draft.demand(&[(4, [4; 32])]);
        });
        self.snp("pcr-not-quoted", id, "PCR 4 has the policy's value, but is not quoted", |draft| {
            let value = draft.quote.pcrs[4];
            draft.demand(&[(4, value)]);
            draft.quote.select(&[5, 13]);
        });
    }

    pub(super) fn configuration(&mut self) {
        for (name, key, claim) in [
            ("secure-boot", "secure_boot", "secure-boot"),
            ("tpm-enabled", "tpm_enabled", "tpm-enabled"),
            ("tpm-persisted", "tpm_persisted", "tpm-persisted"),
            ("console-enabled", "console_enabled", "console-enabled"),
        ] {
            let id = format!("azure.{key}");
            self.snp(name, &id, &format!("{claim} is false"), |draft| {
                draft.runtime.set(claim, "false");
                draft.azure_policy += &format!("{key} = true\n");
            });
            self.snp(&format!("{name}-not-said"), &id, &format!("{claim} is not said"), |draft| {
                draft.runtime.configuration.retain(|(name, _)| name != claim);
                draft.azure_policy += &format!("{key} = true\n");
            });
        }
        self.snp("root-certificate", "azure.root_cert_thumbprint", "another root certificate", |draft| {
            draft.azure_policy += &format!("root_cert_thumbprint = [\"{}\"]\n", "A".repeat(43));
        });
        self.snp("vm-unique-id", "azure.vm_unique_id", "another machine", |draft| {
            draft.azure_policy += "vm_unique_id = [\"00000000-89ab-cdef-0123-456789abcdef\"]\n";
        });
    }

    pub(super) fn binding(&mut self) {
        let id = "azure.report_data";
        self.snp("report-data", id, "a quote for another nonce", |draft| draft.quote.extra_data[31] ^= 1);
        self.tdx("report-data", id, "a quote for another nonce", |draft| draft.quote.extra_data[0] ^= 1);
        self.snp("report-data-not-hashed", id, "the 64 bytes themselves, which TPMs of Azure do not take", |draft| {
            draft.quote.extra_data = REPORT_DATA.to_vec();
        });
        self.snp("report-data-none", id, "a quote without a nonce", |draft| draft.quote.extra_data.clear());
        let id = "azure.launch_field";
        self.snp("brief", id, "another brief", |draft| {
            draft.quote.pcrs[BRIEF_PCR] = [0; 32];
            azure::extend(&mut draft.quote.pcrs[BRIEF_PCR], [0x23; 32]);
        });
        self.tdx("brief", id, "another brief", |draft| {
            draft.quote.pcrs[BRIEF_PCR] = [0; 32];
            azure::extend(&mut draft.quote.pcrs[BRIEF_PCR], [0x23; 32]);
        });
        self.snp("brief-later", id, "the brief was extended after something else", |draft| {
            draft.quote.pcrs[BRIEF_PCR] = [0; 32];
            azure::extend(&mut draft.quote.pcrs[BRIEF_PCR], [1; 32]);
            azure::extend(&mut draft.quote.pcrs[BRIEF_PCR], BRIEF);
        });
        self.snp("brief-twice", id, "the brief was extended twice", |draft| {
            azure::extend(&mut draft.quote.pcrs[BRIEF_PCR], BRIEF);
        });
        self.snp("brief-not-quoted", id, "the brief's PCR is not quoted", |draft| draft.quote.select(&[4, 7]));
        self.snp("brief-without-pcr", id, "the policy names no PCR for the brief", |draft| {
            draft.azure_policy = "any_pcrs = true\n".into();
        });
    }

    /// The rules of the hardware are those of `spec/vectors/snp` and `dcap`; that they apply.
    pub(super) fn hardware(&mut self) {
        self.snp("hardware-signature", "snp.report.signature", "the hardware did not sign its report", |draft| {
            draft.edit = |bytes| bytes.hcl_report[32 + 0x90] ^= 1;
        });
        self.snp("hardware-measurement", "snp.measurement.allowed", "another paravisor", |draft| {
            draft.policy = format!("hash = [\"{}\"]\n", "00".repeat(48));
        });
        self.snp("hardware-debug", "snp.policy.debug", "the host may debug the machine", |draft| {
            let Hardware::Snp(_, request) = &mut draft.hardware else { panic!("SEV-SNP") };
            request.policy |= 1 << 19;
        });
        self.tdx("hardware-measurement", "tdx.measurement.allowed", "another paravisor", |draft| {
            draft.policy = format!("hash = [\"{}\"]\nsept_ve_disable = \"optional\"\n", "00".repeat(48));
        });
        self.tdx("hardware-sept-ve", "tdx.attributes.sept_ve_disable", "a policy that does not know Azure", |draft| {
            draft.policy = super::ANY.into();
        });
        self.tdx("hardware-debug", "tdx.attributes.debug", "the host may debug the machine", |draft| {
            let Hardware::Tdx(td, _) = &mut draft.hardware else { panic!("a TD") };
            td.attributes |= 1;
        });
    }
}
