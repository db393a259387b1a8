//! Describes a collection.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, CollectionInfo, Result,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// A collection's configuration and how full it is.
    ///
    /// # Errors
    /// `collection_not_found`, and what any call may meet.
    pub async fn get_collection(&self, name: impl Into<String>) -> Result<CollectionInfo> {
        let request = pb::GetCollectionRequest { name: name.into() };
        let send = |mut stub: Stub, request| async move { stub.get_collection(request).await };
        wire::info_from_wire(self.call(Effect::Read, request, send).await?)
    }
}
