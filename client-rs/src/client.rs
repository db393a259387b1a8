//! The handle.

use std::{sync::Arc, time::Duration};

use tonic::transport::Channel;
use vecgrid_proto::v1::vec_grid_client::VecGridClient;

use crate::{ClientBuilder, Endpoint, Result};

/// A handle to one daemon. Cheap to clone; clones share one connection, which is opened again by
/// itself when it breaks.
///
/// Its verbs are one file each under `verbs/`.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) stub: VecGridClient<Channel>,
    pub(crate) options: Arc<Options>,
    pub(crate) timeout: Duration,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) endpoint: Endpoint,
    pub(crate) max_retries: u32,
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

    /// The daemon's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.options.endpoint
    }
}
