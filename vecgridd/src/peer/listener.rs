//! The members' door: accepts connections, bounded in number, and serves them until the daemon stops.
//!
//! The first bytes of a connection say what it is for. One for control is served where the listener is; one for data
//! moves to the runtime that serves apps, with everything that is costly: handshake, frames, decoding, answers.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use vecgrid_proto::peer::peer_server::PeerServer;

use super::{
    Guard, Host, Me, RefusedPeer, Security,
    connect::{DATA_WINDOWS, Kind, PING_EVERY, PING_TIMEOUT},
    pool::MAX_MESSAGE,
    server::Door,
};
use crate::{
    task::{CalmExecutor, Tasks},
    telemetry::Metrics,
};

/// Limits of the members' door.
#[derive(Debug, Clone)]
pub struct PeerLimits {
    /// Connections at once. A member needs three or four to each other member.
    pub connections: usize,
    /// Requests in progress on one connection. Searches and writes also have to pass the bounds of whoever
    /// answers them.
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
        let shared = Shared { serving, tasks: tasks.clone(), shutdown: tasks.token() };
        tasks.spawn("peer listener", accept(listener, Arc::new(shared), slots));
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
    /// What is served over connections for data; without it there are none.
    pub data: Option<DataServices>,
}

/// The services for data.
pub struct DataServices {
    /// All of them, each behind a [`Guard`].
    pub routes: Routes,
    /// Where they run.
    pub runtime: Handle,
}

struct Shared<H> {
    serving: Serving<H>,
    tasks: Tasks,
    shutdown: CancellationToken,
}

async fn accept<H: Host>(listener: TcpListener, shared: Arc<Shared<H>>, slots: Arc<Semaphore>) {
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
                shared.tasks.spawn("peer connection", greet(Arc::clone(&shared), stream, slot));
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "a connection of a member could not be accepted");
                tokio::select! { () = sleep(ACCEPT_PAUSE) => {}, () = shared.shutdown.cancelled() => return }
            }
            None => return,
        }
    }
}

/// Hears what a new connection is for. It has its own task: a slow one delays nobody.
async fn greet<H: Host>(shared: Arc<Shared<H>>, mut stream: TcpStream, slot: OwnedSemaphorePermit) {
    let serving = &shared.serving;
    let mut greeting = [0; 8];
    let heard = timeout(serving.limits.greeting, stream.read_exact(&mut greeting));
    let heard = tokio::select! { heard = heard => heard, () = shared.shutdown.cancelled() => return };
    let (Ok(Ok(_)), Ok(())) = (heard, stream.set_nodelay(true)) else { return };
    match (Kind::of(greeting), &serving.data) {
        (Some(Kind::Control), _) => serve(Arc::clone(&shared), stream, Kind::Control, slot).await,
        (Some(Kind::Data), Some(data)) => {
            let Ok(stream) = stream.into_std() else { return };
            let there = Arc::clone(&shared);
            shared.tasks.spawn_on(&data.runtime, "data connection", async move {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    serve(there, stream, Kind::Data, slot).await;
                }
            });
        }
        _ => RefusedPeer::Malformed.note(&serving.metrics, None),
    }
}

async fn serve<H: Host>(shared: Arc<Shared<H>>, stream: TcpStream, kind: Kind, _slot: OwnedSemaphorePermit) {
    let serving = &shared.serving;
    match &serving.security {
        Security::Open => talk(&shared, stream, kind).await,
        Security::Tls(tls) => {
            let hands = TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream);
            let shaken = timeout(serving.limits.greeting, hands);
            match tokio::select! { shaken = shaken => shaken, () = shared.shutdown.cancelled() => return } {
                Ok(Ok(stream)) => talk(&shared, stream, kind).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake with a member failed");
                    RefusedPeer::Stranger.note(&serving.metrics, None);
                }
                Err(_) => {}
            }
        }
    }
}

/// Answers what comes over one connection, until it ends.
async fn talk<H: Host>(
    shared: &Shared<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    kind: Kind,
) {
    let serving = &shared.serving;
    let spoken = Arc::new(OnceLock::new());
    let mut builder = auto::Builder::new(CalmExecutor).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(serving.limits.streams);
    let routes = match (kind, &serving.data) {
        (Kind::Data, Some(data)) => {
            let (one, all) = DATA_WINDOWS;
            builder.http2().initial_stream_window_size(one).initial_connection_window_size(all);
            data.routes.clone()
        }
        _ => {
            let Serving { host, me, metrics, .. } = serving;
            let guard = Guard::new(Arc::clone(host), Arc::clone(me), Arc::clone(metrics));
            let door = Door { guard, spoken: Arc::clone(&spoken) };
            Routes::new(PeerServer::new(door).max_decoding_message_size(MAX_MESSAGE))
        }
    };
    let service = TowerToHyperService::new(routes.prepare());
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
