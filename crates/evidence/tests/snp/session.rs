//! What was examined before gives the verdict that examining it now gives, and costs fewer signature checks.

use crate::support::provider::{Counting, PROVIDER};
use crate::vectors::{Case, cases, control};
use evidence::pki::{Certificate, Scheme};
use evidence::snp::{
    Collateral, Endorsement, Fetched, Input, Roots, Session, SnpClaims, SnpEvidence, Source, Vek, verify,
};
use evidence::{Outcome, Provider, SignatureAlgorithm, Verdict};

/// Claims and verdict, or the verdict, and how many signatures were checked for it.
fn judge(case: &Case, evidence: SnpEvidence<'_>, source: Source<'_>) -> (Result<(SnpClaims, Verdict), Verdict>, usize) {
    let (expected, policy, platforms, now) = (case.expected, &case.policy, &case.platforms, case.now);
    let provider = Counting::default();
    let input = Input { evidence, expected, collateral: source, policy, platforms, now };
    let judged = verify(input, &provider).map(|(verified, verdict)| (verified.into_claims(), verdict));
    (judged, provider.0.get())
}

fn given(case: &Case) -> (Result<(SnpClaims, Verdict), Verdict>, usize) {
    judge(case, case.evidence(), Collateral { roots: &case.roots, crl: None }.into())
}

/// A session that has what the case's evidence brings.
fn session(case: &Case) -> Result<Session, Verdict> {
    let (asks, crls): (Vec<&[u8]>, Vec<&[u8]>) =
        (case.ask.as_deref().into_iter().collect(), case.crl.as_deref().into_iter().collect());
    Session::verify(&case.roots, Fetched { asks: &asks, crls: &crls }, case.now, PROVIDER)
}

fn endorsement(case: &Case) -> Endorsement {
    session(case).and_then(|session| session.endorse(&case.vcek, case.now, PROVIDER)).expect("a good case")
}

fn primary(verdict: &Verdict) -> &str {
    verdict.primary().map_or("nothing", |check| check.id)
}

#[test]
fn every_vector_ends_the_same_by_a_session() {
    let (mut sessions, mut endorsed) = (0, 0);
    for case in cases() {
        let name = &case.name;
        let (by_bundle, _) = given(&case);

        // Of roots alone: all else comes with the report.
        let roots = Session::verify(&case.roots, Fetched::default(), case.now, PROVIDER).expect("nothing to refuse");
        assert!(judge(&case, case.evidence(), Source::Session(&roots)).0 == by_bundle, "{name}: by roots");
        if let Ok(endorsement) = roots.endorse(&case.vcek, case.now, PROVIDER) {
            panic!("{name}: {:?} without an ASK", endorsement.vek().product());
        }

        let known = match session(&case) {
            Ok(known) => known,
            Err(verdict) => {
                // What is wrong with it alone is not good beside a report.
                let whole = by_bundle.as_ref().expect_err(name);
                assert!(verdict.failures().count() > 0, "{name}");
                for failed in verdict.failures() {
                    let check = whole.check(failed.id).expect("a rule");
                    assert_ne!(check.outcome, Outcome::Pass, "{name}: {}", failed.id);
                }
                continue;
            }
        };
        sessions += 1;
        // Without one in the evidence, the ASK is found by the name of the VEK's issuer.
        let name_of = |der: &[u8]| Certificate::parse(der, Scheme::RsaPssSha384).map(|ask| ask.subject().clone());
        let by_name = match (Vek::parse(&case.vcek), &case.ask) {
            (Ok(vek), Some(ask)) => name_of(ask).as_ref() == Ok(vek.certificate().issuer()),
            _ => true,
        };
        for ask in [case.ask.as_deref(), None].into_iter().filter(|ask| ask.is_some() || by_name) {
            let shorter = SnpEvidence { ask, crl: None, ..case.evidence() };
            assert!(judge(&case, shorter, Source::Session(&known)).0 == by_bundle, "{name}: by a session");
            let Ok(chip) = known.endorse(&case.vcek, case.now, PROVIDER) else { continue };
            endorsed += 1;
            assert!(judge(&case, shorter, Source::Endorsed(&chip)).0 == by_bundle, "{name}: by an endorsement");
        }
        let whole = judge(&case, case.evidence(), Source::Session(&known)).0;
        assert!(whole == by_bundle, "{name}: by a session, and all that there is");
    }
    assert!(sessions > 100 && endorsed > 150, "{sessions} sessions, {endorsed} endorsed");
}

