//! The clock of leases.

use std::time::Duration;

/// Time since the machine started. Unlike [`std::time::Instant`] it goes on while the machine is suspended: a
/// lease must not be found alive after a sleep.
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
