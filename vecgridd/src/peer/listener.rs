//! The members' door: accepts connections, bounded in number, and serves them until the daemon stops.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use vecgrid_proto::peer::peer_server::PeerServer;

use super::{
    Host, Me, PREAMBLE, RefusedPeer, Security,
    connect::{PING_EVERY, PING_TIMEOUT},
    pool::MAX_MESSAGE,
    server::Door,
};
use crate::{task::Tasks, telemetry::Metrics};

/// Limits of the members' door.
#[derive(Debug, Clone)]
pub struct PeerLimits {
    /// Connections at once. A member needs two or three to each other member.
    pub connections: usize,
    /// Requests in progress on one connection.
    pub streams: u32,
    /// How long a new connection may take to say what it is.
    pub greeting: Duration,
    /// How long requests in progress may take when the daemon stops.
    pub grace: Duration,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            streams: 128,
            greeting: Duration::from_secs(3),
            grace: Duration::from_millis(500),
        }
    }
}

/// After a failed accept (no file descriptors left): time for others to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound port, not yet served.
pub struct PeerListener {
    listener: StdListener,
    address: SocketAddr,
}

impl PeerListener {
    /// Binds a port.
    ///
    /// # Errors
    /// When it is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        // It is served on another runtime than the one we are on.
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that was taken if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the tasks are stopped. Must be called on the runtime that is to serve.
    ///
    /// # Errors
    /// When the listener cannot be registered.
    pub fn serve<H: Host>(self, serving: Serving<H>, tasks: &Tasks) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let slots = Arc::new(Semaphore::new(serving.limits.connections));
        let shared = Shared { serving, shutdown: tasks.token() };
        tasks.spawn("peer listener", accept(listener, Arc::new(shared), slots, tasks.clone()));
        Ok(())
    }
}

/// What the door serves with.
pub struct Serving<H> {
    /// Gives the answers.
    pub host: Arc<H>,
    /// Who we are.
    pub me: Arc<Me>,
    /// Who may connect.
    pub security: Security,
    /// Numbers for the operator.
    pub metrics: Arc<Metrics>,
    /// Limits.
    pub limits: PeerLimits,
}

struct Shared<H> {
    serving: Serving<H>,
    shutdown: CancellationToken,
}

async fn accept<H: Host>(listener: TcpListener, shared: Arc<Shared<H>>, slots: Arc<Semaphore>, tasks: Tasks) {
    loop {
        let next = async {
            // The slot first: without one, connections wait in the backlog.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = shared.shutdown.cancelled() => return,
        };
        match accepted {
            Some((slot, Ok((stream, _)))) => {
                tasks.spawn("peer connection", serve(Arc::clone(&shared), stream, slot));
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "a connection of a member could not be accepted");
                tokio::select! { () = sleep(ACCEPT_PAUSE) => {}, () = shared.shutdown.cancelled() => return }
            }
            None => return,
        }
    }
}

async fn serve<H: Host>(shared: Arc<Shared<H>>, mut stream: TcpStream, _slot: OwnedSemaphorePermit) {
    let serving = &shared.serving;
    let greeted = async {
        stream.set_nodelay(true).ok()?;
        let mut greeting = [0; PREAMBLE.len()];
        stream.read_exact(&mut greeting).await.ok()?;
        if greeting != PREAMBLE {
            RefusedPeer::Malformed.note(&serving.metrics, None);
            return None;
        }
        Some(stream)
    };
    // The greeting and the handshake together, in the connection's own task: a slow one delays nobody.
    let opened = timeout(serving.limits.greeting, async {
        let stream = greeted.await?;
        match &serving.security {
            Security::Open => Some(Stream::Plain(stream)),
            Security::Tls(tls) => match TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream).await {
                Ok(stream) => Some(Stream::Tls(Box::new(stream))),
                Err(error) => {
                    tracing::debug!(%error, "a handshake with a member failed");
                    RefusedPeer::Stranger.note(&serving.metrics, None);
                    None
                }
            },
        }
    });
    let opened = tokio::select! { opened = opened => opened, () = shared.shutdown.cancelled() => return };
    match opened {
        Ok(Some(Stream::Plain(stream))) => talk(&shared, stream).await,
        Ok(Some(Stream::Tls(stream))) => talk(&shared, stream).await,
        Ok(None) | Err(_) => {}
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Answers what comes over one connection, until it ends.
async fn talk<H: Host>(shared: &Shared<H>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let serving = &shared.serving;
    let spoken = Arc::new(OnceLock::new());
    let door = Door {
        host: Arc::clone(&serving.host),
        me: Arc::clone(&serving.me),
        metrics: Arc::clone(&serving.metrics),
        spoken: Arc::clone(&spoken),
    };
    let service = PeerServer::new(door).max_decoding_message_size(MAX_MESSAGE);
    let service = TowerToHyperService::new(Routes::new(service).prepare());
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(serving.limits.streams);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shared.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(serving.limits.grace, connection).await;
            return;
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error, "a connection of a member ended early");
    }
    if let Some(member) = spoken.get() {
        serving.host.closed(member);
    }
}
