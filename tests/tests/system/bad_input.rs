//! Bad input is refused before anything is stored: every line of the list, over both doors.
//!
//! Each case is a row of a table with a name. After each, the collection holds what it held, the
//! list of collections is what it was, and the daemon runs. At the end: no panic in the log, and
//! the log has not been flooded. The tables of REST are here, those of gRPC in `bad_input_grpc.rs`.

use serde_json::{Value, json};
use vecgridd_tests::{
    daemon::{Daemon, Options},
    rest::{Answer, Rest, encode},
};

/// Small, so that a body above it is cheap.
const MESSAGE_LIMIT: usize = 8 << 20;
const ENTRIES: &str = "/v1/collections/c/entries";
const ENTRY: &str = "/v1/collections/c/entries/a";
const SEARCH: &str = "/v1/collections/c/search";

/// One bad request.
struct Case {
    name: &'static str,
    method: &'static str,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    /// Any of these; all are 4xx.
    codes: &'static [&'static str],
}

fn case(
    name: &'static str,
    method: &'static str,
    path: &str,
    body: impl Into<Vec<u8>>,
    codes: &'static [&'static str],
) -> Case {
    Case { name, method, path: path.to_owned(), kind: "application/json", body: body.into(), codes }
}

fn put(name: &'static str, vector: &str, codes: &'static [&'static str]) -> Case {
    case(name, "PUT", ENTRY, format!("{{\"vector\":{vector}}}"), codes)
}

fn search(name: &'static str, rest: &str, codes: &'static [&'static str]) -> Case {
    case(name, "POST", SEARCH, format!("{{\"vector\":[1,0,0,0]{rest}}}"), codes)
}

fn filter(name: &'static str, filter: &str) -> Case {
    search(name, &format!(",\"filter\":{filter}"), &["invalid_filter", "invalid_json"])
}

fn vectors() -> Vec<Case> {
    let mut cases = vec![
        put("NaN is no JSON", "[NaN,0,0,1]", &["invalid_json"]),
        put("Infinity is no JSON", "[Infinity,0,0,1]", &["invalid_json"]),
        put("-Infinity is no JSON", "[-Infinity,0,0,1]", &["invalid_json"]),
        put("NaN as text", "[\"NaN\",0,0,1]", &["invalid_request"]),
        put("1e39 does not fit an f32", "[1e39,0,0,1]", &["invalid_vector"]),
        put("-1e39 does not fit an f32", "[-1e39,0,0,1]", &["invalid_vector"]),
        put("1e400 does not fit an f64", "[1e400,0,0,1]", &["invalid_vector", "invalid_json"]),
        put("1e30: the square overflows an f32", "[1e30,0,0,1]", &["invalid_vector"]),
        put("a component of null", "[null,0,0,1]", &["invalid_request"]),
        put("a vector that is an object", "{\"0\":1}", &["invalid_request"]),
        put("a component too few", "[1,0,0]", &["wrong_dimension"]),
        put("a component too many", "[1,0,0,0,0]", &["wrong_dimension"]),
        put("an empty vector", "[]", &["wrong_dimension"]),
        put("a zero vector under cosine", "[0,0,0,0]", &["zero_vector"]),
        put("a zero vector of negative zeros", "[-0.0,0,0,-0.0]", &["zero_vector"]),
        put("a vector whose f32 is zero", "[1e-60,0,0,0]", &["zero_vector"]),
    ];
    let batches: [(&'static str, &'static str, &'static [&'static str]); 3] = [
        ("one wrong dimension in a batch", "[1,2]", &["wrong_dimension"]),
        ("one zero vector in a batch", "[0,0,0,0]", &["zero_vector"]),
        ("one 1e39 in a batch", "[1,1e39,0,0]", &["invalid_vector"]),
    ];
    for (name, bad, codes) in batches {
        let body = format!(
            "{{\"entries\":[{{\"id\":\"x\",\"vector\":[1,0,0,0]}},{{\"id\":\"y\",\"vector\":{bad}}},\
             {{\"id\":\"z\",\"vector\":[1,0,0,0]}}]}}"
        );
        cases.push(case(name, "POST", ENTRIES, body, codes));
        let query = format!("{{\"vector\":{bad}}}");
        cases.push(case("the same in a search", "POST", SEARCH, query, codes));
    }
    cases
}

fn numbers() -> Vec<Case> {
    vec![
        search("k is 0", ",\"k\":0", &["invalid_k"]),
        search("k is 10,001", ",\"k\":10001", &["invalid_k"]),
        search("k is a billion", ",\"k\":1000000000", &["invalid_k"]),
        search("k is negative", ",\"k\":-1", &["invalid_request"]),
        search("k is text", ",\"k\":\"10\"", &["invalid_request"]),
        search("ef is 0", ",\"ef\":0", &["invalid_ef"]),
        search("ef is 10,001", ",\"ef\":10001", &["invalid_ef"]),
        search("ef is a billion", ",\"ef\":1000000000", &["invalid_ef"]),
        search("a target of 1", ",\"target_recall\":1.0", &["invalid_target_recall"]),
        search("a target of 95 percent", ",\"target_recall\":95", &["invalid_target_recall"]),
        search("a target that is text", ",\"target_recall\":\"0.9\"", &["invalid_request"]),
        search("ef and a target", ",\"ef\":50,\"target_recall\":0.9", &["invalid_target_recall"]),
        search("an unknown part is included", ",\"include\":[\"id\"]", &["invalid_request"]),
        case(
            "a batch of no searches",
            "POST",
            &format!("{SEARCH}/batch"),
            "{\"searches\":[]}",
            &["invalid_batch"],
        ),
        case(
            "a batch of 1,001 searches",
            "POST",
            &format!("{SEARCH}/batch"),
            json!({"searches": vec![json!({"vector": [1, 0, 0, 0]}); 1_001]}).to_string(),
            &["invalid_batch"],
        ),
        case(
            "one bad search in a batch",
            "POST",
            &format!("{SEARCH}/batch"),
            "{\"searches\":[{\"vector\":[1,0,0,0]},{\"vector\":[1,0,0,0],\"k\":0}]}",
            &["invalid_k"],
        ),
        case("a page of 10,001", "POST", "/v1/collections/c/scroll", "{\"limit\":10001}", &["invalid_limit"]),
        case("a page of nothing", "POST", "/v1/collections/c/scroll", "{\"limit\":0}", &["invalid_limit"]),
        case(
            "a made-up cursor",
            "POST",
            "/v1/collections/c/scroll",
            "{\"cursor\":\"!!\"}",
            &["invalid_cursor"],
        ),
    ]
}

fn ids_and_metadata() -> Vec<Case> {
    let entry = |id: &str| json!({"entries": [{"id": id, "vector": [1, 0, 0, 0]}]}).to_string();
    let with = |metadata: &str| format!("{{\"vector\":[1,0,0,0],\"metadata\":{metadata}}}");
    let long = "x".repeat(513);
    let long_by_bytes = "é".repeat(257);
    let large = format!("{{\"t\":\"{}\"}}", "m".repeat(1 << 20));
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let path = |id: &str| format!("{ENTRIES}/{}", encode(id));
    let good = "{\"vector\":[1,0,0,0]}";
    vec![
        case("an empty id", "POST", ENTRIES, entry(""), &["invalid_id"]),
        case("an id of 513 bytes", "POST", ENTRIES, entry(&long), &["invalid_id"]),
        case("an id of 257 letters and 514 bytes", "POST", ENTRIES, entry(&long_by_bytes), &["invalid_id"]),
        case("an id of 513 bytes in the path", "PUT", &path(&long), good, &["invalid_id"]),
        case("an id that is no UTF-8 in the path", "PUT", &format!("{ENTRIES}/%FF"), good, &["invalid_id"]),
        case(
            "an id that is no UTF-8 in the body",
            "POST",
            ENTRIES,
            b"{\"entries\":[{\"id\":\"\xFF\"}]}".to_vec(),
            &["invalid_json"],
        ),
        case(
            "half a surrogate in an id",
            "POST",
            ENTRIES,
            "{\"entries\":[{\"id\":\"\\ud800\"}]}",
            &["invalid_json"],
        ),
        case("an id that is a number", "POST", ENTRIES, "{\"entries\":[{\"id\":7}]}", &["invalid_request"]),
        case("no id", "POST", ENTRIES, "{\"entries\":[{\"vector\":[1,0,0,0]}]}", &["invalid_request"]),
        case(
            "an empty id is deleted",
            "POST",
            "/v1/collections/c/delete",
            "{\"ids\":[\"\"]}",
            &["invalid_id"],
        ),
        case("metadata that is a list", "PUT", ENTRY, with("[1]"), &["invalid_metadata"]),
        case("metadata that is text", "PUT", ENTRY, with("\"x\""), &["invalid_metadata"]),
        case("metadata that is a number", "PUT", ENTRY, with("5"), &["invalid_metadata"]),
        case("metadata that is true", "PUT", ENTRY, with("true"), &["invalid_metadata"]),
        case("metadata above 1 MiB", "PUT", ENTRY, with(&large), &["metadata_too_large"]),
        case("metadata 10,000 deep", "PUT", ENTRY, with(&deep), &["invalid_json", "invalid_metadata"]),
    ]
}

fn shapes() -> Vec<Case> {
    let mut cases = vec![
        case(
            "an unknown field in an entry",
            "PUT",
            ENTRY,
            "{\"vector\":[1,0,0,0],\"vektor\":1}",
            &["unknown_field"],
        ),
        case(
            "an unknown field in a batch",
            "POST",
            ENTRIES,
            "{\"entries\":[],\"upsert\":true}",
            &["unknown_field"],
        ),
        case(
            "an unknown field of an entry in a batch",
            "POST",
            ENTRIES,
            "{\"entries\":[{\"id\":\"x\",\"meta\":{}}]}",
            &["unknown_field"],
        ),
        search("an unknown field in a search", ",\"limit\":3", &["unknown_field"]),
        case(
            "an unknown field in a count",
            "POST",
            "/v1/collections/c/count",
            "{\"where\":{}}",
            &["unknown_field"],
        ),
        case(
            "an unknown field in a scroll",
            "POST",
            "/v1/collections/c/scroll",
            "{\"size\":1}",
            &["unknown_field"],
        ),
        case(
            "an unknown field in a delete",
            "POST",
            "/v1/collections/c/delete",
            "{\"id\":\"a\"}",
            &["unknown_field"],
        ),
        case(
            "an unknown field in a collection",
            "PUT",
            "/v1/collections/n",
            "{\"dimension\":2,\"dim\":2}",
            &["unknown_field"],
        ),
        case(
            "an unknown index option",
            "PUT",
            "/v1/collections/n",
            "{\"dimension\":2,\"index\":{\"links\":2}}",
            &["unknown_field"],
        ),
        case(
            "an unknown query parameter",
            "PUT",
            &format!("{ENTRY}?durability=none"),
            "{\"vector\":[1,0,0,0]}",
            &["unknown_parameter"],
        ),
        case("a field twice", "POST", SEARCH, "{\"vector\":[1,0,0,0],\"k\":1,\"k\":2}", &["invalid_request"]),
        case("an empty batch", "POST", ENTRIES, "{\"entries\":[]}", &["invalid_batch"]),
        case(
            "a batch of 10,001",
            "POST",
            ENTRIES,
            json!({"entries": vec![json!({"id": "x"}); 10_001]}).to_string(),
            &["invalid_batch"],
        ),
        case("a truncated body", "PUT", ENTRY, "{\"vector\":[1,0,0,", &["invalid_json"]),
        case("an empty body", "PUT", ENTRY, "", &["invalid_json", "invalid_request"]),
        case("two bodies", "PUT", ENTRY, "{\"vector\":[1,0,0,0]} {}", &["invalid_json"]),
        case("a list as a body", "PUT", ENTRY, "[1,2,3]", &["invalid_request"]),
        case("10,000 open brackets", "PUT", ENTRY, "[".repeat(10_000), &["invalid_json", "invalid_request"]),
        case("garbage", "PUT", ENTRY, vec![0x00, 0xFF, 0xFE, 0x80, 0x7F], &["invalid_json"]),
        case("delete of nothing", "POST", "/v1/collections/c/delete", "{}", &["invalid_delete"]),
        case(
            "delete by both",
            "POST",
            "/v1/collections/c/delete",
            "{\"ids\":[\"a\"],\"filter\":{}}",
            &["invalid_delete"],
        ),
        case("delete of no ids", "POST", "/v1/collections/c/delete", "{\"ids\":[]}", &["invalid_batch"]),
    ];
    for (name, body, codes) in [
        ("a bad second line", "{\"id\":\"x\",\"vector\":[1,0,0,0]}\n{\"id\":", &["invalid_json"]),
        ("an unknown field in the second line", "{\"id\":\"x\"}\n{\"id\":\"y\",\"q\":1}", &["unknown_field"]),
        (
            "a zero vector in the second line",
            "{\"id\":\"x\"}\n{\"id\":\"y\",\"vector\":[0,0,0,0]}",
            &["zero_vector"],
        ),
    ] {
        cases.push(Case { kind: "application/x-ndjson", ..case(name, "POST", ENTRIES, body, codes) });
    }
    cases.push(Case {
        kind: "text/plain",
        ..case("a body of text", "PUT", ENTRY, "{}", &["unsupported_media_type"])
    });
    cases
}

fn filters() -> Vec<Case> {
    let nested = |depth: usize| format!("{}{{}}{}", "{\"$not\":".repeat(depth), "}".repeat(depth));
    let terms = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("{{\"f\":{n}}}")).collect();
        format!("{{\"$or\":[{}]}}", list.join(","))
    };
    let mut cases = vec![
        filter("a filter that is a list", "[1]"),
        filter("a filter that is text", "\"x\""),
        filter("an unknown operator", "{\"a\":{\"$regex\":\"x\"}}"),
        filter("an unknown combiner", "{\"$xor\":[{}]}"),
        filter("an operator on the outside", "{\"$gt\":1}"),
        filter("$in with a number", "{\"a\":{\"$in\":5}}"),
        filter("$gt with a list", "{\"a\":{\"$gt\":[1]}}"),
        filter("$exists with text", "{\"a\":{\"$exists\":\"yes\"}}"),
        filter("$or with an object", "{\"$or\":{\"a\":1}}"),
        filter("a filter 100 deep", &nested(100)),
        filter("a filter 10,000 deep", &nested(10_000)),
        filter("a filter of 5,000 terms", &terms(5_000)),
        filter("a filter of 100,000 terms", &terms(100_000)),
    ];
    for path in ["count", "scroll", "delete"] {
        let path = format!("/v1/collections/c/{path}");
        cases.push(case(
            "a bad filter elsewhere",
            "POST",
            &path,
            "{\"filter\":{\"a\":{\"$near\":1}}}",
            &["invalid_filter"],
        ));
        let deep = format!("{{\"filter\":{}}}", nested(5_000));
        cases.push(case("a deep filter elsewhere", "POST", &path, deep, &["invalid_filter", "invalid_json"]));
    }
    cases
}

