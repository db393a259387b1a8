//! A daemon in memory that speaks `vecgrid.v1` and fails on command: tests of the client need no
//! real one, and a real one does not fail when asked.

// Each test file uses a part of it; outside of test functions clippy does not see that this is a test.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Notify,
    task::JoinSet,
};
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};
use tonic_types::{ErrorDetails, StatusExt};
use vecgrid_client::Client;
use vecgrid_proto::v1::{self as pb, vec_grid_server::*};

/// What the daemon does with the next write instead of storing it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trick {
    /// Refuses it: nothing happened, come back.
    Overloaded,
    /// Stores it and then breaks the connection or the stream.
    StoreAndBreak,
    /// Stores it and never answers.
    StoreAndHang,
    /// The disk failed.
    ReadOnly,
}

#[derive(Debug, Default)]
pub struct State {
    /// In the order of the first write of each id.
    pub entries: BTreeMap<String, pb::Entry>,
    /// Request ids that took effect.
    pub applied: Vec<String>,
    /// Every write that arrived: request id and number of entries.
    pub arrived: Vec<(String, usize)>,
    pub tricks: VecDeque<Option<Trick>>,
    /// `:authority` and `grpc-timeout` of each unary call.
    pub calls: Vec<(String, Option<String>)>,
    pub most_in_flight: usize,
    /// Streams of searches without an order that were asked for.
    pub streams: usize,
    /// So many of the next searches over such streams break them.
    pub breaks: usize,
    /// So many of the next searches over such streams are refused: come back.
    pub overloads: usize,
    /// An older daemon, which knows no such streams.
    pub old: bool,
    /// Lets searches with [`HELD`] go.
    pub release: Arc<Notify>,
}

/// The filter of a search without an order that is not answered before it is released.
pub const HELD: &str = "\"held\"";

#[derive(Debug, Clone, Default)]
pub struct Daemon(Arc<Mutex<State>>);

impl Daemon {
    pub fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn play(&self, tricks: impl IntoIterator<Item = Option<Trick>>) {
        self.state(|state| state.tricks.extend(tricks));
    }

    /// Serves on a port until the set is dropped; gives the endpoint.
    pub async fn serve_tcp(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = self.routes();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, routes.clone()));
            }
        });
        format!("http://{address}")
    }

    pub async fn serve_unix(&self, path: &Path, tasks: &mut JoinSet<()>) -> String {
        let listener = UnixListener::bind(path).unwrap();
        let routes = self.routes();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, routes.clone()));
            }
        });
        format!("unix:{}", path.display())
    }

    fn routes(&self) -> Routes {
        Routes::new(VecGridServer::new(self.clone()).max_decoding_message_size(64 << 20))
    }

    fn note<T>(&self, request: &Request<T>) {
        let timeout = request.metadata().get("grpc-timeout").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let authority = request.extensions().get::<Authority>().map(|a| a.0.clone()).unwrap_or_default();
        self.state(|state| state.calls.push((authority, timeout)));
    }

    fn store(&self, request: pb::UpsertRequest) -> Result<pb::UpsertResponse, Status> {
        self.state(|state| {
            let count = request.entries.len() as u64;
            state.arrived.push((request.request_id.clone(), request.entries.len()));
            if request.collection != "c" {
                return Err(refusal(Code::NotFound, "collection_not_found", "failed"));
            }
            if let Some(bad) = request.entries.iter().find(|entry| entry.id.starts_with("bad")) {
                return Err(refusal(Code::InvalidArgument, "invalid_vector", "failed").with_text(&bad.id));
            }
            let trick = state.tricks.pop_front().flatten();
            match trick {
                Some(Trick::Overloaded) => {
                    return Err(refusal(Code::ResourceExhausted, "overloaded", "failed"));
                }
                Some(Trick::ReadOnly) => {
                    return Err(refusal(Code::Unavailable, "storage_read_only", "unknown"));
                }
                _ => {}
            }
            if !state.applied.contains(&request.request_id) {
                state.applied.push(request.request_id);
                for entry in request.entries {
                    state.entries.insert(entry.id.clone(), entry);
                }
            }
            match trick {
                Some(Trick::StoreAndBreak) => Err(Status::unavailable("broken")),
                Some(Trick::StoreAndHang) => Err(Status::aborted("hang")),
                _ => Ok(pb::UpsertResponse { upserted: count, ..pb::UpsertResponse::default() }),
            }
        })
    }
}

trait WithText {
    fn with_text(self, text: &str) -> Self;
}

impl WithText for Status {
    fn with_text(self, text: &str) -> Self {
        let details = self.get_error_details();
        Status::with_error_details(self.code(), text, details)
    }
}

