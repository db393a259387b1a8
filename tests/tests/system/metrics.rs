//! `/metrics`, `/livez` and `/readyz`: promised names, well-formed text, no labels without bound.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use vecgridd_tests::daemon::Daemon;

/// Names that dashboards and alerts rely on.
const PROMISED: &[&str] = &[
    "vecgrid_build_info",
    "vecgrid_requests_total",
    "vecgrid_request_duration_seconds",
    "vecgrid_requests_in_flight",
    "vecgrid_requests_shed_total",
    "vecgrid_points",
    "vecgrid_index_tail_rows",
    "vecgrid_index_bytes",
    "vecgrid_index_dead_rows",
    "vecgrid_index_building",
    "vecgrid_recall_checks_dropped_total",
    "vecgrid_partitions",
    "vecgrid_partitions_unavailable",
    "vecgrid_moves_wanted",
    "vecgrid_copies_under_way",
    "vecgrid_copies_bytes",
    "vecgrid_foreign_grids_total",
    "vecgrid_members",
    "vecgrid_table_version",
    "vecgrid_wal_fsync_duration_seconds",
    "vecgrid_storage_read_only",
    "process_resident_memory_bytes",
];

/// One line of the text format.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, tail) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {rest:?}"));
        let mut end = None;
        let mut escaped = false;
        for (at, c) in tail.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let end = end.unwrap_or_else(|| panic!("a label without an end in {text:?}"));
        labels.insert(name.trim_start_matches(',').to_owned(), tail[..end].to_owned());
        rest = tail[end + 1..].trim_start_matches(',');
    }
    labels
}

/// Reads the text format strictly: every sample belongs to a family with HELP and TYPE.
fn parse(text: &str) -> Vec<Sample> {
    let mut families = BTreeSet::new();
    let mut samples = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let kind = words.next().unwrap();
            assert!(matches!(kind, "HELP" | "TYPE"), "{line}");
            families.insert(words.next().unwrap().to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
            None => (series, BTreeMap::new()),
        };
        let family = ["_bucket", "_sum", "_count", ""].iter().find_map(|end| {
            let base = name.strip_suffix(end)?;
            families.contains(base).then_some(base)
        });
        assert!(family.is_some(), "a sample without a family: {line}");
        let value = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
        samples.push(Sample { name: name.to_owned(), labels, value });
    }
    samples
}

fn has(samples: &[Sample], name: &str) -> bool {
    samples.iter().any(|s| s.name == name || s.name == format!("{name}_count"))
}

/// A daemon that has seen some traffic over REST.
fn used() -> Daemon {
    let daemon = Daemon::start();
    let rest = daemon.rest();
    rest.put("/v1/collections/m", &json!({"dimension": 2})).ok();
    for i in 0..20 {
        rest.put(&format!("/v1/collections/m/entries/id-{i}"), &json!({"vector": [1, i]})).ok();
    }
    rest.post("/v1/collections/m/search", &json!({"vector": [1, 2], "k": 3})).ok();
    assert_eq!(rest.get("/v1/collections/m/entries/none").status, 404);
    daemon
}

#[test]
fn metrics_parse_and_hold_the_promised_names() {
    let mut daemon = used();
    for rest in [daemon.admin(), daemon.rest()] {
        let answer = rest.get("/metrics");
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").starts_with("text/plain"), "{}", answer.header("content-type"));
        let samples = parse(&answer.text());
        let missing: Vec<_> = PROMISED.iter().filter(|name| !has(&samples, name)).collect();
        assert!(missing.is_empty(), "not in /metrics: {missing:?}\n{}", answer.text());
        let points = samples.iter().find(|s| s.name == "vecgrid_points" && s.labels["collection"] == "m");
        assert_eq!(points.map(|s| s.value), Some(20.0));
        let synced = samples.iter().find(|s| s.name == "vecgrid_wal_fsync_duration_seconds_count").unwrap();
        assert!(synced.value >= 1.0, "no fsync was timed");
        let partitions: f64 =
            samples.iter().filter(|s| s.name == "vecgrid_partitions").map(|s| s.value).sum();
        assert_eq!(partitions, 8.0);
    }
    daemon.stop();
    daemon.assert_no_panic();
}

#[test]
fn no_label_takes_values_from_users() {
    let daemon = used();
    // The first scrape is itself a request; labels must not grow from then on.
    daemon.rest().get("/metrics");
    let before = parse(&daemon.rest().get("/metrics").text()).len();
    for i in 0..30 {
        daemon.rest().get(&format!("/v1/collections/m/entries/other-{i}"));
        daemon.rest().get(&format!("/v1/collections/none-{i}/entries/x"));
        daemon.rest().get(&format!("/nowhere/{i}"));
    }
    let text = daemon.rest().get("/metrics").text();
    let after = parse(&text).len();
    assert!(after <= before + 60, "{before} series became {after}:\n{text}");
    assert!(!text.contains("other-7") && !text.contains("none-7") && !text.contains("nowhere/7"), "{text}");
}

#[test]
fn requests_are_counted_by_code() {
    let daemon = used();
    let samples = parse(&daemon.admin().get("/metrics").text());
    let total = |wanted: &dyn Fn(&Sample) -> bool| -> f64 {
        samples.iter().filter(|s| s.name == "vecgrid_requests_total" && wanted(s)).map(|s| s.value).sum()
    };
    assert!(total(&|_| true) >= 22.0, "{samples:?}");
    let not_found = total(&|s| s.labels.values().any(|v| v == "404" || v == "entry_not_found"));
    assert!(not_found >= 1.0, "the missing entry was not counted as such: {samples:?}");
}

#[test]
fn a_daemon_that_serves_is_alive_and_ready() {
    let daemon = Daemon::start();
    for rest in [daemon.admin(), daemon.rest()] {
        assert_eq!(rest.get("/livez").status, 200);
        assert_eq!(rest.get("/readyz").status, 200);
    }
}
