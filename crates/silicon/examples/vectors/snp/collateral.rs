//! Bad evidence by form and by certificates: report size and version, VCEK, ASK, root, revocation
//! list.

use super::*;

impl Cases {
    pub(super) fn form(&mut self) {
        let id = "snp.report.size";
        self.bad("report-empty", id, "no report at all", |draft| draft.edit = |_, report, _| report.clear());
        self.bad("report-short", id, "one byte is missing", |draft| draft.edit = |_, report, _| report.truncate(1183));
        self.bad("report-long", id, "one zero byte too much", |draft| draft.edit = |_, report, _| report.push(0));
        for version in [0, 1, 6, 0x0100_0005] {
            let name = format!("report-version-{version:x}");
            self.bad(&name, "snp.report.version", "a version nobody knows", |draft| draft.request.version = version);
        }
        for algorithm in [0, 2] {
            let name = format!("report-signature-algorithm-{algorithm}");
            self.bad(&name, "snp.report.signature_algorithm", "SIGNATURE_ALGO is not 1", |draft| {
                draft.request.signature_algorithm = algorithm;
            });
        }
        let id = "snp.report.tail";
        self.bad("report-tail-last-byte", id, "the last byte is not zero", |draft| {
            draft.edit = |_, report, _| report[1183] = 1;
        });
        self.bad("report-tail-r", id, "r has a 49th byte", |draft| draft.edit = |_, report, _| report[0x2d0] = 1);
        self.bad("report-tail-s", id, "s has a 72nd byte", |draft| draft.edit = |_, report, _| report[0x32f] = 1);
    }

    pub(super) fn certificates(&mut self) {
        let id = "snp.vek.format";
        self.bad("vcek-truncated", id, "the last byte of the VCEK is missing", |draft| {
            draft.edit = |_, _, vcek| vcek.truncate(vcek.len() - 1);
        });
        self.bad("vcek-trailing-byte", id, "a byte after the VCEK", |draft| draft.edit = |_, _, vcek| vcek.push(0));
        for (name, oid) in [
            ("struct-version", "1.3.6.1.4.1.3704.1.1"),
            ("product-name", "1.3.6.1.4.1.3704.1.2"),
            ("boot-loader", "1.3.6.1.4.1.3704.1.3.1"),
            ("tee", "1.3.6.1.4.1.3704.1.3.2"),
            ("snp", "1.3.6.1.4.1.3704.1.3.3"),
            ("microcode", "1.3.6.1.4.1.3704.1.3.8"),
            ("hwid", "1.3.6.1.4.1.3704.1.4"),
        ] {
            self.bad(&format!("vcek-without-{name}"), id, "an extension is missing", |draft| {
                draft.template.extensions.retain(|extension| extension.oid != oid);
            });
        }
        for (name, about, oid, value) in [
            ("struct-version-1", "Turin's structVersion on Genoa", "1.3.6.1.4.1.3704.1.1", &[2, 1, 1][..]),
            ("product-unknown", "a product without SNP", "1.3.6.1.4.1.3704.1.2", b"\x16\x04Rome"),
            ("product-prefix", "a name that only begins like one", "1.3.6.1.4.1.3704.1.2", b"\x16\x06Genoa2"),
            ("reserved-level", "a reserved level is not zero", "1.3.6.1.4.1.3704.1.3.5", &[2, 1, 1]),
            ("negative-level", "a level without its sign byte", "1.3.6.1.4.1.3704.1.3.8", &[2, 1, 0xdb]),
            ("level-trailing-byte", "a byte after a level", "1.3.6.1.4.1.3704.1.3.3", &[2, 1, 23, 0]),
            ("hwid-short", "eight bytes of hwID on Genoa", "1.3.6.1.4.1.3704.1.4", &[7; 8]),
        ] {
            self.bad(&format!("vcek-{name}"), id, about, |draft| *draft.template.extension(oid) = value.to_vec());
        }
        self.bad("vcek-hwid-wrapped", id, "hwID inside an OCTET STRING, as AMD never writes it", |draft| {
            let hwid = draft.template.extension("1.3.6.1.4.1.3704.1.4");
            hwid.splice(..0, [0x04, 64]);
        });
        self.bad("vcek-with-fmc", id, "Genoa has no FMC", |draft| {
            draft.template.extensions.push(Extension { oid: "1.3.6.1.4.1.3704.1.3.9", value: vec![2, 1, 0] });
        });
        self.bad("vcek-extension-twice", id, "the SNP level stands twice", |draft| {
            draft.template.extensions.push(Extension { oid: "1.3.6.1.4.1.3704.1.3.3", value: vec![2, 1, 99] });
        });
        self.bad("vcek-unknown-amd-extension", id, "an extension of AMD's arc that nobody knows", |draft| {
            draft.template.extensions.push(Extension { oid: "1.3.6.1.4.1.3704.1.9", value: vec![2, 1, 0] });
        });
        self.bad("vcek-and-vlek", id, "both hwID and cspID", |draft| {
            draft.template.extensions.push(Extension { oid: "1.3.6.1.4.1.3704.1.5", value: b"\x16\x01x".to_vec() });
        });
        self.bad("vcek-is-an-authority", id, "the VCEK says that it is a CA", |draft| {
            let value = vec![0x30, 3, 1, 1, 0xff];
            draft.template.extensions.push(Extension { oid: "2.5.29.19", value });
        });
        self.bad("vcek-is-the-ask", id, "the ASK in the VCEK's place", |draft| {
            draft.edit = |amd, _, vcek| *vcek = amd.ask_der().to_vec();
        });
        let id = "snp.vek.kind";
        self.bad("signing-key-vlek", id, "the report says VLEK, the certificate is a VCEK", |draft| {
            draft.request.flags = 1 << 2 | 1;
        });
        self.bad("signing-key-reserved", id, "SIGNING_KEY is a reserved value", |draft| {
            draft.request.flags = 2 << 2 | 1;
        });
        self.bad("signing-key-none", id, "the host masks the chip key: nobody signed", |draft| {
            draft.request.flags = 7 << 2 | 2 | 1;
        });
        self.bad("signing-key-masked", id, "the chip key is masked, and yet the report says VCEK", |draft| {
            draft.request.flags = 2 | 1;
        });
    }

