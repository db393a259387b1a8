//! `kill -9` while writers write, again and again: an acknowledged write is never lost, a deleted
//! id never comes back, and the index equals the row store after every start.
//!
//! Four writers (two over REST, two over gRPC) put, overwrite and delete entries of their own,
//! alone and in batches. Every write and its outcome goes into the ledger; after every kill and
//! restart the daemon is asked for everything it has, in four ways, and the ledger judges. The
//! ledger's own tests show that it sees planted bugs.
//!
//! `VECGRID_CRASH_ROUNDS` raises the number of kills, `VECGRID_SEED` repeats a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tonic::Code;
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    daemon::Daemon,
    grpc,
    ledger::{Effect, Ledger, Outcome, Seen, View},
    report, rest, synthetic, wait,
};

const COLLECTION: &str = "crash";
const WRITERS: usize = 4;
const IDS_PER_WRITER: usize = 120;
/// A round that kills before this many acknowledgements would prove nothing.
const MIN_ACKS_PER_ROUND: u64 = 25;
/// Reads in flight while the daemon is looked at.
const IN_FLIGHT: usize = 16;
/// Ids whose search is checked after every round; at the end it is all of them.
const SEARCHED_PER_ROUND: usize = 60;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What all writers share.
struct Shared<'a> {
    ledger: &'a Mutex<Ledger>,
    /// Grows over all rounds, so no two writes carry the same version.
    version: &'a AtomicU64,
    acked: &'a AtomicU64,
}

impl Shared<'_> {
    /// Notes the outcome of one write for each of its entries; true when the writer must stop.
    fn note(&self, effects: &[(String, Effect)], outcomes: &Answer) -> bool {
        let mut ledger = self.ledger.lock().unwrap();
        for (index, (id, effect)) in effects.iter().enumerate() {
            let outcome = match outcomes {
                Answer::Acked(stamps) => Outcome::Acked(stamps.get(index).copied().flatten()),
                Answer::Refused | Answer::NotSent => Outcome::Failed,
                Answer::Unknown => Outcome::Unknown,
            };
            ledger.note(id, *effect, outcome);
        }
        if matches!(outcomes, Answer::Acked(_)) {
            self.acked.fetch_add(1, Ordering::Relaxed);
        }
        matches!(outcomes, Answer::Unknown | Answer::NotSent)
    }
}

/// What a writer learned from one request.
enum Answer {
    /// Acknowledged, with the daemon's versions where the answer has them.
    Acked(Vec<Option<(u64, u64)>>),
    /// The daemon says that nothing happened.
    Refused,
    /// The connection was refused: nobody got the request.
    NotSent,
    /// Everything else.
    Unknown,
}

/// One door, one verb at a time.
trait Door {
    fn put(&mut self, entries: &[(String, u64)]) -> Answer;
    fn delete(&mut self, ids: &[String]) -> Answer;
}

struct RestDoor(rest::Rest);

