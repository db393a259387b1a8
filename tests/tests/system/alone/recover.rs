//! A grid of two loses one member for ever: what the other one does, and how it goes on as a grid of its own.

use std::{
    collections::BTreeSet,
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
    let mut cluster = TestCluster::launch(2, ClusterOptions { args, ..ClusterOptions::new(Finding::Seeds) });
    cluster.wait_one_grid(LIMIT);
    cluster.wait_voters(2, LIMIT);
    cluster.wait_balanced(LIMIT);
    let rest = cluster.daemon(0).rest();
    rest.put(&rest::collection_path(COLLECTION), &json!({"dimension": 2})).ok();
    for n in 0..ENTRIES {
        write(&rest, n).ok();
    }
    cluster
}

fn path(n: u32) -> String {
    rest::entry_path(COLLECTION, &format!("e{n}"))
}

fn write(rest: &Rest, n: u32) -> rest::Answer {
    rest.put(&path(n), &json!({"vector": [1.0, f64::from(n)], "metadata": {"n": n}}))
}

/// What is found without those that are not there.
fn held(rest: &Rest) -> BTreeSet<u32> {
    let search = json!({"vector": [1.0, 0.0], "k": 1_000, "exact": true, "allow_partial": true});
    let answer = rest.post(&format!("{}/search", rest::collection_path(COLLECTION)), &search).ok();
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap()[1..].parse().unwrap()).collect()
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
fn the_member_that_is_left_of_two_goes_on_with_all_that_it_has() {
    let mut cluster = two(&[]);
    let old = cluster.view(0).unwrap().grid_id;
    refused(&mut cluster, &["--yes", "--begin-empty"], "another vecgridd is using");
    cluster.kill9(1);
    // Its writes are refused for as long as it is alone; what it holds it goes on answering.
    let rest = cluster.daemon(0).rest();
    wait::until("writes are refused", LIMIT, || (write(&rest, ENTRIES).status >= 500).then_some(()));
    let kept = held(&rest);
    assert!(!kept.is_empty(), "it answers for what it has");

    cluster.kill9(0);
    let whole = kept.len() == ENTRIES as usize;
    if !whole {
        refused(&mut cluster, &["--yes"], "--begin-empty");
    }
    refused(&mut cluster, &["--begin-empty"], "nobody is there to confirm");
    let done = recover(&mut cluster, &["--yes", "--begin-empty"]);
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
        let answer = rest.get(&path(n));
        assert_eq!(answer.status, if kept.contains(&n) { 200 } else { 404 }, "e{n}: {}", answer.text());
    }
    let count = rest.post(&format!("{}/count", rest::collection_path(COLLECTION)), &json!({})).ok();
    assert_eq!(count["count"], kept.len());
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
fn a_member_alone_refuses_reads_if_it_was_told_to() {
    let mut cluster = two(&["--on-minority", "refuse"]);
    let rest = cluster.daemon(0).rest();
    assert_eq!(rest.get(&path(0)).status, 200);
    cluster.kill9(1);
    wait::until("reads are refused", LIMIT, || (rest.get(&path(0)).code() == "no_leader").then_some(()));
    cluster.relaunch(1);
    wait::until("reads are answered again", LIMIT, || (rest.get(&path(0)).status == 200).then_some(()));
}
