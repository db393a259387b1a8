//! Every limit of the doors: name, unit, default, reason.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where the doors are and whom they let in.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Local API over TCP; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Local API over a Unix socket; `None` = no socket.
    pub socket: Option<PathBuf>,
    /// `/metrics`, `/livez`, `/readyz` for the platform; `None` = only on the API port.
    pub admin_listen: Option<SocketAddr>,
    /// Host names, beside localhost and loopback addresses, that TCP requests may name; `*` = any.
    pub allowed_hosts: Vec<String>,
    /// Web origins (`https://app.example`) whose pages may call over TCP; `*` = any.
    pub allowed_origins: Vec<String>,
    /// Limits.
    pub limits: ApiLimits,
}

/// What one caller, and all together, may ask of the doors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiLimits {
    /// Bytes of one request body or gRPC message, and of one answer. Default 64 MiB: a full batch of 10,000
    /// vectors of 1,536 floats is 59 MiB.
    pub max_message_bytes: usize,
    /// Deadline of a request that names none. Default 10 s: longer than any healthy request.
    pub default_deadline: Duration,
    /// Longest deadline a request may ask for; longer ones are cut. Default 60 s: everything that
    /// waits for a request is held for no longer.
    pub max_deadline: Duration,
    /// Reads in progress. Default 256: several times what the cores can work on; more would only wait.
    pub max_reads: usize,
    /// Writes in progress. Default 256, apart from reads: a storm of one must not stop the other.
    /// It is also the most that one group commit can gather.
    pub max_writes: usize,
    /// Bytes of request bodies in memory. Default 256 MiB: four of the largest, thousands of usual ones.
    pub max_bytes_in_flight: usize,
    /// Messages of one gRPC stream in progress. Default 8: keeps the log writer busy, one slow stream
    /// holds little.
    pub max_stream_messages: usize,
    /// Connections of both API listeners; further ones wait in the backlog. Default 1,024.
    pub max_connections: usize,
    /// gRPC calls of one connection. Default 256: not more than the reads or writes in progress.
    pub max_concurrent_streams: u32,
    /// Bytes of the headers of an HTTP/2 request. Default 32 KiB: an id of 512 bytes needs 1.5 KiB.
    pub max_header_bytes: u32,
    /// How long a connection may stay without (the rest of) a request's head. Default 120 s: hyper counts idle
    /// time too, and usual client pools keep idle connections for up to 90 s.
    pub header_read_timeout: Duration,
    /// How often a silent HTTP/2 connection is pinged. Default 30 s; a missing answer closes it after 10 s more.
    pub http2_keepalive: Duration,
    /// How long requests in progress may go on after shutdown was asked for. Default 10 s, as the default deadline.
    pub drain_grace: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 << 20,
            default_deadline: Duration::from_secs(10),
            max_deadline: Duration::from_secs(60),
            max_reads: 256,
            max_writes: 256,
            max_bytes_in_flight: 256 << 20,
            max_stream_messages: 8,
            max_connections: 1_024,
            max_concurrent_streams: 256,
            max_header_bytes: 32 << 10,
            header_read_timeout: Duration::from_secs(120),
            http2_keepalive: Duration::from_secs(30),
            drain_grace: Duration::from_secs(10),
        }
    }
}
