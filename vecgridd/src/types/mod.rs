//! The nouns of the grid: plain values, checked when made, no I/O.
//!
//! A value that exists is valid: an [`EntryId`] is 1 to 512 bytes, a [`Vector`] has finite
//! components and the collection's dimension, a [`Filter`] is within its limits. Both doors build
//! these types, so bad input is refused once, in one place, before anything is stored.

mod cluster;
mod collection;
mod entry;
mod explain;
pub mod filter;
mod ids;
mod invalid;
mod member;
mod metadata;
mod metric;
mod mutation;
mod quantization;
mod query;
mod recall;
mod token;
mod vector;
mod version;

pub use cluster::{ClusterView, Collection, CopySettings, Holders, MAX_BACKUPS, Placement};
pub use collection::{CollectionConfig, Durability, EngineKind, IndexOptions, VectorPlace};
pub use entry::{Entry, StoredEntry};
pub use explain::{Explain, SearchPlan, Times};
pub use filter::Filter;
pub use ids::{
    CollectionId, CollectionName, DEFAULT_PARTITIONS, EntryId, MAX_PARTITIONS, MemberId, PartitionId,
    RequestId,
};
pub use invalid::Invalid;
pub use member::{Absence, Member, MemberDetails, MemberState};
pub use metadata::Metadata;
pub use metric::Metric;
pub use mutation::{Mutation, MutationOutcome, Operation};
pub use quantization::Quantization;
pub use query::{Coverage, Hit, Query, SearchAnswer};
pub use recall::{Breadth, TargetRecall};
pub use token::Token;
pub use vector::Vector;
pub use version::Version;
