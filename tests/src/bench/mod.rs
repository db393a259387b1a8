//! The benchmark: queries per second, latency, recall, build time and memory, of the index inside
//! this process, of a daemon behind its socket, and of other engines, in one table.
//!
//! ```text
//! bench index    the library, no wire: one search thread
//! bench daemon   a daemon of its own, or one that runs: over the Unix socket
//! bench recall   does a search with a target reach it?
//! bench floor    the same client against a bare HTTP/2 server: what a call costs at least
//! bench peers    hnswlib, faiss, usearch, Qdrant's engine: tests/peers/peers.py
//! bench all      everything above, one after the other
//! bench compare  what the project promises, beside peers, with a verdict on each
//! bench shapes   other dimensions and metrics, beside peers
//! bench grid     what asking three members costs over asking one, with a verdict
//! bench copies   what backups cost writes; a search where each member has a copy of everything
//! bench growth   what queries, builds and rows cost as rows become more
//! bench kernels  what one full-precision distance costs, by instruction set and type
//! ```
//!
//! But for the last six and `recall`, every result is one [`Row`](report::Row): the same fields whoever was measured. Recall is
//! distance-aware, against an exact answer that is given (`--truth`) or computed by the `flat`
//! engine. Runs on one machine are comparable; absolute numbers belong to that machine.

pub mod compare;
pub mod copies;
pub mod daemon;
pub mod data;
pub mod floor;
pub mod grid;
pub mod growth;
pub mod index;
pub mod kernels;
pub mod peers;
pub mod progress;
pub mod recall;
pub mod report;
pub mod shapes;
pub mod vectors;
