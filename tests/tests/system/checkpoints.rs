//! Saved indexes of a real daemon: used after a stop and after a kill, level with what was written
//! later, refused when damaged or older rows came back, gone with their collection.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use vecgridd_tests::{
    daemon::{Daemon, Options},
    synthetic, wait,
};

const COLLECTION: &str = "saved";
/// More than are scanned, so that there is a graph.
const ROWS: u64 = 5_000;
const LIMIT: Duration = Duration::from_secs(60);

fn start(seconds: u64) -> Daemon {
    start_with(seconds, "memory")
}

fn start_with(seconds: u64, vectors: &str) -> Daemon {
    let args = vec!["--checkpoint-seconds".to_owned(), seconds.to_string()];
    let daemon = Daemon::start_with(Options { args, ..Options::default() });
    let index = json!({ "vectors": vectors });
    let config = json!({"dimension": synthetic::DIMENSION, "metric": "euclidean", "index": index});
    daemon.rest().put(&format!("/v1/collections/{COLLECTION}"), &config).ok();
    daemon
}

fn put(daemon: &Daemon, ids: impl Iterator<Item = u64>, version: u64) {
    let entry = |n: u64| {
        let vector = synthetic::vector(&n.to_string(), version);
        json!({"id": n.to_string(), "vector": vector, "metadata": {"n": n, "version": version}})
    };
    let entries: Vec<Value> = ids.map(entry).collect();
    for part in entries.chunks(1_000) {
        let path = format!("/v1/collections/{COLLECTION}/entries");
        daemon.rest().post(&path, &json!({ "entries": part })).ok();
    }
}

fn delete(daemon: &Daemon, ids: impl Iterator<Item = u64>) {
    let ids: Vec<String> = ids.map(|n| n.to_string()).collect();
    daemon.rest().post(&format!("/v1/collections/{COLLECTION}/delete"), &json!({ "ids": ids })).ok();
}

fn metric(daemon: &Daemon, name: &str) -> Option<f64> {
    let text = daemon.admin().get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn indexed(daemon: &Daemon) -> f64 {
    metric(daemon, "vecgrid_index_indexed_rows").unwrap_or_default()
}

fn wait_built(daemon: &Daemon, rows: u64) {
    wait::until("all rows are in the graph", LIMIT, || (indexed(daemon) as u64 == rows).then_some(()));
}

/// What became of the checkpoint at the start of this daemon.
fn outcome(daemon: &Daemon) -> Vec<&'static str> {
    let seen = |outcome: &&str| {
        let name = format!("vecgrid_checkpoint_loads_total{{outcome=\"{outcome}\"}}");
        metric(daemon, &name) == Some(1.0)
    };
    ["ok", "damaged", "foreign", "ahead"].into_iter().filter(seen).collect()
}

/// Each id with the version of its vector: by search, by filter and by count.
fn check(daemon: &Daemon, rows: &[(u64, u64)], absent: &[u64], count: u64) {
    let rest = daemon.rest();
    let path = |verb: &str| format!("/v1/collections/{COLLECTION}/{verb}");
    assert_eq!(rest.post(&path("count"), &json!({})).ok()["count"], count);
    for (id, version) in rows {
        let vector = synthetic::vector(&id.to_string(), *version);
        let hits =
            rest.post(&path("search"), &json!({"vector": vector, "k": 1, "include": ["metadata"]})).ok();
        let hit = &hits["hits"][0];
        assert_eq!((&hit["id"], &hit["distance"]), (&json!(id.to_string()), &json!(0.0)), "{hits}");
        assert_eq!(hit["metadata"], json!({"n": id, "version": version}));
        let filter = json!({"filter": {"n": id, "version": version}});
        assert_eq!(rest.post(&path("count"), &filter).ok()["count"], 1);
    }
    for id in absent {
        assert_eq!(rest.post(&path("count"), &json!({"filter": {"n": id}})).ok()["count"], 0);
    }
}

fn folder(daemon: &Daemon) -> PathBuf {
    let index = daemon.data_dir().join("index");
    let mut found = fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
    found.next().unwrap()
}

#[test]
fn an_index_is_loaded_after_a_stop_and_after_a_kill() {
    let mut daemon = start(1);
    put(&daemon, 0..ROWS, 1);
    wait_built(&daemon, ROWS);
    daemon.stop();
    daemon.restart();
    assert_eq!((outcome(&daemon), indexed(&daemon) as u64), (vec!["ok"], ROWS), "no row is built again");
    check(&daemon, &[(0, 1), (77, 1), (ROWS - 1, 1)], &[], ROWS);
    // Half of the rows are new: a checkpoint is due after a second, while the daemon serves.
    let before = metric(&daemon, "vecgrid_checkpoint_bytes").unwrap();
    put(&daemon, ROWS..ROWS + ROWS / 2, 1);
    wait_built(&daemon, ROWS + ROWS / 2);
    wait::until("the larger index is saved", LIMIT, || {
        (metric(&daemon, "vecgrid_checkpoint_bytes")? > 1.3 * before).then_some(())
    });
    // What comes now is in no checkpoint: one is due in twenty seconds.
    put(&daemon, 10..20, 2);
    delete(&daemon, 20..25);
    daemon.kill9();
    daemon.restart();
    assert_eq!(outcome(&daemon), ["ok"]);
    assert!(indexed(&daemon) as u64 >= ROWS, "the graph was not built anew");
    check(&daemon, &[(0, 1), (10, 2), (19, 2), (25, 1)], &[20, 24], ROWS + ROWS / 2 - 5);
    daemon.assert_no_panic();
}

