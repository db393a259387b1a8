//! `/openapi.json`: written from the code of the handlers, so it cannot disagree with them.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use utoipa::OpenApi;

use super::{
    collections, copies, count, delete, drain, get, grid, health, moves, scroll, search, upsert, verify,
};
use crate::api::door::Door;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "vecgridd",
        description = "Vector search as a sidecar. Failures are application/problem+json with a stable `code`. \
                       Every route takes `X-Request-Timeout-Ms` and `X-Request-Id`; reads take \
                       `Vecgrid-Consistency: strong`, and `Vecgrid-At-Least` with a token from the answer to \
                       a write.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        collections::create,
        collections::get,
        collections::list,
        collections::drop,
        upsert::put,
        upsert::post,
        get::get,
        delete::one,
        delete::many,
        search::one,
        search::batch,
        count::count,
        scroll::scroll,
        grid::grid,
        grid::members,
        grid::partitions,
        copies::show,
        copies::keep,
        moves::moves,
        drain::start,
        drain::cancel,
        verify::verify,
        health::livez,
        health::readyz,
        health::metrics,
        document_route,
    )
)]
struct Document;

/// The document, as JSON text.
pub fn document() -> String {
    // Serializing plain structs does not fail.
    Document::openapi().to_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn document_route(State(door): State<Arc<Door>>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], door.document.clone()).into_response()
}
