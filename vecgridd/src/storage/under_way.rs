//! How long the writes that are under way have taken so far. A disk that stands still fails nothing, and says nothing: this is
//! how it is noticed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

#[derive(Default)]
struct Begun {
    at: BTreeMap<u64, Instant>,
    next: u64,
}

/// Writes that have begun and not ended.
#[derive(Default)]
pub struct UnderWay {
    begun: Mutex<Begun>,
}

/// One of them; it ends when this is dropped.
pub struct Way<'a> {
    all: &'a UnderWay,
    number: u64,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write begins now.
    pub fn begin(&self) -> Way<'_> {
        let mut begun = self.lock();
        let number = begun.next;
        begun.next += 1;
        begun.at.insert(number, Instant::now());
        Way { all: self, number }
    }

    /// How long the oldest one has taken so far; zero when there is none.
    pub fn longest(&self) -> Duration {
        self.lock().at.first_key_value().map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        self.all.lock().at.remove(&self.number);
    }
}

#[test]
fn the_oldest_write_that_has_not_ended_counts() {
    let all = UnderWay::default();
    assert_eq!(all.longest(), Duration::ZERO);
    let first = all.begin();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2) {}
    let second = all.begin();
    assert!(all.longest() >= Duration::from_millis(2));
    drop(first);
    let others = second.all.lock().at.len();
    assert_eq!(others, 1);
    drop(second);
    assert_eq!(all.longest(), Duration::ZERO);
}