fn refusal(code: Code, reason: &str, outcome: &str) -> Status {
    let metadata = [("outcome".to_owned(), outcome.to_owned())];
    let mut details = ErrorDetails::with_error_info(reason, "vecgrid", metadata);
    if reason == "overloaded" {
        details.set_retry_info(Some(Duration::from_millis(20)));
    }
    Status::with_error_details(code, reason, details)
}

fn failure(status: &Status) -> pb::Failure {
    let info = status.get_details_error_info().unwrap();
    let outcome = info.metadata.get("outcome").cloned().unwrap_or_default();
    pb::Failure {
        code: info.reason,
        message: status.message().to_owned(),
        outcome,
        status: status.code() as u32,
        retry_after_ms: status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .map_or(0, |wait| wait.as_millis() as u32),
        ..pb::Failure::default()
    }
}

#[derive(Debug, Clone)]
struct Authority(String);

async fn serve<I>(io: I, routes: Routes)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = tower::service_fn(move |mut request: http::Request<_>| {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        request.extensions_mut().insert(Authority(authority));
        tower::ServiceExt::oneshot(routes.clone(), request)
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
        .await;
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl VecGrid for Daemon {
    async fn create_collection(
        &self,
        request: Request<pb::CreateCollectionRequest>,
    ) -> Result<Response<pb::CreateCollectionResponse>, Status> {
        let config = request.into_inner().config;
        Ok(Response::new(pb::CreateCollectionResponse { config, created: true }))
    }

    async fn get_collection(
        &self,
        _: Request<pb::GetCollectionRequest>,
    ) -> Result<Response<pb::CollectionInfo>, Status> {
        let config =
            pb::CollectionConfig { name: "c".into(), dimension: 2, ..pb::CollectionConfig::default() };
        let count = self.state(|state| state.entries.len() as u64);
        Ok(Response::new(pb::CollectionInfo { config: Some(config), count, ..pb::CollectionInfo::default() }))
    }

    async fn list_collections(
        &self,
        _: Request<pb::ListCollectionsRequest>,
    ) -> Result<Response<pb::ListCollectionsResponse>, Status> {
        Ok(Response::new(pb::ListCollectionsResponse::default()))
    }

    async fn drop_collection(
        &self,
        _: Request<pb::DropCollectionRequest>,
    ) -> Result<Response<pb::DropCollectionResponse>, Status> {
        Ok(Response::new(pb::DropCollectionResponse { dropped: false }))
    }

    async fn upsert(
        &self,
        request: Request<pb::UpsertRequest>,
    ) -> Result<Response<pb::UpsertResponse>, Status> {
        self.note(&request);
        match self.store(request.into_inner()) {
            Err(status) if status.code() == Code::Aborted => std::future::pending().await,
            answer => answer.map(Response::new),
        }
    }

    type UpsertStreamStream = Answers<pb::UpsertStreamResponse>;

    async fn upsert_stream(
        &self,
        request: Request<Streaming<pb::UpsertRequest>>,
    ) -> Result<Response<Self::UpsertStreamStream>, Status> {
        let daemon = self.clone();
        let answers = request.into_inner().then(move |request| {
            let daemon = daemon.clone();
            async move {
                let request = request?;
                // Gives the client a chance to send more than it should.
                tokio::time::sleep(Duration::from_millis(2)).await;
                match daemon.store(request) {
                    Ok(response) => Ok(pb::UpsertStreamResponse { response: Some(response), failure: None }),
                    Err(status) if status.message() == "broken" => Err(status),
                    Err(status) if status.code() == Code::Aborted => std::future::pending().await,
                    Err(status) => {
                        Ok(pb::UpsertStreamResponse { response: None, failure: Some(failure(&status)) })
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        self.note(&request);
        let entry = self.state(|state| state.entries.get(&request.get_ref().id).cloned());
        match entry {
            Some(entry) => Ok(Response::new(pb::GetResponse { entry: Some(entry) })),
            None => Err(refusal(Code::NotFound, "entry_not_found", "failed")),
        }
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let ids = request.into_inner().ids;
        let deleted =
            self.state(|state| ids.iter().filter(|id| state.entries.remove(*id).is_some()).count() as u64);
        Ok(Response::new(pb::DeleteResponse { deleted, token: String::new() }))
    }

    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchResponse>, Status> {
        self.note(&request);
        answer(&request.into_inner()).map(Response::new)
    }

    async fn search_batch(
        &self,
        request: Request<pb::SearchBatchRequest>,
    ) -> Result<Response<pb::SearchBatchResponse>, Status> {
        let results = request.get_ref().searches.iter().map(answer).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::SearchBatchResponse { results }))
    }

    type SearchStreamStream = Answers<pb::SearchStreamResponse>;

    async fn search_stream(
        &self,
        request: Request<Streaming<pb::SearchRequest>>,
    ) -> Result<Response<Self::SearchStreamStream>, Status> {
        let answers = request.into_inner().map(|request| {
            Ok(match answer(&request?) {
                Ok(response) => pb::SearchStreamResponse { response: Some(response), failure: None },
                Err(status) => pb::SearchStreamResponse { response: None, failure: Some(failure(&status)) },
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type SearchUnorderedStream = Answers<pb::NumberedAnswer>;

    async fn search_unordered(
        &self,
        request: Request<Streaming<pb::NumberedSearch>>,
    ) -> Result<Response<Self::SearchUnorderedStream>, Status> {
        self.state(|state| state.streams += 1);
        if self.state(|state| state.old) {
            return Err(refusal(Code::Unimplemented, "unimplemented", "failed"));
        }
        let daemon = self.clone();
        let answers = request.into_inner().map(move |request| {
            let daemon = daemon.clone();
            async move {
                let request = request?;
                let search = request.search.unwrap_or_default();
                let (breaks, overloaded, release) = daemon.state(|state| {
                    let (breaks, overloaded) = (state.breaks > 0, state.overloads > 0);
                    state.breaks = state.breaks.saturating_sub(1);
                    state.overloads = state.overloads.saturating_sub(1);
                    (breaks, overloaded, Arc::clone(&state.release))
                });
                if breaks {
                    return Err(Status::unavailable("broken"));
                }
                if search.filter_json == HELD {
                    release.notified().await;
                }
                let number = request.number;
                let answer = if overloaded {
                    Err(refusal(Code::ResourceExhausted, "overloaded", "failed"))
                } else {
                    answer(&search)
                };
                Ok(match answer {
                    Ok(response) => pb::NumberedAnswer { number, response: Some(response), failure: None },
                    Err(status) => {
                        pb::NumberedAnswer { number, response: None, failure: Some(failure(&status)) }
                    }
                })
            }
        });
        Ok(Response::new(Box::pin(answers.buffer_unordered(64))))
    }

    async fn count(&self, _: Request<pb::CountRequest>) -> Result<Response<pb::CountResponse>, Status> {
        Ok(Response::new(pb::CountResponse { count: self.state(|state| state.entries.len() as u64) }))
    }

    async fn scroll(
        &self,
        request: Request<pb::ScrollRequest>,
    ) -> Result<Response<pb::ScrollResponse>, Status> {
        let request = request.into_inner();
        if request.limit > 100 {
            return Err(refusal(Code::ResourceExhausted, "answer_too_large", "failed"));
        }
        let mut entries: Vec<pb::Entry> =
            self.state(|state| state.entries.values().filter(|e| e.id > request.cursor).cloned().collect());
        let more = entries.len() > request.limit as usize;
        entries.truncate(request.limit as usize);
        let cursor =
            if more { entries.last().map(|e| e.id.clone()).unwrap_or_default() } else { String::new() };
        Ok(Response::new(pb::ScrollResponse { entries, cursor }))
    }

    async fn moves(&self, _: Request<pb::MovesRequest>) -> Result<Response<pb::MovesResponse>, Status> {
        Err(Status::unimplemented("moves"))
    }

    async fn drain(&self, _: Request<pb::DrainRequest>) -> Result<Response<pb::DrainResponse>, Status> {
        Err(Status::unimplemented("drain"))
    }

    async fn keep_copies(
        &self,
        _: Request<pb::KeepCopiesRequest>,
    ) -> Result<Response<pb::KeepCopiesResponse>, Status> {
        Err(Status::unimplemented("keep_copies"))
    }

    async fn verify(&self, _: Request<pb::VerifyRequest>) -> Result<Response<pb::VerifyResponse>, Status> {
        Err(Status::unimplemented("verify"))
    }

    async fn grid_status(
        &self,
        _: Request<pb::GridStatusRequest>,
    ) -> Result<Response<pb::GridStatusResponse>, Status> {
        Ok(Response::new(pb::GridStatusResponse { grid: "g".into(), ..pb::GridStatusResponse::default() }))
    }
}

/// As many hits as asked for; k = 0 is refused.
fn answer(search: &pb::SearchRequest) -> Result<pb::SearchResponse, Status> {
    if search.k == 0 {
        return Err(refusal(Code::InvalidArgument, "invalid_k", "failed"));
    }
    let metadata_json = if search.include_metadata { "{\"a\":1}".to_owned() } else { String::new() };
    let hit =
        |i: u32| pb::Hit { id: i.to_string(), metadata_json: metadata_json.clone(), ..pb::Hit::default() };
    Ok(pb::SearchResponse { hits: (0..search.k).map(hit).collect(), ..pb::SearchResponse::default() })
}

/// A daemon and a client of it.
pub async fn start() -> (Daemon, Client, JoinSet<()>) {
    let (daemon, mut tasks) = (Daemon::default(), JoinSet::new());
    let endpoint = daemon.serve_tcp(&mut tasks).await;
    let client = Client::connect(endpoint).await.unwrap();
    (daemon, client, tasks)
}
