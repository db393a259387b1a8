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

/// Sizes of the records that the log holds, oldest first.
#[derive(Debug, Default)]
pub struct LogExtent {
    sizes: VecDeque<u32>,
    bytes: u64,
    first: u64,
}

impl LogExtent {
    /// An empty log whose next record will be `next`.
    pub fn empty(next: u64) -> Self {
        Self { first: next, ..Self::default() }
    }

    /// Counts a record that was appended.
    pub fn push(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sizes.push_back(bytes);
        self.bytes += u64::from(bytes);
    }

    /// When the log is an eighth above its bounds: the sequence below which it is to be cut, never
    /// above what is applied. Cutting in steps keeps range deletes rare.
    pub fn trim(&mut self, retention: Retention, applied: u64) -> Option<u64> {
        let over = |len: usize, bytes: u64, slack: u64| {
            len as u64 > retention.records as u64 + slack * retention.records as u64 / 8
                || bytes > retention.bytes + slack * retention.bytes / 8
        };
        if !over(self.sizes.len(), self.bytes, 1) {
            return None;
        }
        let before = self.first;
        while self.first <= applied && over(self.sizes.len(), self.bytes, 0) {
            let Some(size) = self.sizes.pop_front() else { break };
            self.bytes -= u64::from(size);
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
        for _ in 0..90 {
            log.push(10);
            assert_eq!(log.trim(retention, 1_000), None);
        }
        log.push(10);
        assert_eq!(log.trim(retention, 5), Some(6), "5 is applied, 6 is not");
        assert_eq!(log.trim(retention, 1_000), None, "86 records: within the slack again");
        for _ in 0..5 {
            log.push(10);
        }
        assert_eq!(log.trim(retention, 1_000), Some(17), "80 records are left: 17 to 96");
    }

    #[test]
    fn the_log_is_cut_by_bytes_too() {
        let mut log = LogExtent::empty(1);
        for _ in 0..10 {
            log.push(1_000);
        }
        assert_eq!(log.trim(Retention { records: 100, bytes: 3_000 }, 10), Some(8));
    }
}
