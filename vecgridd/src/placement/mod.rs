//! Who should hold what. Pure.
//!
//! [`partition_of`] says which partition an id belongs to, for ever. [`place`] says who should hold
//! each partition now, [`moves`] how to get there.
//!
//! What [`place`] promises, for `n` members, `p` partitions and `c` copies of each (backups + 1, or
//! `n` if that is less):
//!
//! 1. every partition has `c` copies on `c` different members;
//! 2. they are spread over zones as evenly as there are zones, then inside a zone over hosts: never
//!    two in one zone while there are `c` zones, never two on one host of a zone while others are free;
//! 3. within that, every member holds its share by weight, rounded down or up: with equal weights,
//!    and zones that can take equal shares, the largest and the smallest differ by at most one;
//! 4. primaries are in proportion to copies, rounded down or up: as even as the copies are;
//! 5. among all tables that keep 1 to 3 the one that makes the fewest new copies, and of its choices
//!    of primaries that keep 4 the one that switches the fewest;
//! 6. the answer depends on the members and the table, not on the order in which they are told, and a
//!    table that is right already is not changed.
//!
//! Time: 2 to 11 ms for 271 partitions, 50 members in zones and hosts, up to 4 backups, on one core of
//! a 2-core machine (`cargo test --release -p vecgridd placement::tests::it_takes_milliseconds -- --nocapture`).
//!
//! A member that joins `n` others without backups so takes `p / (n + 1)` partitions, rounded down, and
//! nothing else moves: 3 → 4 members of 271 partitions is 67 moves, one more if the table had been uneven.
//!
//! Left out: sizes of partitions (a hash makes them alike), and load. `flow` is the solver, `spread`
//! the zones and shares, `table` brings both together.

mod flow;
mod hash;
mod moves;
mod spread;
mod table;
#[cfg(test)]
mod tests;

use crate::types::MemberId;

pub use crate::types::Holders;
pub use hash::partition_of;
pub use moves::{Move, Step, moves};
pub use table::place;

/// A member that may hold copies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Who.
    pub member: MemberId,
    /// Where it fails together with others; members without a zone share one.
    pub zone: Option<String>,
    /// On which machine; members that do not say have one each.
    pub host: Option<String>,
    /// Its share beside others of weight 1; 0 = it is to hold nothing.
    pub weight: u32,
}
