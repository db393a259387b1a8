//! Apps that write and search through the members of a grid while a test breaks something.
//!
//! ```text
//! writer   ── one write, with its request id, through one member after the other until it is acknowledged ─▶ ledger
//! searcher ── something acknowledged: is it found, is nothing there that is older, deleted or twice?      ─▶ wrong
//!             how long the slowest of these took, tries included, and the longest time without any     ─▶ Pulse
//! ```
//!
//! Searches are strong (they must show every write that was acknowledged before they began) or, through the member
//! that acknowledged the write, default ones (an app sees its own writes). What is wrong is noted, and the test asks
//! for it at the end, so that one fault does not hide the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    copies,
    ledger::{Effect, Ledger, Outcome},
    pulse::Pulse,
    report,
    rest::{self, Answer, Rest},
    synthetic,
};

/// A write or a search that has not succeeded after so long counts as a fault.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request that has no answer after so long is tried elsewhere: longer than a daemon takes to say that it failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(10);
/// What took longer is told.
const SLOW: Duration = Duration::from_secs(4);
/// So many faults are kept.
const FAULTS: usize = 20;
/// Every so manieth write of an id deletes it.
const DELETES: u64 = 7;

/// How much is going on.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Each writes ids of its own, again and again.
    pub writers: u64,
    /// How many there are.
    pub searchers: u64,
    /// Ids of each writer.
    pub ids: u64,
    /// Bytes of text in each row.
    pub text: usize,
    /// Whether ids are deleted, too: all of them, each few rounds.
    pub deletes: bool,
    /// Each app begins one operation per this, or later when the last one took longer.
    pub pace: Duration,
}

/// A member where apps may ask.
#[derive(Clone)]
struct Door {
    number: usize,
    /// Of the member's start: what it remembers of an app ends with it.
    start: u64,
    rest: Rest,
}

/// What an id is known to be while nobody writes it.
#[derive(Clone)]
struct Known {
    version: u64,
    deleted: bool,
    since: Instant,
    start: u64,
}

/// See the module.
pub struct Traffic {
    collection: String,
    doors: Mutex<Vec<Door>>,
    starts: AtomicU64,
    turn: AtomicU64,
    stop: AtomicBool,
    ledger: Mutex<Ledger>,
    known: Mutex<BTreeMap<String, Known>>,
    wrong: Mutex<Vec<String>>,
    retries: Mutex<BTreeMap<String, u64>>,
    /// Acknowledged writes.
    pub writes: Pulse,
    /// Whole searches.
    pub searches: Pulse,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A try that has to be made again, and why.
struct Again(String);

/// An id of the load: writers go through theirs again and again.
pub fn id(writer: u64, n: u64) -> String {
    format!("w{writer}-{n}")
}

impl Traffic {
    /// Nothing yet, and no member to ask. The collection has [`synthetic::DIMENSION`] components.
    pub fn new(collection: &str) -> Self {
        Self {
            collection: collection.to_owned(),
            doors: Mutex::default(),
            starts: AtomicU64::new(1),
            turn: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ledger: Mutex::default(),
            known: Mutex::default(),
            wrong: Mutex::default(),
            retries: Mutex::default(),
            writes: Pulse::new(),
            searches: Pulse::new(),
        }
    }

    /// Apps may ask this member, by what it said after its start about where it listens.
    pub fn open(&self, number: usize, api: &str) {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        self.close(number);
        lock(&self.doors).push(Door { number, start, rest: Rest::within(api, ANSWER_LIMIT) });
    }

    /// No app asks this member from now on.
    pub fn close(&self, number: usize) {
        lock(&self.doors).retain(|door| door.number != number);
    }

    /// Runs the apps for as long as `test` does.
    pub fn run<T>(&self, load: Load, test: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::Relaxed);
        self.writes.take();
        self.searches.take();
        thread::scope(|scope| {
            // Also when the test fails.
            let _stop = StopAtEnd(&self.stop);
            (0..load.writers).for_each(|writer| _ = scope.spawn(move || self.write(writer, load)));
            (0..load.searchers).for_each(|searcher| _ = scope.spawn(move || self.search(searcher, load)));
            test()
        })
    }

    /// What the writers were told.
    pub fn ledger(&self) -> Ledger {
        lock(&self.ledger).clone()
    }

    /// Fails when an answer was wrong, or did not come at all.
    ///
    /// # Panics
    /// Then.
    pub fn assert_right(&self) {
        let wrong = lock(&self.wrong);
        assert!(wrong.is_empty(), "{} or more faults: {wrong:#?}", wrong.len());
    }

