//! The window of request ids that makes retries harmless.
//!
//! It is a function of the committed log: the last [`WINDOW`] operations with a request id, in
//! order, so every replica has the same one.

use std::collections::{HashMap, VecDeque};

use super::state::{Applied, Ticket};
use crate::types::RequestId;

/// Requests remembered per partition. At 100 writes per second and partition: ten seconds; at the
/// usual one per second: a quarter of an hour.
pub const WINDOW: usize = 1_024;

/// What is known of a request id.
#[derive(Debug)]
pub enum Known {
    /// Its first try is on the way; retries wait with it.
    InFlight(Vec<Ticket>),
    /// It took effect.
    Done(Applied),
}

#[derive(Debug)]
struct Remembered {
    fingerprint: u64,
    known: Known,
}

/// See the module.
#[derive(Debug, Default)]
pub struct DedupWindow {
    by_id: HashMap<RequestId, Remembered>,
    order: VecDeque<(u64, RequestId)>,
}

impl DedupWindow {
    /// What is known of a request id, with the hash of its content.
    pub fn get(&mut self, id: &RequestId) -> Option<(u64, &mut Known)> {
        self.by_id.get_mut(id).map(|r| (r.fingerprint, &mut r.known))
    }

    /// Remembers an operation as it enters the log.
    pub fn begin(&mut self, id: RequestId, fingerprint: u64) {
        self.by_id.insert(id, Remembered { fingerprint, known: Known::InFlight(Vec::new()) });
    }

    /// Forgets an operation that never took effect.
    pub fn abandon(&mut self, id: &RequestId) -> Vec<Ticket> {
        match self.by_id.remove(id).map(|r| r.known) {
            Some(Known::InFlight(waiting)) => waiting,
            Some(Known::Done(_)) | None => Vec::new(),
        }
    }

    /// Puts a committed operation in the window; answers the sequences that fell out of it.
    pub fn commit(&mut self, id: RequestId, sequence: u64) -> Option<u64> {
        self.order.push_back((sequence, id));
        if self.order.len() <= WINDOW {
            return None;
        }
        let (evicted, id) = self.order.pop_front()?;
        self.by_id.remove(&id);
        Some(evicted)
    }

    /// Stores the outcome; answers who waits for it.
    pub fn finish(&mut self, id: &RequestId, applied: &Applied) -> Vec<Ticket> {
        match self.by_id.get_mut(id) {
            Some(remembered) => {
                match std::mem::replace(&mut remembered.known, Known::Done(applied.clone())) {
                    Known::InFlight(waiting) => waiting,
                    Known::Done(_) => Vec::new(),
                }
            }
            None => Vec::new(),
        }
    }

    /// Restores an applied operation, oldest first.
    pub fn restore(&mut self, id: RequestId, fingerprint: u64, sequence: u64, applied: Applied) {
        self.by_id.insert(id.clone(), Remembered { fingerprint, known: Known::Done(applied) });
        self.order.push_back((sequence, id));
    }
}
