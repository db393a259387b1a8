//! Who should hold what. Pure.
//!
//! Today: which partition an id belongs to. The partition map (who holds which partition, with
//! minimal movement) comes with the second member.

mod hash;

pub use hash::partition_of;
