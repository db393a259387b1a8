//! The gRPC door: `vecgrid.v1.VecGrid`, health and reflection. One file per verb.
//!
//! Each verb decodes (`wire/`), calls the service and encodes; failures become a status with
//! google.rpc details in `api/error.rs`. Unary calls are admitted and timed by the guard; the messages of a
//! stream by `stream.rs`.

mod collections;
mod copies;
mod count;
mod delete;
mod drain;
mod get;
mod grid;
mod health;
mod moves;
mod scroll;
mod search;
mod stream;
mod upsert;
mod verify;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use prost::Message;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use tonic_health::pb::health_server;
use vecgrid_proto::v1::{
    self,
    vec_grid_server::{self, VecGrid, VecGridServer},
};

use super::{
    admission::Class,
    door::Door,
    error::{ApiError, DoorError},
    guard::CallDeadline,
};
use crate::service::RequestContext;

/// Answers of a stream.
type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

const VECGRID: &str = vec_grid_server::SERVICE_NAME;

/// Every method, with what it costs.
const METHODS: [(&str, Class); 19] = [
    ("CreateCollection", Class::Write),
    ("GetCollection", Class::Read),
    ("ListCollections", Class::Read),
    ("DropCollection", Class::Write),
    ("Upsert", Class::Write),
    ("UpsertStream", Class::Stream),
    ("Get", Class::Read),
    ("Delete", Class::Write),
    ("Search", Class::Read),
    ("SearchBatch", Class::Read),
    ("SearchStream", Class::Stream),
    ("SearchUnordered", Class::Stream),
    ("Count", Class::Read),
    ("Scroll", Class::Read),
    ("GridStatus", Class::Read),
    ("Moves", Class::Read),
    ("Drain", Class::Write),
    ("KeepCopies", Class::Write),
    ("Verify", Class::Read),
];

/// Label and cost of a method; `prefix` is `/<service>/`.
pub(super) fn classify(prefix: &str, method: &str) -> Option<(&'static str, Class)> {
    let service = prefix.trim_matches('/');
    if service == VECGRID {
        return METHODS.iter().find(|(name, _)| *name == method).copied();
    }
    let label = if service == health_server::SERVICE_NAME { "Health" } else { "ServerReflection" };
    Some((label, Class::Exempt))
}

/// All gRPC services as routes, without tonic's fallback: it would answer unknown REST paths with
/// HTTP 200, and a merge of two fallbacks panics.
///
/// # Errors
/// Only if the descriptors compiled into this binary were damaged.
pub(super) fn router(door: &Arc<Door>) -> Result<axum::Router, tonic_reflection::server::Error> {
    let limit = door.limits.max_message_bytes;
    // Answers are measured by `sized`, which can say why.
    let verbs = VecGridServer::new(Grpc { door: Arc::clone(door) }).max_decoding_message_size(limit);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(vecgrid_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(verbs)
        .add_service(health_server::HealthServer::new(health::Health::new(Arc::clone(door))))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.into_axum_router().reset_fallback())
}

struct Grpc {
    door: Arc<Door>,
}

/// The context the guard made.
fn context<T>(door: &Door, request: &Request<T>) -> RequestContext {
    deadline(door, request).context()
}

fn deadline<T>(door: &Door, request: &Request<T>) -> CallDeadline {
    request.extensions().get().cloned().unwrap_or_else(|| CallDeadline::default_of(&door.limits))
}

/// An answer within the message limit.
fn sized<M: Message>(door: &Door, answer: M) -> Result<M, ApiError> {
    let limit = door.limits.max_message_bytes;
    if answer.encoded_len() > limit { Err(DoorError::AnswerTooLarge { limit }.into()) } else { Ok(answer) }
}

#[tonic::async_trait]
impl VecGrid for Grpc {
    async fn create_collection(
        &self,
        request: Request<v1::CreateCollectionRequest>,
    ) -> Result<Response<v1::CreateCollectionResponse>, Status> {
        Ok(collections::create(&self.door, request).await?)
    }

    async fn get_collection(
        &self,
        request: Request<v1::GetCollectionRequest>,
    ) -> Result<Response<v1::CollectionInfo>, Status> {
        Ok(collections::get(&self.door, request).await?)
    }

    async fn list_collections(
        &self,
        request: Request<v1::ListCollectionsRequest>,
    ) -> Result<Response<v1::ListCollectionsResponse>, Status> {
        Ok(collections::list(&self.door, request).await?)
    }

