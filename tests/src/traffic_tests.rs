//! Planted bugs: a checker that has never been seen to fail proves nothing.

use super::*;

/// `a` is acknowledged in version 3 and `b` deleted after version 6, both a moment ago.
fn traffic() -> Traffic {
    let traffic = Traffic::new("c");
    let since = Instant::now();
    let known = |version, deleted| Known { version, deleted, since, start: 1 };
    *lock(&traffic.known) = [("a".to_owned(), known(3, false)), ("b".to_owned(), known(6, true))].into();
    traffic
}

/// A search for `id` that began after all that and was answered with these hits.
fn judged(own: bool, id: &str, hits: &[(&str, u64)], answered: u64) -> Vec<String> {
    let traffic = traffic();
    let known = lock(&traffic.known).get(id).cloned().unwrap();
    let hits: Vec<Value> =
        hits.iter().map(|(id, version)| json!({"id": id, "metadata": {"version": version}})).collect();
    let body = json!({"hits": hits, "coverage": {"answered": answered, "partitions": 8}});
    traffic.judge_hits((id, &known), (own, Instant::now(), 0), &body);
    lock(&traffic.wrong).clone()
}

fn is_wrong(own: bool, id: &str, hits: &[(&str, u64)], why: &str) {
    let wrong = judged(own, id, hits, 8);
    assert!(wrong.iter().any(|line| line.contains(why)), "no complaint about {why}: {wrong:?}");
}

#[test]
fn right_answers_pass() {
    for own in [true, false] {
        assert_eq!(judged(own, "a", &[("a", 3), ("z", 1)], 8), Vec::<String>::new());
        assert_eq!(judged(own, "b", &[("a", 3)], 8), Vec::<String>::new());
        // Marked as incomplete: it is asked again.
        assert_eq!(judged(own, "a", &[], 7), Vec::<String>::new());
    }
    // What others wrote may be a moment old for whoever does not ask for a strong read.
    assert_eq!(judged(true, "b", &[("a", 2)], 8), Vec::<String>::new());
}

#[test]
fn what_is_missing_old_deleted_or_twice_is_seen() {
    for own in [true, false] {
        is_wrong(own, "a", &[], "does not find");
        is_wrong(own, "a", &[("a", 2)], "written in version 3");
        is_wrong(own, "b", &[("b", 6)], "deleted after version 6");
        is_wrong(own, "a", &[("a", 3), ("a", 3)], "twice");
    }
    is_wrong(false, "b", &[("a", 2)], "written in version 3");
}

#[test]
fn a_search_that_began_before_a_write_ended_may_show_either() {
    let (traffic, before) = (Traffic::new("c"), Instant::now());
    let known = Known { version: 3, deleted: false, since: Instant::now(), start: 1 };
    lock(&traffic.known).insert("a".to_owned(), known.clone());
    let body = json!({"hits": [{"id": "a", "metadata": {"version": 2}}], "coverage": {"answered": 8, "partitions": 8}});
    traffic.judge_hits(("z", &known), (false, before, 0), &body);
    traffic.assert_right();
}

#[test]
fn a_stale_read_is_seen() {
    let then = |version, deleted| Known { version, deleted, since: Instant::now(), start: 1 };
    for (then, at_rest, found) in [
        (then(3, false), true, Some(2)),
        (then(3, false), true, None),
        (then(3, false), true, Some(4)),
        (then(3, false), false, Some(2)),
        (then(6, true), true, Some(6)),
        (then(6, true), false, Some(6)),
    ] {
        assert!(!may_show(&then, at_rest, found), "{found:?} at rest {at_rest}, version {}", then.version);
    }
    for (then, at_rest, found) in [
        (then(3, false), true, Some(3)),
        (then(3, false), false, Some(5)),
        (then(3, false), false, None),
        (then(6, true), true, None),
        (then(6, true), false, Some(8)),
    ] {
        assert!(may_show(&then, at_rest, found), "{found:?} at rest {at_rest}, version {}", then.version);
    }
}
