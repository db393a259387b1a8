//! Creates a collection.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, CollectionConfig, Created, Result,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// Creates a collection. Creating an equal one again is not an error.
    ///
    /// # Errors
    /// `collection_exists` when one of another configuration has the name; `invalid_…`.
    pub async fn create_collection(&self, config: CollectionConfig) -> Result<Created> {
        let request = pb::CreateCollectionRequest { config: Some(wire::config_to_wire(&config)) };
        let send = |mut stub: Stub, request| async move { stub.create_collection(request).await };
        let response = self.call(Effect::Write, request, send).await?;
        Ok(Created { config: wire::config_from_wire(response.config)?, created: response.created })
    }
}
