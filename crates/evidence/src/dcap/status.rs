//! What Intel says of a level of security versions, and how what it says of several components becomes one answer.
//!
//! The rules are those of Intel's Quote Verification Library: a component that is out of date or revoked makes the whole so.

use core::fmt;
use serde::{Deserialize, Serialize};

/// TCB status of a platform (Intel PCS API v4, `tcbStatus`; the last two are conclusions of a verifier).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Nothing is missing.
    UpToDate,
    /// The software inside has to be hardened.
    SWHardeningNeeded,
    /// The platform has to be configured.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSWHardeningNeeded,
    /// There are updates of the platform.
    OutOfDate,
    /// There are updates, and the platform has to be configured.
    OutOfDateConfigurationNeeded,
    /// The TDX module was updated; a TD that was launched before should be launched again.
    TDRelaunchAdvised,
    /// The same, and the platform has to be configured.
    TDRelaunchAdvisedConfigurationNeeded,
    /// Keys of this level are known to be compromised.
    Revoked,
}

impl TcbStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TDRelaunchAdvised,
        Self::TDRelaunchAdvisedConfigurationNeeded,
        Self::Revoked,
    ];

    /// Of a platform one of whose components has this status.
    #[must_use]
    pub(super) fn with(self, component: Self) -> Self {
        match (component, self) {
            (Self::Revoked, _) => Self::Revoked,
            (Self::OutOfDate, Self::UpToDate | Self::SWHardeningNeeded) => Self::OutOfDate,
            (Self::OutOfDate, Self::ConfigurationNeeded | Self::ConfigurationAndSWHardeningNeeded) => {
                Self::OutOfDateConfigurationNeeded
            }
            _ => self,
        }
    }

    /// Of a TD that was launched at this status on a platform that now has another. Intel's library says something only
    /// where the platform was out of date and is not any more; else it is as bad as it was or is.
    #[must_use]
    pub(super) fn now(self, current: Self) -> Self {
        let both = [self, current];
        let good = |status| {
            matches!(
                status,
                Self::UpToDate
                    | Self::SWHardeningNeeded
                    | Self::ConfigurationNeeded
                    | Self::ConfigurationAndSWHardeningNeeded
            )
        };
        let configuration = both.iter().any(|status| {
            matches!(
                status,
                Self::ConfigurationNeeded
                    | Self::ConfigurationAndSWHardeningNeeded
                    | Self::OutOfDateConfigurationNeeded
                    | Self::TDRelaunchAdvisedConfigurationNeeded
            )
        });
        let hardening = both
            .iter()
            .any(|status| matches!(status, Self::SWHardeningNeeded | Self::ConfigurationAndSWHardeningNeeded));
        match (good(self), good(current)) {
            _ if both.contains(&Self::Revoked) => Self::Revoked,
            (false, true) if configuration => Self::TDRelaunchAdvisedConfigurationNeeded,
            (false, true) => Self::TDRelaunchAdvised,
            (_, false) if configuration => Self::OutOfDateConfigurationNeeded,
            (_, false) => Self::OutOfDate,
            (true, true) => match (configuration, hardening) {
                (true, true) => Self::ConfigurationAndSWHardeningNeeded,
                (true, false) => Self::ConfigurationNeeded,
                (false, true) => Self::SWHardeningNeeded,
                (false, false) => Self::UpToDate,
            },
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is said of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its status.
    pub status: TcbStatus,
    /// The last date on which it was up to date, unix time.
    pub date: u64,
    /// What is known against it, such as `INTEL-SA-00615`: in Intel's order, the platform's before its components'.
    pub advisories: Vec<String>,
}

impl Standing {
    /// Together with a component's: its advisories too, and the older date.
    #[must_use]
    pub(super) fn with(mut self, component: &Self) -> Self {
        self.status = self.status.with(component.status);
        self.date = self.date.min(component.date);
        for advisory in &component.advisories {
            if !self.advisories.contains(advisory) {
                self.advisories.push(advisory.clone());
            }
        }
        self
    }

    /// Of a TD that was launched on this and runs on another now: what is against either is against it.
    #[must_use]
    pub(super) fn now(self, current: &Self) -> Self {
        let status = self.status.now(current.status);
        Self { status, ..self.with(current) }
    }
}

#[cfg(test)]
mod tests {
    use super::TcbStatus::*;
    use super::*;

    #[test]
    fn only_what_is_out_of_date_or_revoked_spreads() {
        for platform in TcbStatus::ALL {
            assert_eq!(platform.with(Revoked), Revoked);
            for component in [UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded] {
                assert_eq!(platform.with(component), platform);
            }
            let expected = match platform {
                UpToDate | SWHardeningNeeded => OutOfDate,
                ConfigurationNeeded | ConfigurationAndSWHardeningNeeded => OutOfDateConfigurationNeeded,
                other => other,
            };
            assert_eq!(platform.with(OutOfDate), expected);
        }
    }

    #[test]
    fn a_relaunch_helps_only_where_the_platform_is_not_out_of_date_now() {
        for (launch, current, expected) in [
            (OutOfDate, UpToDate, TDRelaunchAdvised),
            (OutOfDate, SWHardeningNeeded, TDRelaunchAdvised),
            (OutOfDate, ConfigurationNeeded, TDRelaunchAdvisedConfigurationNeeded),
            (OutOfDateConfigurationNeeded, UpToDate, TDRelaunchAdvisedConfigurationNeeded),
            (OutOfDate, OutOfDate, OutOfDate),
            (OutOfDate, Revoked, Revoked),
            (UpToDate, OutOfDate, OutOfDate),
            (UpToDate, UpToDate, UpToDate),
            (UpToDate, ConfigurationNeeded, ConfigurationNeeded),
            (SWHardeningNeeded, UpToDate, SWHardeningNeeded),
            (SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded),
            (OutOfDate, OutOfDateConfigurationNeeded, OutOfDateConfigurationNeeded),
            (ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (UpToDate, Revoked, Revoked),
            (Revoked, UpToDate, Revoked),
        ] {
            assert_eq!(launch.now(current), expected, "{launch} {current}");
        }
    }
}
