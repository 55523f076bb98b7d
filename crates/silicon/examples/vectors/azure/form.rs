//! The HCL report, its runtime data and the quote: what they are, and what holds them together.

use silicon::azure::{Jwk, SHA256};
use silicon::intel::Td;

use super::{Cases, Hardware};

/// TPM_ALG_SHA1.
const SHA1: u16 = 4;

impl Cases {
    pub(super) fn hcl(&mut self) {
        let id = "azure.hcl.format";
        self.snp("hcl-empty", id, "nothing", |draft| draft.edit = |bytes| bytes.hcl_report.clear());
        self.snp("hcl-truncated", id, "the HCL report ends within its runtime data", |draft| {
            draft.edit = |bytes| bytes.hcl_report.truncate(1300);
        });
        self.snp("hcl-signature", id, "another signature than HCLA", |draft| {
            draft.edit = |bytes| bytes.hcl_report[3] = b'B';
        });
        self.snp("hcl-size", id, "the whole is a byte longer than its parts", |draft| {
            draft.edit = |bytes| bytes.hcl_report[8] += 1;
        });
        self.snp("hcl-runtime-size", id, "the runtime data are a byte longer than the JSON", |draft| {
            draft.edit = |bytes| bytes.hcl_report[1216] += 1;
        });
        self.snp("hcl-too-long", id, "more than any NV index has", |draft| {
            draft.wrap = |hcl| hcl.tail = vec![0; 16_384]
        });
        let id = "azure.hcl.version";
        self.snp("hcl-version", id, "version 3", |draft| draft.wrap = |hcl| hcl.version = 3);
        self.snp("runtime-version", id, "runtime data of version 2", |draft| {
            draft.wrap = |hcl| hcl.runtime_version = 2
        });
        let id = "azure.hcl.request";
        self.snp("hcl-request", id, "a report that was made for something else", |draft| {
            draft.wrap = |hcl| hcl.request = 1;
        });
        self.snp("hcl-status", id, "the paravisor says that it failed", |draft| draft.wrap = |hcl| hcl.status = 1);
        let id = "azure.hcl.tee";
        self.snp("of-tdx", id, "an SNP report that is said to be a TDREPORT", |draft| {
            draft.wrap = |hcl| hcl.report_type = 4;
        });
        self.tdx("of-vbs", id, "a report of no hardware", |draft| draft.wrap = |hcl| hcl.report_type = 3);
        let id = "azure.hcl.reserved";
        self.snp("hcl-header-reserved", id, "the header's last byte is not zero", |draft| {
            draft.wrap = |hcl| hcl.reserved[11] = 1;
        });
        self.snp("hcl-tail", id, "other bytes after the report", |draft| draft.wrap = |hcl| hcl.tail[99] = 1);
        self.tdx("hcl-padding", id, "other bytes after the TDREPORT", |draft| {
            draft.edit = |bytes| bytes.hcl_report[32 + 1024] = 1;
        });
        let about = "the guest asked for the report, and chose its report data; the policy wants its VMPL";
        self.snp("hcl-of-the-guest", "azure.hcl.vmpl", about, |draft| {
            let Hardware::Snp(_, request) = &mut draft.hardware else { panic!("SEV-SNP") };
            request.vmpl = 2;
            draft.policy += "vmpl = 2\n";
        });
    }

