//! The handle.

use std::{sync::Arc, time::Duration};

use tonic::transport::Channel;
use vecgrid_proto::v1::vec_grid_client::VecGridClient;

use crate::{ClientBuilder, Endpoint, Result, shared::Shared};

/// A handle to one daemon. Cheap to clone; clones share one connection, which is opened again by
/// itself when it breaks.
///
/// Its verbs are one file each under `verbs/`.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) stub: VecGridClient<Channel>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<Options>,
    pub(crate) timeout: Duration,
    pub(crate) consistency: Consistency,
}

/// Which writes a read must show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Those that were acknowledged through the daemon that is asked; others a moment later.
    #[default]
    Own,
    /// Every write that was acknowledged, whoever wrote it. Asks primaries only: slower, and not answered while one is
    /// missing.
    Strong,
    /// Besides one's own those of a token, which comes with the answer to a write ([`crate::UpsertSummary::token`]).
    AtLeast(String),
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) endpoint: Endpoint,
    pub(crate) max_retries: u32,
    pub(crate) max_message_bytes: usize,
}

impl Client {
    /// Starts a client with options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Connects with default options to `http://127.0.0.1:5700`, `127.0.0.1:5700`,
    /// `unix:/path/to.sock`…
    ///
    /// # Errors
    /// `invalid_endpoint`, `unreachable`.
    pub async fn connect(endpoint: impl Into<String>) -> Result<Self> {
        Self::builder().endpoint(endpoint).connect().await
    }

    /// The same connection with another deadline per call.
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
    /// use std::time::Duration;
    /// let count = client.with_timeout(Duration::from_millis(200)).count("films", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same connection for reads that show these writes.
    ///
    /// ```no_run
    /// # async fn example(client: vecgrid_client::Client, told: String) -> vecgrid_client::Result<()> {
    /// use vecgrid_client::Consistency;
    /// // Another app wrote, beside another daemon of the grid, and handed the token of its write over.
    /// let there = client.with_consistency(Consistency::AtLeast(told)).get("films", "alien").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        Self { consistency, ..self.clone() }
    }

    /// The daemon's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.options.endpoint
    }
}
