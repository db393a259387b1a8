//! A grid of two loses one member for ever: what the other one does, and how it goes on as a grid of its own.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::json;
use vecgridd_tests::{
    binaries,
    cluster::{ClusterOptions, Finding, TestCluster},
    rest::{self, Rest},
    wait,
};

/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(60);
const COLLECTION: &str = "c";
const ENTRIES: u32 = 80;

fn two(args: &[&str]) -> TestCluster {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut cluster =
        TestCluster::launch(2, ClusterOptions { args, backups: 1, ..ClusterOptions::new(Finding::Seeds) });
    cluster.wait_one_grid(LIMIT);
    cluster.wait_voters(2, LIMIT);
    cluster.wait_balanced(LIMIT);
    wait_two_copies(&mut cluster);
    let rest = cluster.daemon(0).rest();
    rest.put(&rest::collection_path(COLLECTION), &json!({"dimension": 2})).ok();
    for n in 0..ENTRIES {
        write(&rest, n).ok();
    }
    cluster
}

/// Every partition is in sync at both members.
fn wait_two_copies(cluster: &mut TestCluster) {
    let rest = cluster.daemon(0).rest();
    wait::until("each partition has two copies", LIMIT, || {
        let grid = rest.get("/v1/grid/partitions").ok();
        let partitions = grid["partitions"].as_array()?;
        let two = |partition: &serde_json::Value| partition["in_sync"].as_array().map(Vec::len) == Some(2);
        partitions.iter().all(two).then_some(())
    });
}

fn path(n: u32) -> String {
    rest::entry_path(COLLECTION, &format!("e{n}"))
}

fn write(rest: &Rest, n: u32) -> rest::Answer {
    rest.put(&path(n), &json!({"vector": [1.0, f64::from(n)], "metadata": {"n": n}}))
}

fn recover(cluster: &mut TestCluster, args: &[&str]) -> Output {
    let data = cluster.daemon(0).data_dir();
    let mut command = Command::new(binaries::vecgridd());
    command.args(["recover", "--force-new-grid", "--data-dir"]).arg(data).args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

fn refused(cluster: &mut TestCluster, args: &[&str], why: &str) {
    let output = recover(cluster, args);
    assert!(!output.status.success() && text(&output).contains(why), "{why}: {}", text(&output));
}

#[test]
fn the_member_that_is_left_of_two_goes_on_with_all_rows() {
    let mut cluster = two(&[]);
    let old = cluster.view(0).unwrap().grid_id;
    refused(&mut cluster, &["--yes", "--begin-empty"], "another vecgridd is using");
    cluster.kill9(1);
    // Its writes are refused for as long as it is alone.
    let rest = cluster.daemon(0).rest();
    wait::until("writes are refused", LIMIT, || (write(&rest, ENTRIES).status >= 500).then_some(()));
    cluster.kill9(0);
    refused(&mut cluster, &[], "nobody is there to confirm");
    let done = recover(&mut cluster, &["--yes"]);
    assert!(done.status.success(), "{}", text(&done));
    for said in ["DATA MAY BE LOST", "n1: given up", "Done: the grid"] {
        assert!(text(&done).contains(said), "{said} is missing in {}", text(&done));
    }

    cluster.relaunch(0);
    cluster.daemon(0).wait_ready(LIMIT);
    let rest = cluster.daemon(0).rest();
    let view = cluster.view(0).unwrap();
    assert_ne!(view.grid_id, old);
    assert_eq!(view.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["n0"]);
    for n in 0..ENTRIES {
        assert_eq!(rest.get(&path(n)).status, 200, "e{n}");
    }
    let count = rest.post(&format!("{}/count", rest::collection_path(COLLECTION)), &json!({})).ok();
    // The write that was not confirmed may be there, too.
    let found = count["count"].as_u64().unwrap();
    assert!((u64::from(ENTRIES)..=u64::from(ENTRIES) + 1).contains(&found), "{found}");
    for n in 0..ENTRIES {
        write(&rest, n).ok();
    }
    assert!(cluster.daemon(0).log().contains("possible data loss"), "it is said at the next start, too");

    // The old one comes back after all, with its data: it is another grid, and nothing is mixed.
    cluster.relaunch(1);
    let admin = cluster.daemon(0).admin();
    wait::until("the old member is refused", LIMIT, || {
        let refused = admin.metric("vecgrid_peer_refused_total", "other_grid");
        (refused > 0.0 || admin.metric("vecgrid_foreign_grids_total", "") > 0.0).then_some(())
    });
    assert_eq!(cluster.view(0).unwrap().members.len(), 1);
    assert_eq!(cluster.daemon(0).rest().get(&path(0)).status, 200);
    cluster.assert_no_panic();
}

#[test]
fn a_member_that_is_alone_reads_all_that_it_has_if_it_was_told_to() {
    let mut cluster = two(&["--on-minority", "read-only"]);
    let rest = cluster.daemon(0).rest();
    cluster.kill9(1);
    wait::until("writes are refused", LIMIT, || (write(&rest, ENTRIES).status >= 500).then_some(()));
    for n in 0..ENTRIES {
        assert_eq!(rest.get(&path(n)).status, 200, "e{n}");
    }
    let count = rest.post(&format!("{}/count", rest::collection_path(COLLECTION)), &json!({})).ok();
    assert_eq!(count["count"], ENTRIES);
    cluster.relaunch(1);
    wait::until("writes are taken again", LIMIT, || (write(&rest, ENTRIES).status == 200).then_some(()));
}
