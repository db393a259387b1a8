//! What callers see: plain values, free of any wire format.

mod collection;
mod entry;
mod grid;
mod search;
mod verify;

pub use collection::{CollectionConfig, CollectionInfo, Created, Durability, IndexOptions, Metric};
pub use entry::{DeleteSummary, Entry, EntryError, Scroll, ScrollPage, UpsertSummary, Version};
pub use grid::{Copies, Drain, GridStatus, Member, Move, Moves, PartitionStatus};
pub use search::{Coverage, Explain, Hit, Search, SearchAnswer, Step};
pub use verify::{CopyVerdict, Difference, Verified};
