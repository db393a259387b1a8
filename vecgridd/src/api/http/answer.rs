//! Answers in JSON, within the message limit.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    api::{
        door::Door,
        error::{ApiError, DoorError},
    },
    types::Version,
};

pub(super) fn json<T: Serialize>(door: &Door, status: StatusCode, value: &T) -> Result<Response, ApiError> {
    let limit = door.limits.max_message_bytes;
    let body = serde_json::to_vec(value).map_err(|e| DoorError::Internal(e.to_string()))?;
    if body.len() > limit {
        return Err(DoorError::AnswerTooLarge { limit }.into());
    }
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((status, [content_type], body).into_response())
}

/// Adds `ETag: "<epoch>-<sequence>"`.
pub(super) fn tagged(mut response: Response, version: Version) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