/// An endorsement spares work; it lends nothing to other certificates.
#[test]
fn evidence_that_is_not_the_endorsed_is_judged_as_it_is() {
    for name in ["ok-milan-v3", "ok-genoa-v5", "ok-turin-v5"] {
        let chip = control(name);
        let asks = [chip.ask.as_deref().expect("an ASK")];
        // No list of its own, which would go before that of the evidence.
        let session = Session::verify(&chip.roots, Fetched { asks: &asks, crls: &[] }, chip.now, PROVIDER);
        let endorsement = session.and_then(|session| session.endorse(&chip.vcek, chip.now, PROVIDER)).expect(name);
        let mut judged = 0;
        for case in cases().into_iter().filter(|case| case.roots == chip.roots && case.ask.is_some()) {
            judged += 1;
            let by = judge(&case, case.evidence(), Source::Endorsed(&endorsement)).0;
            assert!(by == given(&case).0, "{} by the endorsement of {name}", case.name);
        }
        assert!(judged > 3, "{name}: {judged}");
    }
}

#[test]
fn what_was_examined_before_is_not_checked_again() {
    let case = control("ok-genoa-v5");
    let (_, cold) = given(&case);
    let known = session(&case).expect("a session");
    let (_, warm) = judge(&case, case.evidence(), Source::Session(&known));
    let (_, once) = judge(&case, case.evidence(), Source::Endorsed(&endorsement(&case)));
    // ASK, VEK, list, report; VEK, report; report.
    assert_eq!([cold, warm, once], [4, 2, 1]);
}

#[test]
fn dates_are_judged_at_every_report() {
    let mut case = control("ok-genoa-v5");
    let (known, chip) = (session(&case).expect("a session"), endorsement(&case));
    for (now, failed) in [
        (0, ["snp.ark.not_yet_valid", "snp.ask.not_yet_valid", "snp.vek.not_yet_valid", "snp.crl.not_yet_valid"]),
        (u64::MAX, ["snp.ark.expired", "snp.ask.expired", "snp.vek.expired", "snp.crl.expired"]),
    ] {
        case.now = now;
        let (by_bundle, _) = given(&case);
        for source in [Source::Session(&known), Source::Endorsed(&chip)] {
            let (judged, _) = judge(&case, case.evidence(), source);
            assert_eq!(judged, by_bundle);
            let verdict = judged.expect_err("outside");
            assert_eq!(verdict.failures().map(|check| check.id).collect::<Vec<_>>(), failed);
        }
        assert!(session(&case).is_err());
        assert!(known.endorse(&case.vcek, now, PROVIDER).is_err());
    }
}

#[test]
fn a_session_refuses_what_is_not_good_by_itself() {
    let good = control("ok-genoa-v5");
    assert!(session(&good).is_ok(), "control");
    for name in [
        "ask-bad-signature",
        "ask-expired",
        "ask-is-the-ark",
        "ask-of-another-root",
        "ask-revoked",
        "crl-bad-signature",
        "crl-expired",
        "crl-not-yet-valid",
        "crl-of-another-product",
        "crl-of-another-root",
        "crl-truncated",
        "crl-without-end",
        "crl-without-the-right",
    ] {
        let case = control(name);
        let verdict = session(&case).expect_err(name);
        assert_eq!(primary(&verdict), case.expect, "{name}");
    }
    assert_eq!(primary(&session(&control("ask-truncated")).expect_err("half an ASK")), "snp.ask.format");
    for name in ["vcek-bad-signature", "vcek-expired", "vcek-not-yet-valid", "vcek-truncated", "vcek-of-another-ask"] {
        let case = control(name);
        let refused = session(&case).expect("a session").endorse(&case.vcek, case.now, PROVIDER);
        assert_eq!(refused.err().as_ref().map(primary), Some(case.expect.as_str()), "{name}");
    }
}

