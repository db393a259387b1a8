//! REST as the README promises it, verb by verb, on a running daemon.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vecgridd_tests::{
    daemon::Daemon,
    rest::{Rest, collection_path, encode, entry_path},
    truth::Metric,
};

/// Ids that must travel and come back byte for byte.
const ODD_IDS: &[&str] = &[
    "plain",
    "with space",
    "line\nbreak",
    "carriage\r\nreturn",
    "nul\0inside",
    "\0",
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "a/b/c",
    "%2F",
    "%",
    "a?b#c&d=e",
    "\"quoted\" \\ and \\n",
    "naïve",
    "日本語",
    "🦀🦀🦀",
    "\u{202e}right to left",
    // The same letter, composed and decomposed: two ids.
    "caf\u{e9}",
    "cafe\u{301}",
    " leading and trailing ",
    "\t",
    "con",
];

fn started() -> (Daemon, Rest) {
    let daemon = Daemon::start();
    let rest = daemon.rest();
    (daemon, rest)
}

/// A daemon with one Euclidean collection `c` of dimension 2.
fn plane() -> (Daemon, Rest) {
    let (daemon, rest) = started();
    rest.put("/v1/collections/c", &json!({"dimension": 2, "metric": "euclidean"})).ok();
    (daemon, rest)
}

