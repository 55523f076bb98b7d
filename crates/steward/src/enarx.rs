//! Requests of Enarx, where the policy takes them: `[compat] enarx = true`, class insecure.
//!
//! Owns what such a Keep gets: a certificate for its key, from the instant of judging on, with the facts that its evidence says. It
//! has no brief, no nonce and no Deployment, so it gets no name, cannot authenticate itself as a client, and nothing says when its
//! evidence was made (trust.md rules 3, 9, 10). Refuses what the policy refuses of any evidence, and evidence of a launch that
//! something was said at: that is no Keep of Enarx. Invariant: no relying party of ours takes such a certificate for a Keep's.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use evidence::{
    Verified,
    appraisal::{self, Appraisal, Binding, By, Subject, enarx::Request},
};
use identity::{
    ear::{EAR_PROFILE, Tier},
    jws,
    names::SpiffeId,
};
use serde_json::json;
use workload::digest::Digest;

use crate::{
    Steward,
    judge::{Decided, Form, Found, serial, until, verifier},
    record::Leaf,
    refusal::{IssueFault, Refusal},
    signer::plain::Plain,
};

/// What was said at the launch of such a Keep: nothing.
const NOTHING: [u8; 32] = [0; 32];

/// Judges a request at `now` (seconds since 1970).
pub(crate) fn judge(request: Request, steward: &Steward, now: u64) -> Result<Decided, Refusal> {
    let Request { evidence, mut endorsements, spki, report_data } = request;
    let (asked, roots) = steward.policy().asks(&evidence).map_err(|tee| Refusal::Tee { tee })?;
    steward.collateral().add(&evidence, &mut endorsements);
    let binding = Binding { report_data: Some(report_data), launch_field: Some(NOTHING) };
    let by = By { endorsements: &endorsements, policy: Some(asked), binding, roots, now };
    let Appraisal { verdict, proof, .. } = appraisal::appraise(&evidence, by, steward.provider());
    let verified = proof.ok_or(Refusal::Evidence(verdict))?;
    decide(steward, &spki, &verified, now)
}

fn decide(steward: &Steward, spki: &[u8], verified: &Verified<Subject>, now: u64) -> Result<Decided, Refusal> {
    let policy = steward.policy();
    let authority = steward.authority();
    let Found { tee, product, measurement, signer, registers, tcb, tcb_status, advisories, platform } =
        Found::of(verified, None, policy)?;
    let not_after = until(steward, verified, now, now)?;
    let id = SpiffeId::anonymous(policy.trust_domain().clone()).map_err(IssueFault::from)?;
    let key = Digest::of(spki);
    // Another submodule than a Keep's: who looks for `keep` finds none.
    let claims = json!({
        "eat_profile": EAR_PROFILE,
        "iat": now,
        "ear_verifier_id": verifier(),
        "cnf": { "spki-sha256": URL_SAFE_NO_PAD.encode(key.as_bytes()) },
        "submods": { "enarx": {
            "ear_status": Tier::Contraindicated,
            "donjon.class": policy.class(),
            "donjon.tee": tee,
            "donjon.product": product,
            "donjon.measurement": measurement,
            "donjon.signer": signer,
            "donjon.registers": registers,
            "donjon.tcb": tcb,
            "donjon.tcb-status": tcb_status,
            "donjon.advisories": advisories,
            "donjon.policy": policy.digest(),
            "donjon.platform": platform,
        } },
    });
    let ear_jwt = jws::sign("eat+jwt", claims.to_string().as_bytes(), authority.key()).map_err(IssueFault::Sign)?;
    let serial = serial(spki, not_after, None, &[], &ear_jwt);
    let leaf = Leaf {
        serial: hex::encode(serial),
        key,
        id: id.to_string(),
        not_before: now,
        not_after,
        brief: None,
        ear: Digest::of(ear_jwt.as_bytes()),
    };
    let plain =
        Plain { spki: spki.to_vec(), url: id.to_string(), client: false, not_before: now, not_after, serial, ear_jwt };
    Ok(Decided::new(leaf, id, Form::Plain(plain)))
}
