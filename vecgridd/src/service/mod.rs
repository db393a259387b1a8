//! The verbs of the grid, free of any wire: the doors (`api/`) call these and nothing below.
//!
//! Each verb checks its input, finds who is concerned, asks them, and answers within its deadline.
//! A write is answered when it is durable and searchable. One file per verb.
//!
//! ```text
//! verb ─▶ scatter ─▶ cover: who? ─┬▶ …_here: the part of this member
//!                                 └▶ …_there ─▶ remote ═══▶ answer ─▶ answer_… ─▶ …_here   (another member)
//! ```
//!
//! Every member takes every request. What is checked is checked by whoever takes it, before anyone is asked; what is
//! asked for is done by the members that answer for the partitions, with the same `…_here` for both ways.

mod answer;
pub mod collections;
mod copies;
mod count;
mod cover;
mod delete;
mod draft;
mod drain;
mod error;
mod get;
mod grid;
mod known;
mod moves;
mod readable;
mod remote;
mod route;
mod scatter;
#[cfg(test)]
mod scatter_tests;
mod scroll;
mod search;
mod search_wire;
mod upsert;
mod verify;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::Instant};

use crate::{
    config::OnMinority,
    control::{Control, ControlError, Refused},
    index::{Checker, CollectionIndex, RecallStats, Registry},
    partition::{Hosts, Purger, Verifier, Versions},
    peer::Pool,
    storage::Engine,
    task::{CpuPool, CpuPoolError, Health, Tasks},
    telemetry::Metrics,
    types::{ClusterView, Collection, CollectionId, MemberId, Token},
};

use known::Questions;

pub use answer::Answers;
pub use collections::CollectionInfo;
pub use copies::{CopiesDraft, CopiesStatus};
pub use delete::DeleteAnswer;
pub use draft::{
    CollectionDraft, DeleteDraft, EntryDraft, FilterDraft, MAX_BATCH, MAX_SEARCHES, MetadataDraft,
    QueryDraft, ScrollDraft,
};
pub use drain::DrainStatus;
pub use error::{ErrorKind, Outcome, ServiceError};
pub use grid::{GridStatus, MemberStatus, PartitionStatus};
pub use moves::{Move, Moves};
pub use scroll::ScrollAnswer;
pub use upsert::{EntryFailure, UpsertAnswer};
pub use verify::{Verdict, VerifyAnswer};

/// What every request carries.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The answer must be there by then.
    pub deadline: Instant,
    /// A read shows every write that was acknowledged to anybody; else those that were acknowledged through this
    /// member, and others with a delay of a moment.
    pub strong: bool,
    /// A read shows these writes, too, whoever acknowledged them.
    pub at_least: Option<Arc<Token>>,
}

impl RequestContext {
    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Time that is left.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs something that may simply be given up.
    async fn before<T>(&self, work: impl Future<Output = T>) -> Result<T, ServiceError> {
        tokio::time::timeout_at(self.deadline, work).await.map_err(|_| ServiceError::DeadlineBefore)
    }
}

/// What a computation is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Less than it costs to hand it to another thread, or a little more.
    Short,
    /// Anything else.
    Long,
}

/// What the verbs work with.
pub struct Parts {
    /// This member.
    pub member: MemberId,
    /// What the grid agreed on.
    pub control: Control,
    /// The other members.
    pub pool: Pool,
    /// The partitions that are here.
    pub hosts: Hosts,
    /// The rows.
    pub engine: Arc<dyn Engine>,
    /// The indexes.
    pub indexes: Arc<Registry>,
    /// Checks what searches answered.
    pub recall: Checker,
    /// Removes the rows of dropped collections.
    pub purger: Purger,
    /// Compares copies.
    pub verifier: Verifier,
    /// Runs searches.
    pub cpu: CpuPool,
    /// What this member does without a majority.
    pub on_minority: OnMinority,
    /// Bytes of writes between the door and the answer.
    pub write_bytes: usize,
    /// What this member can do now.
    pub health: Arc<Health>,
    /// For work that outlives its request.
    pub tasks: Tasks,
    /// Numbers for the operator.
    pub metrics: Arc<Metrics>,
}

