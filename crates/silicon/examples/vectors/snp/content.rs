//! Genuine certificates over a report that must be refused: signature, reserved fields, levels,
//! guest policy, platform, code, binding.

use super::*;

impl Cases {
    pub(super) fn report(&mut self) {
        let id = "snp.report.signature";
        self.bad("report-changed", id, "one bit of the measurement differs from what was signed", |draft| {
            draft.edit = |_, report, _| report[0x90] ^= 1;
        });
        self.bad("report-bad-signature", id, "one bit of r differs", |draft| {
            draft.edit = |_, report, _| report[0x2a0] ^= 1;
        });
        self.bad("report-without-signature", id, "r and s are zero", |draft| {
            draft.edit = |_, report, _| report[0x2a0..].fill(0);
        });
        self.bad("report-big-endian-signature", id, "r and s with their bytes the wrong way round", |draft| {
            draft.edit = |_, report, _| {
                report[0x2a0..0x2d0].reverse();
                report[0x2e8..0x318].reverse();
            };
        });
        self.bad("vcek-of-another-chip", id, "the genuine VCEK of another chip", |draft| {
            draft.edit = |_, _, vcek| {
                let other = Amd::from_seed(OTHER_SEED, Product::Genoa);
                *vcek = other.vcek_der(other.tcb());
            };
        });
        self.bad("vcek-of-another-tcb", id, "the genuine VCEK of this chip at an older TCB", |draft| {
            draft.edit = |amd, _, vcek| *vcek = amd.vcek_der(Tcb { snp: 20, ..amd.tcb() });
        });
        let id = "snp.report.reserved";
        self.bad("reserved-flags", id, "bit 5 of the flags", |draft| draft.request.flags |= 1 << 5);
        self.bad("reserved-4c", id, "a byte after the flags", |draft| {
            draft.edit = |amd, report, _| {
                report[0x4c] = 1;
                resign(amd, report);
            };
        });
        self.bad("reserved-last-signed-byte", id, "the last signed byte", |draft| {
            draft.edit = |amd, report, _| {
                report[0x29f] = 1;
                resign(amd, report);
            };
        });
        self.bad("reserved-cpuid-v2", id, "CPUID in a version 2 report", |draft| {
            draft.request.version = 2;
            draft.edit = |amd, report, _| {
                report[0x188..0x18b].copy_from_slice(&amd.product().cpuid());
                resign(amd, report);
            };
        });
        self.bad("reserved-mitigations-v3", id, "a mitigation vector in a version 3 report", |draft| {
            draft.request.version = 3;
            draft.edit = |amd, report, _| {
                report[0x1f8] = 0x0b;
                resign(amd, report);
            };
        });
        self.bad("cpuid-of-another-product", "snp.report.product", "a Milan CPUID over a Genoa VCEK", |draft| {
            draft.request.cpuid = Product::Milan.cpuid();
        });
        self.bad("cpuid-unknown", "snp.report.product", "the CPUID of no known product", |draft| {
            draft.request.cpuid = [0x1b, 0, 0];
        });
        self.bad("chip-id-of-another-chip", "snp.report.chip", "CHIP_ID is not the VCEK's hwID", |draft| {
            draft.request.chip_id = Amd::from_seed(OTHER_SEED, Product::Genoa).chip_id();
        });
        self.add("chip-id-padding", "Turin's CHIP_ID with a ninth byte", "snp.report.chip", Product::Turin, |draft| {
            draft.request.chip_id[8] = 1;
        });
    }

