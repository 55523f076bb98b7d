//! Every row of `dcap-matrix/EXPECTED.json`: a quote, collateral, an instant, and the verdict of other software.
//!
//! Invariant: a row that accepts a status is accepted under a policy of that status alone, and refused for its status alone
//! under a policy of every other one; a row that refuses is refused by the check that stands for its reason.

use crate::support::fetched::Fetched;
use crate::support::folder::Folder;
use crate::support::provider::PROVIDER;
use evidence::dcap::quote::Body;
use evidence::dcap::{Collateral, Platforms, Quote, Roots, Source, Standing, TcbStatus};
use evidence::{Hex, Verdict, sgx, tdx};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) quote: String,
    pub(crate) encoding: Option<String>,
    tee: String,
    pub(crate) bundle: Option<String>,
    pub(crate) at_unix: Option<u64>,
    pub(crate) verdict: String,
    #[serde(default)]
    advisories: Option<Vec<String>>,
    reason: Option<String>,
    #[serde(default)]
    pub(crate) debug: bool,
}

pub(crate) fn rows(folder: &Folder) -> Vec<Row> {
    let rows: Vec<Row> = serde_json::from_slice(&folder.read("dcap-matrix/EXPECTED.json")).expect("rows");
    assert!(rows.len() >= 22);
    rows
}

/// What is asked, besides the status.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wants<'a> {
    pub(crate) accepted: &'a [TcbStatus],
    pub(crate) debug: bool,
}

pub(crate) fn judge(row: &Row, quote: &[u8], by: Source<'_>, now: u64, wants: Wants<'_>) -> Result<Standing, Verdict> {
    let accepted_tcb = Some(wants.accepted.to_vec());
    match row.tee.as_str() {
        "SGX" => {
            let settings = sgx::Settings {
                any_measurement: true,
                insecure_debug: wants.debug,
                accepted_tcb,
                ..sgx::Settings::default()
            };
            let policy = settings.try_into().expect("a policy");
            sgx::authentic(quote, by, &policy, &Platforms::Any, now, PROVIDER)
                .map(|(authentic, _)| authentic.claims().platform.standing.clone())
        }
        "TDX" => {
            // As the oracle was asked.
            let bound = match Quote::parse(quote).map(|quote| quote.body()) {
                Ok(Body::Td(_, Some(extension))) => Some(vec![Hex(extension.mr_service_td)]),
                _ => None,
            };
            let settings = tdx::Settings {
                any_measurement: true,
                service_td: bound,
                insecure_debug: wants.debug,
                accepted_tcb,
                ..tdx::Settings::default()
            };
            let policy = settings.try_into().expect("a policy");
            tdx::authentic(quote, by, &policy, &Platforms::Any, now, PROVIDER)
                .map(|(authentic, _)| authentic.claims().platform.standing.clone())
        }
        other => panic!("{}: {other}", row.quote),
    }
}

fn failures(verdict: &Verdict) -> Vec<&str> {
    verdict.failures().map(|check| check.id).collect()
}

fn status(text: &str) -> TcbStatus {
    serde_json::from_value(text.into()).unwrap_or_else(|_| panic!("{text}"))
}

/// Every status that a policy may accept.
fn all() -> Vec<TcbStatus> {
    TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked).collect()
}