    pub(super) fn runtime(&mut self) {
        self.snp("runtime-hash-type", "azure.runtime.hash_type", "SHA-384 is said", |draft| {
            draft.wrap = |hcl| hcl.hash_type = 2;
        });
        let id = "azure.runtime.hash";
        self.snp("runtime-edited", id, "a letter of the runtime data is another", |draft| {
            draft.edit =
                |bytes| *bytes.hcl_report.iter_mut().rev().find(|byte| **byte == b'0').expect("a digit") = b'1';
        });
        self.snp("runtime-of-another-key", id, "the runtime data name the attacker's key", |draft| {
            draft.edit = |bytes| {
                let at = bytes.hcl_report.windows(5).position(|window| window == b"\"n\":\"").expect("a modulus");
                bytes.hcl_report[at + 100] ^= 1;
            };
        });
        let about = "the second half of the report data is not zero";
        self.snp("report-data-second-half", id, about, |draft| draft.report_data = |data| data[63] = 1);
        self.tdx("report-data-second-half", id, about, |draft| draft.report_data = |data| data[32] = 1);
        let id = "azure.runtime.format";
        self.snp("runtime-not-json", id, "runtime data that are no JSON", |draft| {
            draft.wrap = |hcl| hcl.runtime = b"HCLAkPub".to_vec();
        });
        self.snp("runtime-twice", id, "secure-boot is said twice", |draft| {
            draft.runtime.configuration.push(("secure-boot".into(), "true".into()));
        });
        self.snp("runtime-user-data", id, "user data that are no hexadecimal digits", |draft| {
            draft.runtime.more = vec![("user-data".into(), "\"x\"".into())];
        });
        let id = "azure.td_report";
        self.tdx("report-of-another-td", id, "the TDREPORT has another RTMR than the quote", |draft| {
            let Hardware::Tdx(td, other) = &mut draft.hardware else { panic!("a TD") };
            let mut changed = td.clone();
            changed.rtmr[3] = [1; 48];
            *other = Some(changed);
        });
        self.tdx("report-of-another-module", id, "the TDREPORT has another TDX module than the quote", |draft| {
            let Hardware::Tdx(td, other) = &mut draft.hardware else { panic!("a TD") };
            *other = Some(Td { mr_seam: [0x40; 48], ..td.clone() });
        });
        let id = "azure.ak";
        self.snp("ak-none", id, "no attestation key", |draft| {
            draft.runtime.keys.remove(0);
        });
        self.snp("ak-twice", id, "two attestation keys", |draft| draft.runtime.keys.push(Jwk::attestation()));
        self.snp("ak-exponent", id, "the same modulus with another exponent", |draft| {
            draft.runtime.keys[0].e = "AAEAAQ".into();
        });
        self.snp("ak-short", id, "a modulus of 1024 bits", |draft| draft.runtime.keys[0].n.truncate(128));
        self.snp("ak-kind", id, "a key on a curve", |draft| draft.runtime.keys[0].kty = "EC".into());
    }

    pub(super) fn quote(&mut self) {
        let id = "azure.quote.format";
        self.snp("quote-trailing", id, "a byte after the quote, which is signed", |draft| draft.quote.tail = vec![0]);
        self.snp("quote-selections", id, "more selections than there are banks", |draft| {
            draft.quote.selections = vec![(SHA256, vec![0xff; 3]); 17];
        });
        self.snp("quote-wide-selection", id, "more PCRs than there are", |draft| {
            draft.quote.selections[0].1.push(1);
        });
        self.snp("quote-magic", "azure.quote.magic", "no TPM made the message", |draft| draft.quote.magic ^= 1);
        self.snp("quote-type", "azure.quote.type", "a TPM certifies a key", |draft| draft.quote.kind = 0x8017);
        let id = "azure.quote.signature";
        self.snp("quote-signature", id, "a bit of the signature is another", |draft| {
            draft.edit = |bytes| bytes.signature[255] ^= 1;
        });
        self.snp("quote-of-another-key", id, "the key that signed is not the one named", |draft| {
            draft.runtime.keys[0].n = vec![0xef; 256];
        });
        self.snp("quote-signature-short", id, "the signature is cut", |draft| {
            draft.edit = |bytes| bytes.signature.truncate(255);
        });
        let id = "azure.quote.selection";
        self.snp("quote-bank", id, "PCRs of the SHA-1 bank", |draft| draft.quote.selections[0].0 = SHA1);
        self.snp("quote-two-banks", id, "PCRs of two banks", |draft| {
            draft.quote.selections.push((SHA1, vec![0xff; 3]));
        });
        self.snp("quote-bank-twice", id, "the same bank twice", |draft| {
            draft.quote.selections.push((SHA256, vec![1, 0, 0]));
        });
        self.snp("quote-of-nothing", id, "no selection at all", |draft| draft.quote.selections.clear());
        self.snp("quote-of-no-pcr", id, "a selection without a PCR", |draft| draft.quote.select(&[]));
    }
}
