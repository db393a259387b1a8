//! The benchmark: queries per second, latency, recall, build time and memory, of the index inside
//! this process, of a daemon behind its socket, and of other engines, in one table.
//!
//! ```text
//! bench index    the library, no wire: one search thread
//! bench filters  the same, with the eight filters of the WordNet set
//! bench daemon   a daemon of its own, or one that runs: over the Unix socket
//! bench peers    hnswlib, faiss, usearch, Qdrant's engine: tests/peers/peers.py
//! bench all      everything above, one after the other
//! ```
//!
//! Every result is one [`Row`](report::Row): the same fields whoever was measured. Recall is
//! distance-aware, against an exact answer that is given (`--truth`) or computed by the `flat`
//! engine. Runs on one machine are comparable; absolute numbers belong to that machine.

pub mod daemon;
pub mod data;
pub mod filters;
pub mod index;
pub mod peers;
pub mod report;