/// The attester's list might be an older one that is still within its dates.
#[test]
fn a_list_of_the_session_goes_before_the_attesters() {
    let (case, revoking) = (control("ok-genoa-v5"), control("ask-revoked"));
    let crls = [revoking.crl.as_deref().expect("a list")];
    let session = Session::verify(&case.roots, Fetched { asks: &[], crls: &crls }, case.now, PROVIDER).expect("a list");
    let refused = judge(&case, case.evidence(), Source::Session(&session)).0.expect_err("revoked");
    assert_eq!(primary(&refused), "snp.ask.revoked");
}

#[test]
fn of_two_lists_of_one_root_the_latest_counts() {
    let (case, later) = (control("ok-genoa-v5"), control("ask-revoked-of-late"));
    let (before, after) = (case.crl.as_deref().expect("a list"), later.crl.as_deref().expect("a list"));
    let ask = [case.ask.as_deref().expect("an ASK")];
    for crls in [[before, after], [after, before]] {
        let session = |asks| Session::verify(&case.roots, Fetched { asks, crls: &crls }, case.now, PROVIDER);
        let known = session(&[]).expect("two good lists");
        let refused = judge(&case, case.evidence(), Source::Session(&known)).0.expect_err("revoked");
        assert_eq!(primary(&refused), "snp.ask.revoked");
        assert_eq!(primary(&session(&ask).expect_err("revoked")), "snp.ask.revoked");
    }
    let crls = [before, before];
    let session = Session::verify(&case.roots, Fetched { asks: &ask, crls: &crls }, case.now, PROVIDER);
    assert!(judge(&case, case.evidence(), Source::Session(&session.expect("control"))).0.is_ok(), "control");
}

/// Roots of Milan and Genoa, and a list of Milan; the evidence is a Genoa's.
#[test]
fn a_list_of_another_root_is_none() {
    let (milan, mut case) = (control("ok-milan-v3"), control("ok-genoa-v5"));
    let arks = [&milan, &case].map(|case| case.roots.anchors()[0].certificate().der().to_vec());
    case.roots = Roots::from_arks(&[&arks[0], &arks[1]]).expect("roots");
    let asks = [case.ask.as_deref().expect("an ASK")];
    let fetched = Fetched { asks: &asks, crls: &[milan.crl.as_deref().expect("a list")] };
    let session = Session::verify(&case.roots, fetched, case.now, PROVIDER).expect("a session");
    let endorsement = session.endorse(&case.vcek, case.now, PROVIDER).expect("a VEK that nothing is against");
    let given = Collateral { roots: &case.roots, crl: milan.crl.as_deref() };
    let sources = || [given.into(), Source::Session(&session), Source::Endorsed(&endorsement)];
    let (with, without) = (case.evidence(), SnpEvidence { crl: None, ..case.evidence() });
    let by_roots = judge(&case, with, Collateral { roots: &case.roots, crl: None }.into()).0;
    for source in sources() {
        assert_eq!(judge(&case, with, source).0, by_roots, "the attester's, of Genoa");
        let refused = judge(&case, without, source).0.expect_err("none of Genoa");
        assert_eq!(refused.failures().map(|check| check.id).collect::<Vec<_>>(), ["snp.crl.present"]);
    }
    let mut lenient = case.clone();
    lenient.policy = control("ok-crl-optional").policy;
    for source in sources() {
        let (claims, _) = judge(&lenient, without, source).0.expect("no list is wanted");
        assert_eq!(claims.crl_next_update, None);
    }
}

