//! What is in flight, and what to send again: a pure state, without network and clock.
//!
//! The daemon works on the messages of a stream side by side. Two batches that share an id are
//! therefore never in flight together: the later one waits until the earlier one is answered for
//! good, and so ends up on top.
//!
//! As soon as one batch has to be sent again, nothing new is sent until all that is in flight is
//! answered; then the batches to repeat go first, in their old order.

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
    /// Ids in flight, hashed. Two ids of one hash cost a needless wait, nothing else.
    ids: HashSet<u64>,
    /// Answered, and to be sent again when the rest is answered; in order.
    repeat: Vec<Batch>,
    /// To be sent before anything new, in order.
    again: VecDeque<Batch>,
}

impl Window {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            in_flight: VecDeque::new(),
            ids: HashSet::new(),
            repeat: Vec::new(),
            again: VecDeque::new(),
        }
    }

    /// Whether there is room for a batch of the input.
    pub(crate) fn wants_new(&self) -> bool {
        self.repeat.is_empty() && self.again.is_empty() && self.in_flight.len() < self.capacity
    }

    /// Whether a batch of the input may be sent now: there is room, and no id of it is in flight.
    pub(crate) fn takes(&self, batch: &Batch) -> bool {
        self.wants_new() && self.is_disjoint(batch)
    }

    /// The next batch to send again, if its turn has come.
    pub(crate) fn next_again(&mut self) -> Option<Batch> {
        let may_go = self.repeat.is_empty()
            && self.in_flight.len() < self.capacity
            && self.again.front().is_some_and(|batch| self.is_disjoint(batch));
        if may_go { self.again.pop_front() } else { None }
    }

    fn is_disjoint(&self, batch: &Batch) -> bool {
        !batch.ids.iter().any(|id| self.ids.contains(id))
    }

    pub(crate) fn sent(&mut self, batch: Batch) {
        self.ids.extend(&batch.ids);
        self.in_flight.push_back(batch);
    }

    pub(crate) fn waits_for_answer(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Takes out the batch that the next answer is for; `settle` takes it back.
    pub(crate) fn next_answered(&mut self) -> Option<Batch> {
        let batch = self.in_flight.pop_front()?;
        for id in &batch.ids {
            self.ids.remove(id);
        }
        Some(batch)
    }

    /// Nothing in flight, nothing to send again.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.again.is_empty() && self.repeat.is_empty()
    }

    /// Position of the oldest entry that is not answered for good.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.repeat.iter().chain(&self.in_flight).chain(&self.again).map(|batch| batch.first).min()
    }

    /// Takes back an answered batch. True when that ended a round of repeats: what `next_again`
    /// gives from here on is to be sent after a pause.
    pub(crate) fn settle(&mut self, mut batch: Batch, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Done => {}
            Verdict::Again { unknown } => {
                batch.unknown |= unknown;
                self.repeat.push(batch);
            }
            Verdict::Split => self.repeat.extend(batch.halves()),
        }
        self.end_round()
    }

    /// The stream broke: nothing that is in flight will be answered.
    pub(crate) fn broke(&mut self, unknown: bool) {
        while let Some(mut batch) = self.next_answered() {
            batch.unknown |= unknown;
            self.repeat.push(batch);
        }
        self.end_round();
    }

    fn end_round(&mut self) -> bool {
        if self.repeat.is_empty() || !self.in_flight.is_empty() {
            return false;
        }
        for batch in self.repeat.drain(..).rev() {
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
            assert!(window.takes(batch));
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
    fn batches_that_share_an_id_are_never_in_flight_together() {
        let mut window = window(&[batch(0, &["a", "b", "a"]), batch(3, &["c"])]);
        let later = batch(4, &["d", "a"]);
        assert!(window.wants_new() && !window.takes(&later));
        answer(&mut window, Verdict::Done);
        assert!(window.takes(&later));

        // A broken stream puts them back; sent again, they wait for each other as well.
        window.sent(later);
        window.broke(true);
        let first = window.next_again().unwrap();
        window.sent(first);
        assert_eq!(ids(&window.next_again().unwrap()), ["d", "a"]);
    }

    #[test]
    fn a_retry_waits_for_the_rest_and_keeps_its_request_id() {
        let batches = [batch(0, &["a"]), batch(1, &["b"]), batch(2, &["c"])];
        let mut window = window(&batches);
        assert!(!answer(&mut window, Verdict::Again { unknown: true }));
        assert!(!window.wants_new() && window.next_again().is_none());
        assert!(!answer(&mut window, Verdict::Done));
        assert!(answer(&mut window, Verdict::Done));
        assert!(!window.wants_new());
        let again = window.next_again().unwrap();
        assert_eq!((ids(&again), &again.request_id), (vec!["a"], &batches[0].request_id));
        assert!(again.unknown);
        assert!(window.next_again().is_none() && window.wants_new());
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
    fn halves_that_share_an_id_go_one_after_the_other() {
        let mut window = window(&[batch(0, &["a", "a"])]);
        assert!(answer(&mut window, Verdict::Split));
        let first = window.next_again().unwrap();
        window.sent(first);
        assert!(window.next_again().is_none());
        answer(&mut window, Verdict::Done);
        assert_eq!(window.next_again().unwrap().first, 1);
    }

    #[test]
    fn a_broken_stream_puts_everything_back_in_order() {
        let batches = [batch(0, &["a"]), batch(1, &["b"]), batch(2, &["c"])];
        let mut window = window(&batches);
        window.broke(true);
        assert_eq!(window.oldest(), Some(0));
        let again: Vec<Batch> = std::iter::from_fn(|| window.next_again()).collect();
        assert_eq!(again.iter().map(|b| b.first).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(again.iter().zip(&batches).all(|(b, old)| b.unknown && b.request_id == old.request_id));
    }
}
