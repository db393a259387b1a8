//! Searches: one, or many in one request.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Error, Result, Search, SearchAnswer,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// The nearest entries.
    ///
    /// # Errors
    /// `collection_not_found`, `wrong_dimension`, `invalid_…`, and what any call may meet.
    pub async fn search(&self, search: Search) -> Result<SearchAnswer> {
        let send = |mut stub: Stub, request| async move { stub.search(request).await };
        let response = self.call(Effect::Read, wire::search_to_wire(&search), send).await?;
        wire::answer_from_wire(response, search.include_metadata)
    }

    /// Up to 1,000 searches in one request; answers in the same order.
    ///
    /// # Errors
    /// As for [`Client::search`]; one invalid search refuses all.
    pub async fn search_batch(&self, searches: &[Search]) -> Result<Vec<SearchAnswer>> {
        let request =
            pb::SearchBatchRequest { searches: searches.iter().map(wire::search_to_wire).collect() };
        let send = |mut stub: Stub, request| async move { stub.search_batch(request).await };
        let results = self.call(Effect::Read, request, send).await?.results;
        if results.len() != searches.len() {
            return Err(Error::protocol("the daemon did not answer every search", Effect::Read));
        }
        results
            .into_iter()
            .zip(searches)
            .map(|(r, s)| wire::answer_from_wire(r, s.include_metadata))
            .collect()
    }
}
