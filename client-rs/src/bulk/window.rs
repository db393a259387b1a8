//! What is in flight, and what to send again: a pure state, without network and clock.
//!
//! Answers come in the order of the requests. As soon as one batch has to be sent again, nothing new
//! is sent until all that is in flight is answered; then the batches to repeat go first, in their
//! old order. A later batch that shares an id with one of them is repeated as well, as a new write:
//! otherwise the older entry would end up on top of the newer one.

use std::collections::{HashSet, VecDeque};

use super::batch::Batch;

/// What the load does about an answered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answered for good.
    Done,
    /// Send it again under the same request id. `unknown`: it may have taken effect.
    Again { unknown: bool },
    /// Refused whole: halve it. The caller has made sure that it has two entries or more.
    Split,
}

#[derive(Debug)]
pub(crate) struct Window {
    capacity: usize,
    in_flight: VecDeque<Batch>,
    /// Answered since the first batch that must go again, that one included; in order.
    settled: Vec<(Batch, Verdict)>,
    /// To be sent before anything new, in order.
    again: VecDeque<Batch>,
}

impl Window {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, in_flight: VecDeque::new(), settled: Vec::new(), again: VecDeque::new() }
    }

    /// Whether a batch of the input may be sent now.
    pub(crate) fn wants_new(&self) -> bool {
        self.settled.is_empty() && self.again.is_empty() && self.in_flight.len() < self.capacity
    }

    /// The next batch to send again, if its turn has come.
    pub(crate) fn next_again(&mut self) -> Option<Batch> {
        if !self.settled.is_empty() || self.in_flight.len() >= self.capacity {
            return None;
        }
        self.again.pop_front()
    }

    pub(crate) fn sent(&mut self, batch: Batch) {
        self.in_flight.push_back(batch);
    }

    pub(crate) fn waits_for_answer(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Takes out the batch that the next answer is for; `settle` takes it back.
    pub(crate) fn next_answered(&mut self) -> Option<Batch> {
        self.in_flight.pop_front()
    }

    /// Nothing in flight, nothing to send again.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.again.is_empty() && self.settled.is_empty()
    }

    /// Position of the oldest entry that is not answered for good.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let settled =
            self.settled.iter().filter(|(_, verdict)| *verdict != Verdict::Done).map(|(batch, _)| batch);
        let open = settled.chain(&self.in_flight).chain(&self.again).filter(|batch| !batch.counted);
        open.map(|batch| batch.first).min()
    }

    /// Takes back an answered batch. True when that ended a round of repeats: what `next_again`
    /// gives from here on is to be sent after a pause.
    pub(crate) fn settle(&mut self, mut batch: Batch, verdict: Verdict) -> bool {
        batch.counted |= verdict == Verdict::Done;
        if !self.settled.is_empty() || verdict != Verdict::Done {
            self.settled.push((batch, verdict));
        }
        self.regroup()
    }

    /// The stream broke: nothing that is in flight will be answered.
    pub(crate) fn broke(&mut self, unknown: bool) {
        let lost = self.in_flight.drain(..).map(|batch| (batch, Verdict::Again { unknown }));
        self.settled.extend(lost);
        self.regroup();
    }

    fn regroup(&mut self) -> bool {
        if self.settled.is_empty() || !self.in_flight.is_empty() {
            return false;
        }
        let mut repeat = Vec::new();
        let mut repeated_ids: HashSet<String> = HashSet::new();
        for (mut batch, verdict) in self.settled.drain(..) {
            let overtaken = batch.entries.iter().any(|entry| repeated_ids.contains(&entry.id));
            if verdict == Verdict::Done && !overtaken {
                continue;
            }
            repeated_ids.extend(batch.entries.iter().map(|entry| entry.id.clone()));
            if let Verdict::Again { unknown } = verdict {
                batch.unknown |= unknown;
            }
            match verdict {
                Verdict::Split => match batch.clone().halves() {
                    Some(halves) => repeat.extend(halves),
                    None => repeat.push(batch),
                },
                // Under its old request id the daemon would recognize it and leave the older on top.
                _ if overtaken => repeat.push(batch.renewed()),
                _ => repeat.push(batch),
            }
        }
        for batch in repeat.into_iter().rev() {
            self.again.push_front(batch);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use vecgrid_proto::v1 as pb;

    use super::*;

    fn batch(first: u64, ids: &[&str]) -> Batch {
        let mut batcher = super::super::batch::Batcher::new(usize::MAX, usize::MAX);
        for id in ids {
            batcher.push(pb::Entry { id: (*id).into(), ..pb::Entry::default() });
        }
        Batch { first, ..batcher.take().unwrap() }
    }

    fn ids(batch: &Batch) -> Vec<&str> {
        batch.entries.iter().map(|e| e.id.as_str()).collect()
    }

    fn window(batches: &[Batch]) -> Window {
        let mut window = Window::new(8);
        for batch in batches {
            assert!(window.wants_new());
            window.sent(batch.clone());
        }
        window
    }

    fn answer(window: &mut Window, verdict: Verdict) -> bool {
        let batch = window.next_answered().unwrap();
        window.settle(batch, verdict)
    }

    #[test]
    fn it_holds_as_many_as_it_may() {
        let mut window = Window::new(2);
        window.sent(batch(0, &["a"]));
        assert!(window.wants_new());
        window.sent(batch(1, &["b"]));
        assert!(!window.wants_new());
        assert_eq!(window.oldest(), Some(0));
        assert!(!answer(&mut window, Verdict::Done));
        assert_eq!(window.oldest(), Some(1));
        assert!(window.wants_new());
        answer(&mut window, Verdict::Done);
        assert!(window.is_empty() && window.oldest().is_none());
    }

    #[test]
    fn a_retry_waits_for_the_rest_and_keeps_its_request_id() {
        let batches = [batch(0, &["a"]), batch(1, &["b"]), batch(2, &["c"])];
        let mut window = window(&batches);
        assert!(!answer(&mut window, Verdict::Again { unknown: false }));
        assert!(!window.wants_new() && window.next_again().is_none());
        assert!(!answer(&mut window, Verdict::Done));
        assert!(answer(&mut window, Verdict::Done));
        assert!(!window.wants_new());
        let again = window.next_again().unwrap();
        assert_eq!((ids(&again), &again.request_id), (vec!["a"], &batches[0].request_id));
        assert!(window.next_again().is_none() && window.wants_new());
    }

    #[test]
    fn a_later_entry_of_the_same_id_stays_on_top() {
        let batches = [batch(0, &["a", "b"]), batch(2, &["c"]), batch(3, &["b", "d"]), batch(5, &["d"])];
        let mut window = window(&batches);
        answer(&mut window, Verdict::Again { unknown: true });
        answer(&mut window, Verdict::Done);
        answer(&mut window, Verdict::Done);
        assert!(answer(&mut window, Verdict::Done));
        let again: Vec<Batch> = std::iter::from_fn(|| window.next_again()).collect();
        assert_eq!(again.iter().map(ids).collect::<Vec<_>>(), [vec!["a", "b"], vec!["b", "d"], vec!["d"]]);
        assert!(again[0].unknown && !again[0].counted);
        assert!(again[1].counted && again[1].request_id != batches[2].request_id);
        assert!(again[2].counted && again[2].request_id != batches[3].request_id);
    }

    #[test]
    fn a_refused_batch_is_halved_ahead_of_what_waits() {
        let mut window = window(&[batch(0, &["a", "b", "c"]), batch(3, &["d"])]);
        answer(&mut window, Verdict::Split);
        assert!(answer(&mut window, Verdict::Again { unknown: false }));
        let first = window.next_again().unwrap();
        assert_eq!(ids(&first), ["a"]);
        window.sent(first);
        // The first half fails again: it goes before its sibling.
        assert!(answer(&mut window, Verdict::Again { unknown: false }));
        let order: Vec<Batch> = std::iter::from_fn(|| window.next_again()).collect();
        assert_eq!(order.iter().map(ids).collect::<Vec<_>>(), [vec!["a"], vec!["b", "c"], vec!["d"]]);
    }

    #[test]
    fn a_broken_stream_puts_everything_back_in_order() {
        let batches = [batch(0, &["a"]), batch(1, &["b"]), batch(2, &["a"])];
        let mut window = window(&batches);
        window.broke(true);
        assert_eq!(window.oldest(), Some(0));
        let again: Vec<Batch> = std::iter::from_fn(|| window.next_again()).collect();
        assert_eq!(again.iter().map(|b| b.first).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(again.iter().all(|b| b.unknown));
        assert_eq!(again[1].request_id, batches[1].request_id);
        assert_ne!(again[2].request_id, batches[2].request_id);
    }
}
