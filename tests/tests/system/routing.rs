//! Every member takes every request, whoever holds the rows, and says so when one that holds some does not answer.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::{Code, Request, Status, transport::Endpoint};
use tower::service_fn;
use vecgrid_proto::{
    peer::{self, data_client::DataClient},
    v1 as pb,
};
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    grpc,
    rest::{Answer, Rest, collection_path, entry_path},
    wait,
};

const BIRTH: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(60);
const MEMBERS: usize = 3;
const PARTITIONS: u64 = 8;
/// Entries of the first collection.
const ROWS: usize = 120;

fn grid() -> TestCluster {
    let mut cluster = TestCluster::launch(MEMBERS, ClusterOptions::new(Finding::Seeds));
    cluster.wait_one_grid(BIRTH);
    cluster.wait_voters(MEMBERS, LIMIT);
    cluster
}

/// On a circle, so that each has its own place.
fn vector(number: usize) -> [f32; 3] {
    let angle = number as f32 / ROWS as f32 * std::f32::consts::PI;
    [angle.cos(), angle.sin(), 0.25]
}

fn name(number: usize) -> String {
    format!("entry {number}")
}

fn entry(number: usize) -> Value {
    json!({"id": name(number), "vector": vector(number), "metadata": {"n": number, "even": number.is_multiple_of(2)}})
}

fn path(collection: &str, verb: &str) -> String {
    format!("{}/{verb}", collection_path(collection))
}

fn fill(rest: &Rest, collection: &str) {
    rest.put(&collection_path(collection), &json!({"dimension": 3, "metric": "cosine"})).ok();
    let entries: Vec<Value> = (0..ROWS).map(entry).collect();
    let stored = rest.post(&path(collection, "entries"), &json!({"entries": entries})).ok();
    assert_eq!(stored["upserted"], ROWS);
}

/// The member that holds partition 0, and one that does not.
fn holder_and_other(cluster: &mut TestCluster) -> (usize, usize) {
    let grid = cluster.daemon(0).rest().get("/v1/grid/partitions").ok();
    let primary = grid["partitions"][0]["primary"].as_str().unwrap().to_owned();
    let member_of = |view: View| view.member == primary;
    let holder = (0..MEMBERS).find(|number| cluster.view(*number).is_some_and(member_of)).unwrap();
    (holder, (holder + 1) % MEMBERS)
}

type View = vecgridd_tests::cluster::GridView;

/// Each app is beside another member; the second one hears of the write from the first one.
#[test]
fn a_token_shows_the_writes_of_another_app() {
    let mut cluster = grid();
    let (writer, reader) = (cluster.daemon(0).rest(), cluster.daemon(1).rest());
    fill(&writer, "c");
    let at_least = |token: &str| reader.with_header("vecgrid-at-least", token);
    for number in 0..ROWS {
        let id = name(number);
        let put =
            writer.put(&entry_path("c", &id), &json!({"vector": vector(number), "metadata": {"n": 1_000}}));
        put.ok();
        let read = at_least(&put.header("vecgrid-token"));
        assert_eq!(read.get(&entry_path("c", &id)).ok()["metadata"]["n"], 1_000);
        let found = read.post(&path("c", "search"), &search(number, 1)).ok();
        assert_eq!(found["hits"][0]["metadata"]["n"], 1_000, "{found}");
    }
    // A delete by filter is many writes, on all members.
    let gone = writer.post(&path("c", "delete"), &json!({"filter": {"n": 1_000}}));
    assert_eq!(gone.ok()["deleted"], ROWS);
    let token = gone.header("vecgrid-token");
    assert_eq!(token.split(',').count() as u64, PARTITIONS, "{token}");
    assert_eq!(at_least(&token).post(&path("c", "count"), &json!({})).ok()["count"], 0);
    // Whoever made the delete sees it without.
    assert_eq!(writer.post(&path("c", "count"), &json!({})).ok()["count"], 0);

    at_least("yesterday").get(&entry_path("c", "x")).is_problem(400, "invalid_token");
    // Nobody wrote that: nothing is taken for written because somebody says so, and others are not kept waiting.
    let invented = at_least("0:99-1000000").with_header("x-request-timeout-ms", "300");
    invented.post(&path("c", "count"), &json!({})).is_problem(503, "incomplete");
    assert_eq!(reader.post(&path("c", "count"), &json!({})).ok()["count"], 0);
}

