//! gRPC as a generated client sees it, over TCP and over the Unix socket.
//!
//! Over the socket the authority is `localhost`: the path would be refused by HTTP/2.
//! [`send_bytes`] sends any bytes as a message, for requests that no generated client can make.

use std::{path::Path, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use tower::service_fn;
use vecgrid_proto::v1::{self as pb, vec_grid_client::VecGridClient};

use crate::wait;

/// The generated client.
pub type Client = VecGridClient<Channel>;

/// Largest answer that is read.
const ANSWER_LIMIT: usize = 1 << 30;

/// Connects to `host:port`.
pub async fn tcp(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.unwrap_or_else(|e| panic!("{address}: {e}")).tcp_nodelay(true);
    wait::until_async("a gRPC connection over TCP", Duration::from_secs(20), || async {
        endpoint.connect().await.ok()
    })
    .await
}

/// Connects to a Unix socket.
pub async fn socket(path: &Path) -> Channel {
    wait::until_async("a gRPC connection over the socket", Duration::from_secs(20), || async {
        let path = path.to_owned();
        let connect = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await.ok()
    })
    .await
}

/// A client without limits of its own: the daemon's are under test.
pub fn client(channel: Channel) -> Client {
    VecGridClient::new(channel)
        .max_decoding_message_size(ANSWER_LIMIT)
        .max_encoding_message_size(ANSWER_LIMIT)
}

/// A vector as little-endian bytes, the fast way.
pub fn vector(components: &[f32]) -> pb::Vector {
    let data: Vec<u8> = components.iter().flat_map(|x| x.to_le_bytes()).collect();
    pb::Vector { data: data.into(), values: Vec::new() }
}

/// The components of an answer's vector.
pub fn floats(vector: &pb::Vector) -> Vec<f32> {
    vector.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// An entry to upsert.
pub fn entry(id: &str, components: &[f32], metadata: &Value) -> pb::Entry {
    pb::Entry {
        id: id.to_owned(),
        vector: Some(vector(components)),
        metadata_json: metadata.to_string(),
        version: None,
    }
}

/// A collection config with defaults, named and sized.
pub fn config(name: &str, dimension: u32, metric: pb::Metric) -> pb::CollectionConfig {
    pb::CollectionConfig { name: name.to_owned(), dimension, metric: metric.into(), ..Default::default() }
}

/// Creates a collection.
///
/// # Panics
/// When the daemon refuses.
pub async fn create(client: &mut Client, config: pb::CollectionConfig) {
    let request = pb::CreateCollectionRequest { config: Some(config) };
    client.create_collection(request).await.unwrap_or_else(|e| panic!("create: {e:?}"));
}

/// A search for the `k` nearest, with the collection's defaults.
pub fn search(collection: &str, components: &[f32], k: u32) -> pb::SearchRequest {
    pb::SearchRequest {
        collection: collection.to_owned(),
        vector: Some(vector(components)),
        k,
        ..Default::default()
    }
}

/// The stable code of an error; empty when it carries none.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The outcome an error states; empty when it carries none.
pub fn outcome(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.and_then(|mut info| info.metadata.remove("outcome")).unwrap_or_default()
}

/// Sends `message` to a unary method of the service, whatever its bytes are.
///
/// # Errors
/// What the daemon answered.
pub async fn send_bytes(channel: &Channel, method: &str, message: Vec<u8>) -> Result<Bytes, Status> {
    let path = format!("/vecgrid.v1.VecGrid/{method}");
    let path = http::uri::PathAndQuery::try_from(path).map_err(|e| Status::internal(e.to_string()))?;
    let mut client = tonic::client::Grpc::new(channel.clone())
        .max_decoding_message_size(ANSWER_LIMIT)
        .max_encoding_message_size(ANSWER_LIMIT);
    client.ready().await.map_err(|e| Status::unavailable(format!("not sent: {e}")))?;
    let answer = client.unary(Request::new(Bytes::from(message)), path, Raw).await?;
    Ok(answer.into_inner())
}

/// Passes bytes through.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}
