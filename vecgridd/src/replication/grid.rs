//! What owners of partitions ask of the rest of the grid, over the wire.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};

use tokio::sync::oneshot;

use super::{
    outbox::{self, Letter, Outbox, Post},
    pace::Pace,
    wire,
};
use crate::{
    control::{Command, Control, ControlError, Refused},
    migration::{Have, Proposal},
    partition::{CopyMessage, Outside},
    peer::Pool,
    task::{Tasks, clock},
    telemetry::{CopyEvent, Metrics},
    types::{MemberId, PartitionId},
};

/// How long an answer to a piece of a snapshot may take: the other writes it to its disk.
const ROWS_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer to records may take. Less than a primary waits until it goes on without a backup: one lost message
/// is no reason for that.
const PATIENCE: Duration = Duration::from_secs(2);

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
    post: Arc<Post>,
    /// Never held across an await, as the other.
    outboxes: Arc<Mutex<BTreeMap<MemberId, Outbox>>>,
    pace: Arc<Mutex<Pace>>,
}

impl Grid {
    /// Speaks to the members that this pool knows.
    pub fn new(
        control: Control,
        pool: Pool,
        metrics: Arc<Metrics>,
        tasks: Tasks,
        options: CopyOptions,
    ) -> Self {
        let pace = Arc::new(Mutex::new(Pace::new(options.bytes_per_second)));
        let post = Arc::new(Post { pool, metrics, tasks, patience: PATIENCE });
        Self { control, post, outboxes: Arc::default(), pace }
    }

    /// The way to a member. One is enough for as long as the daemon runs, wherever the member is.
    fn outbox(&self, to: &MemberId) -> Outbox {
        let mut outboxes = self.outboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || outbox::open(Arc::clone(&self.post), to.clone());
        outboxes.entry(to.clone()).or_insert_with(open).clone()
    }

    fn pause_after(&self, bytes: usize) -> Duration {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, clock::now())
    }
}

impl Outside for Grid {
    fn note(&self, event: CopyEvent) {
        self.post.metrics.copies().note(event);
    }

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
        let (this, bytes) = (self.clone(), message.bytes());
        let is_rows = matches!(message, CopyMessage::Rows { .. });
        let request = wire::request(partition, message);
        async move {
            if !is_rows {
                let (answer, have) = oneshot::channel();
                this.outbox(&to).send(Letter { request, bytes, answer }).await.ok()?;
                return have.await.ok();
            }
            // Large, and nobody else's answer is to wait for them.
            let sent = this.post.pool.replicate(&to, request, ROWS_PATIENCE).await;
            this.post.metrics.copies().sent("rows", bytes, sent.is_ok());
            tokio::time::sleep(this.pause_after(bytes)).await;
            match sent {
                Ok(response) => wire::have(response),
                Err(error) => {
                    tracing::debug!(%partition, member = %to, %error, "a copy did not answer");
                    None
                }
            }
        }
        .boxed()
    }
}