fn search(number: usize, k: usize) -> Value {
    json!({"vector": vector(number), "k": k, "include": ["metadata", "vector"], "explain": true})
}

fn hits(answer: &Value) -> Vec<String> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

fn count(rest: &Rest, collection: &str, filter: Option<Value>) -> u64 {
    let body = filter.map_or_else(|| json!({}), |filter| json!({"filter": filter}));
    rest.post(&path(collection, "count"), &body).ok()["count"].as_u64().unwrap()
}

#[test]
fn every_verb_works_through_every_member_over_rest() {
    let mut cluster = grid();
    for member in 0..MEMBERS {
        let rest = cluster.daemon(member).rest();
        let collection = format!("c{member}");
        fill(&rest, &collection);
        // What was written here is found here at once.
        let one = rest.get(&entry_path(&collection, &name(7))).ok();
        assert_eq!((&one["metadata"]["n"], one["vector"].as_array().unwrap().len()), (&json!(7), 3));
        let written = json!({"vector": vector(7), "metadata": {"n": 7, "even": false, "again": true}});
        let version = rest.put(&entry_path(&collection, &name(7)), &written).ok()["version"].clone();
        let one = rest.get(&entry_path(&collection, &name(7))).ok();
        assert_eq!((&one["version"], &one["metadata"]["again"]), (&version, &json!(true)));

        let found = rest.post(&path(&collection, "search"), &search(7, 3)).ok();
        assert_eq!(hits(&found)[0], name(7), "{found}");
        assert_eq!(found["coverage"], json!({"answered": PARTITIONS, "partitions": PARTITIONS}));
        assert_eq!(found["hits"][0]["metadata"]["again"], true);
        assert_eq!(found["hits"][0]["vector"].as_array().unwrap().len(), 3);
        assert_eq!(found["explain"]["eligible"], ROWS);
        let mut filtered = search(7, ROWS);
        filtered["filter"] = json!({"even": true});
        assert_eq!(hits(&rest.post(&path(&collection, "search"), &filtered).ok()).len(), ROWS / 2);
        let batch = json!({"searches": (0..20).map(|n| search(n, 1)).collect::<Vec<_>>()});
        let batch = rest.post(&path(&collection, "search/batch"), &batch).ok();
        for (number, result) in batch["results"].as_array().unwrap().iter().enumerate() {
            assert_eq!(hits(result), [name(number)]);
        }

        let info = rest.get(&collection_path(&collection)).ok();
        assert_eq!(info["count"], ROWS, "{info}");
        let list = rest.get("/v1/collections").ok();
        assert_eq!(list["collections"].as_array().unwrap().len(), member + 1);
        assert_eq!(count(&rest, &collection, None), ROWS as u64);
        assert_eq!(count(&rest, &collection, Some(json!({"n": {"$lt": 10}}))), 10);
        assert_eq!(walk(&rest, &collection, 7), (0..ROWS).map(name).collect());

        let gone = rest.post(&path(&collection, "delete"), &json!({"ids": [name(0), "nobody"]})).ok();
        assert_eq!(gone["deleted"], 1);
        rest.get(&entry_path(&collection, &name(0))).is_problem(404, "entry_not_found");
        assert_eq!(rest.delete(&entry_path(&collection, &name(1))).ok()["deleted"], true);
        let gone = rest.post(&path(&collection, "delete"), &json!({"filter": {"even": true}})).ok();
        assert_eq!(gone["deleted"], ROWS / 2 - 1);
        assert_eq!(count(&rest, &collection, None), ROWS as u64 / 2 - 1);
    }
    // All see the same, whoever wrote it.
    for member in 0..MEMBERS {
        let rest = cluster.daemon(member).rest();
        for collection in 0..MEMBERS {
            assert_eq!(count(&rest, &format!("c{collection}"), None), ROWS as u64 / 2 - 1);
        }
    }
    for member in 0..MEMBERS {
        let rest = cluster.daemon(member).rest();
        assert_eq!(rest.delete(&collection_path(&format!("c{member}"))).ok()["dropped"], true);
    }
    let (_, other) = holder_and_other(&mut cluster);
    let metrics = cluster.daemon(other).rest().get("/metrics").text();
    for verb in ["write", "get", "search", "count", "delete", "scroll", "sizes"] {
        let sample = format!("vecgrid_members_asked_total{{outcome=\"ok\",verb=\"{verb}\"}}");
        assert!(metrics.contains(&sample), "{sample} is missing in {metrics}");
    }
    cluster.assert_no_panic();
}

