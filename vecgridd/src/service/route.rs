//! From a list of mutations to the members that hold the partitions concerned, and back.
//!
//! The coordinator (whoever the app asked) bounds the bytes that it passes on; the member that takes the writes slows
//! them down while its indexes are behind, and bounds the bytes that its partitions hold. Those are two pools: members
//! that write to each other must never wait for each other's room.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant},
};
use vecgrid_proto::peer as wire;

use super::{
    RequestContext, Service, ServiceError,
    answer::Scope,
    cover::{Holder, Why, describe},
    remote,
    scatter::{Miss, Part, Want},
};
use crate::{
    index::PartitionSet,
    partition::{Who, WriteError, state::Refusal},
    placement::partition_of,
    storage::keys::log,
    types::{
        Collection, Durability, MemberId, Mutation, MutationOutcome, Operation, PartitionId, RequestId,
        Version,
    },
};

/// One permit stands for this many bytes.
const PERMIT_BYTES: usize = 1024;
/// What a mutation costs besides its content.
const MUTATION_BYTES: usize = 256;
/// After the deadline: writes that are waited for here say themselves what became of them.
const LAST_WORDS: Duration = Duration::from_millis(2);

/// Codes of failures of a member that say nothing about its partitions, which may soon be elsewhere.
const PASSING: [&str; 2] = ["no_leader", "shutting_down"];

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

fn permits_of(operation: &Operation) -> usize {
    permits(operation.mutations.iter().map(size).sum())
}

/// What became of the mutations of one partition; `positions` are theirs in the request.
pub(super) struct Routed {
    pub partition: PartitionId,
    pub positions: Vec<usize>,
    pub outcome: Result<MutationOutcome, ServiceError>,
}

/// What became of the operation of one partition.
pub(super) type Written = (PartitionId, Result<MutationOutcome, ServiceError>);

/// Why a partition here did not do an operation.
enum Unwritten {
    /// It is not for us (any more); nothing happened.
    Elsewhere,
    /// Somebody else decides what became of it: asked again with its request id, it will be told.
    Overtaken,
    Failed(ServiceError),
}

impl From<ServiceError> for Unwritten {
    fn from(error: ServiceError) -> Self {
        Self::Failed(error)
    }
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
        if self.parts.health.is_draining() {
            return Err(ServiceError::ShuttingDown);
        }
        let partitions = self.view().partitions();
        let mut groups: BTreeMap<PartitionId, (Vec<usize>, Operation)> = BTreeMap::new();
        for (position, mutation) in mutations.into_iter().enumerate() {
            let nothing = || {
                let request_id = request_id.cloned();
                (Vec::new(), Operation { collection: collection.id, request_id, mutations: Vec::new() })
            };
            let group = groups.entry(partition_of(mutation.id(), partitions)).or_insert_with(nothing);
            group.0.push(position);
            group.1.mutations.push(mutation);
        }
        let wanted: PartitionSet = groups.keys().copied().collect();
        let room = if self.parts.hosts.leads().covers(&wanted) {
            None
        } else {
            let total = groups.values().map(|(_, operation)| permits_of(operation)).sum();
            Some(self.room(&self.forward_permits, ctx, total).await?)
        };
        // With it, asking again after an answer was lost is harmless.
        let own_id = RequestId::new(&uuid::Uuid::new_v4().simple().to_string())?;
        let passed_on = Mutex::new(PartitionSet::new());
        let ask = |holder, set: PartitionSet| {
            let part = set.iter().filter_map(|p| groups.get(&p).map(|(_, operation)| (p, operation.clone())));
            let (mut part, own_id): (Vec<_>, _) = (part.collect(), own_id.clone());
            {
                // What another member was asked before may have happened, and come here since.
                let mut passed_on = passed_on.lock().unwrap_or_else(PoisonError::into_inner);
                match holder {
                    Holder::Here => {
                        part.iter_mut().filter(|(p, _)| passed_on.contains(*p)).for_each(|(_, operation)| {
                            operation.request_id.get_or_insert_with(|| own_id.clone());
                        })
                    }
                    Holder::There(_) => set.iter().for_each(|partition| passed_on.insert(partition)),
                }
            }
            async move {
                match holder {
                    Holder::Here => Ok(self.write_here(ctx, collection, part).await),
                    Holder::There(member) => self.write_there(ctx, &member, collection, part, own_id).await,
                }
            }
        };
        let want = Want { partitions: wanted, by: ctx.deadline + LAST_WORDS, all: false, who: Who::Primary };
        let gathered = self.gather(want, ask).await?;
        drop(room);