    pub(super) fn levels(&mut self) {
        self.bad("tcb-reserved-byte", "snp.tcb.format", "a reserved byte of CURRENT_TCB", |draft| {
            draft.edit = |amd, report, _| {
                report[0x3a] = 1;
                resign(amd, report);
            };
        });
        let id = "snp.vek.tcb";
        self.bad("tcb-above-the-vcek", id, "the key of an old TCB claims the current one", |draft| {
            let older = Tcb { snp: 20, ..draft.amd.tcb() };
            draft.request.signing_tcb = Some(older);
            draft.template = draft.amd.vcek_template(older);
        });
        self.add("tcb-fmc-differs", "only the FMC differs from the VCEK's", id, Product::Turin, |draft| {
            draft.tcb(Tcb { fmc: 1, ..draft.amd.tcb() });
            *draft.template.extension("1.3.6.1.4.1.3704.1.3.9") = vec![2, 1, 0];
        });
        let id = "snp.tcb.order";
        self.bad("reported-above-committed", id, "REPORTED_TCB above COMMITTED_TCB", |draft| {
            draft.request.committed_tcb = Tcb { snp: 20, ..draft.amd.tcb() };
        });
        self.bad("committed-above-current", id, "COMMITTED_TCB above CURRENT_TCB", |draft| {
            draft.request.committed_tcb = Tcb { microcode: 85, ..draft.amd.tcb() };
        });
        let id = "snp.tcb.minimum";
        self.bad("below-the-floor", id, "the microcode is older than the floor", |draft| {
            draft.policy += "[minimum_tcb.genoa]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 85\n";
        });
        self.bad("launched-below-the-floor", id, "launched before the firmware reached the floor", |draft| {
            draft.request.launch_tcb = Tcb { snp: 20, ..draft.amd.tcb() };
            draft.policy += "[minimum_tcb.genoa]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 84\n";
        });
        self.bad("reported-below-the-floor", id, "an older TCB is reported than the floor", |draft| {
            let older = Tcb { snp: 20, ..draft.amd.tcb() };
            draft.request.reported_tcb = older;
            draft.template = draft.amd.vcek_template(older);
            draft.policy += "[minimum_tcb.genoa]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 84\n";
        });
        self.bad("no-floor-for-this-product", id, "the policy states a floor for Milan only", |draft| {
            draft.policy += "[minimum_tcb.milan]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 0\n";
        });
        self.bad(
            "firmware-committed-above-current",
            "snp.firmware.order",
            "a committed build above the current",
            |draft| {
                draft.request.committed_firmware.build += 1;
            },
        );
    }

    pub(super) fn guest_policy(&mut self) {
        let id = "snp.policy.reserved";
        self.bad("policy-bit-17", id, "bit 17 is zero", |draft| draft.request.policy = 0x1_0000);
        self.bad("policy-bit-26", id, "an undefined bit is one", |draft| draft.request.policy |= 1 << 26);
        self.bad("policy-bit-63", id, "the last bit is one", |draft| draft.request.policy |= 1 << 63);
        self.bad("policy-bit-25-v3", id, "PAGE_SWAP_DISABLE before version 5", |draft| {
            draft.request.version = 3;
            draft.request.policy |= PAGE_SWAP_DISABLE;
        });
        for product in Product::ALL {
            let name = format!("policy-debug-{}", product.name().to_lowercase());
            let about = "the host may read and write the guest";
            self.add(&name, about, "snp.policy.debug", product, |draft| draft.request.policy |= DEBUG);
        }
        self.bad("policy-migrate-ma", "snp.policy.migration", "a migration agent may be attached", |draft| {
            draft.request.policy |= MIGRATE_MA;
        });
        let id = "snp.policy.flags";
        self.bad("policy-smt-not-listed", id, "SMT is permitted and the policy does not list it", |draft| {
            draft.policy += "policy_flags = []\n";
        });
        self.bad("policy-single-socket-wanted", id, "the policy demands SINGLE_SOCKET", |draft| {
            draft.policy += "policy_flags = [\"SMT\", \"SingleSocket\"]\n";
        });
        self.bad("policy-abi", "snp.policy.abi", "the guest allows an older ABI than the policy wants", |draft| {
            draft.request.policy |= 0x0132;
            draft.policy += "abi = \">=1.51\"\n";
        });
        self.bad(
            "policy-firmware",
            "snp.policy.firmware",
            "firmware 1.55 under a guest that demands ABI 1.56",
            |draft| {
                draft.request.policy |= 0x0138;
            },
        );
        self.bad(
            "policy-committed-firmware",
            "snp.policy.firmware",
            "the firmware may be rolled back to 1.51",
            |draft| {
                draft.request.policy |= 0x0137;
                draft.request.committed_firmware = Firmware { major: 1, minor: 51, build: 0 };
            },
        );
    }

    pub(super) fn platform(&mut self) {
        self.bad("platform-info-bit-8", "snp.platform_info.reserved", "an undefined bit is one", |draft| {
            draft.request.platform_info |= 1 << 8;
        });
        let id = "snp.platform_info.flags";
        self.bad("platform-smt-not-listed", id, "SMT is on and the policy does not list it", |draft| {
            draft.policy += "platform_info_flags = [\"ECC\"]\n";
        });
        self.bad("platform-alias-check-wanted", id, "the alias check was not done", |draft| {
            draft.request.platform_info = 0x05;
            draft.policy += "platform_info_flags = [\"SMT\", \"AliasCheckComplete\"]\n";
        });
        self.bad("platform-not-named", "snp.platform.allowed", "the policy names another chip", |draft| {
            draft.platforms = Some(vec![Amd::from_seed(OTHER_SEED, Product::Genoa).chip_id()]);
        });
        self.bad(
            "platform-not-named-masked",
            "snp.platform.allowed",
            "masking CHIP_ID does not hide the chip",
            |draft| {
                draft.request.chip_id = [0; 64];
                draft.platforms = Some(vec![Amd::from_seed(OTHER_SEED, Product::Genoa).chip_id()]);
            },
        );
        for (name, vmpl) in [("1", 1), ("3", 3), ("host", u32::MAX)] {
            self.bad(&format!("vmpl-{name}"), "snp.vmpl", "not asked for at VMPL 0", |draft| draft.request.vmpl = vmpl);
        }
        self.bad("vmpl-0-unwanted", "snp.vmpl", "asked for at VMPL 0, the policy wants 2", |draft| {
            draft.policy += "vmpl = 2\n";
        });
    }

