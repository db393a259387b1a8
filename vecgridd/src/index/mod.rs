//! Finding neighbours: one in-memory index per collection, over all partitions of this member.
//!
//! ```text
//!  applier ──apply──▶ Owner (mutex) ──publish──▶ View ◀──view── searches, counts
//!                       ▲                         │
//!  builder ──advance────┘     rows ─────────────┬─┤  slots 0 … until   in the graph
//!     │        adopt                            │ │
//!     └─insert──▶ Engine (graph) ◀──────────────┘ └  slots until … len  the tail, scanned
//! ```
//!
//! What it promises:
//!
//! - A change is in every view made after [`CollectionIndex::apply`] returns, and a batch is in a
//!   view as a whole. A row that is being replaced is in every view exactly once.
//! - A search waits for nobody and makes nobody wait; one with a filter waits at most until the
//!   applier has indexed the metadata of 64 rows.
//! - A search returns exactly `min(k, matches)` rows, at every selectivity, without duplicates,
//!   nearest first, ties by id, with distances that an exact search would give. Which rows is
//!   approximate where a graph was walked, and exact otherwise.
//! - Memory of dead rows comes back when a fifth of all rows is dead.
//! - Whatever happens inside an engine, answers stay complete; they get slower.
//!
//! How: rows are in dense slots that never move (`rows`), packed in chunks (`chunk`, `packed`); a
//! [`View`] is an unchanging list of them. Beside them grow indexes of all metadata fields
//! (`fields`), which turn a filter into a bitmap over slots. Writes append to the tail and return. The `builder` thread alone moves rows from the
//! tail into the graph of an `engine`, and rebuilds both when too much is dead. A first graph begins when the rows that come in a `burst` are there. A search finds
//! out which rows are eligible (`scan`), then plans (`plan`): walk the graph and scan the tail, or scan
//! everything eligible; [`View::search_explained`] says what it did. A row's partition is one more thing that a search checks, so the number of
//! partitions costs nothing.
//!
//! How wide a walk is follows from the recall that is asked for (`calibration`, measured by the builder:
//! `calibrator`). A few answers are checked against exact ones ([`Checker`]): so recall can be seen.
//!
//! Engines: `native` is ours, and the default; `hnsw_rs` is the crate of that name; `flat` has no graph,
//! every search scans.
//!
//! An index is saved now and then, by its builder, so that a start neither reads all rows nor builds a
//! graph (`checkpoint`); what came after is read from the row store.
//!
//! A member that has many rows and no graph over them takes over the links of another one that has (`donor`).
//!
//! What it leaves out, for now: one search uses one thread.

mod asked;
mod builder;
mod burst;
mod calibration;
mod calibrator;
mod check;
mod checker;
mod checkpoint;
mod chunk;
mod collection_index;
mod compaction;
mod deaths;
mod digest;
mod distance;
mod donor;
mod draw;
mod effort;
mod engine;
mod error;
mod fields;
mod full_block;
mod hnsw_rs;
mod native;
mod owner;
mod packed;
mod partition_set;
mod plan;
mod recall_window;
mod region;
mod registry;
mod rows;
mod saving;
mod scan;
mod selections;
mod side_by_side;
mod slots;
mod stats;
#[cfg(test)]
mod suite;
mod sync;
mod top_k;
mod view;

pub use check::Answered;
pub use checker::{CheckOptions, Checker, Searched};
pub use checkpoint::Refusal;
pub use collection_index::{Change, CollectionIndex, IndexLimits};
pub use digest::Digest;
pub use distance::{Component, Kernels, Precision, Sums};
pub use donor::{Donor, Gift, GraphLinks, LinksPart, are_alike};
pub use error::IndexError;
pub use partition_set::PartitionSet;
pub use recall_window::RecallStats;
pub use registry::{IndexFolder, Loads, Registry};
pub use stats::{CheckpointStats, IndexBytes, IndexStats};
pub use view::View;
