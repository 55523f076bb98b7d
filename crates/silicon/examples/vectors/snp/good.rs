//! Good evidence: every product and report version, and everything a policy may ask for. They are
//! the controls of the bad cases.

use super::*;

impl Cases {
    pub(super) fn good(&mut self) {
        for product in Product::ALL {
            for version in 2..=5 {
                let name = format!("ok-{}-v{version}", product.name().to_lowercase());
                let about = format!("a healthy {}, report version {version}", product.name());
                self.add(&name, &about, "ok", product, |draft| draft.request.version = version);
            }
        }
        self.ok("every-policy-key", "every key of the policy is stated and met", |draft| {
            draft.request.policy = 0x3_0000 | SINGLE_SOCKET | 0x0133;
            draft.request.platform_info = 0x27;
            (draft.request.guest_svn, draft.request.family_id, draft.request.image_id) = (3, [6; 16], [7; 16]);
            (draft.request.launch_mitigations, draft.request.current_mitigations) = (0b11, 0b111);
            draft.platforms = Some(vec![draft.amd.chip_id()]);
            draft.policy = [
                list("signer", AUTHOR_KEY),
                list("hash", MEASUREMENT),
                list("hash_blacklist", [0; 48]),
                list("id_key_digest", ID_KEY),
                list("id_key_digest_blacklist", [0; 48]),
                "minimum_guest_svn = 3\n".into(),
                format!("family_id = [\"{}\"]\nimage_id = [\"{}\"]\n", "06".repeat(16), "07".repeat(16)),
                "abi = \">=1.51\"\n".into(),
                "policy_flags = [\"SMT\", \"SingleSocket\"]\n".into(),
                "platform_info_flags = [\"SMT\", \"TSME\", \"ECC\", \"AliasCheckComplete\"]\n".into(),
                "minimum_firmware = \"1.55.0\"\nmitigations = 3\nrefused_products = [\"milan\"]\n".into(),
                "vmpl = 0\ncrl = \"required\"\n".into(),
                "[minimum_tcb.genoa]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 84\n".into(),
            ]
            .concat();
        });
        let about = "a floor with FMC, and an eight-byte chip id";
        self.add("ok-turin-floor-and-platform", about, "ok", Product::Turin, |draft| {
            draft.platforms = Some(vec![draft.amd.chip_id()]);
            draft.policy += "[minimum_tcb.turin]\nfmc = 0\nbootloader = 1\n";
            draft.policy += "tee = 0\nsnp = 2\nmicrocode = 71\n";
        });
        self.ok("masked-chip-id", "the host masks CHIP_ID; the VCEK still names the chip", |draft| {
            draft.request.chip_id = [0; 64];
        });
        self.ok(
            "reported-below-current",
            "the host reports an older TCB than it runs, with that TCB's VCEK",
            |draft| {
                let older = Tcb { snp: 20, ..draft.amd.tcb() };
                draft.request.reported_tcb = older;
                draft.template = draft.amd.vcek_template(older);
            },
        );
        self.ok("mitigations", "version 5 with mitigation vectors", |draft| {
            (draft.request.launch_mitigations, draft.request.current_mitigations) = (0x0b, 0x0b);
        });
        self.ok("bergamo", "a Zen 4c processor: CPUID model A0h is of the Genoa line", |draft| {
            draft.request.cpuid = [0x19, 0xa0, 0x02];
        });
        self.ok("crl-of-other-serials", "the list revokes the first Genoa ASK, not this one", |draft| {
            draft.crl(THIS_UPDATE, NEXT_UPDATE, &[0x2_0001]);
        });
        self.ok("crl-of-the-arks-own", "the list has the VCEK's serial number, of a certificate of the ARK", |draft| {
            draft.template.serial = 0xfeed;
            draft.crl(THIS_UPDATE, NEXT_UPDATE, &[0, 0xfeed]);
        });
        self.ok("crl-optional", "no list, and a policy that does not ask for one", |draft| {
            draft.crl = None;
            draft.policy += "crl = \"optional\"\n";
        });
        self.ok("last-second-of-the-crl", "nextUpdate is the last good second", |draft| draft.now = NEXT_UPDATE);
        self.ok("insecure-debug", "a debug guest, and a policy that accepts them", |draft| {
            draft.request.policy |= DEBUG;
            draft.policy += "insecure_debug = true\n";
        });
        self.ok("vmpl-1", "asked for at VMPL 1, which the policy wants", |draft| {
            draft.request.vmpl = 1;
            draft.policy += "vmpl = 1\n";
        });
        self.ok("page-swap-disable", "policy bit 25, defined from version 5 on", |draft| {
            draft.request.policy |= PAGE_SWAP_DISABLE;
        });
    }
}
