//! Drops a collection.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Result,
    call::{Effect, Stub},
};

impl Client {
    /// Drops a collection with all its entries; false when there was none of that name.
    ///
    /// A call that was retried after a lost answer may say false although it dropped the collection.
    ///
    /// # Errors
    /// What any call may meet.
    pub async fn drop_collection(&self, name: impl Into<String>) -> Result<bool> {
        let request = pb::DropCollectionRequest { name: name.into() };
        let send = |mut stub: Stub, request| async move { stub.drop_collection(request).await };
        Ok(self.call(Effect::Write, request, send).await?.dropped)
    }
}