fn ids(answer: &Value) -> Vec<String> {
    let list = answer["hits"].as_array().or_else(|| answer["entries"].as_array()).unwrap();
    list.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

/// JSON writes the shortest decimal that is this `f32`, not its exact value.
fn floats(vector: &Value) -> Vec<f32> {
    serde_json::from_value(vector.clone()).unwrap()
}

#[test]
fn a_collection_is_created_once_described_and_dropped() {
    let (mut daemon, rest) = started();
    let wanted = json!({"dimension": 3, "metric": "dot", "durability": "interval", "index": {"m": 24}});
    let created = rest.put("/v1/collections/docs", &wanted);
    assert_eq!(created.status, 201, "{}", created.text());
    let body = created.ok();
    assert_eq!(
        (&body["name"], &body["dimension"], &body["metric"]),
        (&json!("docs"), &json!(3), &json!("dot"))
    );
    assert_eq!((&body["durability"], &body["index"]["m"]), (&json!("interval"), &json!(24)));
    assert_eq!(rest.put("/v1/collections/docs", &wanted).status, 200, "an equal one is no error");
    rest.put("/v1/collections/docs", &json!({"dimension": 4})).is_problem(409, "collection_exists");

    let info = rest.get("/v1/collections/docs").ok();
    assert_eq!((&info["count"], &info["dimension"]), (&json!(0), &json!(3)));
    rest.put("/v1/collections/another", &json!({"dimension": 1})).ok();
    let list = rest.get("/v1/collections").ok();
    let names: Vec<_> = list["collections"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, [json!("another"), json!("docs")], "sorted by name");

    assert_eq!(rest.delete("/v1/collections/docs").ok(), json!({"dropped": true}));
    assert_eq!(rest.delete("/v1/collections/docs").ok(), json!({"dropped": false}));
    rest.get("/v1/collections/docs").is_problem(404, "collection_not_found");
    rest.get("/v1/collections/docs/entries/a").is_problem(404, "collection_not_found");

    daemon.stop();
    daemon.restart();
    let list = daemon.rest().get("/v1/collections").ok();
    assert_eq!(list["collections"].as_array().unwrap().len(), 1, "drops and creates survive: {list}");
}

#[test]
fn a_dropped_collection_comes_back_empty() {
    let (mut daemon, rest) = plane();
    rest.put("/v1/collections/c/entries/old", &json!({"vector": [1, 1]})).ok();
    rest.delete("/v1/collections/c").ok();
    rest.put("/v1/collections/c", &json!({"dimension": 2, "metric": "euclidean"})).ok();
    let check = |rest: &Rest| {
        rest.get("/v1/collections/c/entries/old").is_problem(404, "entry_not_found");
        assert_eq!(rest.post("/v1/collections/c/count", &json!({})).ok(), json!({"count": 0}));
        let found = rest.post("/v1/collections/c/search", &json!({"vector": [1, 1], "exact": true})).ok();
        assert_eq!(found["hits"], json!([]));
    };
    check(&rest);
    daemon.kill9();
    daemon.restart();
    check(&daemon.rest());
}

#[test]
fn an_entry_is_put_read_overwritten_and_deleted() {
    let (_daemon, rest) = plane();
    let metadata =
        json!({"s": "x", "n": 9_007_199_254_740_993_i64, "f": 0.1, "deep": {"list": [1, null, true]}});
    let put = rest.put("/v1/collections/c/entries/a", &json!({"vector": [1, 2.5], "metadata": metadata}));
    let stored = put.ok();
    assert_eq!(stored["id"], "a");
    let version = stored["version"].as_str().unwrap().to_owned();
    assert_eq!(put.header("etag"), format!("\"{version}\""));

    let got = rest.get("/v1/collections/c/entries/a");
    assert_eq!(got.ok(), json!({"id": "a", "vector": [1.0, 2.5], "metadata": metadata, "version": version}));
    assert_eq!(got.header("etag"), format!("\"{version}\""));

    let newer = rest.put("/v1/collections/c/entries/a", &json!({"vector": [3, 4]})).ok();
    assert_ne!(newer["version"], stored["version"]);
    let got = rest.get("/v1/collections/c/entries/a").ok();
    assert_eq!(
        (&got["vector"], &got["metadata"]),
        (&json!([3.0, 4.0]), &json!({})),
        "a put replaces the whole entry"
    );

    assert_eq!(rest.delete("/v1/collections/c/entries/a").ok(), json!({"deleted": true}));
    assert_eq!(rest.delete("/v1/collections/c/entries/a").ok(), json!({"deleted": false}));
    rest.get("/v1/collections/c/entries/a").is_problem(404, "entry_not_found");
}

#[test]
fn a_batch_is_taken_as_json_and_as_ndjson() {
    let (_daemon, rest) = plane();
    let batch = json!({"entries": [
        {"id": "a", "vector": [1, 0]},
        {"id": "b", "vector": [2, 0], "metadata": {"n": 1}},
        {"id": "a", "vector": [3, 0], "metadata": {"n": 2}},
    ]});
    let answer = rest.post("/v1/collections/c/entries", &batch).ok();
    assert_eq!(answer, json!({"upserted": 2, "errors": []}), "distinct ids are counted");
    let got = rest.get("/v1/collections/c/entries/a").ok();
    assert_eq!(
        (&got["vector"], &got["metadata"]),
        (&json!([3.0, 0.0]), &json!({"n": 2})),
        "the last one wins"
    );

    let lines = "{\"id\":\"x\",\"vector\":[5,5]}\n\n{\"id\":\"y\",\"vector\":[6,6]}\n";
    let answer =
        rest.send("POST", "/v1/collections/c/entries", "application/x-ndjson", lines.as_bytes()).unwrap();
    assert_eq!(answer.ok(), json!({"upserted": 2, "errors": []}));
    assert_eq!(rest.post("/v1/collections/c/count", &json!({})).ok(), json!({"count": 4}));
}

#[test]
fn every_utf8_id_comes_back_byte_for_byte() {
    let (mut daemon, rest) = plane();
    let longest = "é".repeat(256);
    let mut all: Vec<&str> = ODD_IDS.to_vec();
    all.push(&longest);
    for (n, id) in all.iter().enumerate() {
        let body = json!({"vector": [n, 1], "metadata": {"n": n}});
        let stored = rest.put(&entry_path("c", id), &body).ok();
        assert_eq!(stored["id"], json!(id));
    }
    // The same again in a batch: overwrites, no new rows.
    let entries: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(n, id)| json!({"id": id, "vector": [n, 1], "metadata": {"n": n}}))
        .collect();
    rest.post("/v1/collections/c/entries", &json!({ "entries": entries })).ok();
    let check = |rest: &Rest| {
        assert_eq!(rest.post("/v1/collections/c/count", &json!({})).ok(), json!({"count": all.len()}));
        for (n, id) in all.iter().enumerate() {
            let got = rest.get(&entry_path("c", id)).ok();
            assert_eq!((&got["id"], &got["metadata"]["n"]), (&json!(id), &json!(n)));
            let found =
                rest.post("/v1/collections/c/search", &json!({"vector": [n, 1], "k": 1, "exact": true})).ok();
            assert_eq!(ids(&found), [*id]);
        }
        let walked = ids(&rest.post("/v1/collections/c/scroll", &json!({"limit": 1000})).ok());
        assert_eq!(walked.iter().map(String::as_str).collect::<BTreeSet<_>>(), all.iter().copied().collect());
    };
    check(&rest);
    daemon.kill9();
    daemon.restart();
    check(&daemon.rest());
    for id in &all {
        assert_eq!(daemon.rest().delete(&entry_path("c", id)).ok(), json!({"deleted": true}), "{id:?}");
    }
    assert_eq!(daemon.rest().post("/v1/collections/c/count", &json!({})).ok(), json!({"count": 0}));
}

