//! More comes than a daemon can do away with, because its disk stands still: it must refuse at once what it has no room for,
//! and not grow with what it has been sent. This is the checker of "every queue is bounded".
//!
//! Those who wait give up soon and send the next, so that a queue that forgot to count what nobody waits for any more would
//! grow with the time that the disk stands still.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use vecgridd_tests::{
    daemon::{Daemon, Options},
    disk::Disk,
    report,
    rest::{self, Rest},
    wait,
};

const PARTITIONS: u16 = 271;
const COLLECTION: &str = "c";
/// Apps that write as fast as they can.
const APPS: usize = 32;
/// Entries of a request, and bytes of metadata of each.
const ENTRIES: usize = 100;
const TEXT: usize = 16_000;
/// How long an app waits for an answer, milliseconds.
const PATIENCE_MS: &str = "200";
/// How long the disk stands still.
const STILL: Duration = Duration::from_secs(15);
/// Bytes of requests that the daemon takes at a time (README, "Rules and limits"). It has some of them twice: as they
/// came, and as they go to the disk.
const IN_FLIGHT: u64 = 256 << 20;
const GROWTH: u64 = 4 * IN_FLIGHT;
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Seen {
    sent: AtomicU64,
    refused: AtomicU64,
    others: AtomicU64,
    slowest_refusal_us: AtomicU64,
}

/// Sends the same request until then. Nothing of it is acknowledged while no write ends.
fn storm(rest: &Rest, app: usize, until: Instant, seen: &Seen) {
    let text = "x".repeat(TEXT);
    let entry = |n| json!({"id": format!("{app}-{n}"), "vector": [app, n], "metadata": {"text": text}});
    let body = json!({"entries": (0..ENTRIES).map(entry).collect::<Vec<_>>()}).to_string();
    let rest = rest.with_header("x-request-timeout-ms", PATIENCE_MS);
    let path = format!("{}/entries", rest::collection_path(COLLECTION));
    while Instant::now() < until {
        let asked = Instant::now();
        let answer = rest.send("POST", &path, "application/json", body.as_bytes()).unwrap();
        seen.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        if answer.status == 429 {
            answer.is_problem(429, "overloaded");
            let took = u64::try_from(asked.elapsed().as_micros()).unwrap();
            seen.slowest_refusal_us.fetch_max(took, Ordering::Relaxed);
            seen.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_ne!(answer.status / 100, 2, "acknowledged while no write ends: {}", answer.text());
            seen.others.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_daemon_whose_disk_stands_still_sheds_and_stays_small() {
    if let Err(why) = Disk::possible() {
        return report!("\n**** NOT RUN: no disk can stand still here: {why} ****\n");
    }
    let daemon = Daemon::start_with(Options { partitions: PARTITIONS, own_disk: true, ..Options::default() });
    let rest = daemon.rest();
    rest.put(&rest::collection_path(COLLECTION), &json!({"dimension": 2, "metric": "euclidean"})).ok();
    let kept = rest::entry_path(COLLECTION, "kept");
    rest.put(&kept, &json!({"vector": [1, 2]})).ok();
    let before = daemon.resident_bytes();

    let (seen, mut most) = (Seen::default(), 0);
    let frozen = daemon.disk().freeze();
    let until = Instant::now() + STILL;
    thread::scope(|scope| {
        for app in 0..APPS {
            let (rest, seen) = (&rest, &seen);
            scope.spawn(move || storm(rest, app, until, seen));
        }
        while Instant::now() < until {
            most = most.max(daemon.resident_bytes());
            // What was acknowledged is read on.
            rest.get(&kept).ok();
            thread::sleep(Duration::from_millis(20));
        }
    });
    drop(frozen);
    let goes_on = Instant::now();
    wait::until("writes are acknowledged again", LIMIT, || {
        (rest.put(&kept, &json!({"vector": [2, 1]})).status == 200).then_some(())
    });
    let goes_on = goes_on.elapsed();
    assert_eq!(rest.get(&kept).ok()["vector"], json!([2.0, 1.0]));
    let grown = most.saturating_sub(before);
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    report!(
        "no write ended for {STILL:?}, {APPS} apps sent {} MiB: {} requests refused at once (slowest {:.1} ms), {} not answered \
         in time; {} MiB resident before, {} MiB more at most; the next write was acknowledged {goes_on:.1?} after the disk \
         went on",
        count(&seen.sent) >> 20,
        count(&seen.refused),
        count(&seen.slowest_refusal_us) as f64 / 1e3,
        count(&seen.others),
        before >> 20,
        grown >> 20,
    );
    assert!(count(&seen.sent) > GROWTH, "too little was sent to tell");
    assert!(count(&seen.refused) > 0, "nothing was refused");
    assert!(grown < GROWTH, "{grown} bytes more");
    daemon.assert_no_panic();
}
