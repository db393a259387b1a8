//! How many copies there are, and how much of this member goes into making them.

use std::time::Duration;

use super::{ConfigError, Options};
use crate::types::CopySettings;

/// Half of a usual network, and less than a disk takes.
const RATE: u64 = 64 << 20;
/// With less, one message of rows would hold up the next for minutes.
const LEAST_RATE: u64 = 64 << 10;
/// Partitions of which a member makes copies elsewhere at a time.
const AT_ONCE: usize = 4;
/// Seconds that a member may be away before others get its copies: longer than a restart takes.
const RETURN_LEASE: u64 = 300;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct CopyConfig {
    /// Copies that a new grid keeps.
    pub settings: CopySettings,
    /// How long a member may be away before others get its copies.
    pub return_lease: Duration,
    /// Rows that leave this member for copies.
    pub bytes_per_second: u64,
    /// Partitions that are copied at a time.
    pub at_once: usize,
}

impl CopyConfig {
    /// Fills in defaults and checks.
    pub(super) fn check(options: &Options) -> Result<Self, ConfigError> {
        let bytes_per_second = options.copy_rate.unwrap_or(RATE);
        if bytes_per_second < LEAST_RATE {
            return Err(ConfigError::Value(format!(
                "--copy-rate is at least {LEAST_RATE} bytes per second, not {bytes_per_second}"
            )));
        }
        let (at_once, most) = (options.copies_at_once.unwrap_or(AT_ONCE), crate::types::MAX_PARTITIONS);
        if at_once == 0 || at_once > usize::from(most) {
            return Err(ConfigError::Value(format!("--copies-at-once is 1 to {most}, not {at_once}")));
        }
        let settings = CopySettings {
            backups: options.backups.unwrap_or(1),
            min_in_sync: options.min_in_sync.unwrap_or(1),
        };
        if let Some(fault) = settings.fault() {
            return Err(ConfigError::Value(format!("--backups, --min-in-sync: {fault}")));
        }
        let return_lease = Duration::from_secs(options.return_lease.unwrap_or(RETURN_LEASE));
        Ok(Self { settings, return_lease, bytes_per_second, at_once })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_need_a_pace_and_a_turn() {
        let told = |copy_rate, copies_at_once| {
            let options = Options { copy_rate, copies_at_once, ..Options::default() };
            CopyConfig::check(&options).map(|copies| (copies.bytes_per_second, copies.at_once))
        };
        assert_eq!(told(None, None).unwrap(), (64 << 20, 4));
        assert_eq!(told(Some(1 << 20), Some(1)).unwrap(), (1 << 20, 1));
        for (copy_rate, copies_at_once) in [(Some(0), None), (None, Some(0)), (None, Some(2_000))] {
            assert!(told(copy_rate, copies_at_once).is_err());
        }
    }
}
