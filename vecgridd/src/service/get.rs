//! Read one entry.

use vecgrid_proto::peer as wire;

use super::{
    Parts, RequestContext, Service, ServiceError,
    answer::Scope,
    cover::Holder,
    scatter::{Miss, Part},
};
use crate::{
    index::PartitionSet,
    placement::partition_of,
    storage::{Family, keys::row},
    types::{Collection, CollectionId, EntryId, MemberId, PartitionId, StoredEntry},
};

impl Service {
    /// The entry as it was last written.
    ///
    /// # Errors
    /// `entry_not_found`, `collection_not_found`, `invalid_id`; `partition_unavailable`.
    pub async fn get(
        &self,
        ctx: &RequestContext,
        collection: &str,
        id: &str,
    ) -> Result<StoredEntry, ServiceError> {
        let collection = &self.collection(ctx, collection).await?;
        let id = &EntryId::new(id)?;
        let partition = partition_of(id, self.view().partitions());
        let ask = |holder, _| async move {
            let bytes = match holder {
                Holder::Here => self.get_here(ctx, collection.id, partition, id).await?,
                Holder::There(member) => self.get_there(ctx, &member, collection, partition, id).await?,
            };
            Ok(bytes)
        };
        match self.gather_one(ctx, partition, ask).await? {
            Some(bytes) => Ok(row::decode(id.clone(), &bytes)?),
            None => Err(ServiceError::EntryNotFound),
        }
    }

    /// The row as stored, from the disk of this member.
    async fn get_here(
        &self,
        ctx: &RequestContext,
        collection: CollectionId,
        partition: PartitionId,
        id: &EntryId,
    ) -> Result<Part<Option<Vec<u8>>>, ServiceError> {
        let key = row::key(collection, id);
        let who = ctx.who();
        let read = move |parts: &Parts| {
            // Rows of a partition that moves away go after this member has stopped to answer for it.
            let found = parts.engine.get(Family::Partition(partition), &key);
            if parts.still_read_by(who).contains(partition) {
                return Ok(Part::new(found?, PartitionSet::new()));
            }
            Ok(Part::new(None, [partition].into_iter().collect()))
        };
        self.read(ctx, read).await
    }

    async fn get_there(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        collection: &Collection,
        partition: PartitionId,
        id: &EntryId,
    ) -> Result<Part<Option<Vec<u8>>>, Miss> {
        self.refuse_unknown(collection)?;
        let message = wire::GetRequest {
            asked: Some(self.asked(ctx, &[partition].into_iter().collect())),
            collection: collection.id.0,
            id: id.as_str().to_owned(),
        };
        let (answer, elsewhere) = self.ask_shortly(ctx, to, ("get", message)).await?;
        Ok(Part::new(answer.row.map(Vec::from), elsewhere))
    }

    /// Reads for another member.
    pub(super) async fn answer_get(
        &self,
        scope: Scope,
        message: wire::GetRequest,
    ) -> Result<Option<Part<wire::GetResponse>>, ServiceError> {
        let Some(collection) = self.collection_of(message.collection) else { return Ok(None) };
        let id = EntryId::new(&message.id)?;
        let partition = partition_of(&id, self.view().partitions());
        if !scope.partitions.contains(partition) {
            return Ok(None);
        }
        let part = self.get_here(&scope.ctx, collection.id, partition, &id).await?;
        let answer = wire::GetResponse { told: None, row: part.answer.map(Into::into) };
        Ok(Some(Part::new(answer, part.elsewhere)))
    }
}
