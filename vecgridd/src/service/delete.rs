//! Delete entries, by id or by filter.
//!
//! By filter, each member evaluates the filter on its own partitions and deletes what it finds: ids stay where they are.

use std::collections::{BTreeMap, HashSet};

use vecgrid_proto::peer as wire;

use super::{
    DeleteDraft, Effort, FilterDraft, MAX_BATCH, RequestContext, Service, ServiceError,
    answer::Scope,
    cover::Holder,
    draft::{check_ids, check_request_id},
    scatter::{Part, Want, incomplete},
};
use crate::{
    index::PartitionSet,
    peer::Rows,
    types::{
        Collection, EntryId, Filter, Mutation, MutationOutcome, Operation, PartitionId, RequestId, Token,
    },
};

/// What a delete did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteAnswer {
    /// Entries that existed and are gone.
    pub deleted: u64,
    /// A read with it does not show them.
    pub token: Token,
}

impl DeleteAnswer {
    fn add(&mut self, partition: PartitionId, outcome: &MutationOutcome) {
        self.deleted += outcome.existed.iter().filter(|&&existed| existed).count() as u64;
        self.token.raise(partition, outcome.version);
    }
}

impl Service {
    /// Deletes entries; answers how many existed and are gone, durably. Ids that do not exist are
    /// fine. A filter is evaluated once, at the start: entries written meanwhile may stay.
    ///
    /// # Errors
    /// When a part of the grid did not answer; the deletes of other parts may have taken effect.
    pub async fn delete(
        &self,
        ctx: &RequestContext,
        collection: &str,
        what: DeleteDraft,
        request_id: Option<String>,
    ) -> Result<DeleteAnswer, ServiceError> {
        let collection = &self.collection(ctx, collection).await?;
        let request_id = check_request_id(request_id.as_deref())?;
        match what {
            DeleteDraft::Ids(ids) => {
                let ids = check_ids(&ids).map_err(ServiceError::Invalid)?;
                self.delete_ids(ctx, collection, ids, request_id.as_ref()).await
            }
            DeleteDraft::Filter(filter) => {
                let (json, filter) = (&filter.to_json(), &filter.check()?);
                // Only they can delete, and what matches is what they have.
                let ctx = &ctx.of_primaries();
                let ask = |holder, set| async move {
                    match holder {
                        Holder::Here => Ok(self.delete_here(ctx, collection, filter.clone(), &set).await?),
                        Holder::There(to) => {
                            let send =
                                |mut rows: Rows, request| async move { rows.delete_matching(request).await };
                            let what = (collection, json.as_str());
                            let part =
                                self.ask_about_matching(ctx, &to, what, &set, ("delete", send)).await?;
                            let wire::CountResponse { count: deleted, token, .. } = part.answer;
                            let token = token.parse().map_err(ServiceError::from)?;
                            Ok(Part::new(DeleteAnswer { deleted, token }, part.elsewhere))
                        }
                    }
                };
                let partitions = PartitionSet::all(self.view().partitions());
                let wanted = partitions.len();
                // What one part of the grid cannot do the others do all the same.
                let want = Want { partitions, by: ctx.deadline, all: false, who: ctx.who() };
                let gathered = self.gather(want, ask).await.map_err(|error| match error {
                    ServiceError::DeadlineBefore => ServiceError::DeadlineDuring,
                    error => error,
                })?;
                let mut done = DeleteAnswer::default();
                for part in &gathered.answers {
                    done.deleted += part.deleted;
                    for (partition, version) in part.token.floors() {
                        self.floors.raise(partition, version);
                        done.token.raise(partition, version);
                    }
                }
                if gathered.missing.is_empty() {
                    return Ok(done);
                }
                let unsure = !(gathered.answers.is_empty() && gathered.unsure.is_empty());
                Err(match incomplete(wanted, &gathered.missing) {
                    ServiceError::Incomplete { answered, wanted, why, .. } => {
                        ServiceError::Incomplete { answered, wanted, why, unsure }
                    }
                    _ => ServiceError::DeadlineDuring,
                })
            }
        }
    }

    async fn delete_ids(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        ids: Vec<EntryId>,
        request_id: Option<&RequestId>,
    ) -> Result<DeleteAnswer, ServiceError> {
        let mut seen = HashSet::with_capacity(ids.len());
        let distinct = ids.into_iter().filter(|id| seen.insert(id.clone()));
        let mutations = distinct.map(Mutation::Delete).collect();
        let mut done = DeleteAnswer::default();
        for part in self.write(ctx, collection, mutations, request_id).await? {
            done.add(part.partition, &part.outcome?);
        }
        Ok(done)
    }

    /// Deletes what matches in partitions that are here.
    async fn delete_here(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        filter: Filter,
        set: &PartitionSet,
    ) -> Result<Part<DeleteAnswer>, ServiceError> {
        let view = self.index(collection).map(|index| index.view());
        let (kept, elsewhere) = self.still(ctx, set);
        let mut part = Part::new(DeleteAnswer::default(), elsewhere);
        let Some(view) = view else { return Ok(part) };
        let matching = move |_: &_| Ok(view.matching(Some(&filter), &kept));
        let found: Vec<(PartitionId, EntryId)> = self.compute(ctx, Effort::Long, matching).await?;
        // The ids of a repeated delete by filter differ, so each of its batches stands for itself; deleting twice is
        // harmless anyway.
        for batch in found.chunks(MAX_BATCH) {
            let mut operations: BTreeMap<PartitionId, Vec<Mutation>> = BTreeMap::new();
            for (partition, id) in batch {
                operations.entry(*partition).or_default().push(Mutation::Delete(id.clone()));
            }
            let operation = |mutations| Operation { collection: collection.id, request_id: None, mutations };
            let operations = operations.into_iter().map(|(partition, ids)| (partition, operation(ids)));
            let written = self.write_here(ctx, collection, operations.collect()).await;
            for (partition, outcome) in written.answer {
                part.answer.add(partition, &outcome?);
            }
            // Its new member evaluates the filter again, and finds what is left.
            written.elsewhere.iter().for_each(|partition| part.elsewhere.insert(partition));
        }
        Ok(part)
    }

    /// Deletes for another member.
    pub(super) async fn answer_delete(
        &self,
        scope: Scope,
        message: wire::CountRequest,
    ) -> Result<Option<Part<wire::CountResponse>>, ServiceError> {
        let Some(collection) = self.collection_of(message.collection) else { return Ok(None) };
        // Without a filter everything would go: nobody asks for that.
        let filter = FilterDraft::Json(message.filter_json).check()?;
        let part = self.delete_here(&scope.ctx, &collection, filter, &scope.partitions).await?;
        let DeleteAnswer { deleted: count, token } = part.answer;
        Ok(Some(Part::new(
            wire::CountResponse { told: None, count, token: token.to_string() },
            part.elsewhere,
        )))
    }
}