#[test]
fn distances_are_those_of_the_metric() {
    let (_daemon, rest) = started();
    let points = [[1.0_f32, 0.0, 0.5], [0.2, -3.0, 1.0], [-1.0, 0.1, 0.1], [4.0, 4.0, -4.0]];
    let query = [0.3_f32, 1.0, -0.7];
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
        let path = collection_path(metric.name());
        rest.put(&path, &json!({"dimension": 3, "metric": metric.name()})).ok();
        for (n, point) in points.iter().enumerate() {
            rest.put(&entry_path(metric.name(), &n.to_string()), &json!({ "vector": point })).ok();
        }
        for exact in [true, false] {
            let body = json!({"vector": query, "k": 4, "exact": exact, "include": ["vector"]});
            let answer = rest.post(&format!("{path}/search"), &body).ok();
            assert_eq!(answer["coverage"], json!({"answered": 8, "partitions": 8}));
            assert!(answer["took_us"].is_u64());
            let hits = answer["hits"].as_array().unwrap();
            assert_eq!(hits.len(), 4);
            let mut last = f64::NEG_INFINITY;
            for hit in hits {
                let point = points[hit["id"].as_str().unwrap().parse::<usize>().unwrap()];
                let distance = hit["distance"].as_f64().unwrap();
                let wanted = metric.distance(&query, &point);
                assert!((distance - wanted).abs() < 1e-5, "{} {distance} {wanted}", metric.name());
                assert!(distance >= last, "nearest first");
                last = distance;
                assert_eq!(floats(&hit["vector"]), point, "the vector as written");
                assert!(hit.get("metadata").is_none(), "metadata was not asked for");
            }
        }
    }
}

#[test]
fn equal_distances_are_ordered_by_id() {
    let (_daemon, rest) = plane();
    for id in ["c", "a", "d", "b"] {
        rest.put(&entry_path("c", id), &json!({"vector": [1, 1]})).ok();
    }
    let search =
        |k: u32| ids(&rest.post("/v1/collections/c/search", &json!({"vector": [0, 0], "k": k})).ok());
    assert_eq!(search(10), ["a", "b", "c", "d"]);
    assert_eq!(search(2), ["a", "b"]);
}