/// It would hide that the verifier's own list was exchanged.
#[test]
fn a_list_that_nobody_signed_is_not_set_aside() {
    let case = control("ok-genoa-v5");
    for name in ["crl-of-another-root", "crl-of-another-product", "crl-bad-signature", "crl-truncated"] {
        let bad = control(name);
        let collateral = Collateral { roots: &case.roots, crl: bad.crl.as_deref() };
        let refused = judge(&case, case.evidence(), collateral.into()).0.expect_err(name);
        assert_eq!(primary(&refused), bad.expect, "{name}");
        let crls = [bad.crl.as_deref().expect("a list")];
        let session = Session::verify(&case.roots, Fetched { asks: &[], crls: &crls }, case.now, PROVIDER);
        assert_eq!(primary(&session.expect_err(name)), bad.expect, "{name}");
    }
}

/// Takes every signature but those of one key.
struct AllBut(Vec<u8>);

impl Provider for AllBut {
    fn verify(&self, _: SignatureAlgorithm, spki: &[u8], _: &[u8], _: &[u8]) -> bool {
        self.0 != spki
    }
}

#[test]
fn of_authorities_of_one_name_the_one_that_signed_is_taken() {
    let case = control("ok-genoa-v5");
    let good = case.ask.clone().expect("an ASK");
    // Another key under the same name: one byte of the modulus differs.
    let start = [0x02, 0x82, 0x02, 0x01, 0x00];
    let at = good.windows(start.len()).position(|window| window == start).expect("a modulus") + 100;
    let mut other = good.clone();
    other[at] ^= 1;
    let provider = AllBut(Certificate::parse(&other, Scheme::RsaPssSha384).expect("a certificate").spki().to_vec());
    for (asks, failed) in [
        (vec![&other, &good], None),
        (vec![&good, &other], None),
        (vec![&good], None),
        (vec![&other], Some("snp.vek.signature")),
    ] {
        let asks: Vec<&[u8]> = asks.into_iter().map(Vec::as_slice).collect();
        let session = Session::verify(&case.roots, Fetched { asks: &asks, crls: &[] }, case.now, &provider);
        let session = session.expect("a session");
        let judge = |source| {
            let Case { expected, ref policy, ref platforms, now, .. } = case;
            let evidence = SnpEvidence { ask: None, ..case.evidence() };
            let input = Input { evidence, expected, collateral: source, policy, platforms, now };
            verify(input, &provider).err().map(|verdict| primary(&verdict).to_owned())
        };
        assert_eq!(judge(Source::Session(&session)).as_deref(), failed);
        match session.endorse(&case.vcek, case.now, &provider) {
            Ok(endorsed) => assert_eq!((judge(Source::Endorsed(&endorsed)), failed), (None, None)),
            Err(verdict) => assert_eq!(Some(primary(&verdict)), failed),
        }
    }
}

#[test]
fn one_session_serves_every_product_line() {
    let lines = ["ok-milan-v3", "ok-genoa-v5", "ok-turin-v5"].map(control);
    let arks: Vec<&[u8]> = lines.iter().map(|case| case.roots.anchors()[0].certificate().der()).collect();
    let asks: Vec<&[u8]> = lines.iter().map(|case| case.ask.as_deref().expect("an ASK")).collect();
    let crls: Vec<&[u8]> = lines.iter().map(|case| case.crl.as_deref().expect("a list")).collect();
    let roots = Roots::from_arks(&arks).expect("roots");
    let session =
        Session::verify(&roots, Fetched { asks: &asks, crls: &crls }, lines[0].now, PROVIDER).expect("a session");
    for case in &lines {
        let alone = SnpEvidence { ask: None, crl: None, ..case.evidence() };
        let (judged, checked) = judge(case, alone, Source::Session(&session));
        assert!(judged.is_ok(), "{}: {judged:?}", case.name);
        assert_eq!(checked, 2, "{}", case.name);
    }
    // Of a line without a list in the session, the attester's is judged.
    let session =
        Session::verify(&roots, Fetched { asks: &asks, crls: &crls[..1] }, lines[0].now, PROVIDER).expect("a session");
    let judged = judge(&lines[1], lines[1].evidence(), Source::Session(&session)).0;
    assert_eq!(judged, judge(&lines[1], lines[1].evidence(), Collateral { roots: &roots, crl: None }.into()).0);
    assert!(judged.is_ok());
}
