//! SIGTERM under load: what was begun is finished, what was not begun is refused, the exit code
//! is 0 and the data is whole. And one data directory belongs to one daemon.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tonic::Code;
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    daemon::{Daemon, Options},
    grpc, rest, synthetic, wait,
};

const COLLECTION: &str = "load";

/// What a client saw of one request.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// A whole answer: acknowledged.
    Acked,
    /// A whole answer: refused, nothing happened.
    Refused(String),
    /// No byte of an answer: it must not have been begun.
    Unanswered(String),
    /// A torn answer, or one that leaves the outcome open.
    Broken(String),
}

/// A put over a connection of its own, so that nothing is guessed about connection pools.
fn put_over_rest(address: &str, id: &str) -> Fate {
    let body = json!({"vector": synthetic::vector(id, 1), "metadata": {"by": "rest"}}).to_string();
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        rest::entry_path(COLLECTION, id),
        body.len()
    );
    let mut stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(e) => return Fate::Unanswered(format!("connect: {e}")),
    };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    if let Err(e) = stream.write_all(format!("{head}{body}").as_bytes()) {
        return Fate::Unanswered(format!("send: {e}"));
    }
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    if text.is_empty() {
        return Fate::Unanswered(format!("{end:?}"));
    }
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Fate::Broken(text) };
    // Both whole bodies and chunked ones hold one JSON object.
    let json = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]).unwrap_or_default();
    let parsed = serde_json::from_str::<Value>(json);
    match (head.split(' ').nth(1), parsed) {
        (Some("200" | "201"), Ok(_)) => Fate::Acked,
        (Some(_), Ok(problem)) if problem["outcome"] == "failed" => {
            Fate::Refused(problem["code"].to_string())
        }
        _ => Fate::Broken(text),
    }
}

async fn put_over_grpc(client: &mut grpc::Client, id: &str) -> Fate {
    let entries = vec![grpc::entry(id, &synthetic::vector(id, 1), &json!({"by": "grpc"}))];
    let request = pb::UpsertRequest { collection: COLLECTION.into(), entries, request_id: String::new() };
    match client.upsert(request).await {
        Ok(_) => Fate::Acked,
        Err(status) if grpc::outcome(&status) == "failed" => Fate::Refused(grpc::reason(&status)),
        Err(status) if grpc::outcome(&status) == "unknown" => Fate::Broken(format!("{status:?}")),
        Err(status) => Fate::Unanswered(format!("{status:?}")),
    }
}

/// The fates of all requests, by id.
#[derive(Default)]
struct Notes {
    fates: Mutex<BTreeMap<String, Fate>>,
    acked: AtomicU64,
    stop: AtomicBool,
}

impl Notes {
    /// True when the client should go on.
    fn note(&self, id: String, fate: Fate) -> bool {
        let acked = fate == Fate::Acked;
        if acked {
            self.acked.fetch_add(1, Ordering::Relaxed);
        }
        self.fates.lock().unwrap().insert(id, fate);
        acked && !self.stop.load(Ordering::Relaxed)
    }
}

