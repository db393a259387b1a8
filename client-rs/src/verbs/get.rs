//! Reads one entry.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Entry, Result,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// One entry by its id, or `None`.
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
    /// if let Some(entry) = client.get("films", "alien").await? {
    ///     println!("{}", entry.metadata);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `collection_not_found`, and what any call may meet.
    pub async fn get(&self, collection: impl Into<String>, id: impl Into<String>) -> Result<Option<Entry>> {
        let request = pb::GetRequest { collection: collection.into(), id: id.into() };
        let send = |mut stub: Stub, request| async move { stub.get(request).await };
        match self.call(Effect::Read, request, send).await {
            Ok(response) => response.entry.map(wire::entry_from_wire).transpose(),
            Err(error) if error.code() == "entry_not_found" => Ok(None),
            Err(error) => Err(error),
        }
    }
}