    pub(super) fn chain(&mut self) {
        self.bad("ask-missing", "snp.ask.format", "no ASK, and the roots bring none", |draft| draft.ask = None);
        self.bad("ask-truncated", "snp.ask.format", "half an ASK", |draft| {
            draft.ask.as_mut().expect("there is one").truncate(800);
        });
        self.bad("ask-is-the-ark", "snp.ask.authority", "the root in the ASK's place", |draft| {
            draft.ask = Some(draft.ark.clone());
        });
        self.bad("ask-of-another-product", "snp.ask.authority", "a Genoa VCEK with the Milan ASK", |draft| {
            draft.ask = Some(Product::Milan.ask_der().to_vec());
        });
        self.bad("vcek-names-another-product", "snp.ask.authority", "the Genoa ASK certifies a Milan", |draft| {
            *draft.template.extension("1.3.6.1.4.1.3704.1.2") = b"\x16\x08Milan-B0".to_vec();
        });
        let id = "snp.ark.trusted";
        self.bad("root-of-another-product", id, "only the simulated Milan root is trusted", |draft| {
            draft.ark = Product::Milan.ark_der().to_vec();
        });
        self.add(
            "root-of-amd",
            "simulated evidence, and only AMD's own root is trusted",
            id,
            Product::Milan,
            |draft| {
                draft.ark = ARK_MILAN.to_vec();
            },
        );
        let id = "snp.ark.not_yet_valid";
        self.add("before-the-ark", "judged before the root was made", id, Product::Milan, |draft| {
            draft.now = 1_600_000_000
        });
        let id = "snp.ark.expired";
        self.add("after-the-ark", "judged after the root ended", id, Product::Milan, |draft| draft.now = 2_400_000_000);
        self.bad("ask-bad-signature", "snp.ask.signature", "one bit of the ASK's signature differs", |draft| {
            flip_last_byte(draft.ask.as_mut().expect("there is one"));
        });
        self.bad("ask-of-another-root", "snp.ask.signature", "the right names, signed by another root", |draft| {
            draft.ask = Some(Product::Genoa.ask_signed_by(Product::Milan));
        });
        let id = "snp.ask.not_yet_valid";
        self.add("before-the-ask", "judged in the hour between ARK and ASK", id, Product::Milan, |draft| {
            draft.now = 1_603_390_000;
        });
        self.bad("ask-expired", "snp.ask.expired", "the ASK ended a second ago", |draft| {
            draft.ask = Some(Product::Genoa.ask_until(NOW - 1));
        });
        let id = "snp.vek.signature";
        self.bad("vcek-bad-signature", id, "one bit of the VCEK's signature differs", |draft| {
            draft.edit = |_, _, vcek| flip_last_byte(vcek);
        });
        self.bad("vcek-issuer", id, "the VCEK names another issuer than the key that signed it", |draft| {
            draft.template.issuer = Product::Milan;
        });
        self.bad("vcek-of-another-ask", id, "the right names, signed by the Milan ASK", |draft| {
            draft.edit = |amd, _, vcek| {
                *vcek = Amd::from_seed(SEED, Product::Milan).issue_vcek(&amd.vcek_template(amd.tcb()));
            };
        });
        self.bad("vcek-expired", "snp.vek.expired", "the VCEK ended a second ago", |draft| {
            draft.template.not_after = NOW - 1;
        });
        self.bad("vcek-not-yet-valid", "snp.vek.not_yet_valid", "the VCEK begins in a second", |draft| {
            draft.template.not_before = NOW + 1;
        });
    }

