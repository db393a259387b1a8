//! How a connection to another member is opened.

use std::{future::Future, io, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Security;
use crate::task::CalmExecutor;

/// What a connection is for. It opens with eight bytes that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Who lives, who leads, what is decided.
    Control,
    /// Rows and searches: much, and never in the way of the other.
    Data,
}

impl Kind {
    pub(super) const fn preamble(self) -> [u8; 8] {
        match self {
            Self::Control => *b"vecgrid\x01",
            Self::Data => *b"vecgrid\x02",
        }
    }

    /// The kind of a connection that opens like this.
    pub(super) fn of(preamble: [u8; 8]) -> Option<Self> {
        [Self::Control, Self::Data].into_iter().find(|kind| kind.preamble() == preamble)
    }
}

/// In the text of an error that says that no connection was made.
pub(super) const NOT_CONNECTED: &str = "no connection to the member";

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Both sides notice a host that vanished without a word.
pub(super) const PING_EVERY: Duration = Duration::from_secs(2);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes under way on a connection for data, for one request and for all: a batch of vectors need not wait for its
/// receiver every 64 KiB.
pub(super) const DATA_WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// A channel to an address, which is connected when it is first used, and again after each failure.
pub(super) fn channel(address: &str, security: &Security, kind: Kind) -> Result<Channel, String> {
    // The URI only names the authority; connections are made below.
    let endpoint = Endpoint::try_from(format!("http://{address}")).map_err(|e| e.to_string())?;
    let mut endpoint = endpoint
        .executor(CalmExecutor)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    if kind == Kind::Data {
        let (one, all) = DATA_WINDOWS;
        endpoint = endpoint.initial_stream_window_size(one).initial_connection_window_size(all);
    }
    let address = address.to_owned();
    match security {
        Security::Open => Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let address = address.clone();
            async move { in_time(&address, open(&address, kind)).await.map(TokioIo::new) }
        }))),
        Security::Tls(tls) => {
            let (tls, name) = (TlsConnector::from(Arc::clone(&tls.client)), tls.name_at(&address));
            let name = name.map_err(|e| e.to_string())?;
            Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
                let (address, tls, name) = (address.clone(), tls.clone(), name.clone());
                let secured = async move |address: &str| tls.connect(name, open(address, kind).await?).await;
                async move { in_time(&address, secured(&address)).await.map(TokioIo::new) }
            })))
        }
    }
}

async fn open(address: &str, kind: Kind) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    // Messages are small and awaited.
    stream.set_nodelay(true)?;
    stream.write_all(&kind.preamble()).await?;
    Ok(stream)
}

/// Says of a failure that there is no connection, so that nothing was sent.
async fn in_time<T>(address: &str, opening: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let failed = |why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::NotConnected, format!("{NOT_CONNECTED} at {address}: {why}"))
    };
    match timeout(CONNECT_TIMEOUT, opening).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&"no answer")),
    }
}
