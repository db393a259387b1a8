//! Reads of a member that reaches no majority of the voters.
//!
//! Its writes are refused, always: the owners of partitions ask for the lease. Its reads are true as far as it knows, and
//! may be behind: others may have made new primaries and gone on without it. With `--on-minority refuse` it answers none
//! then: an application that must not read the past gets an error instead. A lease that is missing for a moment, as
//! while a leader is elected, is waited for.

use std::time::Duration;

use tokio::time::Instant;

use super::{Service, ServiceError};
use crate::{config::OnMinority, task::clock};

/// How long a read waits for a lease: as long as a write does, and as a new leader may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

impl Service {
    /// Refuses to read here when the operator wants that in a minority, and this member is in one.
    pub(super) async fn refuse_in_minority(&self, by: Instant) -> Result<(), ServiceError> {
        if self.parts.on_minority == OnMinority::ReadOnly {
            return Ok(());
        }
        let until = by.min(Instant::now() + PATIENCE);
        while !self.parts.control.lease().holds(clock::now()) {
            if Instant::now() >= until {
                return Err(ServiceError::NoLeader(
                    "this member reaches no majority of the voters, and was started with --on-minority refuse".into(),
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}
