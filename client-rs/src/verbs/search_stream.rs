//! Searches on one long stream: no set-up per search, several in flight.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use tokio::sync::Semaphore;

use crate::{
    Client, Error, Result, Search, SearchAnswer,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// Answers searches in order, with at most `in_flight` of them waiting in the daemon.
    ///
    /// A search that fails yields an error in its place and does not end the stream; a broken
    /// connection yields one last error. There is no deadline: drop the stream to end it.
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
    /// use futures::{StreamExt, stream};
    /// use vecgrid_client::Search;
    /// let searches = stream::iter((0..100).map(|i| Search::new("films", [i as f32, 1.0, 0.0])));
    /// let mut answers = client.search_stream(searches, 8).await?;
    /// while let Some(answer) = answers.next().await {
    ///     println!("{} hits", answer?.hits.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the stream cannot be opened.
    pub async fn search_stream<S>(
        &self,
        searches: S,
        in_flight: usize,
    ) -> Result<impl Stream<Item = Result<SearchAnswer>> + Send + Unpin + use<S>>
    where
        S: Stream<Item = Search> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(in_flight.max(1)));
        // Whether each search in flight asked for metadata: answers come in order. As long as the
        // semaphore is large, so bounded; the lock is held for a push or a pop.
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let requests = requests(searches, Arc::clone(&permits), Arc::clone(&asked));
        let mut stub: Stub = self.stub.clone();
        let endpoint = self.options.endpoint.clone();
        let answers = stub
            .search_stream(self.request(requests)?)
            .await
            .map_err(|status| Error::from_status(&status, Effect::Read, &endpoint))?
            .into_inner();
        Ok(answers
            .map(move |answer| {
                permits.add_permits(1);
                let with_metadata = asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let answer = answer.map_err(|status| Error::from_status(&status, Effect::Read, &endpoint))?;
                match (answer.response, answer.failure) {
                    (_, Some(failure)) => Err(Error::from_failure(failure, Effect::Read)),
                    (Some(response), None) => wire::answer_from_wire(response, with_metadata.unwrap_or(true)),
                    (None, None) => Err(Error::protocol("an empty answer", Effect::Read)),
                }
            })
            .boxed())
    }
}

/// Takes the next search only when there is room for it.
fn requests<S>(
    searches: S,
    permits: Arc<Semaphore>,
    asked: Arc<Mutex<VecDeque<bool>>>,
) -> impl Stream<Item = vecgrid_proto::v1::SearchRequest> + Send + 'static
where
    S: Stream<Item = Search> + Send + 'static,
{
    stream::unfold((Box::pin(searches), permits, asked), |(mut searches, permits, asked)| async move {
        permits.acquire().await.ok()?.forget();
        let search = searches.next().await?;
        asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(search.include_metadata);
        Some((wire::search_to_wire(&search), (searches, permits, asked)))
    })
}
