//! Upsert over gRPC: one request, or a stream of them.

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
    request: Request<v1::UpsertRequest>,
) -> Result<Response<v1::UpsertResponse>, ApiError> {
    let ctx = super::context(door, &request);
    Ok(Response::new(upsert(door, &ctx, request.into_inner()).await?))
}

async fn upsert(
    door: &Door,
    ctx: &RequestContext,
    request: v1::UpsertRequest,
) -> Result<v1::UpsertResponse, ApiError> {
    let draft = wire::upsert::draft(request)?;
    let answer = door.service()?.upsert(ctx, &draft.collection, draft.entries, draft.request_id).await?;
    Ok(wire::upsert::answer(&answer))
}

/// One message of `UpsertStream`.
pub(super) struct UpsertMessage;

impl Verb for UpsertMessage {
    type Request = v1::UpsertRequest;
    type Response = v1::UpsertResponse;
    type Answer = v1::UpsertStreamResponse;
    type Tag = ();
    const LABEL: &'static str = "UpsertStream";
    const CLASS: Class = Class::Write;
    const ORDER: Order = Order::Kept;

    fn tag(_: &Self::Request) -> Self::Tag {}

    async fn run(
        door: &Door,
        ctx: &RequestContext,
        request: Self::Request,
    ) -> Result<Self::Response, ApiError> {
        upsert(door, ctx, request).await
    }

    fn answer((): Self::Tag, outcome: Result<Self::Response, v1::Failure>) -> Self::Answer {
        match outcome {
            Ok(response) => v1::UpsertStreamResponse { response: Some(response), failure: None },
            Err(failure) => v1::UpsertStreamResponse { response: None, failure: Some(failure) },
        }
    }
}