#[test]
fn sigterm_under_load_finishes_what_was_begun() {
    let mut daemon = Daemon::start();
    let collection = json!({"dimension": synthetic::DIMENSION, "metric": "euclidean"});
    daemon.rest().put(&rest::collection_path(COLLECTION), &collection).ok();
    let notes = Notes::default();
    let address = daemon.ports().api.clone();
    let socket = daemon.ports().socket.clone();
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (notes, address) = (&notes, &address);
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("rest-{client}-{n}");
                    let fate = put_over_rest(address, &id);
                    if !notes.note(id, fate) {
                        return;
                    }
                }
            });
        }
        for client in 0..4 {
            let (notes, address, socket) = (&notes, &address, &socket);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let channel =
                        if client % 2 == 0 { grpc::tcp(address).await } else { grpc::socket(socket).await };
                    let mut grpc = grpc::client(channel);
                    for n in 0.. {
                        let id = format!("grpc-{client}-{n}");
                        let fate = put_over_grpc(&mut grpc, &id).await;
                        if !notes.note(id, fate) {
                            return;
                        }
                    }
                });
            });
        }
        let busy = || (notes.acked.load(Ordering::Relaxed) > 300).then_some(());
        wait::until("the load runs", Duration::from_secs(60), busy);
        let before = notes.acked.load(Ordering::Relaxed);
        daemon.sigterm();
        let status = daemon.wait_exit(Duration::from_secs(40));
        let finished = notes.acked.load(Ordering::Relaxed) - before;
        assert!(finished > 0, "no request was in flight: this run proves nothing");
        notes.stop.store(true, Ordering::Relaxed);
        assert!(status.success(), "the exit code is not 0: {status}");
    });
    assert!(!socket.exists(), "the daemon left its socket behind");
    daemon.assert_no_panic();

    daemon.restart();
    let fates = notes.fates.into_inner().unwrap();
    let mut answered_while_draining = 0;
    let mut wrong = Vec::new();
    for (id, fate) in &fates {
        let there = daemon.rest().get(&rest::entry_path(COLLECTION, id)).status == 200;
        match fate {
            Fate::Acked if there => {}
            Fate::Refused(_) if !there => answered_while_draining += 1,
            // Nothing was answered and nothing was done: it was never begun.
            Fate::Unanswered(_) if !there => {}
            _ => wrong.push(format!(
                "{id}: {fate:?}, after the restart it is {}",
                if there { "there" } else { "absent" }
            )),
        }
    }
    assert!(wrong.is_empty(), "{} of {} requests:\n{}", wrong.len(), fates.len(), wrong.join("\n"));
    let acked = fates.values().filter(|fate| **fate == Fate::Acked).count();
    let count = daemon.rest().post("/v1/collections/load/count", &json!({})).ok();
    assert_eq!(count["count"].as_u64(), Some(acked as u64), "rows and acknowledgements");
    println!(
        "{acked} acknowledged, {answered_while_draining} refused with an answer, {} requests",
        fates.len()
    );
}

#[test]
fn a_stop_without_load_is_quick_and_removes_the_socket() {
    let mut daemon = Daemon::start();
    let socket = daemon.ports().socket.clone();
    assert!(socket.exists());
    daemon.sigterm();
    let status = daemon.wait_exit(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    assert!(!socket.exists(), "the daemon left its socket behind");
    daemon.assert_no_panic();
}

#[test]
fn an_idle_keep_alive_connection_does_not_hold_up_a_stop() {
    let mut daemon = Daemon::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut client = runtime.block_on(daemon.grpc_socket());
    runtime.block_on(client.list_collections(pb::ListCollectionsRequest {})).unwrap();
    let idle = daemon.rest();
    idle.get("/v1/collections").ok();
    let mut silent = TcpStream::connect(&daemon.ports().api).unwrap();
    silent.write_all(b"GET /v1/coll").unwrap();
    daemon.sigterm();
    let status = daemon.wait_exit(Duration::from_secs(45));
    assert_eq!(status.code(), Some(0));
    let refused = runtime.block_on(client.list_collections(pb::ListCollectionsRequest {})).unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled),
        "{refused:?}"
    );
}

#[test]
fn a_lone_member_that_is_to_leave_stops_as_for_a_restart() {
    let mut daemon = Daemon::start_with(Options { args: vec!["--drain".to_owned()], ..Options::default() });
    daemon.rest().put("/v1/collections/kept", &json!({"dimension": 2})).ok();
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(45)).success());
    assert!(
        daemon.log().contains("no other member is there to take its partitions"),
        "{}",
        daemon.log_tail()
    );
    daemon.restart();
    daemon.rest().get("/v1/collections/kept").ok();
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused_clearly() {
    let mut daemon = Daemon::start();
    let collection = json!({"dimension": 2});
    daemon.rest().put("/v1/collections/mine", &collection).ok();
    let (status, said) = daemon.start_rival();
    assert!(!status.success(), "the second daemon ended with {status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let data_dir = daemon.data_dir().display().to_string();
    assert!(said.contains(&data_dir), "the message does not name the data directory: {said}");
    let lower = said.to_lowercase();
    let clear = ["in use", "another", "locked", "already"].iter().any(|word| lower.contains(word));
    assert!(clear, "the message does not say why: {said}");
    assert!(daemon.is_running(), "the first daemon ended");
    daemon.rest().get("/v1/collections/mine").ok();
}

#[test]
fn a_stale_socket_of_a_killed_daemon_is_no_obstacle() {
    let mut daemon = Daemon::start();
    daemon.kill9();
    assert!(daemon.ports().socket.exists(), "kill -9 leaves the socket file");
    daemon.restart();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime
        .block_on(async { daemon.grpc_socket().await.list_collections(pb::ListCollectionsRequest {}).await });
    answer.unwrap();
}
