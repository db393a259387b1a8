//! Names and shapes of what is measured.

use std::{sync::Mutex, time::Duration};

use super::metrics::*;

struct Collections(Mutex<Vec<&'static str>>);

impl Snapshot for Collections {
    fn refresh(&self, metrics: &Metrics) {
        for name in self.0.lock().unwrap().iter() {
            metrics.set_collection(name, 3, 1, 2);
            metrics.set_index_work(name, 4, true);
            metrics.set_index_bytes(name, "vectors", 1 << 40);
            metrics.set_recall(name, 10, (0.96, 0.97, 0.98), (40, 1.25));
            metrics.set_checkpoint(name, Duration::from_secs(9), Duration::from_millis(2), 4_096);
        }
    }
}

#[test]
fn a_dropped_collection_disappears_from_the_next_scrape() {
    let metrics = Metrics::new("0.1.0", "abc").unwrap();
    let state = Collections(Mutex::new(vec!["a", "b"]));
    let text = metrics.scrape(&state).unwrap();
    assert!(text.contains("vecgrid_points{collection=\"b\"} 3"), "{text}");
    state.0.lock().unwrap().pop();
    let text = metrics.scrape(&state).unwrap();
    assert!(!text.contains("collection=\"b\""), "{text}");
    assert!(text.contains("vecgrid_index_tail_rows{collection=\"a\"} 1"), "{text}");
}

#[test]
fn every_metric_appears_under_its_name() {
    let metrics = Metrics::new("0.1.0", "abc").unwrap();
    let state = Collections(Mutex::new(vec!["a"]));
    metrics.request("grpc", "Search", "OK", Duration::from_millis(1));
    metrics.group_commit(3, Duration::from_millis(1));
    metrics.set_storage_read_only(false);
    metrics.set_control(true, 3, 8);
    metrics.set_members("away", 2);
    metrics.set_grid_partitions(5, 1);
    assert_eq!(metrics.peer_refused("other_grid"), 1);
    metrics.member_asked("search", "ok");
    metrics.search_asked(3, true);
    metrics.rows_verified(5);
    metrics.set_verify_age(None);
    let text = metrics.scrape(&state).unwrap();
    for line in [
        "vecgrid_build_info{revision=\"abc\",version=\"0.1.0\"} 1",
        "vecgrid_requests_total{api=\"grpc\",code=\"OK\",method=\"Search\"} 1",
        "vecgrid_request_duration_seconds_count{api=\"grpc\",method=\"Search\"} 1",
        "vecgrid_requests_in_flight 0",
        "vecgrid_requests_shed_total{reason=\"bytes\"} 0",
        "vecgrid_wal_fsync_duration_seconds_count 1",
        "vecgrid_group_commit_operations_sum 3",
        "vecgrid_storage_read_only 0",
        "vecgrid_handler_panics_total 0",
        "vecgrid_control_elections_total 0",
        "vecgrid_foreign_grids_total 0",
        "vecgrid_digest_mismatches_total{what=\"copy\"} 0",
        "vecgrid_verified_rows_total 5",
        "vecgrid_verify_age_seconds -1",
        "vecgrid_copies_retaken_total 0",
        "vecgrid_members_asked_total{outcome=\"ok\",verb=\"search\"} 1",
        "vecgrid_routes_retried_total 0",
        "vecgrid_search_members_sum 3",
        "vecgrid_incomplete_searches_total 1",
        "vecgrid_control_is_leader 1",
        "vecgrid_control_term 3",
        "vecgrid_table_version 8",
        "vecgrid_moves_wanted 5",
        "vecgrid_partitions_unavailable 1",
        "vecgrid_members{state=\"away\"} 2",
        "vecgrid_peer_refused_total{reason=\"other_grid\"} 1",
        "vecgrid_index_build_failures_total 0",
        "vecgrid_index_links_adopted_total 0",
        "vecgrid_recall_ratio{collection=\"a\",k=\"10\"} 0.97",
        "vecgrid_recall_ratio_lower{collection=\"a\",k=\"10\"} 0.96",
        "vecgrid_recall_ratio_upper{collection=\"a\",k=\"10\"} 0.98",
        "vecgrid_recall_checks_total{collection=\"a\",k=\"10\"} 40",
        "vecgrid_recall_missed_total{collection=\"a\",k=\"10\"} 1.25",
        "vecgrid_recall_checks_dropped_total 0",
        "vecgrid_checkpoint_failures_total 0",
        "vecgrid_checkpoint_loads_total{outcome=\"damaged\"} 0",
        "vecgrid_checkpoint_bytes{collection=\"a\"} 4096",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}

#[test]
fn alerts_are_about_metrics_that_exist() {
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    let ours = concat!(include_str!("metrics.rs"), include_str!("copies.rs"));
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let expressions: Vec<&str> = alerts.lines().filter(|line| line.trim().starts_with("expr:")).collect();
    let names = expressions.iter().flat_map(|line| line.split(|c| !is_part(c)));
    let names: Vec<&str> = names.filter(|word| word.starts_with("vecgrid_")).collect();
    assert!(expressions.len() > 5 && names.len() >= expressions.len(), "{names:?}");
    for name in names {
        let family = name.trim_end_matches("_bucket");
        assert!(ours.contains(&format!("\"{family}\"")), "there is no {name}");
    }
}
