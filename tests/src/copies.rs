//! Who holds what in a grid with copies, and what each member shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    binaries,
    cluster::TestCluster,
    ledger::{Ledger, Seen, View},
    rest::{self, Rest},
    synthetic, wait,
};

/// A member that does not answer within this is taken for one that does not answer.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// How long a copy may take to show what was committed when nobody writes any more.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Of so many ids one is also searched for.
const SEARCHED: usize = 8;

/// A partition as a member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PartitionView {
    /// Which one.
    pub partition: u16,
    /// Term of the primary.
    pub epoch: u64,
    /// Orders the writes.
    pub primary: String,
    /// Have everything that was acknowledged.
    pub in_sync: BTreeSet<String>,
    /// `serving`, or what else.
    pub state: String,
    /// Who should hold it, the primary first.
    pub wanted: Vec<String>,
    /// It is not held like that yet.
    pub moving: bool,
}

#[derive(Deserialize)]
struct Partitions {
    partitions: Vec<PartitionView>,
}

impl TestCluster {
    /// The table as a member sees it; `None` when it does not answer (yet).
    pub fn partitions(&mut self, asked: usize) -> Option<Vec<PartitionView>> {
        let socket = self.daemon(asked).try_ports()?.socket.clone();
        let (status, body) = rest::get_over_socket(&socket, "/v1/grid/partitions", ASK_LIMIT).ok()?;
        let known: Partitions = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        Some(known.partitions)
    }

    /// Waits until every partition is held as it should be, by so many members, in the eyes of all that run. How
    /// long that took.
    ///
    /// # Panics
    /// When it does not come true in time; says what is missing.
    pub fn wait_copies(&mut self, copies: usize, limit: Duration) -> Duration {
        self.wait_table(&format!("{copies} copies of everything"), limit, |partition| {
            let wanted: BTreeSet<&String> = partition.wanted.iter().collect();
            let there = partition.in_sync.len() == copies
                && partition.in_sync.iter().collect::<BTreeSet<_>>() == wanted;
            there && partition.wanted.first() == Some(&partition.primary)
        })
    }

    /// Waits until something is true of every partition, in the eyes of all that run. How long that took.
    ///
    /// # Panics
    /// When it does not come true in time; says of which partition it is not.
    pub fn wait_table(
        &mut self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&PartitionView) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        loop {
            let mut unlike = Vec::new();
            for number in self.running() {
                match self.partitions(number) {
                    Some(table) => {
                        let first = table.iter().filter(|partition| !fits(partition));
                        unlike.extend(first.map(|partition| format!("n{number} sees {partition:?}")));
                    }
                    None => unlike.push(format!("n{number} does not answer")),
                }
            }
            if unlike.is_empty() {
                return begun.elapsed();
            }
            let sample: Vec<_> = unlike.iter().take(4).collect();
            assert!(
                begun.elapsed() < limit,
                "waited {limit:?} in vain: {what}; not so {} times, as {sample:#?}",
                unlike.len()
            );
            // The next look, not a guess how long it takes.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `vecgrid verify` says when it asks this member: all rows of all copies are read and compared.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn verify(&mut self, asked: usize) -> (Output, Value) {
        let endpoint = format!("http://{}", self.daemon(asked).ports().api);
        let mut command = Command::new(binaries::vecgrid());
        command.args(["verify", "--json", "--timeout", "60s", "--endpoint", &endpoint]).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|e| panic!("vecgrid does not start: {e}"));
        let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        (output, told)
    }

    /// The number of a member by its id.
    ///
    /// # Panics
    /// When none of those that answer is it.
    pub fn number_of(&mut self, id: &str) -> usize {
        let views = self.views();
        let of = |view: &crate::cluster::GridView| {
            let member = view.members.iter().find(|member| member.id == id)?;
            member.name.strip_prefix('n')?.parse().ok()
        };
        views.values().find_map(of).unwrap_or_else(|| panic!("nobody knows {id}"))
    }

    /// The id of a member.
    ///
    /// # Panics
    /// When none of those that answer knows it.
    pub fn id_of(&mut self, number: usize) -> String {
        let (name, views) = (format!("n{number}"), self.views());
        let of = |view: &crate::cluster::GridView| {
            view.members.iter().find(|member| member.name == name).map(|member| member.id.clone())
        };
        views.values().find_map(of).unwrap_or_else(|| panic!("nobody knows {name}"))
    }

    /// Every member, asked for strong reads and for its own copies, shows exactly what was acknowledged.
    ///
    /// # Panics
    /// When one does not.
    pub fn assert_shows(&mut self, collection: &str, ledger: &Ledger) {
        let ids = ledger.ids();
        for number in self.running() {
            let rest = self.daemon(number).rest();
            let wrong = ledger.check(&look(&rest.strong(), collection, &ids));
            assert!(wrong.is_empty(), "through member {number}, strong: {wrong:#?}");
            let mut wrong = Vec::new();
            let begun = Instant::now();
            while begun.elapsed() < IDLE_LIMIT {
                wrong = ledger.check(&look(&rest, collection, &ids));
                if wrong.is_empty() {
                    break;
                }
            }
            assert!(wrong.is_empty(), "through member {number}, its own copies: {wrong:#?}");
        }
    }
}