fn collections() -> Vec<Case> {
    let good = "{\"dimension\":2}";
    let mut cases = Vec::new();
    for name in
        ["a/b", "..", ".", "../x", ".hidden", "-x", "a b", "a\0b", "a\nb", "naïve", "🦀", "a\\b", "a%b"]
    {
        let path = format!("/v1/collections/{}", encode(name));
        cases.push(case("a bad collection name", "PUT", &path, good, &["invalid_collection_name"]));
        let codes = &["invalid_collection_name", "collection_not_found"];
        cases.push(case(
            "a write to a bad collection name",
            "PUT",
            &format!("{path}/entries/x"),
            "{}",
            codes,
        ));
    }
    let long = format!("/v1/collections/{}", "n".repeat(129));
    cases.push(case("a collection name of 129 bytes", "PUT", &long, good, &["invalid_collection_name"]));
    for (name, body, codes) in [
        ("dimension 0", "{\"dimension\":0}", &["invalid_dimension"]),
        ("dimension 4,097", "{\"dimension\":4097}", &["invalid_dimension"]),
        ("dimension 65,536", "{\"dimension\":65536}", &["invalid_dimension"]),
        ("dimension -1", "{\"dimension\":-1}", &["invalid_request"]),
        ("dimension 1.5", "{\"dimension\":1.5}", &["invalid_request"]),
        ("no dimension", "{}", &["invalid_request"]),
        ("an unknown metric", "{\"dimension\":2,\"metric\":\"manhattan\"}", &["invalid_request"]),
        ("an unknown engine", "{\"dimension\":2,\"index\":{\"engine\":\"faiss\"}}", &["invalid_request"]),
        ("an unknown durability", "{\"dimension\":2,\"durability\":\"fsync\"}", &["invalid_request"]),
        ("m is 3", "{\"dimension\":2,\"index\":{\"m\":3}}", &["invalid_index_options"]),
        ("m is 65", "{\"dimension\":2,\"index\":{\"m\":65}}", &["invalid_index_options"]),
        (
            "ef_construction is 15",
            "{\"dimension\":2,\"index\":{\"ef_construction\":15}}",
            &["invalid_index_options"],
        ),
        (
            "ef_construction is 2,001",
            "{\"dimension\":2,\"index\":{\"ef_construction\":2001}}",
            &["invalid_index_options"],
        ),
        ("ef is 0", "{\"dimension\":2,\"index\":{\"ef\":0}}", &["invalid_index_options"]),
        (
            "a target of 0.4",
            "{\"dimension\":2,\"index\":{\"target_recall\":0.4}}",
            &["invalid_target_recall"],
        ),
        (
            "ef and a target",
            "{\"dimension\":2,\"index\":{\"ef\":50,\"target_recall\":0.9}}",
            &["invalid_target_recall"],
        ),
        (
            "vectors on disk without the engine for it",
            "{\"dimension\":2,\"index\":{\"engine\":\"flat\",\"vectors\":\"disk\"}}",
            &["invalid_index_options"],
        ),
    ] {
        cases.push(case(name, "PUT", "/v1/collections/n", body, codes));
    }
    let one = "{\"vector\":[1,0,0,0]}";
    for (method, tail, body) in [
        ("PUT", "/entries/a", one),
        ("POST", "/entries", "{\"entries\":[{\"id\":\"a\",\"vector\":[1,0,0,0]}]}"),
        ("POST", "/search", one),
        ("POST", "/search/batch", "{\"searches\":[{\"vector\":[1,0,0,0]}]}"),
        ("POST", "/count", "{}"),
        ("POST", "/scroll", "{}"),
        ("POST", "/delete", "{\"ids\":[\"a\"]}"),
    ] {
        let path = format!("/v1/collections/nowhere{tail}");
        cases.push(case("an unknown collection", method, &path, body, &["collection_not_found"]));
    }
    cases
}

