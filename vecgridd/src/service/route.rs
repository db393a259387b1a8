//! From a list of mutations to the owners of the partitions concerned, and back.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{RequestContext, Service, ServiceError};
use crate::{
    partition::{WriteError, state::Refusal},
    placement::partition_of,
    types::{Collection, Mutation, MutationOutcome, Operation, PartitionId, RequestId},
};

/// One permit stands for this many bytes.
const PERMIT_BYTES: usize = 1024;
/// What a mutation costs besides its content.
const MUTATION_BYTES: usize = 256;

/// Permits for a number of bytes.
pub(super) fn permits(bytes: usize) -> usize {
    bytes.div_ceil(PERMIT_BYTES).clamp(1, u32::MAX as usize)
}

fn size(mutation: &Mutation) -> usize {
    let content = match mutation {
        Mutation::Put(entry) => {
            entry.vector.as_ref().map_or(0, |v| v.as_slice().len() * 4) + entry.metadata.json_bytes()
        }
        Mutation::Delete(_) => 0,
    };
    MUTATION_BYTES + mutation.id().as_str().len() + content
}

/// What became of the mutations of one partition; `positions` are theirs in the request.
pub(super) struct Routed {
    pub positions: Vec<usize>,
    pub outcome: Result<MutationOutcome, ServiceError>,
}

impl Service {
    /// Sends mutations (with distinct ids) to their partitions and waits until each is durable and
    /// visible, or refused, or the deadline has passed.
    pub(super) async fn write(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        mutations: Vec<Mutation>,
        request_id: Option<&RequestId>,
    ) -> Result<Vec<Routed>, ServiceError> {
        self.refuse_unless_writable()?;
        self.wait_for_tail(ctx, collection).await?;

        let partitions = self.view().partitions();
        let mut groups: BTreeMap<PartitionId, (Vec<usize>, Vec<Mutation>)> = BTreeMap::new();
        for (position, mutation) in mutations.into_iter().enumerate() {
            let group = groups.entry(partition_of(mutation.id(), partitions)).or_default();
            group.0.push(position);
            group.1.push(mutation);
        }
        // One permit for the whole request first, so that two large requests cannot each hold half
        // of the permits and wait for the other.
        let total: usize = groups.values().map(|(_, m)| permits(m.iter().map(size).sum())).sum();
        let total = total.min(permits(self.parts.write_bytes));
        let permit =
            Arc::clone(&self.write_permits).acquire_many_owned(u32::try_from(total).unwrap_or(u32::MAX));
        let full = |_| ServiceError::Overloaded("too many bytes of writes are in flight");
        let mut permit = ctx.before(permit).await.map_err(full)?.map_err(|_| ServiceError::ShuttingDown)?;

        let mut waiting = FuturesUnordered::new();
        for (partition, (positions, mutations)) in groups {
            let share = permits(mutations.iter().map(size).sum()).min(permit.num_permits());
            let Some(share) = permit.split(share) else { continue };
            let operation =
                Operation { collection: collection.id, request_id: request_id.cloned(), mutations };
            let durability = collection.config.durability;
            waiting.push(async move {
                let outcome = self.write_one(ctx, partition, operation, durability, share).await;
                Routed { positions, outcome }
            });
        }
        let mut routed = Vec::with_capacity(waiting.len());
        while let Some(one) = waiting.next().await {
            routed.push(one);
        }
        Ok(routed)
    }

    /// Slows writers down while too many rows wait for the graph. Gives up at half of the time left,
    /// so that the client hears "overloaded, try again" and not that its deadline passed.
    async fn wait_for_tail(&self, ctx: &RequestContext, collection: &Collection) -> Result<(), ServiceError> {
        let Some(index) = self.index(collection) else { return Ok(()) };
        let patience = ctx.deadline.saturating_duration_since(Instant::now()) / 2;
        let full = |_| ServiceError::Overloaded("the index is behind: too many rows wait for its graph");
        tokio::time::timeout(patience, index.tail_room()).await.map_err(full)
    }

    async fn write_one(
        &self,
        ctx: &RequestContext,
        partition: PartitionId,
        operation: Operation,
        durability: crate::types::Durability,
        share: tokio::sync::OwnedSemaphorePermit,
    ) -> Result<MutationOutcome, ServiceError> {
        let name = || {
            let id = operation.collection;
            self.view().collection_by_id(id).map(|c| c.config.name.clone())
        };
        let name = name();
        let Some(owner) = self.parts.hosts.get(partition) else {
            return Err(ServiceError::Internal(format!("{partition} has no owner here")));
        };
        let taken = ctx.before(owner.write(operation, durability, share)).await?;
        let taken = taken.map_err(|error| self.explain(error))?;
        let during = |_| ServiceError::DeadlineDuring;
        let done = tokio::time::timeout_at(ctx.deadline, taken.done()).await.map_err(during)?;
        match done.map_err(|error| self.explain(error))? {
            Some(outcome) => Ok(outcome),
            None => Err(match name {
                Some(name) => ServiceError::CollectionNotFound(name),
                None => ServiceError::Internal("the collection was dropped".into()),
            }),
        }
    }

    fn refuse_unless_writable(&self) -> Result<(), ServiceError> {
        if self.parts.health.is_draining() {
            return Err(ServiceError::ShuttingDown);
        }
        match self.parts.health.failure() {
            Some(why) => Err(ServiceError::StorageRefused(why.to_string())),
            None => Ok(()),
        }
    }

    fn explain(&self, error: WriteError) -> ServiceError {
        let why = || self.parts.health.failure().map_or_else(String::new, |why| why.to_string());
        match error {
            WriteError::Refused(Refusal::RequestIdReused) => ServiceError::RequestIdReused,
            WriteError::Refused(Refusal::NotPrimary) => {
                ServiceError::NoLeader("the partition is on its way to another member".into())
            }
            WriteError::Refused(Refusal::NoLease) => {
                ServiceError::NoLeader("this member is cut off from the others".into())
            }
            WriteError::Refused(Refusal::Overtaken) => ServiceError::Interrupted,
            WriteError::Refused(Refusal::NotWritable) => ServiceError::StorageRefused(why()),
            WriteError::Refused(Refusal::LogFailed) => ServiceError::StorageReadOnly(why()),
            WriteError::Closed => ServiceError::ShuttingDown,
            WriteError::Interrupted => ServiceError::Interrupted,
        }
    }
}
