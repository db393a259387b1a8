//! That an entry was deleted, and when: not written any more, and removed where an earlier version left it.
//!
//! Stores that bring replicas level by merging their rows must remember what was deleted, and may forget it only when
//! every replica has passed it: else a replica that was away hands a deleted row back to the others. Here nothing is
//! ever merged, so there is nothing to remember. A copy's rows change in three ways, all of them in the applier, in one
//! order:
//!
//! 1. **Records of its log, each behind the one before, without a gap.** A delete is one of them. A copy that comes
//!    back says where its log ends; the primary finds the last record that both have (`migration/chain.rs`) and sends
//!    everything behind it. The copy cuts what it has beyond, which was never applied: a record is applied when it is
//!    committed, and a copy that would have to cut a committed one is quarantined. So it passes every delete that it
//!    missed, in its place.
//! 2. **A snapshot, when the log does not reach back that far.** The copy is cleared in the batch that takes the first
//!    piece, and has exactly the rows of the snapshot after the last: what was deleted is not among them. Pieces of two
//!    snapshots do not mix (`Attempt`), and a copy that is half installed is of no use and says so. Records that come
//!    after it are those behind the version that it stands for.
//! 3. **A dropped collection**: all of its rows at once, and its number is never used again.
//!
//! The same holds for the index of a copy. At a start it takes the records behind what it shows, or, where the log does
//! not reach, is held against all rows: what it has and they do not is deleted (`partition/level.rs`). A difference
//! that is found between copies is not mended row by row either: the copy is taken anew (`partition/verify/`). And
//! a retry of an old write is told from a new one by its request id, of which there is a window of its own
//! (`dedup`), not by what was deleted.
//!
//! So nothing ever read these keys, and how long they were kept could not matter. Whoever adds a way to merge rows
//! (taking a row because its version is greater, say) needs them back, and must collect them only behind the least
//! sequence that all copies have applied.

use super::range_of;

const KIND: u8 = 0x03;

/// Keys of all that are left.
pub fn all() -> (Vec<u8>, Vec<u8>) {
    range_of(&[KIND])
}

/// Whether this is such a key.
pub fn is_key(key: &[u8]) -> bool {
    key.first() == Some(&KIND)
}