/// What there is; nothing bad may change it.
fn state(rest: &Rest) -> Value {
    let count = rest.post("/v1/collections/c/count", &json!({})).ok();
    let walked = rest.post("/v1/collections/c/scroll", &json!({"include": ["vector", "metadata"]})).ok();
    let names: Vec<Value> = rest.get("/v1/collections").ok()["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    json!([count, walked["entries"], names])
}

fn started() -> Daemon {
    let args = vec!["--max-message-bytes".to_owned(), MESSAGE_LIMIT.to_string()];
    let daemon = Daemon::start_with(Options { args, ..Options::default() });
    let rest = daemon.rest();
    rest.put("/v1/collections/c", &json!({"dimension": 4, "metric": "cosine"})).ok();
    rest.put("/v1/collections/c/entries/good", &json!({"vector": [1, 2, 3, 4], "metadata": {"n": 1}})).ok();
    daemon
}

fn judge(case: &Case, answer: &Answer) {
    let about = format!("{} ({} {})", case.name, case.method, case.path);
    assert!((400..500).contains(&answer.status), "{about}: status {}: {}", answer.status, answer.text());
    let code = answer.code();
    assert!(
        case.codes.contains(&code.as_str()),
        "{about}: code {code}, not one of {:?}: {}",
        case.codes,
        answer.text()
    );
    answer.is_problem(answer.status, &code);
    assert_eq!(answer.json()["outcome"], "failed", "{about}");
    // A refusal must not be as long as what it refuses.
    assert!(answer.bytes.len() < 8 << 10, "{about}: a refusal of {} bytes", answer.bytes.len());
}

fn run(table: Vec<Case>) {
    let mut daemon = started();
    let rest = daemon.rest();
    let before = state(&rest);
    for case in &table {
        let answer = rest.send(case.method, &case.path, case.kind, &case.body);
        let answer = answer.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        judge(case, &answer);
        assert_eq!(state(&rest), before, "{}: something was stored", case.name);
        assert!(daemon.is_running(), "{}: the daemon ended", case.name);
    }
    daemon.assert_no_panic();
    daemon.kill9();
    daemon.restart();
    assert_eq!(state(&daemon.rest()), before, "something was stored, seen after a restart");
    println!("{} bad requests refused", table.len());
}

#[test]
fn bad_vectors_are_refused() {
    run(vectors());
}

#[test]
fn bad_numbers_are_refused() {
    run(numbers());
}

#[test]
fn bad_ids_and_metadata_are_refused() {
    run(ids_and_metadata());
}

#[test]
fn bad_shapes_are_refused() {
    run(shapes());
}

#[test]
fn bad_filters_are_refused() {
    run(filters());
}

#[test]
fn bad_collections_are_refused() {
    run(collections());
}

#[test]
fn odd_but_legal_input_is_taken() {
    let daemon = started();
    let rest = daemon.rest();
    let metadata = format!("{{\"t\":\"{}\"}}", "m".repeat((1 << 20) - 8));
    assert_eq!(metadata.len(), 1 << 20);
    let body = format!("{{\"vector\":[1e-30,0,0,0],\"metadata\":{metadata}}}");
    rest.send("PUT", ENTRY, "application/json", body.as_bytes()).unwrap().ok();
    rest.put("/v1/collections/c/entries/huge", &json!({"vector": [1e17, 1, 1, 1]})).ok();
    rest.put(&format!("{ENTRIES}/{}", "x".repeat(512)), &json!({"vector": [1, 1, 1, 1]})).ok();
    rest.put("/v1/collections/flat", &json!({"dimension": 4, "metric": "euclidean"})).ok();
    rest.put("/v1/collections/flat/entries/zero", &json!({"vector": [0, 0, 0, 0]})).ok();
    let twice = b"{\"vector\":[1,0,0,0],\"metadata\":{\"k\":1,\"k\":2}}";
    rest.send("PUT", "/v1/collections/c/entries/keys", "application/json", twice).unwrap().ok();
    assert_eq!(
        rest.get("/v1/collections/c/entries/keys").ok()["metadata"],
        json!({"k": 2}),
        "the last key wins"
    );
    let found = rest.post(SEARCH, &json!({"vector": [1, 0, 0, 0], "k": 10, "include": []})).ok();
    let hits = found["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 5, "{found}");
    assert!(hits.iter().all(|hit| hit["distance"].is_f64()), "a distance is no number: {found}");
}

/// Requests that no HTTP library would send.
#[test]
fn broken_http_is_survived() {
    let mut daemon = started();
    let rest = daemon.rest();
    let before = state(&rest);
    let head =
        "PUT /v1/collections/c/entries/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let good = "{\"vector\":[1,0,0,0]}";
    let huge = "x".repeat(1 << 20);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a body shorter than announced", format!("{head}content-length: 500\r\n\r\n{good}").into()),
        ("a head cut off", head.as_bytes()[..40].to_vec()),
        ("a negative length", format!("{head}content-length: -1\r\n\r\n{good}").into()),
        ("two lengths", format!("{head}content-length: 5\r\ncontent-length: 20\r\n\r\n{good}").into()),
        ("a bad chunk", format!("{head}transfer-encoding: chunked\r\n\r\nZZ\r\n{good}\r\n0\r\n\r\n").into()),
        ("chunks without an end", format!("{head}transfer-encoding: chunked\r\n\r\n14\r\n{good}\r\n").into()),
        ("a length above the limit", format!("{head}content-length: 99999999999\r\n\r\n").into()),
        ("a header of 1 MiB", format!("{head}x-long: {huge}\r\n\r\n").into()),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("half a preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM".to_vec()),
        (
            "HTTP/2 with garbage frames",
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0xFF; 64]].concat(),
        ),
        (
            "a compressed body",
            format!("{head}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n{good}", good.len()).into(),
        ),
    ];
    for (name, bytes) in &cases {
        // A reset instead of an answer is fine.
        let answer = rest.raw_cut_off(bytes).unwrap_or_default();
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.is_empty() || !first.starts_with("HTTP/1.1 2"), "{name}: {first}");
        assert!(!first.starts_with("HTTP/1.1 5"), "{name}: {first}");
        assert_eq!(state(&rest), before, "{name}: something was stored");
        assert!(daemon.is_running(), "{name}: the daemon ended");
    }
    daemon.assert_no_panic();
}

