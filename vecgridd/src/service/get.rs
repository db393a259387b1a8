//! Read one entry.

use super::{RequestContext, Service, ServiceError};
use crate::{
    placement::partition_of,
    storage::{Family, keys::row},
    types::{EntryId, StoredEntry},
};

impl Service {
    /// The entry as it was last written.
    ///
    /// # Errors
    /// `entry_not_found`, `collection_not_found`, `invalid_id`.
    pub async fn get(
        &self,
        ctx: &RequestContext,
        collection: &str,
        id: &str,
    ) -> Result<StoredEntry, ServiceError> {
        let collection = self.collection_here(collection)?;
        let id = EntryId::new(id)?;
        let partition = partition_of(&id, self.view().partitions());
        let read = move |parts: &super::Parts| {
            let key = row::key(collection.id, &id);
            match parts.engine.get(Family::Partition(partition), &key)? {
                Some(bytes) => Ok(row::decode(id, &bytes)?),
                None => Err(ServiceError::EntryNotFound),
            }
        };
        self.read(ctx, read).await
    }
}
