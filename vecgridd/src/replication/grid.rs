//! What owners of partitions ask of the rest of the grid, over the wire.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};

use super::{pace::Pace, wire};
use crate::{
    control::{Command, Control, ControlError, Refused},
    migration::{Have, Proposal},
    partition::{CopyMessage, Outside},
    peer::Pool,
    task::clock,
    telemetry::Metrics,
    types::{MemberId, PartitionId},
};

/// How long an answer may take: the other writes it to its disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// How copies are made.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// Rows that leave this member, bytes per second.
    pub bytes_per_second: u64,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Grid {
    control: Control,
    pool: Pool,
    metrics: Arc<Metrics>,
    /// Never held across an await.
    pace: Arc<Mutex<Pace>>,
}

impl Grid {
    /// Speaks to the members that this pool knows.
    pub fn new(control: Control, pool: Pool, metrics: Arc<Metrics>, options: CopyOptions) -> Self {
        let pace = Arc::new(Mutex::new(Pace::new(options.bytes_per_second)));
        Self { control, pool, metrics, pace }
    }

    fn pause_after(&self, bytes: usize) -> Duration {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, clock::now())
    }
}

impl Outside for Grid {
    fn may_act(&self) -> bool {
        self.control.lease().holds(clock::now())
    }

    fn propose(&self, partition: PartitionId, proposal: Proposal) -> BoxFuture<'static, bool> {
        let control = self.control.clone();
        async move {
            let Proposal { expected, next } = proposal;
            let moves = next.primary != expected.primary;
            let command = Command::Place { partition, expected, next };
            match control.propose(command).await {
                Ok(_) if moves => tracing::debug!(%partition, "another member is the primary now"),
                Ok(_) => {}
                // It names a member that has left, which it does for ever.
                Err(ControlError::Refused(refused @ Refused::BadPlacement(..))) => {
                    tracing::debug!(%partition, %refused, "a partition cannot be held like that any more");
                    return false;
                }
                // Whatever was decided is in the table; if nothing was, it is proposed again.
                Err(error) => tracing::debug!(%partition, %error, "who holds a partition was not decided"),
            }
            true
        }
        .boxed()
    }

    fn send(
        &self,
        to: MemberId,
        partition: PartitionId,
        message: CopyMessage,
    ) -> BoxFuture<'static, Option<Have>> {
        let this = self.clone();
        async move {
            let (bytes, rows) = (message.bytes(), matches!(message, CopyMessage::Rows { .. }));
            let sent = this.pool.replicate(&to, wire::request(partition, message), PATIENCE).await;
            this.metrics.copy_sent(bytes, sent.is_ok());
            if rows {
                tokio::time::sleep(this.pause_after(bytes)).await;
            }
            match sent {
                Ok(response) => wire::have(&response),
                Err(error) => {
                    tracing::debug!(%partition, member = %to, %error, "a copy did not answer");
                    None
                }
            }
        }
        .boxed()
    }
}