impl RestDoor {
    fn judge(result: Result<rest::Answer, ureq::Error>) -> Answer {
        match result {
            Ok(answer) if (200..300).contains(&answer.status) => Answer::Acked(Vec::new()),
            Ok(answer) => {
                let body: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
                if body["outcome"] == "failed" { Answer::Refused } else { Answer::Unknown }
            }
            Err(ureq::Error::Io(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => Answer::NotSent,
            Err(_) => Answer::Unknown,
        }
    }
}

impl Door for RestDoor {
    fn put(&mut self, entries: &[(String, u64)]) -> Answer {
        let body = |id: &str, v: u64| json!({"vector": synthetic::vector(id, v), "metadata": {"v": v}});
        if let [(id, version)] = entries {
            let bytes = body(id, *version).to_string();
            let path = rest::entry_path(COLLECTION, id);
            return Self::judge(self.0.send("PUT", &path, "application/json", bytes.as_bytes()));
        }
        let entry = |(id, version): &(String, u64)| {
            let mut entry = body(id, *version);
            entry["id"] = json!(id);
            entry
        };
        let bytes = json!({"entries": entries.iter().map(entry).collect::<Vec<_>>()}).to_string();
        let path = format!("/v1/collections/{COLLECTION}/entries");
        Self::judge(self.0.send("POST", &path, "application/json", bytes.as_bytes()))
    }

    fn delete(&mut self, ids: &[String]) -> Answer {
        if let [id] = ids {
            return Self::judge(self.0.send_empty("DELETE", &rest::entry_path(COLLECTION, id)));
        }
        let bytes = json!({ "ids": ids }).to_string();
        let path = format!("/v1/collections/{COLLECTION}/delete");
        Self::judge(self.0.send("POST", &path, "application/json", bytes.as_bytes()))
    }
}

struct GrpcDoor {
    runtime: tokio::runtime::Runtime,
    client: grpc::Client,
}

impl GrpcDoor {
    fn judge_error(status: &tonic::Status) -> Answer {
        if grpc::outcome(status) == "failed" { Answer::Refused } else { Answer::Unknown }
    }
}

impl Door for GrpcDoor {
    fn put(&mut self, entries: &[(String, u64)]) -> Answer {
        let entry = |(id, v): &(String, u64)| grpc::entry(id, &synthetic::vector(id, *v), &json!({ "v": v }));
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let request = pb::UpsertRequest { collection: COLLECTION.into(), entries, request_id: String::new() };
        match self.runtime.block_on(self.client.upsert(request)) {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert!(answer.errors.is_empty(), "entries refused: {:?}", answer.errors);
                Answer::Acked(answer.versions.iter().map(|v| Some((v.epoch, v.sequence))).collect())
            }
            Err(status) => Self::judge_error(&status),
        }
    }

    fn delete(&mut self, ids: &[String]) -> Answer {
        let request =
            pb::DeleteRequest { collection: COLLECTION.into(), ids: ids.to_vec(), ..Default::default() };
        match self.runtime.block_on(self.client.delete(request)) {
            Ok(_) => Answer::Acked(Vec::new()),
            Err(status) => Self::judge_error(&status),
        }
    }
}

/// Writes until an outcome is unknown: then the daemon is gone.
fn write(writer: usize, mut rng: StdRng, door: &mut dyn Door, shared: &Shared<'_>) {
    loop {
        let size = if rng.random_bool(0.3) { rng.random_range(2..=20) } else { 1 };
        let mut picked = BTreeSet::new();
        while picked.len() < size {
            picked.insert(rng.random_range(0..IDS_PER_WRITER));
        }
        let ids: Vec<String> = picked.iter().map(|i| format!("w{writer}/é-{i:03}")).collect();
        let (effects, answer) = if rng.random_bool(0.25) {
            let effects: Vec<_> = ids.iter().map(|id| (id.clone(), Effect::Delete)).collect();
            (effects, door.delete(&ids))
        } else {
            let next = |id: &String| (id.clone(), shared.version.fetch_add(1, Ordering::Relaxed));
            let entries: Vec<_> = ids.iter().map(next).collect();
            let effects: Vec<_> = entries.iter().map(|(id, v)| (id.clone(), Effect::Put(*v))).collect();
            (effects, door.put(&entries))
        };
        if shared.note(&effects, &answer) {
            return;
        }
    }
}

fn seen(id: &str, entry: &pb::Entry) -> Seen {
    let metadata: Value = serde_json::from_str(&entry.metadata_json).unwrap();
    let version = metadata["v"].as_u64().unwrap();
    let stamp = entry.version.unwrap_or_default();
    let vector = grpc::floats(entry.vector.as_ref().unwrap());
    let vector_fits = vector == synthetic::vector(id, version);
    Seen { version, stamp: (stamp.epoch, stamp.sequence), vector_fits }
}

/// Asks for everything the daemon has.
async fn look(client: &grpc::Client, ids: &[String], searched: &[String]) -> View {
    let mut view = View::default();
    let get = |id: &String| {
        let (mut client, id) = (client.clone(), id.clone());
        async move {
            let request = pb::GetRequest { collection: COLLECTION.into(), id: id.clone() };
            match client.get(request).await {
                Ok(answer) => Some((seen(&id, &answer.into_inner().entry.unwrap()), id)),
                Err(status) => {
                    assert_eq!(status.code(), Code::NotFound, "get {id}: {status:?}");
                    None
                }
            }
        }
    };
    let got: Vec<_> = stream::iter(ids.iter().map(get)).buffered(IN_FLIGHT).collect().await;
    view.got = got.into_iter().flatten().map(|(seen, id)| (id, seen)).collect();
    view.scrolled = scroll(&mut client.clone()).await;
    let count = pb::CountRequest { collection: COLLECTION.into(), filter_json: String::new() };
    view.count = client.clone().count(count).await.unwrap().into_inner().count;
    let find = |id: &String| {
        let (client, id) = (client.clone(), id.clone());
        let version = view.got.get(&id).map(|seen| seen.version);
        async move { (id.clone(), find(client, &id, version.unwrap_or(1), version.is_some()).await) }
    };
    let found: Vec<_> = stream::iter(searched.iter().map(find)).buffered(IN_FLIGHT).collect().await;
    view.searched = found.into_iter().collect();
    view
}

async fn scroll(client: &mut grpc::Client) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let request = pb::ScrollRequest {
            collection: COLLECTION.into(),
            limit: 97,
            cursor,
            include_vector: true,
            ..Default::default()
        };
        let answer = client.scroll(request).await.unwrap().into_inner();
        for entry in &answer.entries {
            let twice = all.insert(entry.id.clone(), seen(&entry.id, entry));
            assert!(twice.is_none(), "a walk shows {} twice", entry.id);
        }
        cursor = answer.cursor;
        if cursor.is_empty() {
            return all;
        }
    }
}