        let mut routed = Vec::with_capacity(groups.len());
        let mut route = |partition: PartitionId, outcome| {
            let positions = groups.get_mut(&partition).map(|(positions, _)| std::mem::take(positions));
            routed.push(Routed { partition, positions: positions.unwrap_or_default(), outcome });
        };
        for (partition, outcome) in gathered.answers.into_iter().flatten() {
            if let Ok(outcome) = &outcome {
                self.floors.raise(partition, outcome.version);
            }
            route(partition, outcome);
        }
        for (partition, why) in gathered.missing {
            let unsure = gathered.unsure.contains(partition);
            let error = match (&why, ctx.is_late()) {
                _ if !unsure && self.parts.health.failure().is_some() => {
                    self.explain(WriteError::Refused(Refusal::NotWritable))
                }
                (_, true) if unsure => ServiceError::DeadlineDuring,
                (Why::Late, _) => ServiceError::DeadlineBefore,
                _ => ServiceError::Unavailable { why: describe(&[(partition, why)].into()), unsure },
            };
            route(partition, Err(error));
        }
        Ok(routed)
    }

    /// Does operations of partitions that are here.
    pub(super) async fn write_here(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        operations: Vec<(PartitionId, Operation)>,
    ) -> Part<Vec<Written>> {
        if let Err(refused) = self.refuse_unless_writable() {
            return self.unwritable(operations, &refused);
        }
        // One permit for all of them first, so that two large requests cannot each hold half of the permits and wait
        // for the other.
        let total = operations.iter().map(|(_, operation)| permits_of(operation)).sum();
        let mut permit = match self.admit(ctx, collection, total).await {
            Ok(permit) => permit,
            Err(error) => {
                let all = operations.into_iter().map(|(partition, _)| (partition, Err(error.clone())));
                return Part::new(all.collect(), PartitionSet::new());
            }
        };
        let mut waiting = FuturesUnordered::new();
        for (partition, operation) in operations {
            let share = permits_of(&operation).min(permit.num_permits());
            let Some(share) = permit.split(share) else { continue };
            waiting.push(async move {
                (partition, self.write_one(ctx, partition, operation, collection, share).await)
            });
        }
        let mut part = Part::new(Vec::with_capacity(waiting.len()), PartitionSet::new());
        while let Some((partition, outcome)) = waiting.next().await {
            match outcome {
                Ok(outcome) => part.answer.push((partition, Ok(outcome))),
                Err(Unwritten::Failed(error)) => part.answer.push((partition, Err(error))),
                Err(Unwritten::Elsewhere) => part.elsewhere.insert(partition),
                Err(Unwritten::Overtaken) => part.overtaken.insert(partition),
            }
        }
        part
    }

    /// What is in sync elsewhere, too, is on its way to there; the rest is refused.
    fn unwritable(
        &self,
        operations: Vec<(PartitionId, Operation)>,
        refused: &ServiceError,
    ) -> Part<Vec<Written>> {
        let view = self.view();
        let mut part = Part::new(Vec::new(), PartitionSet::new());
        for (partition, _) in operations {
            match view.alive_in_sync(partition) > 1 {
                true => part.elsewhere.insert(partition),
                false => part.answer.push((partition, Err(refused.clone()))),
            }
        }
        part
    }

    async fn admit(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        total: usize,
    ) -> Result<OwnedSemaphorePermit, ServiceError> {
        self.wait_for_tail(ctx, collection).await?;
        self.room(&self.write_permits, ctx, total).await
    }

    /// Room for so many bytes; more than all of it is all of it.
    async fn room(
        &self,
        pool: &Arc<Semaphore>,
        ctx: &RequestContext,
        total: usize,
    ) -> Result<OwnedSemaphorePermit, ServiceError> {
        let total = total.min(permits(self.parts.write_bytes));
        let permit = Arc::clone(pool).acquire_many_owned(u32::try_from(total).unwrap_or(u32::MAX));
        let full = |_| ServiceError::Overloaded("too many bytes of writes are in flight");
        ctx.before(permit).await.map_err(full)?.map_err(|_| ServiceError::ShuttingDown)
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
        collection: &Collection,
        share: OwnedSemaphorePermit,
    ) -> Result<MutationOutcome, Unwritten> {
        let owner = self.parts.hosts.get(partition).filter(|_| self.parts.hosts.leads().contains(partition));
        let Some(owner) = owner else { return Err(Unwritten::Elsewhere) };
        let known_again = operation.request_id.is_some();
        let durability: Durability = collection.config.durability;
        let unwritten = |error| match error {
            WriteError::Refused(Refusal::NotPrimary) => Unwritten::Elsewhere,
            WriteError::Refused(Refusal::Overtaken) if known_again => Unwritten::Overtaken,
            // The daemon goes on, so the partition has gone.
            WriteError::Closed if !self.parts.health.is_draining() => Unwritten::Elsewhere,
            error => Unwritten::Failed(self.explain(error)),
        };
        let taken = ctx.before(owner.write(operation, durability, share)).await?.map_err(unwritten)?;
        let during = |_| ServiceError::DeadlineDuring;
        let done = tokio::time::timeout_at(ctx.deadline, taken.done()).await.map_err(during)?;
        match done.map_err(unwritten)? {
            Some(outcome) => Ok(outcome),
            None => Err(ServiceError::CollectionNotFound(collection.config.name.clone()).into()),
        }
    }

    /// Has another member do operations of its partitions. A receiver never passes them on.
    async fn write_there(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        collection: &Collection,
        mut operations: Vec<(PartitionId, Operation)>,
        own_id: RequestId,
    ) -> Result<Part<Vec<Written>>, Miss> {
        self.refuse_unknown(collection)?;
        for (_, operation) in &mut operations {
            operation.request_id.get_or_insert_with(|| own_id.clone());
        }
        // In order: so are the partitions of the head.
        let set: PartitionSet = operations.iter().map(|(partition, _)| *partition).collect();
        let encode = |(_, operation): &(PartitionId, Operation)| {
            log::record(operation, Version::default()).encode_to_vec().into()
        };
        let message = wire::WriteRequest {
            asked: Some(wire::Asked {
                floor_epochs: Vec::new(),
                floor_sequences: Vec::new(),
                ..self.asked(ctx, &set)
            }),
            operations: operations.iter().map(encode).collect(),
        };
        drop(operations);
        let send = |mut rows: crate::peer::Rows, request| async move { rows.write(request).await };
        let asked = self.ask_member::<_, wire::WriteResponse, _>(ctx, to, ("write", message), send).await;
        let (answer, elsewhere) = match asked {
            Ok(told) => told,
            // Of each partition by itself: others may have gone well elsewhere.
            Err(Miss::Failed(error)) => {
                let all = set.iter().map(|partition| (partition, Err(error.clone())));
                return Ok(Part::new(all.collect(), PartitionSet::new()));
            }
            Err(miss) => return Err(miss),
        };
        let mut part = Part::new(Vec::with_capacity(answer.written.len()), elsewhere);
        for written in answer.written {
            let Ok(number) = u16::try_from(written.partition) else { continue };
            let partition = PartitionId(number);
            match written.failure {
                _ if written.overtaken => part.overtaken.insert(partition),
                None => {
                    let version = Version { epoch: written.epoch, sequence: written.sequence };
                    let existed = written.existed;
                    part.answer.push((partition, Ok(MutationOutcome { version, existed })));
                }
                // It is cut off, or stops: the others choose another one, or it comes back.
                Some(failure) if !failure.unknown && PASSING.contains(&failure.code.as_str()) => {
                    part.elsewhere.insert(partition);
                }
                Some(failure) if failure.code == "collection_not_found" => {
                    let name = collection.config.name.clone();
                    part.answer.push((partition, Err(ServiceError::CollectionNotFound(name))));
                }
                Some(failure) => part.answer.push((partition, Err(self.told_by(to, failure)))),
            }
        }
        Ok(part)
    }

    /// Does what another member passed on; `wanted` are the partitions of the operations, in their order.
    pub(super) async fn answer_write(
        &self,
        scope: &Scope,
        wanted: &[u32],
        message: wire::WriteRequest,
    ) -> Result<Option<Part<wire::WriteResponse>>, ServiceError> {
        let broken = |why: String| ServiceError::Internal(format!("not a write: {why}"));
        let partitions = self.view().partitions();
        let mut operations = Vec::with_capacity(message.operations.len());
        let mut collection: Option<Collection> = None;
        for (number, bytes) in wanted.iter().zip(message.operations) {
            let Some(partition) = u16::try_from(*number).ok().map(PartitionId) else { continue };
            if !scope.partitions.contains(partition) {
                continue;
            }
            let record = log::LogRecord::decode(bytes).map_err(|e| broken(e.to_string()))?;
            let (_, operation) = log::operation(record).map_err(|e| broken(e.to_string()))?;
            let known = match &collection {
                Some(known) => known,
                None => match self.collection_of(operation.collection.0) {
                    Some(known) => collection.insert(known),
                    None => return Ok(None),
                },
            };
            let fits = |mutation: &Mutation| {
                let dimension = known.config.dimension as usize;
                let right = |entry: &crate::types::Entry| {
                    entry.vector.as_ref().is_none_or(|vector| vector.as_slice().len() == dimension)
                };
                partition_of(mutation.id(), partitions) == partition
                    && match mutation {
                        Mutation::Put(entry) => right(entry),
                        Mutation::Delete(_) => true,
                    }
            };
            if operation.collection != known.id || !operation.mutations.iter().all(fits) {
                return Err(broken(format!("{partition} got what is not for it")));
            }
            operations.push((partition, operation));
        }
        let Some(collection) = collection else { return Ok(None) };
        let part = self.write_here(&scope.ctx, &collection, operations).await;
        let nothing = |partition: PartitionId| wire::Written {
            partition: partition.0.into(),
            ..wire::Written::default()
        };
        let written = part.answer.into_iter().map(|(partition, outcome)| match outcome {
            Ok(MutationOutcome { version, existed }) => wire::Written {
                epoch: version.epoch,
                sequence: version.sequence,
                existed,
                ..nothing(partition)
            },
            Err(error) => wire::Written { failure: Some(remote::failure(&error)), ..nothing(partition) },
        });
        let overtaken = part.overtaken.iter().map(|p| wire::Written { overtaken: true, ..nothing(p) });
        let answer = wire::WriteResponse { told: None, written: written.chain(overtaken).collect() };
        Ok(Some(Part::new(answer, part.elsewhere)))
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
            // Not told to anyone: such writes go to another member.
            WriteError::Refused(Refusal::NotPrimary) => {
                ServiceError::NoLeader("the partition is on its way to another member".into())
            }
            WriteError::Refused(Refusal::NoLease) => ServiceError::NoLeader(
                "the member that holds the partition is cut off from the others".into(),
            ),
            WriteError::Refused(Refusal::TooFewCopies) => ServiceError::TooFewCopies { unsure: false },
            WriteError::Refused(Refusal::Thin) => ServiceError::TooFewCopies { unsure: true },
            WriteError::Refused(Refusal::Overtaken) => ServiceError::Interrupted,
            WriteError::Refused(Refusal::NotWritable) => ServiceError::StorageRefused(why()),
            WriteError::Refused(Refusal::LogFailed) => ServiceError::StorageReadOnly(why()),
            WriteError::Closed => ServiceError::ShuttingDown,
            WriteError::Interrupted => ServiceError::Interrupted,
        }
    }
}
