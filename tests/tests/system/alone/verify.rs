//! Copies of a real grid: compared and equal; one that the disk damaged is found, told, and taken anew.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    rest, wait,
};

/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(60);
const COLLECTION: &str = "c";
const ENTRIES: u32 = 1_600;
const DIMENSION: u32 = 128;

fn partitions(cluster: &mut TestCluster) -> Vec<Value> {
    cluster.daemon(0).rest().get("/v1/grid/partitions").ok()["partitions"].as_array().cloned().unwrap()
}

/// Every partition is held by two members, as it should be.
fn wait_two_copies(cluster: &mut TestCluster) {
    wait::until("each partition has two copies", LIMIT, || {
        let two = |partition: &Value| {
            partition["in_sync"].as_array().map(Vec::len) == Some(2) && partition["moving"] == false
        };
        partitions(cluster).iter().all(two).then_some(())
    });
}

/// The file of a stopped member that has the rows of a partition.
fn table_of(cluster: &mut TestCluster, number: usize, partition: u64) -> PathBuf {
    let name = format!("p{partition:03}").into_bytes();
    let rows = cluster.daemon(number).data_dir().join("rows");
    let files = fs::read_dir(rows).unwrap().map(|file| file.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    // A table says at its end whose it is.
    let has_name = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        let end = &bytes[bytes.len().saturating_sub(4_096)..];
        end.windows(name.len()).any(|window| window == name)
    };
    let found = tables.filter(has_name).max_by_key(|path| fs::metadata(path).unwrap().len());
    found.unwrap_or_else(|| panic!("no table of partition {partition}"))
}

/// A bit of a table is another one now.
fn damage(table: &Path, at_start: bool) {
    let mut bytes = fs::read(table).unwrap();
    let at = if at_start { 16 } else { bytes.len() / 2 };
    bytes[at] ^= 0xff;
    fs::write(table, bytes).unwrap();
}

#[test]
fn a_copy_that_the_disk_damaged_is_found_and_taken_anew() {
    let mut cluster =
        TestCluster::launch(3, ClusterOptions { backups: 1, ..ClusterOptions::new(Finding::Seeds) });
    cluster.wait_one_grid(LIMIT);
    cluster.wait_balanced(LIMIT);
    wait_two_copies(&mut cluster);
    let rest = cluster.daemon(0).rest();
    rest.put(&rest::collection_path(COLLECTION), &json!({"dimension": DIMENSION})).ok();
    for n in 0..ENTRIES {
        let vector: Vec<f64> = (0..DIMENSION).map(|at| f64::from((n * 7_919 + at * 31) % 997)).collect();
        let path = rest::entry_path(COLLECTION, &format!("e{n}"));
        rest.put(&path, &json!({"vector": vector, "metadata": {"n": n}})).ok();
    }
    let (output, told) = cluster.verify(1);
    assert!(output.status.success(), "{told}");
    assert_eq!((&told["verdict"], &told["rows_read"]), (&json!("equal"), &json!(2 * ENTRIES)));

    let member = cluster.view(2).unwrap().member;
    let metrics = |cluster: &mut TestCluster, name: &str, label: &str| -> f64 {
        (0..3).map(|number| cluster.daemon(number).admin().metric(name, label)).sum()
    };
    let mut damaged = BTreeSet::new();
    // What a start reads is at the beginning of a table, the rows are behind it.
    for at_start in [true, false] {
        // A partition of which the last member has the backup.
        let backup = |partition: &&Value| {
            let in_sync = partition["in_sync"].as_array().unwrap();
            let anew = damaged.contains(&partition["partition"].as_u64().unwrap());
            partition["primary"] != json!(member) && in_sync.contains(&json!(member)) && !anew
        };
        let found = partitions(&mut cluster);
        let partition = found.iter().find(backup).unwrap()["partition"].as_u64().unwrap();
        damaged.insert(partition);
        cluster.stop(2);
        damage(&table_of(&mut cluster, 2, partition), at_start);
        let before = cluster.daemon(2).log().len();
        cluster.relaunch(2);
        cluster.wait_one_grid(LIMIT);
        wait_two_copies(&mut cluster);
        let log = cluster.daemon(2).log().split_off(before);
        let said = log.contains("copy of a partition is damaged");
        assert_eq!(said, at_start, "{log}");
        if !said {
            let (output, told) = cluster.verify(1);
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert_eq!((&told["verdict"], &told["differ"]), (&json!("differs"), &json!(1)), "{told}");
            let copy = &told["copies"][0];
            assert_eq!((&copy["partition"], &copy["member"]), (&json!(partition), &json!(member)), "{told}");
            assert_eq!(copy["differences"][0]["what"], "rows", "{told}");
            assert!(metrics(&mut cluster, "vecgrid_digest_mismatches_total", "rows") >= 1.0);
        }
        wait::until("the copy is taken anew", LIMIT, || {
            let (_, told) = cluster.verify(1);
            (told["verdict"] == "equal").then_some(())
        });
        wait_two_copies(&mut cluster);
        let (_, told) = cluster.verify(1);
        assert_eq!((&told["verdict"], &told["rows_read"]), (&json!("equal"), &json!(2 * ENTRIES)), "{told}");
        assert_eq!(metrics(&mut cluster, "vecgrid_digest_mismatches_total", "copy"), 0.0);
    }
    assert_eq!(metrics(&mut cluster, "vecgrid_copies_retaken_total", ""), 1.0);
    cluster.assert_no_panic();
}

#[test]
fn copies_are_compared_in_the_background() {
    let args = ["--verify-seconds", "1"].map(str::to_owned).to_vec();
    let mut cluster =
        TestCluster::launch(2, ClusterOptions { args, backups: 1, ..ClusterOptions::new(Finding::Seeds) });
    cluster.wait_one_grid(LIMIT);
    cluster.wait_balanced(LIMIT);
    wait_two_copies(&mut cluster);
    let rest = cluster.daemon(0).rest();
    rest.put(&rest::collection_path(COLLECTION), &json!({"dimension": 2})).ok();
    for n in 0..100 {
        let path = rest::entry_path(COLLECTION, &format!("e{n}"));
        rest.put(&path, &json!({"vector": [1.0, f64::from(n)]})).ok();
    }
    for number in 0..2 {
        let admin = cluster.daemon(number).admin();
        wait::until("all rows are read", LIMIT, || {
            let age = admin.metric("vecgrid_verify_age_seconds", "");
            (admin.metric("vecgrid_verified_rows_total", "") >= 100.0 && age >= 0.0).then_some(())
        });
        assert_eq!(admin.metric("vecgrid_digest_mismatches_total", ""), 0.0);
    }
}
