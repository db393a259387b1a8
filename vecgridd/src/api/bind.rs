//! Ports are bound before work begins: a wrong port fails at once, and `/livez` answers while rows are loaded.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    admission::Admission,
    door::Door,
    guard::RequestIds,
    http::openapi,
    limits::ApiConfig,
    server::{Listener, Listeners, Routers},
    unix_socket::UnixSocket,
};
use crate::{
    service::Service,
    task::Tasks,
    telemetry::{Metrics, Snapshot},
};

/// Why a listener could not be bound, or served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A TCP port.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The Unix socket.
    #[error("cannot listen on the Unix socket {}: {reason}", path.display())]
    Socket {
        /// As configured.
        path: PathBuf,
        /// What is wrong and what would help.
        reason: String,
    },
    /// The descriptors in this binary are damaged: a bug.
    #[error("gRPC reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Bound listeners, not yet served.
pub struct Bound {
    config: ApiConfig,
    api: (TcpListener, SocketAddr),
    socket: Option<UnixSocket>,
    admin: Option<(TcpListener, SocketAddr)>,
}

impl Bound {
    /// Binds every listener of the configuration.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(config: &ApiConfig) -> Result<Self, BindError> {
        let api = tcp(config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(tcp(address).await?),
            None => None,
        };
        let socket = match &config.socket {
            Some(path) => Some(UnixSocket::bind(path).await?),
            None => None,
        };
        Ok(Self { config: config.clone(), api, socket, admin })
    }

    /// The API's address, with the port that was taken if 0 was asked for.
    pub fn api_addr(&self) -> SocketAddr {
        self.api.1
    }

    /// The Unix socket.
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket.as_ref().map(UnixSocket::path)
    }

    /// The admin listener's address.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `shutdown` is cancelled and requests in progress are answered, or the grace time passed.
    /// Until `service` is set, API requests are answered with `starting`. The admin listener goes last.
    ///
    /// # Errors
    /// Only [`BindError::Reflection`].
    pub async fn serve(
        self,
        service: Arc<OnceLock<Service>>,
        metrics: Arc<Metrics>,
        snapshot: Arc<dyn Snapshot>,
        tasks: Tasks,
        shutdown: CancellationToken,
    ) -> Result<(), BindError> {
        let limits = self.config.limits.clone();
        let door = Arc::new(Door {
            service,
            metrics,
            snapshot,
            tasks,
            shutdown,
            admission: Admission::new(&limits),
            request_ids: RequestIds::new(),
            limits,
            document: openapi::document().into(),
        });
        let routers = Routers::new(&door, &self.config)?;
        let listeners = Listeners {
            tcp: Listener::Tcp(self.api.0),
            unix: self.socket.map(Listener::Unix),
            admin: self.admin.map(|(listener, _)| Listener::Tcp(listener)),
        };
        listeners.serve(&door, routers).await;
        Ok(())
    }
}

async fn tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let refused = |source| BindError::Tcp { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let actual = listener.local_addr().map_err(refused)?;
    Ok((listener, actual))
}
