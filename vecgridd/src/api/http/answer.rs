//! Answers in JSON, within the message limit.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    api::{
        door::Door,
        error::{ApiError, DoorError},
    },
    types::{Token, Version},
};

const TOKEN: HeaderName = HeaderName::from_static("vecgrid-token");

pub(super) fn json<T: Serialize>(door: &Door, status: StatusCode, value: &T) -> Result<Response, ApiError> {
    let limit = door.limits.max_message_bytes;
    let body = serde_json::to_vec(value).map_err(|e| DoorError::Internal(e.to_string()))?;
    if body.len() > limit {
        return Err(DoorError::AnswerTooLarge { limit }.into());
    }
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((status, [content_type], body).into_response())
}

/// Adds `Vecgrid-Token: …`, of a write.
pub(super) fn tokened(mut response: Response, token: &Token) -> Response {
    if let Ok(text) = HeaderValue::from_str(&token.to_string()) {
        response.headers_mut().insert(TOKEN, text);
    }
    response
}

/// Adds `ETag: "<epoch>-<sequence>"`.
pub(super) fn tagged(mut response: Response, version: Version) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