    async fn drop_collection(
        &self,
        request: Request<v1::DropCollectionRequest>,
    ) -> Result<Response<v1::DropCollectionResponse>, Status> {
        Ok(collections::drop(&self.door, request).await?)
    }

    async fn upsert(
        &self,
        request: Request<v1::UpsertRequest>,
    ) -> Result<Response<v1::UpsertResponse>, Status> {
        Ok(upsert::unary(&self.door, request).await?)
    }

    type UpsertStreamStream = Answers<v1::UpsertStreamResponse>;

    async fn upsert_stream(
        &self,
        request: Request<Streaming<v1::UpsertRequest>>,
    ) -> Result<Response<Self::UpsertStreamStream>, Status> {
        Ok(Response::new(stream::answers::<upsert::UpsertMessage>(&self.door, request)))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Ok(get::get(&self.door, request).await?)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        Ok(delete::delete(&self.door, request).await?)
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        Ok(search::unary(&self.door, request).await?)
    }

    async fn search_batch(
        &self,
        request: Request<v1::SearchBatchRequest>,
    ) -> Result<Response<v1::SearchBatchResponse>, Status> {
        Ok(search::batch(&self.door, request).await?)
    }

    type SearchStreamStream = Answers<v1::SearchStreamResponse>;

    async fn search_stream(
        &self,
        request: Request<Streaming<v1::SearchRequest>>,
    ) -> Result<Response<Self::SearchStreamStream>, Status> {
        Ok(Response::new(stream::answers::<search::SearchMessage>(&self.door, request)))
    }

    type SearchUnorderedStream = Answers<v1::NumberedAnswer>;

    async fn search_unordered(
        &self,
        request: Request<Streaming<v1::NumberedSearch>>,
    ) -> Result<Response<Self::SearchUnorderedStream>, Status> {
        Ok(Response::new(stream::answers::<search::NumberedSearch>(&self.door, request)))
    }

    async fn count(&self, request: Request<v1::CountRequest>) -> Result<Response<v1::CountResponse>, Status> {
        Ok(count::count(&self.door, request).await?)
    }

    async fn scroll(
        &self,
        request: Request<v1::ScrollRequest>,
    ) -> Result<Response<v1::ScrollResponse>, Status> {
        Ok(scroll::scroll(&self.door, request).await?)
    }

    async fn grid_status(
        &self,
        _: Request<v1::GridStatusRequest>,
    ) -> Result<Response<v1::GridStatusResponse>, Status> {
        Ok(grid::status(&self.door)?)
    }

    async fn moves(&self, request: Request<v1::MovesRequest>) -> Result<Response<v1::MovesResponse>, Status> {
        Ok(moves::moves(&self.door, request).await?)
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        Ok(drain::drain(&self.door, request).await?)
    }

    async fn keep_copies(
        &self,
        request: Request<v1::KeepCopiesRequest>,
    ) -> Result<Response<v1::KeepCopiesResponse>, Status> {
        Ok(copies::keep(&self.door, request).await?)
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        Ok(verify::verify(&self.door, request).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_contract_has_a_label_and_a_cost() {
        let methods = method_names(vecgrid_proto::FILE_DESCRIPTOR_SET);
        assert_eq!(methods.len(), METHODS.len(), "{methods:?}");
        for method in methods {
            assert!(classify("/vecgrid.v1.VecGrid/", &method).is_some(), "{method}");
        }
        assert!(classify("/vecgrid.v1.VecGrid/", "Nonsense").is_none());
        assert_eq!(classify("/grpc.health.v1.Health/", "anything"), Some(("Health", Class::Exempt)));
    }

    /// Names of the service's methods, from as much of descriptor.proto as that needs.
    fn method_names(descriptors: &[u8]) -> Vec<String> {
        #[derive(Clone, PartialEq, Message)]
        struct Set {
            #[prost(message, repeated, tag = "1")]
            file: Vec<File>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct File {
            #[prost(message, repeated, tag = "6")]
            service: Vec<Service>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Service {
            #[prost(message, repeated, tag = "2")]
            method: Vec<Method>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Method {
            #[prost(string, tag = "1")]
            name: String,
        }
        let set = Set::decode(descriptors).unwrap();
        let services = set.file.into_iter().flat_map(|file| file.service);
        services.flat_map(|service| service.method).map(|method| method.name).collect()
    }
}
