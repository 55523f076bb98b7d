//! What a policy says about a platform's security versions, with the same keys in `[sgx]` and in `[tdx]`.

use super::pck::{Configuration, Ppid};
use super::quote::Tee;
use super::status::{Standing, TcbStatus};
use crate::Hex;
use thiserror::Error;

/// The platforms a policy names, by their provisioning ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// Any that Intel made.
    Any,
    /// Only these.
    Only(Vec<Ppid>),
}

/// The keys of both sections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcbRules<'a> {
    /// `accepted_tcb`: accepted statuses; `UpToDate` alone if it is not said.
    pub(crate) accepted: Option<&'a [TcbStatus]>,
    /// `grace_days`: how many days after its date a level may be that is out of date.
    pub(crate) grace_days: Option<u32>,
    /// `allowed_advisories`: no others may apply.
    pub(crate) allowed_advisories: Option<&'a [String]>,
    /// `rejected_advisories`: none of these may apply.
    pub(crate) rejected_advisories: Option<&'a [String]>,
    /// `minimum_evaluation`: Intel's count of recoveries, at least.
    pub(crate) minimum_evaluation: Option<u32>,
    /// `refused_fmspc`: products that are not accepted.
    pub(crate) refused_fmspc: Option<&'a [Hex<6>]>,
    /// `insecure_without_qe_identity`: nothing is asked of the quoting enclave where nobody brings Intel's word on it.
    pub(crate) without_qe_identity: bool,
    /// `smt`, `dynamic_platform`, `cached_keys`: how platforms with several processors must be configured.
    pub(crate) configuration: Configuration,
}

/// Why these keys make no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TcbRulesError {
    /// A list that accepts or refuses nothing.
    #[error("`{0}` is empty; leave the key away to state no demand")]
    EmptyList(&'static str),
    /// Revoked levels are never accepted.
    #[error("`accepted_tcb` lists \"Revoked\", which is never accepted")]
    Revoked,
    /// An enclave has none of these.
    #[error("`accepted_tcb` lists only what is said of TDs")]
    Relaunch,
    /// Grace for nothing.
    #[error("`grace_days` says how long \"OutOfDate\" is accepted, but `accepted_tcb` does not list it")]
    Grace,
    /// The same advisory allowed and rejected.
    #[error("{0} stands in both `allowed_advisories` and `rejected_advisories`")]
    AllowedAndRejected(String),
    /// Not how Intel names them.
    #[error("`{0}` is no advisory such as \"INTEL-SA-00615\"")]
    Advisory(String),
}

const DAY: u64 = 86_400;

impl TcbRules<'_> {
    /// Refuses what contradicts itself.
    pub(crate) fn check(&self, tee: Tee) -> Result<(), TcbRulesError> {
        let empty = [
            ("accepted_tcb", self.accepted.is_some_and(<[_]>::is_empty)),
            ("rejected_advisories", self.rejected_advisories.is_some_and(<[_]>::is_empty)),
            ("refused_fmspc", self.refused_fmspc.is_some_and(<[_]>::is_empty)),
        ];
        if let Some((key, _)) = empty.into_iter().find(|(_, empty)| *empty) {
            return Err(TcbRulesError::EmptyList(key));
        }
        let accepted = self.accepted();
        if accepted.contains(&TcbStatus::Revoked) {
            return Err(TcbRulesError::Revoked);
        }
        if tee == Tee::Sgx && accepted.iter().all(|status| is_of_launch(*status)) {
            return Err(TcbRulesError::Relaunch);
        }
        if self.grace_days.is_some() && !accepted.iter().any(|status| is_old(*status)) {
            return Err(TcbRulesError::Grace);
        }
        let allowed = self.allowed_advisories.unwrap_or_default();
        let rejected = self.rejected_advisories.unwrap_or_default();
        if let Some(both) = allowed.iter().find(|advisory| rejected.contains(advisory)) {
            return Err(TcbRulesError::AllowedAndRejected(both.clone()));
        }
        let named = |id: &str| {
            id.strip_prefix("INTEL-SA-")
                .is_some_and(|number| number.len() == 5 && number.bytes().all(|digit| digit.is_ascii_digit()))
        };
        match allowed.iter().chain(rejected).find(|id| !named(id)) {
            Some(id) => Err(TcbRulesError::Advisory(id.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn accepted(&self) -> &[TcbStatus] {
        self.accepted.unwrap_or(&[TcbStatus::UpToDate])
    }

    /// Whether the status is accepted at this instant.
    pub(super) fn accept(&self, standing: &Standing, now: u64) -> bool {
        let grace = self.grace_days.filter(|_| is_old(standing.status));
        let until = |days: u32| standing.date.saturating_add(u64::from(days).saturating_mul(DAY));
        self.accepted().contains(&standing.status) && grace.is_none_or(|days| now <= until(days))
    }
}

fn is_of_launch(status: TcbStatus) -> bool {
    matches!(status, TcbStatus::TDRelaunchAdvised | TcbStatus::TDRelaunchAdvisedConfigurationNeeded)
}

fn is_old(status: TcbStatus) -> bool {
    matches!(status, TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded)
}
