//! `bench floor`: what the transport alone costs, to compare `bench daemon` with.
//!
//! hyper's HTTP/2 server on a Unix socket, in threads of its own, answers every search with the
//! same bytes. It reads the request and decodes nothing, so what is measured is the client, the
//! socket, HTTP/2 and the machine's wake-ups. One in flight is bounded by the latter: on an idle
//! virtual machine each may take as long as the rest together.

use std::{convert::Infallible, path::PathBuf, thread, time::Instant};

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use clap::Args;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use prost::Message;
use tokio::{net::UnixListener, runtime, task::JoinSet};
use vecgrid_proto::v1 as pb;

use super::report::summary;
use crate::{grpc, load};

/// Options of `bench floor`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Components of the query
    #[arg(long, default_value_t = 384)]
    pub dimension: usize,
    /// Hits in the answer
    #[arg(long, default_value_t = 10)]
    pub k: u32,
    /// Calls in flight, one run for each
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    pub concurrency: Vec<usize>,
    /// Calls per run
    #[arg(long, default_value_t = 20_000)]
    pub calls: usize,
}

/// Measures every concurrency.
///
/// # Errors
/// When the socket cannot be made, or a call fails.
pub fn run(options: &Options) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("s");
    let listener = {
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        listener
    };
    let answer = answer(options.k);
    // Ends with the process.
    thread::spawn(move || serve(listener, &answer));
    println!("{:>5}{:>10}{:>10}{:>10}", "conc", "qps", "p50_us", "p99_us");
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(options, socket))
}

async fn measure(options: &Options, socket: PathBuf) -> Result<()> {
    let client = grpc::client(grpc::socket(&socket).await);
    let search = grpc::search("floor", &vec![0.5; options.dimension], options.k);
    for &concurrency in &options.concurrency {
        let searches = |count| vec![search.clone(); count];
        load::search_all(&client, searches(options.calls / 20), concurrency).await?;
        let searches = searches(options.calls);
        let begun = Instant::now();
        let answers = load::search_all(&client, searches, concurrency).await?;
        let took = begun.elapsed();
        let mut times: Vec<_> = answers.into_iter().map(|(_, time)| time).collect();
        let (qps, p50_us, p99_us) = summary(&mut times, took);
        println!("{concurrency:>5}{qps:>10.0}{p50_us:>10.1}{p99_us:>10.1}");
    }
    Ok(())
}

/// As large as the daemon's answer, framed for gRPC.
fn answer(k: u32) -> Bytes {
    let hit = |n: u32| pb::Hit { id: format!("{:05}", n * 7), distance: 0.5, ..Default::default() };
    let message = pb::SearchResponse {
        hits: (0..k).map(hit).collect(),
        coverage: Some(pb::Coverage { answered: 271, partitions: 271 }),
        took_us: 100,
        explain: None,
    };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    frame.put(&*message.encode_to_vec());
    frame.freeze()
}

fn serve(listener: std::os::unix::net::UnixListener, answer: &Bytes) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("no runtime: {e}"));
    // On a worker, as the daemon's connections are: the calling thread is none.
    let answer = answer.clone();
    let accepting = async move {
        let listener = UnixListener::from_std(listener).unwrap_or_else(|e| panic!("the socket: {e}"));
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request| respond(request, answer.clone()));
            connections.spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                server.serve_connection(TokioIo::new(stream), service).await.is_ok()
            });
        }
    };
    runtime.block_on(accepting);
}

async fn respond(
    request: Request<hyper::body::Incoming>,
    answer: Bytes,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + Send>, hyper::Error> {
    request.into_body().collect().await?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(answer).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
