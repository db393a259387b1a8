//! Search over gRPC: one, a batch, or a stream of them.

use std::time::Duration;

use tonic::{Request, Response};
use vecgrid_proto::v1;

use super::stream::{Order, Verb};
use crate::{
    api::{admission::Class, door::Door, error::ApiError},
    service::RequestContext,
    wire,
};

pub(super) async fn unary(
    door: &Door,
    request: Request<v1::SearchRequest>,
) -> Result<Response<v1::SearchResponse>, ApiError> {
    let ctx = super::context(door, &request);
    Ok(Response::new(search(door, &ctx, request.into_inner()).await?))
}

pub(super) async fn batch(
    door: &Door,
    request: Request<v1::SearchBatchRequest>,
) -> Result<Response<v1::SearchBatchResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let searches = wire::search::drafts(request.into_inner())?;
    let answers = door.service()?.search_batch(&ctx, searches).await?;
    Ok(Response::new(super::sized(door, wire::search::answers(&answers))?))
}

async fn search(
    door: &Door,
    ctx: &RequestContext,
    request: v1::SearchRequest,
) -> Result<v1::SearchResponse, ApiError> {
    let (collection, query) = wire::search::draft(request)?;
    let answer = door.service()?.search(ctx, &collection, query).await?;
    super::sized(door, wire::search::answer(&answer))
}

/// One message of `SearchStream`.
pub(super) struct SearchMessage;

impl Verb for SearchMessage {
    type Request = v1::SearchRequest;
    type Response = v1::SearchResponse;
    type Answer = v1::SearchStreamResponse;
    type Tag = ();
    const LABEL: &'static str = "SearchStream";
    const CLASS: Class = Class::Read;
    const ORDER: Order = Order::Kept;

    fn tag(_: &Self::Request) -> Self::Tag {}

    async fn run(
        door: &Door,
        ctx: &RequestContext,
        request: Self::Request,
    ) -> Result<Self::Response, ApiError> {
        search(door, ctx, request).await
    }

    fn answer((): Self::Tag, outcome: Result<Self::Response, v1::Failure>) -> Self::Answer {
        match outcome {
            Ok(response) => v1::SearchStreamResponse { response: Some(response), failure: None },
            Err(failure) => v1::SearchStreamResponse { response: None, failure: Some(failure) },
        }
    }
}

/// One message of `SearchUnordered`.
pub(super) struct NumberedSearch;

impl Verb for NumberedSearch {
    type Request = v1::NumberedSearch;
    type Response = v1::SearchResponse;
    type Answer = v1::NumberedAnswer;
    type Tag = u64;
    const LABEL: &'static str = "SearchUnordered";
    const CLASS: Class = Class::Read;
    const ORDER: Order = Order::Any;

    fn tag(request: &Self::Request) -> Self::Tag {
        request.number
    }

    fn timeout(request: &Self::Request) -> Option<Duration> {
        (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms.into()))
    }

    async fn run(
        door: &Door,
        ctx: &RequestContext,
        request: Self::Request,
    ) -> Result<Self::Response, ApiError> {
        search(door, ctx, request.search.unwrap_or_default()).await
    }

    fn answer(number: Self::Tag, outcome: Result<Self::Response, v1::Failure>) -> Self::Answer {
        match outcome {
            Ok(response) => v1::NumberedAnswer { number, response: Some(response), failure: None },
            Err(failure) => v1::NumberedAnswer { number, response: None, failure: Some(failure) },
        }
    }
}
