//! Rust client for `vecgridd`, the vector search daemon that runs beside your application.
//!
//! ```no_run
//! use serde_json::json;
//! use vecgrid_client::{Client, CollectionConfig, Entry, Metric, Search};
//!
//! # async fn example() -> vecgrid_client::Result<()> {
//! let client = Client::connect("http://127.0.0.1:5700").await?;
//! client.create_collection(CollectionConfig::new("films", 3).metric(Metric::Cosine)).await?;
//!
//! let alien = Entry::new("alien").vector([0.1, 0.9, 0.2]).metadata(json!({"year": 1979}));
//! client.upsert("films", [alien]).await?;
//!
//! let search = Search::new("films", [0.1, 0.8, 0.3]).k(5).filter(json!({"year": {"$lt": 1990}}));
//! for hit in client.search(search).await?.hits {
//!     println!("{} at {}", hit.id, hit.distance);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it promises:
//!
//! - [`Client`] is a handle: cloning is cheap, clones share one connection, and any task may use it.
//! - Every call has a deadline (10 seconds unless you say otherwise). It travels to the daemon and
//!   is enforced here as well, retries included.
//! - A failed write says what you may conclude: [`Error::is_definite`] (nothing happened) or
//!   [`Error::is_unknown`] (it may have happened). Writes carry a random request id, so the daemon
//!   applies a retried write once and this crate can retry for you.
//! - Memory is bounded: [`Client::bulk`] keeps a fixed number of batches in flight.
//!
//! What it leaves out: TLS and authentication (the daemon listens on the loopback interface and on
//! a Unix socket), and a blocking flavour.
//!
//! Reading order: `endpoint` → `builder` → `client` → `call` (deadline and retries) → `shared` (searches on
//! one stream) → `verbs` (one file per verb) → `bulk` (many writes on one stream) → `types` and `wire` (what travels).
//!
//! Minimum supported Rust version: 1.91. The feature `cli` (on by default) builds the `vecgrid`
//! command; a library user turns it off with `default-features = false`.

mod builder;
mod bulk;
mod call;
mod client;
mod endpoint;
mod error;
mod shared;
mod types;
mod verbs;
mod wire;

pub use builder::ClientBuilder;
pub use bulk::{Bulk, BulkError, BulkProgress, BulkReport};
pub use client::{Client, Consistency};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{Error, ErrorKind, Outcome, Result};
pub use types::{
    CollectionConfig, CollectionInfo, Copies, CopyVerdict, Coverage, Created, DeleteSummary, Difference,
    Drain, Durability, Entry, EntryError, Explain, GridStatus, Hit, IndexOptions, Member, Metric, Move,
    Moves, PartitionStatus, Scroll, ScrollPage, Search, SearchAnswer, Step, UpsertSummary, Verified, Version,
};
