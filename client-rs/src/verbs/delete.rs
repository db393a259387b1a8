//! Deletes entries.

use serde_json::Value;
use vecgrid_proto::v1 as pb;

use crate::{
    Client, DeleteSummary, Result,
    call::{Effect, Stub, request_id},
    wire,
};

impl Client {
    /// Deletes entries by id and says how many existed. Unknown ids are not an error.
    ///
    /// # Errors
    /// `collection_not_found`, and what any call may meet.
    pub async fn delete<I>(&self, collection: impl Into<String>, ids: I) -> Result<DeleteSummary>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let ids: Vec<String> = ids.into_iter().map(Into::into).collect();
        if ids.is_empty() {
            return Ok(DeleteSummary::default());
        }
        let collection = collection.into();
        self.delete_request(pb::DeleteRequest {
            collection,
            ids,
            filter_json: String::new(),
            request_id: request_id(),
        })
        .await
    }

    /// Deletes all entries that match and says how many there were.
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
    /// let gone = client.delete_by_filter("films", &serde_json::json!({"year": {"$lt": 1950}})).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `collection_not_found`, `invalid_filter`, and what any call may meet.
    pub async fn delete_by_filter(
        &self,
        collection: impl Into<String>,
        filter: &Value,
    ) -> Result<DeleteSummary> {
        let (collection, filter_json) = (collection.into(), wire::json_to_wire(Some(filter)));
        self.delete_request(pb::DeleteRequest {
            collection,
            ids: Vec::new(),
            filter_json,
            request_id: request_id(),
        })
        .await
    }

    async fn delete_request(&self, request: pb::DeleteRequest) -> Result<DeleteSummary> {
        let send = |mut stub: Stub, request| async move { stub.delete(request).await };
        let pb::DeleteResponse { deleted, token } = self.call(Effect::Write, request, send).await?;
        Ok(DeleteSummary { deleted, token })
    }
}