#[test]
fn every_row_has_the_verdict_that_others_give() {
    let Some(folder) = Folder::open() else { return };
    let roots = Roots::intel();
    let mut judged = 0;
    for row in rows(&folder) {
        let (Some(bundle), Some(now)) = (&row.bundle, row.at_unix) else {
            assert_eq!(row.verdict, "NO COLLATERAL WINDOW HERE", "{}", row.quote);
            continue;
        };
        let what = format!("{} by {bundle}", row.quote);
        let quote = folder.decoded(&row.quote, row.encoding.as_deref().unwrap_or("binary"));
        let fetched = Fetched::read(&folder, &format!("dcap-matrix/{bundle}"));
        let bundle = fetched.bundle();
        let by = Source::Bundle(&bundle, &roots);
        let debug = row.debug;
        judged += 1;
        if row.verdict == "REJECT" {
            let expected = match row.reason.as_deref() {
                Some("PCK certificate not yet valid at this time") => "dcap.pck.not_yet_valid",
                Some("No matching TCB level found") => "dcap.tcb.level",
                Some("SEPT_VE_DISABLE is not enabled") => "tdx.attributes.sept_ve_disable",
                Some("TD migration is enabled") => "tdx.attributes.migratable",
                other => panic!("{what}: {other:?}"),
            };
            let verdict = judge(&row, &quote, by, now, Wants { accepted: &all(), debug }).expect_err(&what);
            assert!(failures(&verdict).contains(&expected), "{what}: {:#?}", verdict.failures().collect::<Vec<_>>());
            continue;
        }
        let status = status(&row.verdict);
        let standing = judge(&row, &quote, by, now, Wants { accepted: &[status], debug })
            .unwrap_or_else(|verdict| panic!("{what}: {:#?}", verdict.failures().collect::<Vec<_>>()));
        assert_eq!(standing.status, status, "{what}");
        let advisories: Vec<String> = row.advisories.iter().flatten().cloned().collect();
        assert_eq!(standing.advisories, advisories, "{what}");

        // By a session as by the bundle.
        let session = Collateral::verify(&bundle, &roots, now, PROVIDER).expect(&what);
        let by_session = Source::Verified(&session);
        assert_eq!(judge(&row, &quote, by_session, now, Wants { accepted: &[status], debug }).expect(&what), standing);

        let others: Vec<_> = all().into_iter().filter(|other| *other != status).collect();
        let refused = judge(&row, &quote, by, now, Wants { accepted: &others, debug }).expect_err(&what);
        assert_eq!(failures(&refused), ["dcap.tcb.status"], "{what}");
        if row.debug {
            let refused = judge(&row, &quote, by, now, Wants { accepted: &[status], debug: false }).expect_err(&what);
            assert_eq!(failures(&refused), [format!("{}.attributes.debug", row.tee.to_lowercase())], "{what}");
        }
    }
    assert_eq!(judged, 21);
}

#[test]
fn past_its_window_collateral_is_expired_and_before_it_is_not_valid_yet() {
    let Some(folder) = Folder::open() else { return };
    let roots = Roots::intel();
    for row in rows(&folder) {
        let Some(bundle) = row.bundle.as_ref().filter(|_| row.verdict == "UpToDate") else { continue };
        let quote = folder.decoded(&row.quote, row.encoding.as_deref().unwrap_or("binary"));
        let fetched = Fetched::read(&folder, &format!("dcap-matrix/{bundle}"));
        let bundle = fetched.bundle();
        let wants = Wants { accepted: &[TcbStatus::UpToDate], debug: row.debug };
        for (now, word) in [(1_893_456_000, "expired"), (1_609_459_200, "not_yet_valid")] {
            let verdict = judge(&row, &quote, Source::Bundle(&bundle, &roots), now, wants).expect_err("outside");
            let failures = failures(&verdict);
            assert!(failures.contains(&format!("dcap.tcb_info.{word}").as_str()), "{}: {failures:?}", row.quote);
            assert!(failures.iter().all(|id| id.ends_with(word)), "{}: {failures:?}", row.quote);
            let verdict = Collateral::verify(&bundle, &roots, now, PROVIDER).expect_err("outside");
            assert!(verdict.failures().all(|check| check.id.ends_with(word)));
        }
    }
}

#[test]
fn another_root_is_not_trusted() {
    let Some(folder) = Folder::open() else { return };
    let row = &rows(&folder)[1];
    let quote = folder.decoded(&row.quote, "binary");
    let fetched = Fetched::read(&folder, &format!("dcap-matrix/{}", row.bundle.as_ref().expect("a bundle")));
    let bundle = fetched.bundle();
    // A self-issued CA of somebody else.
    let other = folder.read("dcap-intel-qvl-testroot/trustedRootCaCert.pem");
    let der = der::Document::from_pem(core::str::from_utf8(&other).expect("PEM")).expect("PEM").1;
    let roots = Roots::from_certificates(&[der.as_bytes()]).expect("a root");
    let wants = Wants { accepted: &all(), debug: false };
    let now = row.at_unix.expect("an instant");
    let verdict = judge(row, &quote, Source::Bundle(&bundle, &roots), now, wants).expect_err("another root");
    assert_eq!(failures(&verdict), ["dcap.root.trusted"]);
}
