//! How much of its log a partition keeps for members that were away.

use std::collections::VecDeque;

/// Bounds of a partition's log. The applied part above them is trimmed.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Records kept at most.
    pub records: usize,
    /// Bytes kept at most.
    pub bytes: u64,
}

/// What the log holds: the sizes of its records, oldest first.
#[derive(Debug, Default)]
pub struct LogExtent {
    /// The oldest record that is there.
    first: u64,
    /// Records from before the start come first; only their sum is known.
    old: Stretch,
    sizes: VecDeque<u32>,
    /// Of all.
    bytes: u64,
    /// Of those that are committed, which are the oldest.
    committed: Stretch,
}

/// Records in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stretch {
    records: u64,
    bytes: u64,
}

impl Stretch {
    fn push(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }

    fn pop(&mut self, bytes: u64) {
        self.records -= 1;
        self.bytes -= bytes;
    }
}

/// What a log holds up to some record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The oldest record.
    pub first: u64,
    /// Bytes from there.
    pub bytes: u64,
}

impl LogExtent {
    /// A log whose next record will be `next`, all of it committed.
    pub fn kept(kept: Kept, next: u64) -> Self {
        let old = Stretch { records: next - kept.first.min(next), bytes: kept.bytes };
        Self { first: kept.first, old, bytes: old.bytes, committed: old, ..Self::default() }
    }

    /// An empty log whose next record will be `next`.
    pub fn empty(next: u64) -> Self {
        Self::kept(Kept { first: next, bytes: 0 }, next)
    }

    /// Counts a record that was appended.
    pub fn push(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sizes.push_back(bytes);
        self.bytes += u64::from(bytes);
    }

    /// Forgets the last record, which is not committed.
    pub fn pop_last(&mut self) {
        self.bytes -= self.sizes.pop_back().map_or(0, u64::from);
    }

    /// The oldest record that is not committed is so now.
    pub fn commit(&mut self) {
        let at = self.committed.records - self.old.records;
        if let Some(size) = self.sizes.get(at as usize) {
            self.committed.push(u64::from(*size));
        }
    }

    /// What is there up to the last committed record.
    pub fn committed(&self) -> Kept {
        Kept { first: self.first, bytes: self.committed.bytes }
    }

    fn records(&self) -> u64 {
        self.old.records + self.sizes.len() as u64
    }

    /// Forgets the oldest record; gives its size.
    fn pop(&mut self) -> Option<u64> {
        if let Some(size) = self.old.bytes.checked_div(self.old.records) {
            self.old.pop(size);
            return Some(size);
        }
        self.sizes.pop_front().map(u64::from)
    }

    /// When the log is an eighth above its bounds: the sequence below which it is to be cut, never
    /// above what is applied. Cutting in steps keeps range deletes rare.
    pub fn trim(&mut self, retention: Retention, applied: u64) -> Option<u64> {
        let over = |records: u64, bytes: u64, slack: u64| {
            records > retention.records as u64 + slack * retention.records as u64 / 8
                || bytes > retention.bytes + slack * retention.bytes / 8
        };
        if !over(self.records(), self.bytes, 1) {
            return None;
        }
        let before = self.first;
        while self.first <= applied && self.committed.records > 0 && over(self.records(), self.bytes, 0) {
            let Some(size) = self.pop() else { break };
            self.bytes -= size;
            self.committed.pop(size);
            self.first += 1;
        }
        (self.first > before).then_some(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_cut_in_steps_and_never_above_what_is_applied() {
        let retention = Retention { records: 80, bytes: u64::MAX / 16 };
        let mut log = LogExtent::empty(1);
        let append = |log: &mut LogExtent, bytes| {
            log.push(bytes);
            log.commit();
            log.committed()
        };
        for _ in 0..90 {
            append(&mut log, 10);
            assert_eq!(log.trim(retention, 1_000), None);
        }
        append(&mut log, 10);
        assert_eq!(log.trim(retention, 5), Some(6), "5 is applied, 6 is not");
        assert_eq!(log.trim(retention, 1_000), None, "86 records: within the slack again");
        for _ in 0..5 {
            append(&mut log, 10);
        }
        assert_eq!(log.trim(retention, 1_000), Some(17), "80 records are left: 17 to 96");
        // After a restart: the same, though only the sum is known of the old ones.
        let kept = append(&mut log, 30);
        assert_eq!(kept, Kept { first: 17, bytes: 830 });
        log.push(10);
        let mut again = LogExtent::kept(kept, 98);
        again.push(10);
        [&mut log, &mut again].into_iter().for_each(LogExtent::commit);
        assert_eq!(again.committed(), log.committed());
        for log in [&mut log, &mut again] {
            (0..9).for_each(|_| _ = append(log, 10));
            assert_eq!(log.trim(retention, 1_000), Some(28), "80 records are left: 28 to 107");
            assert_eq!(log.records(), 80);
        }
        for _ in 0..91 {
            append(&mut again, 10);
            again.trim(retention, 1_000);
        }
        assert_eq!(again.old, Stretch::default(), "all old ones are gone, and nothing is left of their sum");
        assert_eq!(again.committed, Stretch { records: again.records(), bytes: again.bytes });
    }

    #[test]
    fn the_log_is_cut_by_bytes_too() {
        let mut log = LogExtent::empty(1);
        for _ in 0..10 {
            log.push(1_000);
            log.commit();
        }
        assert_eq!(log.trim(Retention { records: 100, bytes: 3_000 }, 10), Some(8));
    }
}