    /// Why tries had to be made again, and how often.
    pub fn retries(&self) -> BTreeMap<String, u64> {
        lock(&self.retries).clone()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note_wrong(&self, text: String) {
        let mut wrong = lock(&self.wrong);
        if wrong.len() < FAULTS {
            wrong.push(text);
        }
    }

    fn door(&self) -> Option<Door> {
        let doors = lock(&self.doors);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        doors.get(turn % doors.len().max(1)).cloned()
    }

    /// Tries through one member after the other until it succeeds, or patience has an end.
    fn persist<T>(&self, what: &str, mut attempt: impl FnMut(&Door) -> Result<T, Again>) -> Option<T> {
        let (begun, mut tries) = (Instant::now(), Vec::new());
        let mut done = None;
        while done.is_none() && begun.elapsed() < PATIENCE {
            if let Some(door) = self.door() {
                let (member, since) = (door.number, begun.elapsed());
                match attempt(&door) {
                    Ok(success) => {
                        done = Some(success);
                        tries.push(format!("n{member} at {since:.1?}"));
                        break;
                    }
                    Err(Again(why)) => {
                        *lock(&self.retries).entry(why.clone()).or_default() += 1;
                        tries.push(format!("n{member} at {since:.1?}: {why}"));
                    }
                }
            }
            thread::sleep(AGAIN);
        }
        if begun.elapsed() > SLOW {
            tries.dedup_by_key(|line| line.split(" at ").next().map(str::to_owned));
            report!("{what} took {:.2?}: {}", begun.elapsed(), tries.join(", "));
        }
        if done.is_none() {
            self.note_wrong(format!("{what}: nothing within {PATIENCE:?}"));
        }
        done
    }

    fn write(&self, writer: u64, load: Load) {
        let (mut stamps, mut next) = (BTreeMap::new(), Instant::now());
        let text = "x".repeat(load.text);
        for version in 1_u64.. {
            for n in 0..load.ids {
                paced(&mut next, load.pace);
                if self.stopped() {
                    return;
                }
                let put = (!load.deletes || !version.is_multiple_of(DELETES)).then_some(text.as_str());
                self.write_one(&id(writer, n), (version, put), &mut stamps);
            }
        }
    }

    fn write_one(
        &self,
        id: &str,
        (version, text): (u64, Option<&str>),
        stamps: &mut BTreeMap<String, (u64, u64)>,
    ) {
        let delete = text.is_none();
        let effect = if delete { Effect::Delete } else { Effect::Put(version) };
        lock(&self.known).remove(id);
        let key = format!("{id}.{version}");
        let metadata = json!({"version": version, "text": text});
        let body = json!({"vector": synthetic::vector(id, version), "metadata": metadata}).to_string();
        let path = rest::entry_path(&self.collection, id);
        let begun = Instant::now();
        let acked = self.persist(&format!("the write {key}"), |door| {
            let rest = door.rest.with_header("idempotency-key", &key);
            let answer = if delete {
                rest.send_empty("DELETE", &path)
            } else {
                rest.send("PUT", &path, "application/json", body.as_bytes())
            };
            Ok((self.judged(&format!("the write {key}"), answer)?, door.start))
        });
        let Some((answer, start)) = acked else {
            return lock(&self.ledger).note(id, effect, Outcome::Unknown);
        };
        self.writes.beat(begun);
        let stamp = answer["version"].as_str().and_then(copies::stamp);
        if let Some(stamp) = stamp
            && let Some(before) = stamps.insert(id.to_owned(), stamp).filter(|before| *before >= stamp)
        {
            self.note_wrong(format!("{key} was acknowledged as {stamp:?}, the one before as {before:?}"));
        }
        lock(&self.ledger).note(id, effect, Outcome::Acked(stamp));
        let version = if delete { version - 1 } else { version };
        let known = Known { version, deleted: delete, since: Instant::now(), start };
        lock(&self.known).insert(id.to_owned(), known);
    }

    /// The body of a success; anything that may be tried again is, and all else is wrong.
    fn judged(&self, what: &str, answer: Result<Answer, ureq::Error>) -> Result<Value, Again> {
        match answer {
            Ok(answer) if answer.status / 100 == 2 => Ok(answer.json()),
            Ok(answer) => {
                if !matches!(answer.status, 429 | 503 | 504) {
                    self.note_wrong(format!("{what}: {} {}", answer.status, answer.text()));
                }
                Err(Again(answer.code()))
            }
            Err(ureq::Error::Io(error)) => Err(Again(format!("io: {}", error.kind()))),
            Err(error) => Err(Again(format!("no answer: {error}"))),
        }
    }

    /// One write, tried once, of an id that nobody writes again.
    pub fn write_once(&self, rest: &Rest, id: &str) {
        let body = json!({"vector": synthetic::vector(id, 1), "metadata": {"version": 1}}).to_string();
        let path = rest::entry_path(&self.collection, id);
        let outcome = match rest.send("PUT", &path, "application/json", body.as_bytes()) {
            Ok(answer) if answer.status / 100 == 2 => {
                Outcome::Acked(answer.json()["version"].as_str().and_then(copies::stamp))
            }
            Ok(answer) if answer.json()["outcome"] == "failed" => Outcome::Failed,
            _ => Outcome::Unknown,
        };
        lock(&self.ledger).note(id, Effect::Put(1), outcome);
    }

    /// A strong read of something acknowledged, tried once; true when it was answered. What it shows must not be older
    /// than what was acknowledged before it began.
    pub fn read_once(&self, rest: &Rest, turn: u64) -> bool {
        let Some((id, then)) = self.choose(turn) else { return false };
        let answer = rest.strong().send_empty("GET", &rest::entry_path(&self.collection, &id));
        let found = match answer {
            Ok(answer) if answer.status == 404 => None,
            Ok(answer) if answer.status == 200 => answer.json()["metadata"]["version"].as_u64(),
            _ => return false,
        };
        let now = lock(&self.known).get(&id).cloned();
        let at_rest = now.is_some_and(|now| now.since == then.since);
        if !may_show(&then, at_rest, found) {
            let state = if then.deleted { "deleted after" } else { "acknowledged in" };
            self.note_wrong(format!(
                "a strong read of {id} shows {found:?}, {state} version {}",
                then.version
            ));
        }
        true
    }

    /// Something that nobody writes at this moment.
    fn choose(&self, turn: u64) -> Option<(String, Known)> {
        let known = lock(&self.known);
        let at = (turn.wrapping_mul(6_364_136_223_846_793_005) >> 33) as usize % known.len().max(1);
        known.iter().nth(at).map(|(id, known)| (id.clone(), known.clone()))
    }

    fn search(&self, searcher: u64, load: Load) {
        let mut next = Instant::now();
        for turn in (searcher + 1..).step_by(load.searchers as usize) {
            paced(&mut next, load.pace);
            if self.stopped() {
                return;
            }
            if let Some((id, known)) = self.choose(turn) {
                self.search_one(&id, &known);
            }
        }
    }

    fn search_one(&self, id: &str, known: &Known) {
        let query = json!({
            "vector": synthetic::vector(id, known.version), "k": 10, "exact": true, "include": ["metadata"],
            "allow_partial": true
        });
        let (path, begun) = (format!("{}/search", rest::collection_path(&self.collection)), Instant::now());
        let found = self.persist(&format!("a search for {id}"), |door| {
            // Whoever wrote it through this member sees it here; all others ask for what everybody wrote.
            let own = door.start == known.start;
            let rest = if own { door.rest.clone() } else { door.rest.strong() };
            let began = Instant::now();
            let answer = rest.send("POST", &path, "application/json", query.to_string().as_bytes());
            let body = self.judged(&format!("a search for {id}"), answer)?;
            self.judge_hits((id, known), (own, began, door.number), &body);
            let whole = body["coverage"]["answered"] == body["coverage"]["partitions"];
            if whole { Ok(()) } else { Err(Again("incomplete, and marked".to_owned())) }
        });
        if found.is_some() {
            self.searches.beat(begun);
        }
    }

    fn judge_hits(
        &self,
        (id, then): (&str, &Known),
        (own, began, asked): (bool, Instant, usize),
        body: &Value,
    ) {
        let hits = body["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids: BTreeSet<&str> = hits.iter().filter_map(|hit| hit["id"].as_str()).collect();
        if ids.len() != hits.len() {
            self.note_wrong(format!("an id twice, through n{asked}: {body}"));
        }
        let how = if own { "its own writer's" } else { "a strong" };
        let known = lock(&self.known);
        for hit in hits {
            let found = hit["id"].as_str().unwrap_or_default();
            // Not written since before the search began.
            let Some(now) = known.get(found).filter(|now| now.since < began) else { continue };
            let as_written = !now.deleted && hit["metadata"]["version"] == now.version;
            if !as_written && (!own || found == id) {
                let (state, version) =
                    (if now.deleted { "deleted after" } else { "written in" }, now.version);
                self.note_wrong(format!(
                    "{how} search through n{asked} shows {hit}, {state} version {version}"
                ));
            }
        }
        let whole = body["coverage"]["answered"] == body["coverage"]["partitions"];
        let at_rest = known.get(id).is_some_and(|now| now.since == then.since);
        if whole && at_rest && !then.deleted && !ids.contains(id) {
            self.note_wrong(format!(
                "{how} search through n{asked} does not find {id} of version {}",
                then.version
            ));
        }
    }
}

/// Whether a strong read may show this of something that was so before it began, and still is or was written since.
fn may_show(then: &Known, at_rest: bool, found: Option<u64>) -> bool {
    match found {
        Some(found) if at_rest => !then.deleted && found == then.version,
        Some(found) => found > then.version || (found == then.version && !then.deleted),
        None => then.deleted || !at_rest,
    }
}

/// Waits for an app's next turn, which does not come earlier for one that was late.
fn paced(next: &mut Instant, pace: Duration) {
    let now = Instant::now();
    if *next > now {
        thread::sleep(*next - now);
    }
    *next = (*next).max(now) + pace;
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
