//! Searches: one, or many in one request.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Consistency, Error, Result, Search, SearchAnswer,
    call::{Effect, Stub},
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
        let response = match self.search_shared(&request).await {
            Some(outcome) => outcome?,
            None => {
                let send = |mut stub: Stub, request| async move { stub.search(request).await };
                // Seldom, and its future is large.
                Box::pin(self.call(Effect::Read, request, send)).await?
            }
        };
        wire::answer_from_wire(response, search.include_metadata)
    }

    /// Over the shared stream; `None` when it must be a call of its own.
    async fn search_shared(&self, request: &pb::SearchRequest) -> Option<Result<pb::SearchResponse>> {
        if self.consistency != Consistency::Own || !self.shared.suits(request) {
            return None;
        }
        let ask = async |left| match self.shared.ask(request.clone(), left).await {
            Ok(answer) => answer.map_err(|failure| Error::from_failure(failure, Effect::Read)),
            Err(status) => Err(Error::from_status(&status, Effect::Read, &self.options.endpoint)),
        };
        let outcome = self.attempts(Effect::Read, ask).await;
        if outcome.as_ref().is_err_and(|error| error.code() == "unimplemented") {
            self.shared.give_up();
            return None;
        }
        Some(outcome)
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
