//! Inserts or replaces one batch of entries.

use std::borrow::Borrow;

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Entry, Result, UpsertSummary,
    call::{Effect, Stub, request_id},
    wire,
};

impl Client {
    /// Inserts or replaces 1 to 10,000 entries in one request. Acknowledged means durable (as the
    /// collection's durability says) and searchable. Of equal ids the last one wins. For more, see
    /// [`Client::bulk`].
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
    /// use vecgrid_client::Entry;
    /// let summary = client.upsert("films", [Entry::new("alien").vector([0.1, 0.9, 0.2])]).await?;
    /// assert_eq!(summary.upserted, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `collection_not_found`, `wrong_dimension`, `invalid_…`, and what any call may meet. One
    /// invalid entry refuses the whole batch; entries whose partition did not take them are listed
    /// in the summary.
    pub async fn upsert<I>(&self, collection: impl Into<String>, entries: I) -> Result<UpsertSummary>
    where
        I: IntoIterator,
        I::Item: Borrow<Entry>,
    {
        self.upsert_with_request_id(collection, entries, request_id()).await
    }

    /// [`Client::upsert`] under a request id of your own (1 to 64 bytes), so that you can repeat a
    /// write whose outcome is unknown, even from another process.
    ///
    /// # Errors
    /// As for [`Client::upsert`]; `request_id_reused` when the id was used for other content.
    pub async fn upsert_with_request_id<I>(
        &self,
        collection: impl Into<String>,
        entries: I,
        request_id: impl Into<String>,
    ) -> Result<UpsertSummary>
    where
        I: IntoIterator,
        I::Item: Borrow<Entry>,
    {
        let request = pb::UpsertRequest {
            collection: collection.into(),
            entries: entries.into_iter().map(|entry| wire::entry_to_wire(entry.borrow())).collect(),
            request_id: request_id.into(),
        };
        let send = |mut stub: Stub, request| async move { stub.upsert(request).await };
        Ok(wire::upsert_from_wire(self.call(Effect::Write, request, send).await?))
    }
}