/// Over HTTP the length is announced: nothing of the body needs to be read, or sent.
#[test]
fn a_body_above_the_limit_is_refused() {
    let mut daemon = started();
    let rest = daemon.rest();
    let before = state(&rest);
    let head = "POST /v1/collections/c/entries HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\n";
    let announced = format!("{head}content-length: {}\r\n\r\n", MESSAGE_LIMIT + 1);
    let answer = rest.raw(announced.as_bytes()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");

    // In chunks nobody knows the length before; the daemon may hang up while we still send.
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    (0..=MESSAGE_LIMIT >> 20).for_each(|_| chunked.extend_from_slice(&chunk));
    chunked.extend_from_slice(b"0\r\n\r\n");
    match rest.raw(&chunked) {
        Ok(answer) => assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}"),
        Err(hung_up) => println!("the daemon hung up: {hung_up}"),
    }
    assert_eq!(state(&rest), before, "something was stored");
    assert!(daemon.is_running());
    daemon.assert_no_panic();
}

#[test]
fn a_thousand_bad_requests_do_not_flood_the_log() {
    let daemon = started();
    let rest = daemon.rest();
    let tables = [vectors(), numbers(), ids_and_metadata(), filters(), collections()];
    let small: Vec<Case> = tables.into_iter().flatten().filter(|case| case.body.len() < 64 << 10).collect();
    let before = daemon.log_len();
    for case in small.iter().cycle().take(1_000) {
        judge(case, &rest.send(case.method, &case.path, case.kind, &case.body).unwrap());
    }
    for _ in 0..100 {
        let _ = rest.raw_cut_off(b"\x16\x03\x01garbage\r\n\r\n");
    }
    let grown = daemon.log_len() - before;
    assert!(grown < 64 << 10, "1,100 bad requests made {grown} bytes of log:\n{}", daemon.log_tail());
    daemon.assert_no_panic();
}
