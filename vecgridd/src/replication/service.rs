//! Being told about copies.

use std::{
    collections::HashMap,
    iter,
    sync::{Arc, OnceLock},
};

use futures::{
    StreamExt,
    stream::{self, BoxStream, FuturesUnordered},
};
use tonic::{Request, Response, Status};
use vecgrid_proto::peer::{self as proto, copies_server::Copies};

use super::wire;
use crate::{
    index::{Gift, Registry, are_alike},
    partition::{CopyMessage, Hosts, Question, Verifier},
    types::{CollectionId, PartitionId},
};

/// Answers of one message, if so many are ready.
const ANSWERS: usize = 256;

/// Hands what primaries send to the owners of the copies here.
pub struct CopiesService {
    hosts: Hosts,
    /// Both are there when the rows are.
    verifier: Arc<OnceLock<Verifier>>,
    indexes: Arc<OnceLock<Arc<Registry>>>,
}

impl CopiesService {
    /// Of the copies that are here, now and later.
    pub fn new(
        hosts: Hosts,
        verifier: Arc<OnceLock<Verifier>>,
        indexes: Arc<OnceLock<Arc<Registry>>>,
    ) -> Self {
        Self { hosts, verifier, indexes }
    }
}

/// What became of a message: what the copy has, or nothing when it could not be taken.
async fn take(
    hosts: &Hosts,
    partition: PartitionId,
    message: CopyMessage,
) -> Option<proto::ReplicateResponse> {
    // The table that wants a copy here may not have come yet.
    let owner = hosts.get(partition)?;
    let have = owner.replicate(message).await?;
    Some(wire::response(partition, &have))
}

#[tonic::async_trait]
impl Copies for CopiesService {
    async fn replicate(
        &self,
        request: Request<proto::ReplicateRequest>,
    ) -> Result<Response<proto::ReplicateResponse>, Status> {
        let message = wire::message(request.into_inner());
        let (partition, message) =
            message.ok_or_else(|| Status::aborted("this member does not know such a message"))?;
        let taken = take(&self.hosts, partition, message).await;
        taken.map(Response::new).ok_or_else(|| Status::aborted("the copy is not here, or could not take it"))
    }

    type ReplicateAllStream = BoxStream<'static, Result<proto::ReplicateAllResponse, Status>>;

    async fn replicate_all(
        &self,
        request: Request<proto::ReplicateAllRequest>,
    ) -> Result<Response<Self::ReplicateAllStream>, Status> {
        // One per partition: the last one, as if the others had been lost.
        let messages: HashMap<PartitionId, CopyMessage> =
            request.into_inner().requests.into_iter().filter_map(wire::message).collect();
        // Also of one that could not be taken: it is asked again when that is known, and not at the end of all.
        let one = |(partition, message): (PartitionId, CopyMessage)| {
            let hosts = self.hosts.clone();
            let nothing = proto::ReplicateResponse {
                partition: partition.0.into(),
                ..proto::ReplicateResponse::default()
            };
            async move { take(&hosts, partition, message).await.unwrap_or(nothing) }
        };
        let answers: FuturesUnordered<_> = messages.into_iter().map(one).collect();
        let answers =
            answers.ready_chunks(ANSWERS).map(|responses| Ok(proto::ReplicateAllResponse { responses }));
        Ok(Response::new(answers.boxed()))
    }

    async fn inspect(
        &self,
        request: Request<proto::InspectRequest>,
    ) -> Result<Response<proto::InspectResponse>, Status> {
        let verifier = self.verifier.get().cloned();
        let verifier = verifier.ok_or_else(|| Status::aborted("this member is starting"))?;
        let proto::InspectRequest { partition, question } = request.into_inner();
        let partition = u16::try_from(partition).ok().map(PartitionId);
        let question: Option<Question> = serde_json::from_slice(&question).ok();
        let (Some(partition), Some(question)) = (partition, question) else {
            return Err(Status::aborted("this member does not know such a question"));
        };
        let answer = verifier.answer(partition, question).await;
        let answer = answer.ok_or_else(|| Status::aborted("the copy could not be looked at"))?;
        let answer = serde_json::to_vec(&answer).map_err(|error| Status::aborted(error.to_string()))?;
        Ok(Response::new(proto::InspectResponse { answer: answer.into() }))
    }

    type LinksStream = BoxStream<'static, Result<proto::LinksPart, Status>>;

    async fn links(
        &self,
        request: Request<proto::LinksRequest>,
    ) -> Result<Response<Self::LinksStream>, Status> {
        let indexes = self.indexes.get().ok_or_else(|| Status::aborted("this member is starting"))?;
        let proto::LinksRequest { collection, rows } = request.into_inner();
        let gift = indexes.get(CollectionId(collection)).and_then(|index| Gift::of(index.view()));
        let gift = gift.ok_or_else(|| Status::aborted("this member has no such graph"))?;
        let first = proto::LinksPart { rows: gift.rows(), ..proto::LinksPart::default() };
        let parts = are_alike(rows, gift.rows()).then_some(gift).into_iter().flatten();
        let parts = iter::once(first).chain(parts.map(wire::links_part));
        // A part is a short piece of work; between two of them others have their turn.
        let parts = stream::iter(parts).then(|part| async {
            tokio::task::yield_now().await;
            Ok(part)
        });
        Ok(Response::new(parts.boxed()))
    }
}
