//! Counts entries.

use serde_json::Value;
use vecgrid_proto::v1 as pb;

use crate::{Client, Result, call::Effect, wire};

impl Client {
    /// How many entries a collection has, or how many of them match a filter.
    ///
    /// # Errors
    /// `collection_not_found`, `invalid_filter`, and what any call may meet.
    pub async fn count(&self, collection: impl Into<String>, filter: Option<&Value>) -> Result<u64> {
        let request =
            pb::CountRequest { collection: collection.into(), filter_json: wire::json_to_wire(filter) };
        let send = |mut stub: crate::call::Stub, request| async move { stub.count(request).await };
        Ok(self.call(Effect::Read, request, send).await?.count)
    }
}