/// An entry as an answer shows it, with `version` in its metadata.
fn seen(id: &str, entry: &Value) -> Seen {
    let version = entry["metadata"]["version"].as_u64().unwrap_or(0);
    let stamp = stamp(entry["version"].as_str().unwrap_or_default());
    let numbers = entry["vector"].as_array().map(Vec::as_slice).unwrap_or_default();
    let vector: Vec<f32> = numbers.iter().filter_map(Value::as_f64).map(|x| x as f32).collect();
    Seen { version, stamp: stamp.unwrap_or_default(), vector_fits: vector == synthetic::vector(id, version) }
}

/// Epoch and sequence of a version as the API writes it.
pub fn stamp(text: &str) -> Option<(u64, u64)> {
    let (epoch, sequence) = text.split_once('-')?;
    Some((epoch.parse().ok()?, sequence.parse().ok()?))
}

/// Everything that a member shows: by get, by walking, by counting, and some by searching. Entries have the vectors of
/// [`synthetic::vector`].
///
/// # Panics
/// When something is refused, or shown twice.
pub fn look(rest: &Rest, collection: &str, ids: &[String]) -> View {
    let mut view = View::default();
    for id in ids {
        let answer = rest.get(&rest::entry_path(collection, id));
        if answer.status != 404 {
            view.got.insert(id.clone(), seen(id, &answer.ok()));
        }
    }
    view.scrolled = walk(rest, collection);
    let of = rest::collection_path(collection);
    let count = rest.post(&format!("{of}/count"), &json!({})).ok();
    view.count = count["count"].as_u64().unwrap_or(u64::MAX);
    for id in ids.iter().step_by(SEARCHED) {
        let version = view.got.get(id).map_or(1, |seen| seen.version);
        let query =
            json!({"vector": synthetic::vector(id, version), "k": 1, "exact": true, "include": ["metadata"]});
        let found = rest.post(&format!("{of}/search"), &query).ok();
        let hit = &found["hits"][0];
        let found = (hit["id"] == **id).then(|| hit["metadata"]["version"].as_u64()).flatten();
        view.searched.insert(id.clone(), found);
    }
    let all = json!({"vector": vec![0.1; synthetic::DIMENSION], "k": 10_000, "exact": true});
    let all = rest.post(&format!("{of}/search"), &all).ok();
    let hits = all["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let distinct: BTreeSet<&str> = hits.iter().filter_map(|hit| hit["id"].as_str()).collect();
    assert_eq!(
        (hits.len(), distinct.len()),
        (view.scrolled.len(), view.scrolled.len()),
        "hits of all, and distinct"
    );
    view
}

fn walk(rest: &Rest, collection: &str) -> BTreeMap<String, Seen> {
    let (mut all, mut cursor) = (BTreeMap::new(), Value::Null);
    loop {
        let mut query = json!({"limit": 500, "include": ["metadata", "vector"]});
        if !cursor.is_null() {
            query["cursor"] = cursor;
        }
        let mut page = rest.post(&format!("{}/scroll", rest::collection_path(collection)), &query).ok();
        for entry in page["entries"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let id = entry["id"].as_str().unwrap_or_default();
            let twice = all.insert(id.to_owned(), seen(id, entry));
            assert!(twice.is_none(), "scrolled twice: {entry}");
        }
        cursor = page["cursor"].take();
        if cursor.is_null() {
            return all;
        }
    }
}

/// Waits until a metric of a member is above zero, or what else is asked of it.
pub fn wait_metric(
    rest: &Rest,
    (name, label): (&str, &str),
    limit: Duration,
    fits: impl Fn(f64) -> bool,
) -> f64 {
    wait::until(&format!("{name} is as wanted"), limit, || {
        Some(rest.metric(name, label)).filter(|value| fits(*value))
    })
}
