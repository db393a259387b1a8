//! Checks a share of the answers that searches gave, when there is time for it.
//!
//! ```text
//! search ── one in a hundred: query, hits, view ──▶ queue (bounded) ──▶ one thread, lowest priority
//!                                                                        │ a part of the rows, exactly
//!                                   metrics ◀── RecallStats ◀── Window ◀─┘ (`check`)
//! ```
//!
//! What it promises:
//!
//! - A search pays for a random number, and a checked one for a copy of its question.
//! - The thread takes a share of one core that is a setting, two percent, and less while others want it.
//!   What does not fit is dropped, without regard to what the check would have found: by lot and by what
//!   else waits. What is begun is finished, however bad the answer is, and the next one waits the longer.
//!   So busy times are underrepresented, bad answers are not.
//! - Each check is of the view that the search had: rows that came or went since make no difference. Views
//!   keep the memory of dead rows, so at most [`QUEUE`] of them wait, none longer than [`PATIENCE`].
//!
//! Only answers of walks are checked; a scan is right as it is. Queries that were checked are handed to the
//! index, which measures with them how wide to walk ([`CollectionIndex::asked`]).
//!
//! What it leaves out: which queries are bad. Vectors are somebody's data; nothing is logged.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    check::{Answered, choose},
    collection_index::CollectionIndex,
    draw::Draw,
    partition_set::PartitionSet,
    recall_window::{RecallStats, Window},
    view::View,
};
use crate::{
    task::background::{Budget, step_behind, time_used},
    types::{CollectionId, Explain, Hit, Query, SearchPlan},
};

/// Answers that wait.
const QUEUE: usize = 16;
/// What waited longer is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// One partition in so many is read first.
const CHOSEN_SHARE: usize = 4;
/// Checks are told apart by hits asked for, up to these numbers.
const HITS: [usize; 4] = [1, 10, 100, 10_000];

/// How many answers are checked, and at what price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckOptions {
    /// Share of all walks, 0 to 1.
    pub share: f64,
    /// Share of one core, 0 to 1.
    pub cpu: f64,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { share: 0.01, cpu: 0.02 }
    }
}

/// A search and its answer.
#[derive(Clone, Copy)]
pub struct Searched<'a> {
    /// Where it searched.
    pub collection: CollectionId,
    /// The index, if it is to know what was asked.
    pub index: Option<&'a Arc<CollectionIndex>>,
    /// The view that the search had.
    pub view: &'a Arc<View>,
    /// What it asked.
    pub query: &'a Query,
    /// Which partitions it asked.
    pub answer_set: &'a PartitionSet,
    /// What it found.
    pub hits: &'a [Hit],
    /// How it was done.
    pub explain: &'a Explain,
}

/// An answer to check.
struct Answer {
    collection: CollectionId,
    index: Weak<CollectionIndex>,
    view: Arc<View>,
    query: Query,
    hits: Vec<Answered>,
    answer_set: PartitionSet,
    since: Instant,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Answer>,
    windows: HashMap<(CollectionId, usize), Window>,
    dropped: u64,
    closed: bool,
}

struct Shared {
    options: CheckOptions,
    /// Walks so far: each has a number, and the number decides.
    walks: AtomicU64,
    state: Mutex<State>,
    more: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this mutex can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped with the last handle: the thread ends.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.more.notify_all();
    }
}

/// Takes answers, and tells recall. Cheap to clone.
#[derive(Clone)]
pub struct Checker(Arc<Guard>);

impl Checker {
    /// Starts the thread, which ends with the last handle.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(options: CheckOptions) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (walks, state) = (AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { options, walks, state, more: Condvar::new() });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("recall-check".into()).spawn(move || work(&worker))?;
        Ok((Self(Arc::new(Guard(shared))), thread))
    }

    /// Looks whether this answer is one of the few, and takes it if so.
    pub fn offer(&self, searched: Searched<'_>) {
        let exact = matches!(searched.explain.plan, SearchPlan::Scan | SearchPlan::WalkThenScan);
        if exact || !self.draws() {
            return;
        }
        let answer = Answer {
            collection: searched.collection,
            index: searched.index.map(Arc::downgrade).unwrap_or_default(),
            view: Arc::clone(searched.view),
            query: searched.query.clone(),
            hits: searched.hits.iter().map(Answered::from).collect(),
            answer_set: searched.answer_set.clone(),
            since: Instant::now(),
        };
        let shared = &self.0.0;
        let mut state = shared.state();
        if state.queue.len() >= QUEUE {
            state.dropped += 1;
            return;
        }
        state.queue.push_back(answer);
        drop(state);
        shared.more.notify_one();
    }

    fn draws(&self) -> bool {
        let shared = &self.0.0;
        let share = shared.options.share;
        // Of the numbers of walks, whatever pattern they come in.
        let number = Draw::new(shared.walks.fetch_add(1, Relaxed)).next();
        share > 0.0 && (number >> 11) as f64 / (1_u64 << 53) as f64 <= share
    }

    /// Recall of a collection by number of hits asked for, as far as it was checked.
    pub fn stats(&self, collection: CollectionId) -> Vec<(usize, RecallStats)> {
        let (state, now) = (self.0.0.state(), Instant::now());
        let stats = |k: &usize| Some((*k, state.windows.get(&(collection, *k))?.stats(now)?));
        HITS.iter().filter_map(stats).collect()
    }

    /// Answers that were to be checked and were not: too many waited, or too long.
    pub fn dropped(&self) -> u64 {
        self.0.0.state().dropped
    }

    /// Forgets a dropped collection.
    pub fn forget(&self, collection: CollectionId) {
        let mut state = self.0.0.state();
        state.windows.retain(|(id, _), _| *id != collection);
        state.queue.retain(|answer| answer.collection != collection);
    }
}

/// The thread.
fn work(shared: &Shared) {
    step_behind();
    let mut budget = Budget::new(shared.options.cpu, Instant::now());
    let mut draw = Draw::new(uuid::Uuid::new_v4().as_u64_pair().0);
    while let Some(answer) = next(shared, &mut budget) {
        let before = time_used();
        let count = answer.answer_set.len().div_ceil(CHOSEN_SHARE);
        let chosen = choose(&answer.answer_set, count, &mut draw);
        let missed = answer.view.missed(&answer.query, &answer.hits, &answer.answer_set, &chosen);
        if answer.query.filter.is_none()
            && let Some(index) = answer.index.upgrade()
        {
            index.asked(&answer.query.vector);
        }
        budget.spend(time_used().saturating_sub(before));
        if let Ok(missed) = missed {
            let k = HITS.into_iter().find(|k| answer.query.k <= *k).unwrap_or(HITS[HITS.len() - 1]);
            let unit = answer.answer_set.len() as f64 / (count.max(1) * answer.query.k) as f64;
            let mut state = shared.state();
            state.windows.entry((answer.collection, k)).or_default().add(Instant::now(), missed, unit);
        }
    }
}

/// The next answer, when there is one and time for it; `None` at the end.
fn next(shared: &Shared, budget: &mut Budget) -> Option<Answer> {
    let mut state = shared.state();
    loop {
        if state.closed {
            return None;
        }
        let now = Instant::now();
        let waiting = state.queue.len();
        state.queue.retain(|answer| now.saturating_duration_since(answer.since) <= PATIENCE);
        state.dropped += (waiting - state.queue.len()) as u64;
        let pause = budget.wait(now);
        if pause.is_zero() {
            if let Some(answer) = state.queue.pop_front() {
                return Some(answer);
            }
            state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        } else {
            // Also to drop what has waited too long.
            let pause = pause.min(PATIENCE);
            state = shared.more.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