/// The ids of a walk in pages of `limit`, each seen once.
fn walk(rest: &Rest, collection: &str, limit: usize) -> BTreeSet<String> {
    let (mut seen, mut cursor) = (BTreeSet::new(), Value::Null);
    loop {
        let mut body = json!({"limit": limit});
        if !cursor.is_null() {
            body["cursor"] = cursor;
        }
        let page = rest.post(&path(collection, "scroll"), &body).ok();
        for entry in page["entries"].as_array().unwrap() {
            let id = entry["id"].as_str().unwrap().to_owned();
            assert!(seen.insert(id.clone()), "{id} was seen twice");
        }
        cursor = page["cursor"].clone();
        if cursor.is_null() || cursor == "" {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_works_through_every_member_over_grpc() {
    let mut cluster = tokio::task::spawn_blocking(grid).await.unwrap();
    for member in 0..MEMBERS {
        let mut client = cluster.daemon(member).grpc_tcp().await;
        let collection = format!("c{member}");
        grpc::create(&mut client, grpc::config(&collection, 3, pb::Metric::Cosine)).await;
        let entries: Vec<_> =
            (0..ROWS).map(|n| grpc::entry(&name(n), &vector(n), &json!({"n": n}))).collect();
        let request = pb::UpsertRequest {
            collection: collection.clone(),
            entries,
            request_id: format!("load of {member}"),
        };
        let stored = client.upsert(request.clone()).await.unwrap().into_inner();
        assert_eq!((stored.upserted, stored.errors.len()), (ROWS as u64, 0));
        // A retry takes effect once, also through another member.
        let mut next = cluster.daemon((member + 1) % MEMBERS).grpc_tcp().await;
        let again = next.upsert(request.clone()).await.unwrap().into_inner();
        assert_eq!(again.versions, stored.versions);
        let mut other = request;
        other.entries.iter_mut().for_each(|entry| entry.metadata_json = "{}".to_owned());
        let refused = next.upsert(other).await.unwrap_err();
        assert_eq!(
            (refused.code(), grpc::reason(&refused)),
            (Code::AlreadyExists, "request_id_reused".into())
        );
        assert_eq!(grpc::outcome(&refused), "failed");

        let get = pb::GetRequest { collection: collection.clone(), id: name(3) };
        let got = client.get(get).await.unwrap().into_inner().entry.unwrap();
        assert_eq!(
            (grpc::floats(&got.vector.unwrap()), got.version.as_ref()),
            (vector(3).to_vec(), Some(&stored.versions[3]))
        );
        let search = pb::SearchRequest {
            include_vector: true,
            include_metadata: true,
            explain: true,
            ..grpc::search(&collection, &vector(3), 5)
        };
        let found = client.search(search.clone()).await.unwrap().into_inner();
        assert_eq!((found.hits.len(), found.hits[0].id.as_str()), (5, name(3).as_str()));
        assert_eq!(grpc::floats(found.hits[0].vector.as_ref().unwrap()), vector(3));
        assert_eq!(found.coverage.unwrap().answered, PARTITIONS as u32);
        assert_eq!(found.explain.unwrap().eligible, ROWS as u64);
        let mut wrong = search;
        wrong.vector = Some(grpc::vector(&[1.0, 0.0]));
        let refused = client.search(wrong).await.unwrap_err();
        assert_eq!(
            (refused.code(), grpc::reason(&refused)),
            (Code::InvalidArgument, "wrong_dimension".into())
        );
        let all = pb::CountRequest { collection: collection.clone(), filter_json: String::new() };
        assert_eq!(client.count(all).await.unwrap().into_inner().count, ROWS as u64);
        let some = r#"{"n":{"$gte":20}}"#.to_owned();
        let delete =
            pb::DeleteRequest { collection: collection.clone(), filter_json: some, ..Default::default() };
        assert_eq!(client.delete(delete).await.unwrap().into_inner().deleted, ROWS as u64 - 20);
        let scroll =
            pb::ScrollRequest { collection: collection.clone(), include_vector: true, ..Default::default() };
        let page = client.scroll(scroll).await.unwrap().into_inner();
        assert_eq!((page.entries.len(), page.cursor.as_str()), (20, ""));
        assert!(page.entries.iter().all(|entry| entry.vector.is_some()));
        let info = pb::GetCollectionRequest { name: collection };
        assert_eq!(client.get_collection(info).await.unwrap().into_inner().count, 20);
    }
    cluster.assert_no_panic();
}

#[test]
fn what_is_wrong_is_refused_by_whoever_is_asked() {
    let mut cluster = grid();
    let (_, other) = holder_and_other(&mut cluster);
    let rest = cluster.daemon(other).rest();
    fill(&rest, "c");
    let asked = || {
        let metrics = rest.get("/metrics").text();
        let samples = metrics.lines().filter(|line| line.starts_with("vecgrid_members_asked_total"));
        samples.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = asked();
    rest.get(&entry_path("nowhere", "a")).is_problem(404, "collection_not_found");
    rest.post(&path("nowhere", "search"), &search(0, 1)).is_problem(404, "collection_not_found");
    rest.put(&entry_path("c", "a"), &json!({"vector": [1, 2]})).is_problem(400, "wrong_dimension");
    rest.post(&path("c", "search"), &search(0, 0)).is_problem(400, "invalid_k");
    let bad = json!({"filter": {"a": {"$near": 1}}});
    rest.post(&path("c", "count"), &bad).is_problem(400, "invalid_filter");
    rest.post(&path("c", "delete"), &bad).is_problem(400, "invalid_filter");
    rest.post(&path("c", "scroll"), &json!({"cursor": "%%"})).is_problem(400, "invalid_cursor");
    assert_eq!(asked(), before, "nobody else was asked");
}

/// A search that is to be answered within so many milliseconds.
fn within(rest: &Rest, ms: u64, body: &Value) -> (String, Duration) {
    let body = body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-request-timeout-ms: {ms}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        path("c", "search"),
        body.len()
    );
    let begun = Instant::now();
    (rest.raw(head.as_bytes()).unwrap(), begun.elapsed())
}

fn partial(k: usize) -> Value {
    json!({"vector": vector(0), "k": k, "allow_partial": true})
}

#[test]
fn a_holder_that_does_not_answer_is_told_and_comes_back() {
    let mut cluster = grid();
    cluster.wait_balanced(LIMIT);
    let (holder, other) = holder_and_other(&mut cluster);
    let rest = cluster.daemon(other).rest();
    fill(&rest, "c");
    let id = cluster.view(holder).unwrap().member;
    let table = rest.get("/v1/grid/partitions").ok();
    let held = table["partitions"].as_array().unwrap().iter().filter(|p| p["primary"] == id.as_str());
    let there = PARTITIONS - held.count() as u64;

    // Stopped for a moment, it is not away yet: the deadline counts.
    cluster.pause(holder);
    let (text, took) = within(&rest, 300, &json!({"vector": vector(0), "k": 1}));
    assert!(text.contains("deadline_exceeded") || text.contains("incomplete"), "{text}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (text, took) = within(&rest, 300, &partial(1));
    assert!(text.contains(&format!("\"answered\":{there},")), "{text}");
    assert!(took < Duration::from_millis(400), "{took:?}");
    cluster.resume(holder);
    cluster.wait_one_grid(LIMIT);

    cluster.kill9(holder);
    wait::until("the others see that it is away", LIMIT, || {
        let view = cluster.view(other)?;
        (view.members.iter().filter(|member| member.state == "up").count() == MEMBERS - 1).then_some(())
    });
    let begun = Instant::now();
    let incomplete = rest.post(&path("c", "search"), &search(0, 1));
    incomplete.is_problem(503, "incomplete");
    assert!(incomplete.text().contains(&format!("n{holder} is away")), "{}", incomplete.text());
    assert_eq!(incomplete.header("retry-after"), "1");
    let marked = rest.post(&path("c", "search"), &partial(5)).ok();
    assert_eq!(marked["coverage"], json!({"answered": there, "partitions": PARTITIONS}));
    assert_eq!(hits(&marked).len(), 5, "of those that are there");
    rest.post(&path("c", "count"), &json!({})).is_problem(503, "incomplete");
    rest.post(&path("c", "delete"), &json!({"filter": {"n": ROWS}})).is_problem(503, "incomplete");
    rest.get(&collection_path("c")).is_problem(503, "incomplete");
    let failed = |answer: Answer| {
        answer.is_problem(503, "partition_unavailable");
        assert_eq!(answer.json()["outcome"], "failed", "nothing was sent");
    };
    // One in three is among those that are away.
    let gone =
        |ask: &dyn Fn(usize) -> Answer| (0..ROWS).map(ask).find(|answer| answer.status != 200).unwrap();
    failed(gone(&|n| rest.get(&entry_path("c", &name(n)))));
    failed(gone(&|n| rest.put(&entry_path("c", &name(n)), &json!({"vector": vector(n)}))));
    failed(rest.post(&path("c", "scroll"), &json!({})));
    assert!(begun.elapsed() < Duration::from_secs(5), "who is away is not waited for");

    cluster.relaunch(holder);
    wait::until("the rows are back", LIMIT, || {
        let answer = rest.post(&path("c", "count"), &json!({}));
        (answer.status == 200).then(|| assert_eq!(answer.json()["count"], ROWS))
    });
    rest.put(&entry_path("c", "new"), &json!({"vector": [1, 0, 0]})).ok();
    assert_eq!(count(&rest, "c", None), ROWS as u64 + 1);
    cluster.assert_no_panic();
}

#[test]
fn while_the_holder_restarts_requests_wait_for_it() {
    let mut cluster = grid();
    let (holder, other) = holder_and_other(&mut cluster);
    let rest = cluster.daemon(other).rest();
    fill(&rest, "c");
    cluster.stop(holder);
    cluster.relaunch(holder);
    // Whether it is noticed or not: what is answered is right, and soon everything is answered.
    wait::until("searches are answered again", LIMIT, || {
        let answer = rest.post(&path("c", "search"), &search(9, 1));
        (answer.status == 200).then(|| assert_eq!(hits(&answer.json()), [name(9)]))
    });
    wait::until("writes are taken again", LIMIT, || {
        let answer = rest.put(&entry_path("c", "new"), &json!({"vector": [1, 0, 0]}));
        (answer.status / 100 == 2).then_some(())
    });
    assert_eq!(count(&rest, "c", None), ROWS as u64 + 1);
}

/// Asks a member's door for data, as a stranger does.
async fn strange(address: String, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    let connect = service_fn(move |_| {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"vecgrid\x02").await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://member").connect_with_connector(connect).await.unwrap();
    let mut request = Request::new(peer::SizesRequest::default());
    for (key, value) in headers {
        request.metadata_mut().insert(*key, value.parse().unwrap());
    }
    DataClient::new(channel).sizes(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_told_about_rows() {
    let mut cluster = tokio::task::spawn_blocking(grid).await.unwrap();
    let view = cluster.view(0).unwrap();
    let address = cluster.peer_address(0);
    let refused = |status: Result<(), Status>| {
        let status = status.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let malformed = (Code::FailedPrecondition, "malformed".to_owned());
    assert_eq!(refused(strange(address.clone(), &[]).await), malformed);
    let mut headers = [
        ("vecgrid-protocol", "1"),
        ("vecgrid-grid", "another"),
        ("vecgrid-member", "somebody"),
        ("vecgrid-store", "a disk"),
        ("vecgrid-to", view.member.as_str()),
    ];
    let other_grid = (Code::FailedPrecondition, "other_grid".to_owned());
    assert_eq!(refused(strange(address.clone(), &headers).await), other_grid);
    // Somebody who knows the grid and is not in it.
    headers[1].1 = &view.grid_id;
    assert_eq!(refused(strange(address.clone(), &headers).await).0, Code::Aborted);
    // A member, on another disk.
    let another = view.members.iter().find(|member| member.id != view.member).unwrap();
    headers[2].1 = &another.id;
    let other_store = (Code::FailedPrecondition, "other_store".to_owned());
    assert_eq!(refused(strange(address, &headers).await), other_store);
}
