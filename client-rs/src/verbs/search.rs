//! Searches: one, or many in one request.

use tokio::time::Instant;
use vecgrid_proto::v1 as pb;

use crate::{
    Client, Consistency, Error, Result, Search, SearchAnswer,
    call::{Effect, Stub},
    shared::Told,
    wire,
};

impl Client {
    /// The nearest entries.
    ///
    /// Short searches of all clones share one stream, so this costs as little as [`Client::search_stream`].
    ///
    /// # Errors
    /// `collection_not_found`, `wrong_dimension`, `invalid_…`, and what any call may meet.
    pub async fn search(&self, search: Search) -> Result<SearchAnswer> {
        let request = wire::search_to_wire(&search);
        let response = self.attempts(Effect::Read, |by| self.search_once(&request, by)).await?;
        wire::answer_from_wire(response, search.include_metadata)
    }

    async fn search_once(&self, request: &pb::SearchRequest, by: Instant) -> Result<pb::SearchResponse> {
        if self.consistency == Consistency::Own {
            match self.shared.ask(request, by).await {
                Told::Answer(answer) => {
                    return answer.map_err(|failure| Error::from_failure(failure, Effect::Read));
                }
                Told::Ended(status) => {
                    let error = Error::from_status(&status, Effect::Read, &self.options.endpoint);
                    if error.is_retryable() {
                        return Err(error);
                    }
                }
                Told::Unsuited => {}
            }
        }
        let send = |mut stub: Stub, request| async move { stub.search(request).await };
        // Seldom, and its future is large.
        Box::pin(self.attempt(Effect::Read, request.clone(), by, send)).await
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