    pub(super) fn code(&mut self) {
        self.bad("measurement-not-listed", "snp.measurement.allowed", "another image", |draft| {
            draft.policy = list("hash", [0x99; 48]);
        });
        self.bad("measurement-refused", "snp.measurement.denied", "an image the policy refuses", |draft| {
            draft.policy += &list("hash_blacklist", MEASUREMENT);
        });
        let id = "snp.signer.allowed";
        self.bad("signer-not-listed", id, "another author key", |draft| draft.policy = list("signer", [0x99; 48]));
        self.bad("signer-not-enabled", id, "the digest without AUTHOR_KEY_EN means nothing", |draft| {
            draft.request.flags = 0;
            draft.policy = list("signer", AUTHOR_KEY);
        });
        self.bad("id-key-not-listed", "snp.id_key.allowed", "another ID key", |draft| {
            draft.policy = list("id_key_digest", [0x99; 48]);
        });
        self.bad("id-key-missing", "snp.id_key.allowed", "no ID block, so nobody's key signed", |draft| {
            draft.request.id_key_digest = [0; 48];
            draft.policy = list("id_key_digest", ID_KEY);
        });
        self.bad("id-key-refused", "snp.id_key.denied", "an ID key the policy refuses", |draft| {
            draft.policy += &list("id_key_digest_blacklist", ID_KEY);
        });
    }

    /// What an ID block says.
    pub(super) fn id_block(&mut self) {
        let signed = list("signer", AUTHOR_KEY);
        self.ok("id-block", "an image of the family, as new as the policy wants", |draft| {
            (draft.request.guest_svn, draft.request.family_id, draft.request.image_id) = (3, [6; 16], [7; 16]);
            let ids = format!("family_id = [\"{}\"]\nimage_id = [\"{}\"]\n", "06".repeat(16), "07".repeat(16));
            draft.policy = format!("{signed}minimum_guest_svn = 3\n{ids}");
        });
        self.bad("guest-svn", "snp.guest_svn", "an older image than the policy wants", |draft| {
            draft.request.guest_svn = 2;
            draft.policy = format!("{signed}minimum_guest_svn = 3\n");
        });
        self.bad("family", "snp.family_id", "another family", |draft| {
            draft.policy = format!("{signed}family_id = [\"{}\"]\n", "06".repeat(16));
        });
        self.bad("image", "snp.image_id", "another image of the family", |draft| {
            draft.policy = format!("{signed}image_id = [\"{}\"]\n", "07".repeat(16));
        });
    }

    /// What a policy wants of the platform's firmware and product.
    pub(super) fn firmware(&mut self) {
        self.ok("firmware", "mitigations and firmware that the policy wants", |draft| {
            (draft.request.launch_mitigations, draft.request.current_mitigations) = (0b11, 0b111);
            draft.policy += "mitigations = 3\nminimum_firmware = \"1.55.0\"\nrefused_products = [\"milan\"]\n";
        });
        self.bad("firmware-old", "snp.firmware.minimum", "older firmware than the policy wants", |draft| {
            draft.policy += "minimum_firmware = \"2.0.0\"\n";
        });
        let id = "snp.mitigations";
        self.bad("mitigation-later", id, "a mitigation that came after the launch", |draft| {
            (draft.request.launch_mitigations, draft.request.current_mitigations) = (0b01, 0b11);
            draft.policy += "mitigations = 3\n";
        });
        self.bad("mitigations-unknown", id, "a report that says nothing of mitigations", |draft| {
            draft.request.version = 3;
            draft.policy += "mitigations = 1\n";
        });
        self.bad("product-refused", "snp.platform.product", "a product line that is refused", |draft| {
            draft.policy += "refused_products = [\"genoa\"]\n";
        });
    }

    pub(super) fn binding(&mut self) {
        let id = "snp.report_data";
        self.bad("report-data-of-another-key", id, "evidence made for another key or nonce", |draft| {
            draft.request.report_data = [0x12; 64];
        });
        self.bad("report-data-last-bit", id, "the last bit differs", |draft| draft.request.report_data[63] ^= 1);
        self.bad("host-data-of-another-brief", "snp.host_data", "launched with another brief", |draft| {
            draft.request.host_data = [0; 32];
        });
    }
}