/// The version that an exact search finds for this id. For an entry that is there, the search is
/// for its own vector; for one that is gone, the whole collection is ranked and must not have it.
async fn find(mut client: grpc::Client, id: &str, version: u64, present: bool) -> Option<u64> {
    let k = if present { 1 } else { (WRITERS * IDS_PER_WRITER) as u32 };
    let mut request = grpc::search(COLLECTION, &synthetic::vector(id, version), k);
    request.exact = true;
    request.include_metadata = true;
    let hits = client.search(request).await.unwrap().into_inner().hits;
    let hit = hits.iter().find(|hit| hit.id == id)?;
    let near = !present || hit.distance < 1e-3;
    let metadata: Value = serde_json::from_str(&hit.metadata_json).unwrap();
    near.then(|| metadata["v"].as_u64().unwrap())
}

fn judge(
    daemon: &Daemon,
    runtime: &tokio::runtime::Runtime,
    ledger: &mut Ledger,
    searched: &[String],
    round: u64,
) {
    let ids = ledger.ids();
    let view = runtime.block_on(async { look(&daemon.grpc_socket().await, &ids, searched).await });
    let wrong = ledger.check(&view);
    assert!(wrong.is_empty(), "after kill {round}:\n{}", wrong.join("\n"));
    ledger.settle(&view);
}

#[test]
fn no_acknowledged_write_is_lost_when_the_daemon_is_killed_fifty_times() {
    let rounds = setting("VECGRID_CRASH_ROUNDS", 50);
    let seed = setting("VECGRID_SEED", rand::rng().next_u64());
    report!("VECGRID_SEED={seed} VECGRID_CRASH_ROUNDS={rounds}");
    let mut rng = StdRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut daemon = Daemon::start();
    let collection = json!({"dimension": synthetic::DIMENSION, "metric": "euclidean"});
    daemon.rest().put(&rest::collection_path(COLLECTION), &collection).ok();

    let ledger = Mutex::new(Ledger::default());
    let version = AtomicU64::new(1);
    let begun = Instant::now();
    let mut slowest_start = Duration::ZERO;
    let (mut writing, mut starting) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=rounds {
        let acked = AtomicU64::new(0);
        let shared = Shared { ledger: &ledger, version: &version, acked: &acked };
        let seeds: Vec<StdRng> = (0..WRITERS).map(|_| StdRng::seed_from_u64(rng.random())).collect();
        let mut doors: Vec<Box<dyn Door + Send>> = (0..WRITERS).map(|w| door(&daemon, w)).collect();
        let round_begun = Instant::now();
        std::thread::scope(|scope| {
            for (writer, (rng, door)) in seeds.into_iter().zip(&mut doors).enumerate() {
                let shared = &shared;
                scope.spawn(move || write(writer, rng, door.as_mut(), shared));
            }
            let enough = || (acked.load(Ordering::Relaxed) >= MIN_ACKS_PER_ROUND).then_some(());
            wait::until("enough writes are acknowledged", Duration::from_secs(60), enough);
            // A random moment, so that the kill meets every step of a write.
            std::thread::sleep(Duration::from_micros(rng.random_range(0..300_000)));
            daemon.kill9();
        });
        let acked = acked.load(Ordering::Relaxed);
        assert!(acked >= MIN_ACKS_PER_ROUND, "only {acked} acknowledgements before kill {round}");
        writing += round_begun.elapsed();
        daemon.restart();
        starting += daemon.start_time();
        slowest_start = slowest_start.max(daemon.start_time());
        let mut ledger = ledger.lock().unwrap();
        let mut ids = ledger.ids();
        let keep = if round == rounds { ids.len() } else { SEARCHED_PER_ROUND.min(ids.len()) };
        while ids.len() > keep {
            let at = rng.random_range(0..ids.len());
            ids.swap_remove(at);
        }
        judge(&daemon, &runtime, &mut ledger, &ids, round);
    }
    // The data also survives an orderly stop.
    daemon.stop();
    daemon.restart();
    let mut ledger = ledger.into_inner().unwrap();
    let all = ledger.ids();
    judge(&daemon, &runtime, &mut ledger, &all, rounds);
    daemon.assert_no_panic();
    let (acked, unknown, failed) = ledger.totals();
    report!(
        "{rounds} kills in {:.1} s: {acked} entries acknowledged, {unknown} unknown, {failed} refused or not sent; \
         0 lost, 0 ghosts; {:.1} s writing, {:.1} s starting (slowest {:.2} s), the rest looking",
        begun.elapsed().as_secs_f64(),
        writing.as_secs_f64(),
        starting.as_secs_f64(),
        slowest_start.as_secs_f64()
    );
    // Whoever kills this often must hit writes on their way; otherwise the kills came too early.
    assert!(unknown > rounds / 4, "only {unknown} writes were on their way when the daemon was killed");
}

fn door(daemon: &Daemon, writer: usize) -> Box<dyn Door + Send> {
    if writer.is_multiple_of(2) {
        return Box::new(RestDoor(daemon.rest()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime
        .block_on(async { if writer == 1 { daemon.grpc_socket().await } else { daemon.grpc_tcp().await } });
    Box::new(GrpcDoor { runtime, client })
}