#[test]
fn a_search_keeps_to_k_and_max_distance_and_include() {
    let (_daemon, rest) = plane();
    for n in 0..30 {
        let body = json!({"vector": [n, 0], "metadata": {"n": n}});
        rest.put(&entry_path("c", &format!("{n:02}")), &body).ok();
    }
    let search = |body: Value| rest.post("/v1/collections/c/search", &body).ok();
    assert_eq!(ids(&search(json!({"vector": [0, 0]}))).len(), 10, "k is 10 unless said");
    assert_eq!(ids(&search(json!({"vector": [0, 0], "k": 10_000}))).len(), 30);
    assert_eq!(ids(&search(json!({"vector": [0, 0], "max_distance": 2.5}))), ["00", "01", "02"]);
    let plain = search(json!({"vector": [0, 0], "k": 1}));
    assert!(plain.get("explain").is_none(), "nobody asked: {plain}");
    let explain = search(json!({"vector": [0, 0], "k": 1, "explain": true}))["explain"].take();
    assert_eq!((&explain["plan"], &explain["eligible"]), (&json!("scan"), &json!(30)), "{explain}");
    assert_eq!(explain["distances"], 30);
    assert_eq!(explain["steps"][0]["name"], "select");
    let both = search(json!({"vector": [0, 0], "k": 1, "include": ["metadata", "vector"]}));
    assert_eq!(
        both["hits"][0],
        json!({"id": "00", "distance": 0.0, "metadata": {"n": 0}, "vector": [0.0, 0.0]})
    );
    let none = search(json!({"vector": [0, 0], "k": 1, "include": []}));
    assert_eq!(none["hits"][0], json!({"id": "00", "distance": 0.0}));

    let batch = json!({"searches": [{"vector": [0, 0], "k": 1}, {"vector": [29, 0], "k": 2}]});
    let answer = rest.post("/v1/collections/c/search/batch", &batch).ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(
        (ids(&results[0]), ids(&results[1])),
        (vec!["00".to_owned()], vec!["29".to_owned(), "28".to_owned()])
    );
}

#[test]
fn a_write_is_searchable_the_moment_it_is_acknowledged() {
    let (_daemon, rest) = plane();
    let nearest = |x: usize| {
        let body = json!({"vector": [x, 0], "k": 1});
        ids(&rest.post("/v1/collections/c/search", &body).ok()).first().cloned()
    };
    for n in 0..200 {
        let id = format!("n{n}");
        rest.put(&entry_path("c", &id), &json!({"vector": [n * 10, 0]})).ok();
        assert_eq!(nearest(n * 10), Some(id.clone()));
        if n % 3 == 0 {
            rest.delete(&entry_path("c", &id)).ok();
            assert_ne!(nearest(n * 10), Some(id), "a deleted entry is found");
        }
    }
}

#[test]
fn an_entry_without_a_vector_is_stored_but_never_found() {
    let (mut daemon, rest) = plane();
    rest.put("/v1/collections/c/entries/bare", &json!({"metadata": {"kind": "note"}})).ok();
    rest.put("/v1/collections/c/entries/full", &json!({"vector": [1, 1], "metadata": {"kind": "note"}})).ok();
    let check = |rest: &Rest| {
        let got = rest.get("/v1/collections/c/entries/bare").ok();
        assert!(got.get("vector").is_none_or(Value::is_null), "{got}");
        let count = rest.post("/v1/collections/c/count", &json!({"filter": {"kind": "note"}})).ok();
        assert_eq!(count, json!({"count": 2}));
        for exact in [true, false] {
            let found =
                rest.post("/v1/collections/c/search", &json!({"vector": [1, 1], "exact": exact})).ok();
            assert_eq!(ids(&found), ["full"]);
        }
    };
    check(&rest);
    daemon.kill9();
    daemon.restart();
    check(&daemon.rest());
    // A vector that is taken away is not found any more.
    let rest = daemon.rest();
    rest.put("/v1/collections/c/entries/full", &json!({"metadata": {"kind": "note"}})).ok();
    let found = rest.post("/v1/collections/c/search", &json!({"vector": [1, 1]})).ok();
    assert_eq!(found["hits"], json!([]));
}