/// The verbs. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    parts: Arc<Parts>,
    /// Bytes of writes that this member's partitions have.
    write_permits: Arc<Semaphore>,
    /// Bytes of writes that were taken here and are done (also) elsewhere.
    forward_permits: Arc<Semaphore>,
    /// The last version of each partition that was acknowledged through this member: what an app wrote here it must
    /// find here, whoever answers.
    floors: Arc<Versions>,
    plans: Arc<cover::Plans>,
    questions: Arc<Questions>,
}

impl Service {
    /// The verbs over these parts.
    pub fn new(parts: Parts) -> Self {
        let permits = || Arc::new(Semaphore::new(route::permits(parts.write_bytes)));
        let (write_permits, forward_permits) = (permits(), permits());
        let (floors, plans, questions) =
            (Arc::new(Versions::new()), Arc::default(), Arc::new(Questions::new()));
        Self { parts: Arc::new(parts), write_permits, forward_permits, floors, plans, questions }
    }

    /// True when requests are taken: rows are loaded and the daemon is not stopping.
    pub fn is_ready(&self) -> bool {
        !self.parts.health.is_draining()
    }

    /// This member.
    pub fn member(&self) -> &MemberId {
        &self.parts.member
    }

    /// True while the threads that everything needs are alive.
    pub fn is_alive(&self) -> bool {
        self.parts.health.failure().is_none()
    }

    /// Recall of a collection's walks by number of hits asked for, as far as answers were checked.
    pub fn recall(&self, collection: CollectionId) -> Vec<(usize, RecallStats)> {
        self.parts.recall.stats(collection)
    }

    /// Answers that were to be checked and were not.
    pub fn recall_checks_dropped(&self) -> u64 {
        self.parts.recall.dropped()
    }

    fn view(&self) -> Arc<ClusterView> {
        self.parts.control.view()
    }

    /// A collection that was dropped is asked for nowhere.
    fn refuse_unknown(&self, collection: &Collection) -> Result<(), ServiceError> {
        match self.view().collection_by_id(collection.id) {
            Some(_) => Ok(()),
            None => Err(ServiceError::CollectionNotFound(collection.config.name.clone())),
        }
    }

    /// The index of a collection; `None` before its first write, when it is empty. Only the applier
    /// makes indexes, so a late reader cannot bring back that of a dropped collection.
    fn index(&self, collection: &Collection) -> Option<Arc<CollectionIndex>> {
        self.parts.indexes.get(collection.id)
    }

    /// Runs a computation on the CPU pool; a short one here, where there is room.
    async fn compute<T: Send + 'static>(
        &self,
        ctx: &RequestContext,
        effort: Effort,
        work: impl FnOnce(&Parts) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let parts = Arc::clone(&self.parts);
        let work = move || work(&parts);
        let outcome = match effort {
            // Nothing is waited for: without this look a late one would be run all the same.
            Effort::Short if ctx.is_late() => return Err(ServiceError::DeadlineBefore),
            Effort::Short => ctx.before(self.parts.cpu.run_short(work)).await?,
            Effort::Long => ctx.before(self.parts.cpu.run(work)).await?,
        };
        match outcome {
            Ok(result) => result,
            Err(CpuPoolError::Full) => Err(ServiceError::Overloaded("too many searches are waiting")),
            Err(CpuPoolError::Panicked) => Err(ServiceError::Internal("a computation panicked".into())),
        }
    }

    /// Runs something that reads the disk.
    async fn read<T: Send + 'static>(
        &self,
        ctx: &RequestContext,
        work: impl FnOnce(&Parts) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let parts = Arc::clone(&self.parts);
        match ctx.before(tokio::task::spawn_blocking(move || work(&parts))).await? {
            Ok(result) => result,
            Err(error) => Err(ServiceError::Internal(error.to_string())),
        }
    }
}

impl From<ControlError> for ServiceError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(Refused::CollectionExists(name)) => Self::CollectionExists(name),
            ControlError::Refused(Refused::NobodyElse(_)) => Self::NobodyElse,
            // It comes back in a moment, in another grid.
            ControlError::Refused(Refused::Dissolved) => Self::ShuttingDown,
            ControlError::Refused(refused) => Self::Internal(refused.to_string()),
            ControlError::Unavailable(why) => Self::NoLeader(why),
            ControlError::Unknown(why) => Self::Undecided(why),
            ControlError::Stopped(why) => Self::ControlStopped(why),
        }
    }
}

impl From<crate::storage::StorageError> for ServiceError {
    fn from(error: crate::storage::StorageError) -> Self {
        Self::Internal(error.to_string())
    }
}
