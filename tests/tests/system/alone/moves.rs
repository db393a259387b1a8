//! A grid that grows and shrinks while it is written and searched: nothing that was acknowledged is missing, and
//! every answer is whole or says that it is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    ledger::{Effect, Ledger, Outcome, Seen, View},
    report,
    rest::{self, Rest},
};

/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(120);
const COLLECTION: &str = "c";
const WRITERS: u64 = 3;
const SEARCHERS: u64 = 2;
/// Ids of each writer.
const IDS: u64 = 400;

/// Where an app that is beside a member asks; members that leave are taken out before they do.
struct Apps {
    open: Mutex<Vec<Rest>>,
    next: AtomicU64,
    stop: AtomicBool,
    ledger: Mutex<Ledger>,
    /// Ids at rest and the version that was acknowledged.
    acked: Mutex<BTreeMap<String, u64>>,
    searches: AtomicU64,
    refused: AtomicU64,
}

impl Apps {
    fn any(&self) -> Rest {
        let open = self.open.lock().unwrap();
        open[self.next.fetch_add(1, Ordering::Relaxed) as usize % open.len()].clone()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes its ids again and again, each with a counter.
    fn write(&self, writer: u64) {
        for version in 1.. {
            for n in 0..IDS {
                if self.stopped() {
                    return;
                }
                self.write_one(&format!("w{writer}-{n}"), version);
            }
        }
    }

    fn write_one(&self, id: &str, version: u64) {
        // One in seven is taken away, later to come back.
        let delete = version.is_multiple_of(7);
        // Not looked for while this is under way.
        self.acked.lock().unwrap().remove(id);
        let path = rest::entry_path(COLLECTION, id);
        let body = json!({"vector": vector(id, version), "metadata": {"version": version}});
        let answer = if delete {
            self.any().send_empty("DELETE", &path)
        } else {
            self.any().send("PUT", &path, "application/json", body.to_string().as_bytes())
        };
        let outcome = match &answer {
            Ok(answer) if answer.status / 100 == 2 => Outcome::Acked(None),
            Ok(answer) if answer.json()["outcome"] == "failed" => Outcome::Failed,
            _ => Outcome::Unknown,
        };
        if outcome != Outcome::Acked(None) {
            let text = answer.map_or_else(|e| e.to_string(), |answer| answer.text());
            report!("a write of {id} was not acknowledged: {text}");
        }
        let effect = if delete { Effect::Delete } else { Effect::Put(version) };
        self.ledger.lock().unwrap().note(id, effect, outcome);
        if let (Outcome::Acked(_), false) = (outcome, delete) {
            self.acked.lock().unwrap().insert(id.to_owned(), version);
        }
    }

    /// Searches for something that was acknowledged, and looks whether it is there.
    fn search(&self, searcher: u64) {
        let mut turn = searcher;
        while !self.stopped() {
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chosen = {
                let acked = self.acked.lock().unwrap();
                acked
                    .iter()
                    .nth(turn as usize % acked.len().max(1))
                    .map(|(id, version)| (id.clone(), *version))
            };
            let Some((id, version)) = chosen else { continue };
            self.search_one(&id, version);
        }
    }

    fn search_one(&self, id: &str, version: u64) {
        let query = json!({
            "vector": vector(id, version), "k": 10, "exact": true, "include": ["metadata"], "allow_partial": true
        });
        let path = format!("{}/search", rest::collection_path(COLLECTION));
        // Strong: a copy that was just taken in answers other reads, too, and may be a moment behind.
        let strong = self.any().strong();
        let Ok(answer) = strong.send("POST", &path, "application/json", query.to_string().as_bytes()) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if answer.status != 200 {
            report!("a search failed: {}", answer.text());
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let body = answer.json();
        let hits = body["hits"].as_array().cloned().unwrap_or_default();
        let ids: BTreeSet<&str> = hits.iter().filter_map(|hit| hit["id"].as_str()).collect();
        assert_eq!(ids.len(), hits.len(), "an id twice: {body}");
        if body["coverage"]["answered"] != body["coverage"]["partitions"] {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.searches.fetch_add(1, Ordering::Relaxed);
        // No write of it began before the answer came.
        if self.acked.lock().unwrap().get(id) == Some(&version) {
            let found = hits.iter().any(|hit| hit["id"] == *id && hit["metadata"]["version"] == version);
            assert!(found, "{id} of version {version} was acknowledged and is missing: {body}");
        }
    }
}

/// Nobody else's.
fn vector(id: &str, version: u64) -> Vec<f32> {
    let mut state = id.bytes().fold(version + 1, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..8).map(|_| next()).collect()
}

fn primaries(cluster: &mut TestCluster, asked: usize) -> Vec<String> {
    let body = cluster.daemon(asked).rest().get("/v1/grid/partitions").ok();
    let list = body["partitions"].as_array().cloned().unwrap_or_default();
    list.iter().map(|p| p["primary"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What every member shows must be what was acknowledged.
fn check(cluster: &mut TestCluster, apps: &Apps, asked: usize) {
    let rest = cluster.daemon(asked).rest().strong();
    let ledger = apps.ledger.lock().unwrap();
    let mut view = View::default();
    let seen = |body: &Value, vector_fits: bool| {
        let version = body["metadata"]["version"].as_u64().unwrap_or(0);
        Seen { version, stamp: (0, 0), vector_fits }
    };
    for id in ledger.ids() {
        let answer = rest.get(&rest::entry_path(COLLECTION, &id));
        if answer.status == 404 {
            continue;
        }
        let body = answer.ok();
        let found: Vec<f32> =
            body["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let one = seen(&body, found == vector(&id, body["metadata"]["version"].as_u64().unwrap()));
        view.got.insert(id, one);
    }
    let mut cursor = Value::Null;
    loop {
        let mut query = json!({"limit": 500});
        if !cursor.is_null() {
            query["cursor"] = cursor;
        }
        let page = rest.post(&format!("{}/scroll", rest::collection_path(COLLECTION)), &query).ok();
        for entry in page["entries"].as_array().unwrap() {
            let id = entry["id"].as_str().unwrap().to_owned();
            let fits = view.got.get(&id).is_some_and(|got| got.vector_fits);
            let twice = view.scrolled.insert(id, seen(entry, fits));
            assert!(twice.is_none(), "scrolled twice: {entry}");
        }
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let count = rest.post(&format!("{}/count", rest::collection_path(COLLECTION)), &json!({})).ok();
    view.count = count["count"].as_u64().unwrap();
    let problems = ledger.check(&view);
    assert!(problems.is_empty(), "through member {asked}: {problems:#?}");
}

#[test]
fn one_to_five_to_two_members_under_load_and_nothing_is_lost() {
    let mut options = ClusterOptions::new(Finding::Seeds);
    options.partitions = 271;
    options.args.push("--drain".to_owned());
    let mut cluster = TestCluster::launch(1, options);
    cluster.wait_one_grid(LIMIT);
    let rest = cluster.daemon(0).rest();
    rest.put(&rest::collection_path(COLLECTION), &json!({"dimension": 8, "metric": "euclidean"})).ok();
    let apps = Apps {
        open: Mutex::new(vec![rest]),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        ledger: Mutex::default(),
        acked: Mutex::default(),
        searches: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    let begun = Instant::now();
    thread::scope(|scope| {
        let (load, stop_at_end) = (&apps, StopAtEnd(&apps));
        (0..WRITERS).for_each(|writer| _ = scope.spawn(move || load.write(writer)));
        (0..SEARCHERS).for_each(|searcher| _ = scope.spawn(move || load.search(searcher + 1)));
        for members in 2..=5_u64 {
            let before = primaries(&mut cluster, 0);
            let number = cluster.add();
            cluster.wait_one_grid(LIMIT);
            let began = Instant::now();
            cluster.wait_balanced(LIMIT);
            let rest = cluster.daemon(number).rest();
            apps.open.lock().unwrap().push(rest);
            let after = primaries(&mut cluster, 0);
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count() as u64;
            report!("{members} members: {moved} partitions moved in {:.2?}", began.elapsed());
            assert!(moved <= 271_u64.div_ceil(members) + 1, "{moved} moves for {members} members");
        }
        for leaving in [4, 3, 2] {
            apps.open.lock().unwrap().pop();
            let before = primaries(&mut cluster, 0);
            let began = Instant::now();
            cluster.stop(leaving);
            let took = began.elapsed();
            cluster.wait_balanced(LIMIT);
            let after = primaries(&mut cluster, 0);
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            report!("member {leaving} left in {took:.2?}: {moved} partitions moved");
            assert!(moved <= 271_usize.div_ceil(leaving + 1) + 1, "{moved} moves to {leaving} members");
        }
        drop(stop_at_end);
    });
    let took = begun.elapsed();
    let (acked, unknown, failed) = apps.ledger.lock().unwrap().totals();
    let (searches, refused) = (apps.searches.load(Ordering::Relaxed), apps.refused.load(Ordering::Relaxed));
    let rate = (acked + searches) as f64 / took.as_secs_f64();
    report!(
        "{acked} writes acknowledged, {unknown} unknown, {failed} failed; {searches} whole searches, {refused} \
         refused or marked; {rate:.0} operations/s over {took:.1?}"
    );
    (0..2).for_each(|asked| check(&mut cluster, &apps, asked));
    cluster.assert_no_panic();
}

/// Ends the load also when the test fails.
struct StopAtEnd<'a>(&'a Apps);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
