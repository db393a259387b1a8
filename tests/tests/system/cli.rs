//! The `vecgrid` command, end to end: what scripts rely on is its JSON and its exit codes.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use vecgridd_tests::{binaries, daemon::Daemon, sample};

/// Exit codes, as the README lists them.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const UNREACHABLE: i32 = 4;
const CONFLICT: i32 = 5;
const PARTIAL: i32 = 7;

fn command(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::vecgrid());
    command.env_remove("VECGRID_ENDPOINT").args(arguments).args(["--endpoint", endpoint]);
    command
}

fn socket(daemon: &Daemon) -> String {
    format!("unix:{}", daemon.ports().socket.display())
}

fn run(daemon: &Daemon, arguments: &[&str]) -> Output {
    command(&socket(daemon), arguments).stdin(Stdio::null()).output().unwrap()
}

fn told(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs with `--json`, expects success, gives the one JSON value on standard output.
fn ask(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = run(daemon, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", told(&output)))
}

fn fails(daemon: &Daemon, arguments: &[&str], code: i32) {
    let output = run(daemon, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
    assert!(output.stdout.is_empty(), "a failure speaks on standard error: {}", told(&output));
    assert!(!output.stderr.is_empty(), "{arguments:?} failed without a word");
    assert!(!told(&output).contains("panicked"), "{}", told(&output));
}

/// Everything in a collection, by id.
fn content(daemon: &Daemon, collection: &str) -> BTreeMap<String, (Value, Value)> {
    let output = run(daemon, &["export", collection, "-"]);
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let entry = |line: &str| {
        let mut entry: Value = serde_json::from_str(line).unwrap();
        (entry["id"].as_str().unwrap().to_owned(), (entry["vector"].take(), entry["metadata"].take()))
    };
    text.lines().map(entry).collect()
}

#[test]
fn one_entry_goes_in_and_comes_out() {
    let daemon = Daemon::start();
    let created = ask(&daemon, &["create", "films", "--dimension", "3"]);
    assert_eq!(created["created"], true, "{created}");
    let put =
        ask(&daemon, &["put", "films", "alien", "--vector", "[1, 0, 0.5]", "--metadata", "{\"year\": 1979}"]);
    assert_eq!(put["id"], "alien");
    ask(&daemon, &["put", "films", "odd\nid é", "--vector", "[0, 1, 0]"]);
    let got = ask(&daemon, &["get", "films", "alien"]);
    assert_eq!((&got["vector"], &got["metadata"]), (&json!([1.0, 0.0, 0.5]), &json!({"year": 1979})));
    assert_eq!(ask(&daemon, &["get", "films", "odd\nid é"])["id"], "odd\nid é");

    let found = ask(&daemon, &["search", "films", "--vector", "[1, 0, 0]", "--k", "1"]);
    assert_eq!(found["hits"][0]["id"], "alien");
    assert!(found.get("explain").is_none(), "nobody asked");
    let year = "{\"year\": 1979}";
    let explained =
        ask(&daemon, &["search", "films", "--vector", "[1, 0, 0]", "--filter", year, "--explain"]);
    let explain = &explained["explain"];
    assert_eq!(
        (&explain["plan"], &explain["eligible"], &explain["filtered"]),
        (&json!("scan"), &json!(1), &json!(0))
    );
    let like = ask(&daemon, &["search", "films", "--like", "alien"]);
    assert_eq!(like["hits"].as_array().unwrap().len(), 1, "the entry itself is left out: {like}");
    let filter = "{\"year\": {\"$lt\": 1980}}";
    assert_eq!(ask(&daemon, &["count", "films", "--filter", filter]), json!({"count": 1}));
    let page = ask(&daemon, &["scroll", "films", "--limit", "1"]);
    assert_eq!(page["entries"].as_array().unwrap().len(), 1);
    let status = ask(&daemon, &["status"]);
    assert_eq!((&status["partitions"]["total"], &status["collections"][0]["count"]), (&json!(8), &json!(2)));

    assert_eq!(ask(&daemon, &["delete", "films", "alien", "nobody"]), json!({"deleted": 1}));
    assert_eq!(ask(&daemon, &["drop", "films", "--yes"]), json!({"dropped": true}));
    assert_eq!(ask(&daemon, &["list"]), json!([]));
}

#[test]
fn every_verb_also_speaks_to_people() {
    let daemon = Daemon::start();
    for arguments in [
        &["create", "c", "--dimension", "2"] as &[&str],
        &["put", "c", "a", "--vector", "[1, 2]", "--metadata", "{\"t\": \"hello\"}"],
        &["get", "c", "a"],
        &["search", "c", "--vector", "[1, 2]"],
        &["count", "c"],
        &["scroll", "c"],
        &["list"],
        &["info", "c"],
        &["status"],
        &["completion", "bash"],
        &["delete", "c", "a"],
    ] {
        let output = run(&daemon, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        assert!(!output.stdout.is_empty(), "{arguments:?} says nothing");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains('\u{1b}'), "{arguments:?} sends control codes to a pipe: {text:?}");
    }
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let daemon = Daemon::start();
    ask(&daemon, &["create", "c", "--dimension", "2"]);
    fails(&daemon, &["get", "c", "nobody"], NOT_FOUND);
    fails(&daemon, &["count", "nowhere"], NOT_FOUND);
    fails(&daemon, &["search", "nowhere", "--vector", "[1, 2]"], NOT_FOUND);
    fails(&daemon, &["drop", "nowhere", "--yes"], NOT_FOUND);
    fails(&daemon, &["create", "c", "--dimension", "3"], CONFLICT);
    fails(&daemon, &["create", "c"], USAGE);
    fails(&daemon, &["no-such-verb"], USAGE);
    fails(&daemon, &["search", "c"], USAGE);
    fails(&daemon, &["put", "c", "a", "--vector", "[1, 2"], USAGE);
    fails(&daemon, &["put", "c", "a", "--vector", "[1, 2, 3]"], USAGE);
    fails(&daemon, &["put", "c", "a", "--vector", "[0, 0]"], USAGE);
    fails(&daemon, &["put", "c", "", "--vector", "[1, 0]"], USAGE);
    fails(&daemon, &["search", "c", "--vector", "[1, 2]", "--k", "0"], USAGE);
    fails(&daemon, &["count", "c", "--filter", "[]"], USAGE);
    fails(&daemon, &["count", "c", "--filter", "{\"a\": {\"$near\": 1}}"], USAGE);
    fails(&daemon, &["drop", "c"], USAGE);

    let scratch = daemon.scratch().join("nobody.sock");
    for endpoint in [format!("unix:{}", scratch.display()), "http://127.0.0.1:1".to_owned()] {
        let output = command(&endpoint, &["status"]).output().unwrap();
        assert_eq!(output.status.code(), Some(UNREACHABLE), "{endpoint}: {}", told(&output));
    }
    assert_eq!(ask(&daemon, &["count", "c"]), json!({"count": 0}), "nothing bad was stored");
}

#[test]
fn the_command_also_speaks_tcp() {
    let daemon = Daemon::start();
    let endpoint = format!("http://{}", daemon.ports().api);
    let output = command(&endpoint, &["status", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_sample_is_imported_searched_and_exported_without_loss() {
    let daemon = Daemon::start();
    let folder = sample::sample_folder();
    let vectors = folder.join("wordnet_8k.f16.npy").display().to_string();
    let texts = folder.join("wordnet_8k.jsonl").display().to_string();
    let report =
        ask(&daemon, &["import", "words", &vectors, "--metadata", &texts, "--id-field", "id", "--create"]);
    assert_eq!((&report["stored"], &report["rejected"]), (&json!(8_000), &json!(0)), "{report}");
    let data = sample::sample();
    let probe = &data.rows[42];
    let got = ask(&daemon, &["get", "words", &probe.id]);
    assert_eq!(got["metadata"], Value::Object(probe.metadata.clone()));
    let vector: Vec<f32> = serde_json::from_value(got["vector"].clone()).unwrap();
    assert_eq!(vector, data.base.row(42));

    let query = json!(data.queries.row(0)).to_string();
    let found = ask(&daemon, &["search", "words", "--vector", &query, "--k", "5", "--exact"]);
    let first = found["hits"][0]["id"].as_str().unwrap();
    assert_eq!(data.row_of(first), data.truth.row(0)[0] as usize, "{found}");

    let original = content(&daemon, "words");
    assert_eq!(original.len(), 8_000);
    for (copy, file) in [("copy1", "words.ndjson"), ("copy2", "words.parquet")] {
        let path = daemon.scratch().join(file).display().to_string();
        ask(&daemon, &["export", "words", &path]);
        ask(&daemon, &["import", copy, &path, "--create"]);
        assert_eq!(content(&daemon, copy), original, "{file} is not the same again");
    }
    let npy = daemon.scratch().join("words.npy").display().to_string();
    let rows = daemon.scratch().join("words.jsonl").display().to_string();
    ask(&daemon, &["export", "words", &npy, "--metadata", &rows]);
    ask(&daemon, &["import", "copy3", &npy, "--metadata", &rows, "--id-field", "id", "--create"]);
    assert_eq!(content(&daemon, "copy3"), original, "npy is not the same again");
}

fn write(path: &Path, lines: &[Value]) {
    let mut file = fs::File::create(path).unwrap();
    lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
}

#[test]
fn bad_rows_are_kept_and_do_not_stop_the_others() {
    let daemon = Daemon::start();
    let file = daemon.scratch().join("mixed.ndjson");
    let rejects = daemon.scratch().join("rejects.ndjson").display().to_string();
    write(
        &file,
        &[
            json!({"id": "a", "vector": [1, 2]}),
            json!({"id": "b", "vector": [1, 2, 3]}),
            json!({"id": "", "vector": [1, 2]}),
            json!({"id": "d", "vector": [3, 4], "metadata": {"x": 1}}),
            json!({"id": "e", "vektor": [3, 4]}),
        ],
    );
    let path = file.display().to_string();
    let output = run(&daemon, &["import", "c", &path, "--create", "--rejects", &rejects, "--json"]);
    assert_eq!(output.status.code(), Some(PARTIAL), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["stored"], &report["rejected"]), (&json!(2), &json!(3)), "{report}");
    assert_eq!(fs::read_to_string(&rejects).unwrap().lines().count(), 3);
    assert_eq!(ask(&daemon, &["count", "c"]), json!({"count": 2}));
    fails(&daemon, &["import", "c", "/nonexistent/file.ndjson"], 1);
}

#[test]
fn the_bench_verb_measures() {
    let daemon = Daemon::start();
    ask(&daemon, &["create", "c", "--dimension", "384"]);
    ask(&daemon, &["put", "c", "a", "--vector", &json!(vec![1.0; 384]).to_string()]);
    let queries = sample::sample_folder().join("queries.f16.npy").display().to_string();
    let output = run(&daemon, &["bench", "c", "--queries", &queries, "--requests", "50", "--json"]);
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"qps\""), "{text}");
}

#[test]
fn the_grid_is_shown_and_its_only_member_cannot_leave_it() {
    let daemon = Daemon::start();
    let members = ask(&daemon, &["members"]);
    let member = &members["members"][0];
    assert_eq!(
        (&member["copies"], &member["wanted"], &member["id"]),
        (&json!(8), &json!(8), &members["leader"])
    );
    let partitions = ask(&daemon, &["partitions"]);
    assert_eq!(partitions["partitions"].as_array().map(Vec::len), Some(8));
    let shown = |arguments: &[&str]| {
        let output = run(&daemon, arguments);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(shown(&["partitions"]).starts_with("   0  AAAAAAAA\n"), "plain when nobody watches");
    assert!(shown(&["members"]).contains("leads"));
    assert!(shown(&["status"]).contains("balance     8 on each member, none is moving"));
    let verified = ask(&daemon, &["verify"]);
    assert_eq!((&verified["verdict"], &verified["equal"]), (&json!("equal"), &json!(8)), "{verified}");
    let said = run(&daemon, &["verify", "--partition", "3"]);
    assert!(said.status.success() && told(&said).contains("1 partitions, 1 copies"), "{}", told(&said));
    fails(&daemon, &["verify", "--partition", "8"], USAGE);
    fails(&daemon, &["drain"], CONFLICT);
    assert_eq!(ask(&daemon, &["drain", "--cancel"]), json!({"draining": false, "partitions_left": 8}));
}