#[test]
fn vectors_on_disk_are_found_there_and_again_after_a_kill() {
    const FULL: u64 = 16_384;
    let mut daemon = start_with(1, "disk");
    let info = daemon.rest().get(&format!("/v1/collections/{COLLECTION}")).ok();
    assert_eq!(info["index"]["vectors"], "disk", "{info}");
    put(&daemon, 0..FULL + 600, 1);
    wait_built(&daemon, FULL + 600);
    wait::until("a full block is in its file", LIMIT, || {
        let name = format!("vecgrid_index_bytes{{collection=\"{COLLECTION}\",kind=\"vectors\"}}");
        (metric(&daemon, &name)? < 700.0 * 4.0 * synthetic::DIMENSION as f64).then_some(())
    });
    check(&daemon, &[(0, 1), (FULL - 1, 1), (FULL, 1), (FULL + 599, 1)], &[], FULL + 600);
    put(&daemon, 5..10, 2);
    daemon.kill9();
    daemon.restart();
    check(&daemon, &[(0, 1), (5, 2), (9, 2), (FULL - 1, 1), (FULL + 599, 1)], &[], FULL + 600);
    daemon.assert_no_panic();
}

#[test]
fn a_damaged_checkpoint_is_not_served() {
    let mut daemon = start(3_600);
    put(&daemon, 0..ROWS, 1);
    wait_built(&daemon, ROWS);
    daemon.stop();
    // The list of blocks, and the one block there is, whose name changes with each build.
    for list in [true, false] {
        let files: Vec<PathBuf> =
            fs::read_dir(folder(&daemon)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        let file = files.into_iter().find(|file| file.ends_with("checkpoint") == list).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
        daemon.restart();
        assert_eq!(outcome(&daemon), ["damaged"]);
        assert!(daemon.log().contains("the checkpoint is not used"));
        check(&daemon, &[(0, 1), (ROWS - 1, 1)], &[], ROWS);
        wait_built(&daemon, ROWS);
        daemon.stop();
        daemon.restart();
        assert_eq!(outcome(&daemon), ["ok"], "a new one was written");
        daemon.stop();
    }
}

#[test]
fn older_rows_come_back_and_the_newer_index_does_not() {
    let mut daemon = start(3_600);
    put(&daemon, 0..ROWS, 1);
    daemon.stop();
    let (rows, backup) = (daemon.data_dir().join("rows"), daemon.scratch().join("backup"));
    copy(&rows, &backup);
    daemon.restart();
    put(&daemon, 0..10, 2);
    put(&daemon, ROWS..ROWS + 10, 2);
    daemon.stop();
    fs::remove_dir_all(&rows).unwrap();
    copy(&backup, &rows);
    daemon.restart();
    assert_eq!(outcome(&daemon), ["ahead"]);
    check(&daemon, &[(0, 1), (9, 1)], &[ROWS, ROWS + 9], ROWS);
    // The same versions again, with other content.
    put(&daemon, 100..110, 3);
    put(&daemon, ROWS..ROWS + 10, 3);
    daemon.kill9();
    daemon.restart();
    assert!(outcome(&daemon).is_empty(), "there is none");
    check(&daemon, &[(0, 1), (100, 3), (ROWS, 3)], &[], ROWS + 10);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_dropped_collection_leaves_nothing_and_its_name_is_free() {
    let mut daemon = start(1);
    put(&daemon, 0..ROWS, 1);
    daemon.stop();
    let old = folder(&daemon);
    daemon.restart();
    daemon.rest().delete(&format!("/v1/collections/{COLLECTION}")).ok();
    wait::until("the folder is removed", LIMIT, || (!old.exists()).then_some(()));
    daemon
        .rest()
        .put(&format!("/v1/collections/{COLLECTION}"), &json!({"dimension": synthetic::DIMENSION}))
        .ok();
    put(&daemon, 5..10, 2);
    daemon.stop();
    // As if the daemon had been killed before it could remove them.
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("checkpoint"), b"old").unwrap();
    daemon.restart();
    assert!(!old.exists());
    assert_eq!(outcome(&daemon), ["ok"]);
    let path = format!("/v1/collections/{COLLECTION}/count");
    assert_eq!(daemon.rest().post(&path, &json!({})).ok()["count"], 5);
}

#[test]
fn without_checkpoints_nothing_is_saved_or_kept() {
    let mut daemon = start(0);
    put(&daemon, 0..ROWS, 1);
    daemon.stop();
    let index = daemon.data_dir().join("index");
    assert!(!index.exists());
    fs::create_dir_all(index.join("1")).unwrap();
    fs::write(index.join("1/checkpoint"), b"old").unwrap();
    daemon.restart();
    assert!(!index.join("1").exists());
    check(&daemon, &[(0, 1)], &[], ROWS);
}
