//! `curl` against the Unix socket, as the README shows it.

use std::process::Command;

use serde_json::{Value, json};
use vecgridd_tests::daemon::Daemon;

/// Runs curl; gives the status and the body.
fn curl(daemon: &Daemon, arguments: &[&str], path: &str) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}"]);
    command.arg("--unix-socket").arg(&daemon.ports().socket).args(arguments);
    command.arg(format!("http://localhost{path}"));
    let output = command.output().unwrap_or_else(|e| panic!("curl is needed (deploy/install-deps.sh): {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

const JSON: &str = "content-type: application/json";

fn send(daemon: &Daemon, method: &str, path: &str, body: &Value) -> (u16, Value) {
    curl(daemon, &["-X", method, "-H", JSON, "-d", &body.to_string()], path)
}

#[test]
fn curl_creates_puts_searches_and_deletes_over_the_socket() {
    let mut daemon = Daemon::start();
    assert_eq!(send(&daemon, "PUT", "/v1/collections/films", &json!({"dimension": 3})).0, 201);
    let alien = json!({"vector": [1, 0, 0.1], "metadata": {"year": 1979}});
    assert_eq!(send(&daemon, "PUT", "/v1/collections/films/entries/alien", &alien).0, 200);
    let heat = json!({"vector": [0, 1, 0], "metadata": {"year": 1995}});
    assert_eq!(send(&daemon, "PUT", "/v1/collections/films/entries/caf%C3%A9%20noir", &heat).0, 200);
    let query = json!({"vector": [0.9, 0.1, 0], "k": 1, "filter": {"year": {"$lt": 1990}}});
    let (status, found) = send(&daemon, "POST", "/v1/collections/films/search", &query);
    assert_eq!((status, &found["hits"][0]["id"]), (200, &json!("alien")));
    let (status, entry) = curl(&daemon, &[], "/v1/collections/films/entries/caf%C3%A9%20noir");
    assert_eq!((status, &entry["id"]), (200, &json!("café noir")));
    let (status, problem) = curl(&daemon, &[], "/v1/collections/films/entries/nobody");
    assert_eq!((status, &problem["code"]), (404, &json!("entry_not_found")));
    let (status, gone) = curl(&daemon, &["-X", "DELETE"], "/v1/collections/films/entries/alien");
    assert_eq!((status, &gone), (200, &json!({"deleted": true})));
    assert_eq!(curl(&daemon, &[], "/readyz").0, 200);
    daemon.stop();
    daemon.assert_no_panic();
}

#[test]
fn curl_streams_ndjson_over_the_socket() {
    let daemon = Daemon::start();
    send(&daemon, "PUT", "/v1/collections/lines", &json!({"dimension": 2}));
    let file = daemon.scratch().join("lines.ndjson");
    let lines: String = (1..=1_000).map(|n| format!("{{\"id\":\"{n}\",\"vector\":[{n},1]}}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let data = format!("@{}", file.display());
    let arguments =
        ["-X", "POST", "-H", "content-type: application/x-ndjson", "--data-binary", data.as_str()];
    let (status, answer) = curl(&daemon, &arguments, "/v1/collections/lines/entries");
    assert_eq!((status, &answer["upserted"]), (200, &json!(1_000)), "{answer}");
}
