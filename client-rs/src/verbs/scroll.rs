//! Walks all entries.

use std::collections::VecDeque;

use futures::{Stream, StreamExt, stream};
use vecgrid_proto::v1 as pb;

use crate::{
    Client, Entry, ErrorKind, Result, Scroll, ScrollPage,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// All entries of a collection, or those that match, in a stable order. Pages are fetched as
    /// they are needed; the stream ends after the first error.
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
    /// use futures::StreamExt;
    /// use vecgrid_client::Scroll;
    /// let mut entries = client.scroll(Scroll::new("films").include_vector(true));
    /// while let Some(entry) = entries.next().await {
    ///     println!("{}", entry?.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scroll(&self, scroll: Scroll) -> impl Stream<Item = Result<Entry>> + Send + Unpin + use<> {
        let walk = Walk { client: self.clone(), scroll, waiting: VecDeque::new(), done: false };
        stream::unfold(walk, |mut walk| async move {
            let entry = walk.next().await?;
            Some((entry, walk))
        })
        .boxed()
    }

    /// One page, for callers that keep the cursor themselves.
    ///
    /// # Errors
    /// `collection_not_found`, `invalid_filter`, `invalid_cursor`, and what any call may meet.
    pub async fn scroll_page(&self, scroll: &Scroll) -> Result<ScrollPage> {
        let request = pb::ScrollRequest {
            collection: scroll.collection.clone(),
            filter_json: wire::json_to_wire(scroll.filter.as_ref()),
            limit: scroll.page,
            cursor: scroll.cursor.clone(),
            include_vector: scroll.include_vector,
        };
        let send = |mut stub: Stub, request| async move { stub.scroll(request).await };
        let response = self.call(Effect::Read, request, send).await?;
        Ok(ScrollPage {
            entries: response.entries.into_iter().map(wire::entry_from_wire).collect::<Result<_>>()?,
            cursor: (!response.cursor.is_empty()).then_some(response.cursor),
        })
    }
}

struct Walk {
    client: Client,
    scroll: Scroll,
    /// Rest of the current page.
    waiting: VecDeque<Entry>,
    done: bool,
}

impl Walk {
    async fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Some(Ok(entry));
            }
            if self.done {
                return None;
            }
            match self.client.scroll_page(&self.scroll).await {
                Ok(page) => {
                    self.done = page.cursor.is_none();
                    self.scroll.cursor = page.cursor.unwrap_or_default();
                    self.waiting = page.entries.into();
                }
                // Entries may be large: a smaller page of them fits a message.
                Err(error) if error.kind() == ErrorKind::TooLarge && self.scroll.page > 1 => {
                    self.scroll.page /= 2
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