#[test]
fn filters_mean_what_the_contract_says() {
    let (_daemon, rest) = plane();
    for (id, metadata) in [
        ("a", json!({"n": 1, "s": "apple", "tags": ["x", "y"], "ok": true})),
        ("b", json!({"n": 2.5, "s": "banana", "tags": ["y"], "gone": null})),
        ("c", json!({"n": 3, "s": "cherry"})),
        ("d", json!({"n": "3", "deep": {"n": 7}})),
    ] {
        rest.put(&entry_path("c", id), &json!({"vector": [1, 1], "metadata": metadata})).ok();
    }
    for (filter, wanted) in [
        (json!({}), "abcd"),
        (json!({"n": 3}), "c"),
        (json!({"n": 3.0}), "c"),
        (json!({"n": {"$gte": 2, "$lte": 3}}), "bc"),
        (json!({"n": {"$gt": 1, "$lt": 3}}), "b"),
        (json!({"n": {"$gt": "2"}}), "d"),
        (json!({"s": {"$gt": "apple"}}), "bc"),
        (json!({"s": {"$in": ["apple", "cherry", 5]}}), "ac"),
        (json!({"s": {"$nin": ["apple", "cherry"]}}), "bd"),
        (json!({"s": {"$ne": "apple"}}), "bcd"),
        (json!({"s": {"$exists": false}}), "d"),
        (json!({"gone": {"$exists": true}}), "b"),
        (json!({"gone": null}), "b"),
        (json!({"ok": true}), "a"),
        (json!({"tags": {"$contains": "x"}}), "a"),
        (json!({"s": {"$contains": "an"}}), "b"),
        (json!({"tags": ["x", "y"]}), "a"),
        (json!({"deep.n": 7}), "d"),
        (json!({"$or": [{"n": 1}, {"n": 3}]}), "ac"),
        (json!({"$and": [{"n": {"$gt": 0}}, {"n": {"$lt": 2}}]}), "a"),
        (json!({"$not": {"n": {"$gt": 0}}}), "d"),
        (json!({"n": {"$exists": true}, "$not": {"$or": [{"s": "apple"}, {"s": "banana"}]}}), "cd"),
        (json!({"missing": 1}), ""),
        (json!({"missing": {"$ne": 1}}), "abcd"),
    ] {
        let count = rest.post("/v1/collections/c/count", &json!({ "filter": filter })).ok();
        assert_eq!(count["count"], json!(wanted.len()), "count of {filter}");
        let walked = ids(&rest.post("/v1/collections/c/scroll", &json!({ "filter": filter })).ok());
        assert_eq!(
            walked.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect::<String>(),
            wanted,
            "{filter}"
        );
        for exact in [true, false] {
            let body = json!({"vector": [0, 0], "filter": filter, "exact": exact});
            let found = ids(&rest.post("/v1/collections/c/search", &body).ok()).concat();
            assert_eq!(found, wanted, "search with {filter}, exact {exact}");
        }
    }
}

#[test]
fn a_walk_shows_every_entry_once() {
    let (_daemon, rest) = plane();
    let entries: Vec<_> = (0..250).map(|n| json!({"id": format!("e{n}"), "vector": [n, 1]})).collect();
    rest.post("/v1/collections/c/entries", &json!({ "entries": entries })).ok();
    let walk = |limit: usize| {
        let mut seen = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let mut body = json!({ "limit": limit });
            if !cursor.is_null() {
                body["cursor"] = cursor;
            }
            let page = rest.post("/v1/collections/c/scroll", &body).ok();
            assert!(page["entries"].as_array().unwrap().len() <= limit);
            seen.extend(ids(&page));
            cursor = page["cursor"].clone();
            if cursor.is_null() {
                return seen;
            }
        }
    };
    let by_seven = walk(7);
    assert_eq!(by_seven.len(), 250);
    assert_eq!(by_seven.iter().collect::<BTreeSet<_>>().len(), 250);
    assert_eq!(by_seven, walk(1000), "the order does not depend on the pages");
    let page = rest.post("/v1/collections/c/scroll", &json!({"limit": 1, "include": ["vector"]})).ok();
    assert!(
        page["entries"][0]["vector"].is_array() && page["entries"][0].get("metadata").is_none(),
        "{page}"
    );
}

