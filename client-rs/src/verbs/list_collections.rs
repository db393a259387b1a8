//! Lists collections.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, CollectionInfo, Result,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// All collections.
    ///
    /// # Errors
    /// What any call may meet.
    pub async fn list_collections(&self) -> Result<Vec<CollectionInfo>> {
        let send = |mut stub: Stub, request| async move { stub.list_collections(request).await };
        let response = self.call(Effect::Read, pb::ListCollectionsRequest {}, send).await?;
        response.collections.into_iter().map(wire::info_from_wire).collect()
    }
}
