//! The last records of a log, as they are stored: what copies are sent while it is on its way to our own disk, too.
//!
//! Bounded in bytes. Who is further behind is sent what was read from the log.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes that are kept.
const KEPT: usize = 512 << 10;

/// See the module. Records follow each other without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Sequence of the record behind the last.
    next: u64,
    records: VecDeque<Bytes>,
    bytes: usize,
}

impl Recent {
    /// A record was appended.
    pub(super) fn push(&mut self, sequence: u64, record: Bytes) {
        if self.next != sequence {
            self.clear();
        }
        self.next = sequence + 1;
        self.bytes += record.len();
        self.records.push_back(record);
        while self.bytes > KEPT && self.records.len() > 1 {
            self.bytes -= self.records.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    /// Nobody needs the records up to this one.
    pub(super) fn forget(&mut self, sequence: u64) {
        while self.next - self.records.len() as u64 <= sequence
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    /// Nobody needs them.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    /// The records from this one to the last, as many as fit into so many bytes, at least one; `None` when the first
    /// of them is not kept.
    pub(super) fn from(&self, first: u64, bytes: usize) -> Option<Vec<Bytes>> {
        let oldest = self.next.checked_sub(self.records.len() as u64)?;
        let skip = usize::try_from(first.checked_sub(oldest)?).ok()?;
        if first >= self.next {
            return None;
        }
        let mut left = bytes;
        let fits = |record: &&Bytes| {
            let fits = left > 0;
            left = left.saturating_sub(record.len());
            fits
        };
        Some(self.records.iter().skip(skip).take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_from_any_record_on() {
        let record = |n: u8| Bytes::from(vec![n; 100]);
        let mut recent = Recent::default();
        assert_eq!(recent.from(1, 1_000), None);
        (5..9).for_each(|n| recent.push(u64::from(n), record(n)));
        assert_eq!(recent.from(4, 1_000), None);
        assert_eq!(recent.from(7, 1_000), Some(vec![record(7), record(8)]));
        assert_eq!(recent.from(5, 150), Some(vec![record(5), record(6)]));
        assert_eq!(recent.from(9, 1_000), None);
        recent.forget(6);
        recent.forget(2);
        assert_eq!((recent.from(6, 1_000), recent.from(7, 1)), (None, Some(vec![record(7)])));
        recent.forget(8);
        assert_eq!((recent.bytes, recent.from(8, 1)), (0, None));
        // After a gap only what follows is kept.
        recent.push(20, record(1));
        assert_eq!((recent.from(8, 1_000), recent.from(20, 1)), (None, Some(vec![record(1)])));
    }

    #[test]
    fn it_is_bounded_and_keeps_one_record_however_large() {
        let mut recent = Recent::default();
        (1..100).for_each(|n| recent.push(n, Bytes::from(vec![0; KEPT / 8])));
        assert!(recent.from(99 - 7, usize::MAX).is_some() && recent.from(99 - 8, usize::MAX).is_none());
        recent.push(100, Bytes::from(vec![0; 2 * KEPT]));
        assert_eq!(recent.from(100, 1).map(|records| records.len()), Some(1));
        assert_eq!(recent.from(99, 1), None);
    }
}
