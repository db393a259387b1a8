//! Delete entries, by id or by filter.

use std::collections::HashSet;

use super::{
    DeleteDraft, Effort, MAX_BATCH, RequestContext, Service, ServiceError,
    draft::{check_ids, check_request_id},
};
use crate::{
    index::PartitionSet,
    types::{Collection, EntryId, Mutation, RequestId},
};

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
    ) -> Result<u64, ServiceError> {
        let collection = self.collection_here(collection)?;
        let request_id = check_request_id(request_id.as_deref())?;
        match what {
            DeleteDraft::Ids(ids) => {
                let ids = check_ids(&ids).map_err(ServiceError::Invalid)?;
                self.delete_ids(ctx, &collection, ids, request_id.as_ref()).await
            }
            DeleteDraft::Filter(filter) => {
                let filter = filter.check()?;
                let Some(index) = self.index(&collection) else { return Ok(0) };
                let all = PartitionSet::all(self.view().partitions());
                let matching = move |_: &_| Ok(index.view().matching(Some(&filter), &all));
                let ids: Vec<EntryId> =
                    self.compute(ctx, Effort::Long, matching).await?.into_iter().map(|(_, id)| id).collect();
                let mut deleted = 0;
                // The ids of a repeated delete by filter differ, so each of its batches stands for
                // itself; deleting twice is harmless anyway.
                for batch in ids.chunks(MAX_BATCH) {
                    deleted += self.delete_ids(ctx, &collection, batch.to_vec(), None).await?;
                }
                Ok(deleted)
            }
        }
    }

    async fn delete_ids(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        ids: Vec<EntryId>,
        request_id: Option<&RequestId>,
    ) -> Result<u64, ServiceError> {
        let mut seen = HashSet::with_capacity(ids.len());
        let distinct = ids.into_iter().filter(|id| seen.insert(id.clone()));
        let mutations = distinct.map(Mutation::Delete).collect();
        let mut deleted = 0;
        for part in self.write(ctx, collection, mutations, request_id).await? {
            deleted += part.outcome?.existed.iter().filter(|&&existed| existed).count() as u64;
        }
        Ok(deleted)
    }
}