#[test]
fn many_entries_are_deleted_by_ids_or_filter() {
    let (_daemon, rest) = plane();
    let entry = |n: i32| json!({"id": format!("e{n}"), "vector": [n, 1], "metadata": {"n": n}});
    let entries: Vec<_> = (0..20).map(entry).collect();
    rest.post("/v1/collections/c/entries", &json!({ "entries": entries })).ok();
    let delete = |body: Value| rest.post("/v1/collections/c/delete", &body).ok();
    assert_eq!(delete(json!({"ids": ["e0", "e1", "none", "e1"]})), json!({"deleted": 2}));
    assert_eq!(delete(json!({"filter": {"n": {"$gte": 15}}})), json!({"deleted": 5}));
    assert_eq!(delete(json!({"filter": {"n": 99}})), json!({"deleted": 0}));
    assert_eq!(rest.post("/v1/collections/c/count", &json!({})).ok(), json!({"count": 13}));
    let left = rest.post("/v1/collections/c/search", &json!({"vector": [19, 1], "k": 1})).ok();
    assert_eq!(ids(&left), ["e14"]);
}

#[test]
fn an_idempotency_key_makes_a_retry_harmless() {
    let (_daemon, rest) = plane();
    let send = |key: &str, x: i32| {
        let body = json!({ "vector": [x, 0] }).to_string();
        let head = format!(
            "PUT /v1/collections/c/entries/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             idempotency-key: {key}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        rest.raw(head.as_bytes()).unwrap()
    };
    let version =
        |answer: &str| answer.split("\"version\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let first = send("k1", 1);
    rest.put("/v1/collections/c/entries/a", &json!({"vector": [2, 0]})).ok();
    assert_eq!(version(&send("k1", 1)), version(&first), "a retry gets the first answer");
    assert_eq!(
        rest.get("/v1/collections/c/entries/a").ok()["vector"],
        json!([2.0, 0.0]),
        "the retry took effect"
    );
    assert!(send("k1", 9).contains("request_id_reused"));
    assert!(send(&"k".repeat(65), 9).contains("invalid_request_id"));
}

#[test]
fn the_grid_describes_itself() {
    let (_daemon, rest) = started();
    let grid = rest.get("/v1/grid").ok();
    assert_eq!(grid["partitions"], 8);
    let members = rest.get("/v1/grid/members").ok();
    let members = members["members"].as_array().unwrap().clone();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["id"], grid["member"]);
    let share = |what: &str| members[0][what].clone();
    assert_eq!((share("primaries"), share("copies"), share("wanted")), (json!(8), json!(8), json!(8)));
    assert_eq!(grid["moving"], 0);
    let partitions = rest.get("/v1/grid/partitions").ok();
    let partitions = partitions["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 8);
    for partition in partitions {
        assert_eq!(
            (&partition["primary"], &partition["in_sync"]),
            (&grid["member"], &json!([grid["member"]]))
        );
        assert_eq!((&partition["wanted"], &partition["moving"]), (&partition["in_sync"], &json!(false)));
    }
}

#[test]
fn the_only_member_cannot_leave_its_grid() {
    let (daemon, rest) = started();
    rest.send_empty("POST", "/v1/grid/drain").unwrap().is_problem(409, "no_other_member");
    assert_eq!(rest.delete("/v1/grid/drain").ok(), json!({"draining": false, "partitions_left": 8}));
    assert_eq!(daemon.admin().get("/readyz").status, 200);
}

#[test]
fn copies_are_compared_partition_by_partition() {
    let (daemon, rest) = started();
    rest.put("/v1/collections/verified", &json!({"dimension": 2})).ok();
    for n in 0..20 {
        let body = json!({"vector": [1.0, f64::from(n)], "metadata": {"n": n}});
        rest.put(&entry_path("verified", &format!("e{n}")), &body).ok();
    }
    let mut rows = 0;
    for partition in 0..8 {
        let found = rest.post("/v1/grid/verify", &json!({"partition": partition})).ok();
        assert_eq!((&found["partition"], &found["verdict"]), (&json!(partition), &json!("equal")), "{found}");
        let [copy] = &found["copies"].as_array().unwrap()[..] else { panic!("{found}") };
        assert_eq!((&copy["differences"], &copy["unverified"]), (&json!([]), &Value::Null));
        rows += copy["rows"].as_u64().unwrap();
    }
    assert!(rows >= 20, "all rows were read: {rows}");
    rest.post("/v1/grid/verify", &json!({"partition": 8})).is_problem(400, "invalid_partition");
    rest.post("/v1/grid/verify", &json!({})).is_problem(400, "invalid_request");
    let metrics = daemon.admin();
    assert_eq!(metrics.metric("vecgrid_digest_mismatches_total", "copy"), 0.0);
    assert!(metrics.metric("vecgrid_verified_rows_total", "") >= 20.0);
    assert!(metrics.metric("vecgrid_verify_age_seconds", "") >= 0.0);
}

#[test]
fn the_member_keeps_its_name_across_restarts() {
    let (mut daemon, rest) = started();
    let before = rest.get("/v1/grid").ok()["member"].clone();
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.rest().get("/v1/grid").ok()["member"], before);
}

#[test]
fn openapi_describes_every_route() {
    let (_daemon, rest) = started();
    let document = rest.get("/openapi.json").ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, method) in [
        ("/v1/collections", "get"),
        ("/v1/collections/{collection}", "put"),
        ("/v1/collections/{collection}", "get"),
        ("/v1/collections/{collection}", "delete"),
        ("/v1/collections/{collection}/entries", "post"),
        ("/v1/collections/{collection}/entries/{id}", "put"),
        ("/v1/collections/{collection}/entries/{id}", "get"),
        ("/v1/collections/{collection}/entries/{id}", "delete"),
        ("/v1/collections/{collection}/delete", "post"),
        ("/v1/collections/{collection}/search", "post"),
        ("/v1/collections/{collection}/search/batch", "post"),
        ("/v1/collections/{collection}/count", "post"),
        ("/v1/collections/{collection}/scroll", "post"),
        ("/v1/grid", "get"),
        ("/v1/grid/members", "get"),
        ("/v1/grid/partitions", "get"),
        ("/v1/grid/moves", "get"),
        ("/v1/grid/drain", "post"),
        ("/v1/grid/drain", "delete"),
        ("/v1/grid/verify", "post"),
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path} is not described");
    }
}

#[test]
fn strangers_and_wrong_turns_are_refused() {
    let (_daemon, rest) = started();
    rest.get("/v1/nothing").is_problem(404, "path_not_found");
    let wrong = rest.post("/v1/collections/c", &json!({}));
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    let text = rest.send("PUT", "/v1/collections/c", "text/plain", b"{\"dimension\": 2}").unwrap();
    assert_eq!((text.status, text.code().as_str()), (415, "unsupported_media_type"));
    for (head, code) in [
        ("host: evil.example", "host_refused"),
        ("host: localhost\r\norigin: http://evil.example", "origin_refused"),
    ] {
        let answer = rest
            .raw(format!("GET /v1/collections HTTP/1.1\r\n{head}\r\nconnection: close\r\n\r\n").as_bytes());
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(code), "{answer}");
    }
    let late = "GET /v1/collections HTTP/1.1\r\nhost: localhost\r\nx-request-timeout-ms: soon\r\nconnection: close\r\n\r\n";
    assert!(rest.raw(late.as_bytes()).unwrap().contains("invalid_timeout"));
    assert_eq!(encode("a/b c"), "a%2Fb%20c");
}