    pub(super) fn revocation(&mut self) {
        self.bad("crl-missing", "snp.crl.present", "no list", |draft| draft.crl = None);
        let id = "snp.crl.format";
        self.bad("crl-truncated", id, "half a list", |draft| draft.crl.as_mut().expect("there is one").truncate(400));
        self.bad("crl-trailing-byte", id, "a byte after the list", |draft| {
            draft.crl.as_mut().expect("there is one").push(0);
        });
        self.bad("crl-backwards", id, "nextUpdate before thisUpdate", |draft| draft.crl(NOW, NOW - DAY, &[]));
        self.bad("crl-without-end", id, "no nextUpdate: it would be good for ever", |draft| {
            let template = CrlTemplate { next_update: None, ..draft.amd.crl_template(THIS_UPDATE, NEXT_UPDATE, &[]) };
            draft.crl = Some(draft.amd.issue_crl(&template));
        });
        for (name, about, oid, value) in [
            ("delta", "only the changes since another list", "2.5.29.27", &[2, 1, 1][..]),
            ("partial", "only of user certificates", "2.5.29.28", &[0x30, 3, 0x81, 1, 0xff]),
        ] {
            self.bad(&format!("crl-{name}"), id, about, |draft| {
                let mut template = draft.amd.crl_template(THIS_UPDATE, NEXT_UPDATE, &[]);
                template.critical.push(Extension { oid, value: value.to_vec() });
                draft.crl = Some(draft.amd.issue_crl(&template));
            });
        }
        let id = "snp.crl.signature";
        self.bad("crl-bad-signature", id, "one bit of the list's signature differs", |draft| {
            flip_last_byte(draft.crl.as_mut().expect("there is one"));
        });
        self.bad("crl-of-another-product", id, "the list of the Milan root", |draft| {
            let milan = Amd::from_seed(SEED, Product::Milan);
            draft.crl = Some(milan.crl_der(THIS_UPDATE, NEXT_UPDATE, &[]));
        });
        self.bad("crl-of-another-root", id, "the right name, signed by the Milan root", |draft| {
            let milan = Amd::from_seed(SEED, Product::Milan);
            draft.crl = Some(milan.issue_crl(&draft.amd.crl_template(THIS_UPDATE, NEXT_UPDATE, &[])));
        });
        self.bad("crl-without-the-right", id, "the root may sign certificates, and no lists", |draft| {
            draft.ark = Product::Genoa.ark_without_lists();
        });
        self.bad("crl-expired", "snp.crl.expired", "the list ended a second ago", |draft| {
            draft.crl(THIS_UPDATE, NOW - 1, &[]);
        });
        self.bad("crl-not-yet-valid", "snp.crl.not_yet_valid", "the list begins in a second", |draft| {
            draft.crl(NOW + 1, NEXT_UPDATE, &[]);
        });
        self.bad("ask-revoked", "snp.ask.revoked", "the list revokes this ASK", |draft| {
            draft.crl(THIS_UPDATE, NEXT_UPDATE, &[0x2_0001, draft.amd.product().ask_serial()]);
        });
        self.bad("ask-revoked-of-late", "snp.ask.revoked", "a list of yesterday revokes this ASK", |draft| {
            draft.crl(NOW - DAY, NEXT_UPDATE, &[draft.amd.product().ask_serial()]);
        });
    }
}
