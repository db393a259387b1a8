//! The accept loops and what a connection lives through.
//!
//! We accept by ourselves, because tonic's server options do not reach a service mounted in axum: limits,
//! keep-alive and timeouts are set on hyper here. A connection is a task; it holds one of a bounded number of
//! slots, and when all are taken new connections wait in the backlog.
//!
//! Shutdown: loops stop, every connection finishes the requests it has begun and closes (HTTP/2 says GOAWAY),
//! and after the grace time the rest is cut.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, middleware::from_fn_with_state};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    bind::BindError,
    door::Door,
    grpc,
    guard::{Browsers, Guard, guard},
    http::routes,
    limits::{ApiConfig, ApiLimits},
    unix_socket::UnixSocket,
};
use crate::task::CalmExecutor;

/// Connections of the admin listener: apart, so that a full API can still be asked how it is.
const ADMIN_CONNECTIONS: usize = 64;
/// How long a ping over HTTP/2 may go unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that a peer may open and reset before we have looked at them ("rapid reset").
const MAX_PENDING_RESETS: usize = 64;
/// After a failed accept (no file descriptors left): time for others to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How much longer than a connection's grace the server waits for its task to end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What each listener serves.
pub(super) struct Routers {
    pub(super) tcp: Router,
    unix: Router,
    admin: Router,
}

impl Routers {
    pub(super) fn new(door: &Arc<Door>, config: &ApiConfig) -> Result<Self, BindError> {
        let browsers = Browsers::new(&config.allowed_hosts, &config.allowed_origins);
        let guarded = |routes: Router, browsers: Option<Arc<Browsers>>| {
            routes.layer(from_fn_with_state(Guard { door: Arc::clone(door), browsers }, guard))
        };
        let refusing = |routes: Router<Arc<Door>>| {
            let routes = routes.method_not_allowed_fallback(routes::wrong_method).fallback(routes::not_found);
            routes.with_state(Arc::clone(door))
        };
        let api = refusing(routes::api()).merge(grpc::router(door)?);
        Ok(Self {
            tcp: guarded(api.clone(), Some(Arc::new(browsers))),
            unix: guarded(api, None),
            // For probes and scrapers from elsewhere: any host name, nothing but numbers.
            admin: guarded(refusing(routes::platform()), None),
        })
    }
}

/// Where connections come from.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and awaited: without this p99 is 3 ms.
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(socket) => Ok(Connection::Unix(socket.listener.accept().await?.0)),
        }
    }
}

/// All listeners of a daemon.
pub(super) struct Listeners {
    pub(super) tcp: Listener,
    pub(super) unix: Option<Listener>,
    pub(super) admin: Option<Listener>,
}

impl Listeners {
    /// Serves until the door's shutdown and the end of all connections, or of the grace time.
    pub(super) async fn serve(self, door: &Arc<Door>, routers: Routers) {
        let slots = Arc::new(Semaphore::new(door.limits.max_connections));
        let admin_slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
        // The platform must still be able to ask while requests are being finished.
        let admin_end = CancellationToken::new();
        let api = async {
            tokio::join!(
                accept(door, Some(self.tcp), routers.tcp, &slots, &door.shutdown),
                accept(door, self.unix, routers.unix, &slots, &door.shutdown),
            );
            ended(&slots, door.limits.max_connections, door.limits.drain_grace).await;
            admin_end.cancel();
        };
        tokio::join!(api, accept(door, self.admin, routers.admin, &admin_slots, &admin_end));
        ended(&admin_slots, ADMIN_CONNECTIONS, LAST_WAIT).await;
    }
}

/// Waits until every slot is free again.
async fn ended(slots: &Semaphore, all: usize, grace: Duration) {
    let all = u32::try_from(all).unwrap_or(u32::MAX);
    if timeout(grace + LAST_WAIT, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("connections were still open after the grace time");
    }
}

/// Accepts until `shutdown`. The listener, and the file of a Unix socket, end with it.
async fn accept(
    door: &Door,
    listener: Option<Listener>,
    router: Router,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) {
    let Some(listener) = listener else { return };
    let builder = hyper_builder(&door.limits);
    loop {
        let next = async {
            // The slot first: without one, connections wait in the backlog.
            let slot = Arc::clone(slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = shutdown.cancelled() => return,
        };
        let Some((slot, accepted)) = accepted else { return };
        let life = Life {
            builder: builder.clone(),
            router: router.clone(),
            shutdown: shutdown.clone(),
            header_wait: door.limits.header_read_timeout,
            grace: door.limits.drain_grace,
            _slot: slot,
        };
        match accepted {
            Ok(Connection::Tcp(stream)) => door.tasks.spawn("api connection", async move {
                if life.first_byte(stream.readable()).await {
                    life.serve(stream).await;
                }
            }),
            Ok(Connection::Unix(stream)) => door.tasks.spawn("api connection", async move {
                if life.first_byte(stream.readable()).await {
                    life.serve(stream).await;
                }
            }),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::select! {
                    () = sleep(ACCEPT_PAUSE) => {}
                    () = shutdown.cancelled() => return,
                }
            }
        }
    }
}

fn hyper_builder(limits: &ApiLimits) -> auto::Builder<CalmExecutor> {
    let mut builder = auto::Builder::new(CalmExecutor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.http2_keepalive)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS);
    builder
}

/// One connection.
struct Life {
    builder: auto::Builder<CalmExecutor>,
    router: Router,
    shutdown: CancellationToken,
    header_wait: Duration,
    grace: Duration,
    _slot: OwnedSemaphorePermit,
}

impl Life {
    /// hyper's header timeout starts only when it knows the protocol, which takes a byte.
    async fn first_byte(&self, readable: impl Future<Output = io::Result<()>>) -> bool {
        tokio::select! {
            readable = timeout(self.header_wait, readable) => matches!(readable, Ok(Ok(()))),
            () = self.shutdown.cancelled() => false,
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router.clone().into_service::<hyper::body::Incoming>());
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(self.grace, connection).await {
                    Ok(outcome) => outcome,
                    Err(_) => return tracing::warn!("a connection was cut after the grace time"),
                }
            }
        };
        if let Err(error) = outcome {
            // Clients go away all the time.
            tracing::debug!(error, "a connection ended early");
        }
    }
}
