//! Evidence of a provider's key: a VLEK below the ASVK, and what must not pass for one.

use super::*;

const PROVIDER: &str = "CN=provider.simulated-public.invalid";
const NAMED: &str = "csp:CN=provider.simulated-public.invalid";
/// AUTHOR_KEY_EN, and SIGNING_KEY 1.
const FLAGS: u32 = 1 << 2 | 1;

/// A good one; the policy names the provider and no chip.
fn draft(draft: &mut Draft) {
    draft.request.flags = FLAGS;
    draft.template = draft.amd.vlek_template(draft.amd.tcb(), PROVIDER);
    draft.ask = Some(draft.amd.product().asvk_der().to_vec());
    draft.platforms = Some(Vec::new());
    draft.provider = Some(NAMED);
    draft.edit = signed;
}

/// The chip signs with the VLEK instead of its own key.
fn signed(amd: &Amd, report: &mut Vec<u8>, _: &mut Vec<u8>) {
    let report = report.as_mut_slice().try_into().expect("a report keeps its size");
    amd.sign_report_with_vlek(report, amd.tcb());
}

impl Cases {
    pub(super) fn vlek(&mut self) {
        for product in Product::ALL {
            let name = format!("ok-vlek-{}", product.name().to_lowercase());
            let about = format!("a VLEK on a {}, of a provider that the policy names", product.name());
            self.add(&name, &about, "ok", product, draft);
        }
        self.ok("vlek-chip-key-masked", "a VLEK where the chip's own key is masked", |good| {
            draft(good);
            good.request.flags |= 2;
        });
        let mut bad = |name, expect, about, change: fn(&mut Draft)| {
            self.bad(name, expect, about, |good| {
                draft(good);
                change(good);
            });
        };
        bad("vlek-without-provider", "snp.vek.format", "neither hwID nor cspID", |draft| {
            draft.template.extensions.retain(|extension| extension.oid != "1.3.6.1.4.1.3704.1.5");
        });
        bad("vlek-signing-key-vcek", "snp.vek.kind", "the report says VCEK, the certificate is a VLEK", |draft| {
            draft.request.flags = 1;
        });
        let id = "snp.ask.authority";
        bad("vlek-of-an-ask", id, "the ASK certifies a VLEK", |draft| {
            draft.template.authority = VekKind::Vcek;
            draft.ask = Some(draft.amd.ask_der().to_vec());
        });
        bad("vcek-of-an-asvk", id, "the ASVK certifies a VCEK", |draft| {
            draft.request.flags = 1;
            draft.template = draft.amd.vcek_template(draft.amd.tcb());
            draft.template.authority = VekKind::Vlek;
            draft.platforms = None;
            draft.edit = |_, _, _| {};
        });
        bad("vlek-bad-signature", "snp.vek.signature", "one bit of the VLEK's signature differs", |draft| {
            draft.edit = |amd, report, vlek| {
                signed(amd, report, vlek);
                flip_last_byte(vlek);
            };
        });
        bad("asvk-revoked", "snp.ask.revoked", "the list revokes the ASVK", |draft| {
            draft.crl(THIS_UPDATE, NEXT_UPDATE, &[draft.amd.product().asvk_serial()]);
        });
        bad("vlek-and-the-chips-key", "snp.report.signature", "the chip's own key signed the report", |draft| {
            draft.edit = |_, _, _| {};
        });
        bad("vlek-of-another-provider", "snp.platform.allowed", "the policy names another provider", |draft| {
            draft.provider = Some("csp:CN=another.simulated-public.invalid");
        });
        bad("vlek-and-only-the-chip-named", "snp.platform.allowed", "the chip's name is not its provider's", |draft| {
            (draft.platforms, draft.provider) = (Some(vec![draft.amd.chip_id()]), None);
        });
    }
}
