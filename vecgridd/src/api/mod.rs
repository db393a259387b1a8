//! The doors: gRPC and REST on the same listeners, over loopback TCP and a Unix socket.
//!
//! ```text
//! accept loop ─► hyper (HTTP/1.1, HTTP/2) ─► axum routes ─► guard ─┬─► grpc/<verb>.rs ─┐
//!  server.rs      connection limits                        │        └─► http/<verb>.rs ─┴─► service
//!                                        who, how much, how long, what it cost
//! ```
//!
//! Promises: every request ends by its deadline; too much is refused at once with a time to come
//! back; every failure has a stable code and says what the caller may conclude (`error.rs`); a web
//! page cannot reach the daemon over TCP (`guard/browser.rs`); ports are bound before work begins, and
//! `/livez` and `/readyz` answer from then on; requests in progress are finished at shutdown.
//!
//! A verb has one file in `grpc/` and one in `http/`, named as in `service/`. Doors decode, call and encode:
//! no rule of the contract is decided here. TLS and authentication are not here yet: both listeners are local.

mod admission;
mod bind;
mod door;
mod error;
mod grpc;
mod guard;
mod http;
mod limits;
mod server;
#[cfg(test)]
mod tests;
mod unix_socket;

pub use bind::{BindError, Bound};
pub use http::openapi::document as openapi_document;
pub use limits::{ApiConfig, ApiLimits};
