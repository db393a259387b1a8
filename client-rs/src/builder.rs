//! From options to a connected client.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint as Transport};
use vecgrid_proto::v1::vec_grid_client::VecGridClient;

use crate::{Client, Consistency, Endpoint, Error, Result, client::Options, shared::Shared};

/// Largest message in either direction unless told otherwise.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Options of a [`Client`]; [`Client::builder`] starts one.
///
/// ```no_run
/// # async fn example() -> vecgrid_client::Result<()> {
/// use std::time::Duration;
/// let client = vecgrid_client::Client::builder()
///     .endpoint("unix:/run/vecgridd/vecgridd.sock")
///     .timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `connect` or `connect_lazy`"]
pub struct ClientBuilder {
    endpoint: Option<String>,
    connect_timeout: Duration,
    timeout: Duration,
    max_message_bytes: usize,
    max_retries: u32,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            endpoint: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_retries: 4,
        }
    }
}

impl ClientBuilder {
    /// Where the daemon listens: `http://127.0.0.1:5700`, `127.0.0.1:5700` or `unix:/path/to.sock`.
    /// Default: see [`Endpoint::from_env`].
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Longest time to open a connection. Default: 5 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Deadline of every call, retries included. Default: 10 seconds. See also
    /// [`Client::with_timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Largest message in either direction. Default: 64 MiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// How often one call is tried again where that is safe. Default: 4.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Opens the connection now, so a daemon that is not there is noticed here.
    ///
    /// # Errors
    /// `invalid_endpoint`, `unreachable`.
    pub async fn connect(self) -> Result<Client> {
        let (endpoint, transport) = self.transport()?;
        let connecting = async {
            match &endpoint {
                Endpoint::Tcp(_) => transport.connect().await,
                Endpoint::Unix(path) => transport.connect_with_connector(unix(path.clone())).await,
            }
        };
        let channel = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Error::unreachable(&endpoint, &innermost(&error))),
            Err(_) => return Err(Error::unreachable(&endpoint, "no answer in time")),
        };
        Ok(self.client(endpoint, channel))
    }

    /// Connects at the first call. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// `invalid_endpoint`.
    pub fn connect_lazy(self) -> Result<Client> {
        let (endpoint, transport) = self.transport()?;
        let channel = match &endpoint {
            Endpoint::Tcp(_) => transport.connect_lazy(),
            Endpoint::Unix(path) => transport.connect_with_connector_lazy(unix(path.clone())),
        };
        Ok(self.client(endpoint, channel))
    }

    fn transport(&self) -> Result<(Endpoint, Transport)> {
        let endpoint = match &self.endpoint {
            Some(text) => text.parse()?,
            None => Endpoint::from_env()?,
        };
        let uri = match &endpoint {
            Endpoint::Tcp(address) => format!("http://{address}"),
            // The name that the HTTP/2 `:authority` carries: servers refuse a file path there.
            Endpoint::Unix(_) => "http://localhost".to_owned(),
        };
        let transport = Transport::from_shared(uri)
            .map_err(|e| Error::invalid_endpoint(e.to_string()))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            // The default of 64 KiB makes a batch of vectors wait for window updates.
            .initial_stream_window_size(Some(4 << 20))
            .initial_connection_window_size(Some(16 << 20));
        Ok((endpoint, transport))
    }

    fn client(self, endpoint: Endpoint, channel: Channel) -> Client {
        let stub = VecGridClient::new(channel)
            .max_decoding_message_size(self.max_message_bytes)
            .max_encoding_message_size(self.max_message_bytes);
        let options =
            Options { endpoint, max_retries: self.max_retries, max_message_bytes: self.max_message_bytes };
        let shared = Arc::new(Shared::new(stub.clone(), self.max_message_bytes));
        Client {
            stub,
            shared,
            options: Arc::new(options),
            timeout: self.timeout,
            consistency: Consistency::default(),
        }
    }
}

type Connecting = std::pin::Pin<Box<dyn Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send>>;

fn unix(
    path: PathBuf,
) -> impl tower::Service<http::Uri, Response = TokioIo<UnixStream>, Error = std::io::Error, Future = Connecting>
+ Send
+ 'static {
    tower::service_fn(move |_: http::Uri| -> Connecting {
        let path = path.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
    })
}

/// The cause that helps a person ("connection refused"), below the layers that say "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
