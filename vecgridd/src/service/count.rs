//! Count entries.

use super::{Effort, FilterDraft, RequestContext, Service, ServiceError};
use crate::index::PartitionSet;

impl Service {
    /// How many entries match; `None` counts all.
    ///
    /// # Errors
    /// `invalid_filter`, `collection_not_found`.
    pub async fn count(
        &self,
        ctx: &RequestContext,
        collection: &str,
        filter: Option<FilterDraft>,
    ) -> Result<u64, ServiceError> {
        let collection = self.collection_here(collection)?;
        let filter = filter.map(|filter| filter.check()).transpose()?;
        let Some(index) = self.index(&collection) else { return Ok(0) };
        let all = PartitionSet::all(self.view().partitions());
        self.compute(ctx, Effort::Long, move |_| Ok(index.view().count(filter.as_ref(), &all))).await
    }
}
