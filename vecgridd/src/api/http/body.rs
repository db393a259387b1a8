//! Bodies of requests: JSON, or one JSON object per line, within limits, with exact refusals.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tonic::Status;

use crate::api::{
    door::Door,
    error::{ApiError, DoorError},
};

/// A body from this size on is parsed beside the I/O threads: 256 KiB take about a millisecond.
const PARSE_ASIDE: usize = 256 << 10;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    /// One entry per line.
    Ndjson,
}

/// A JSON body; unknown fields are refused by `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<Door>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, door: &Arc<Door>) -> Result<Self, ApiError> {
        let (_, bytes) = read(request, door.limits.max_message_bytes, false).await?;
        Ok(Self(parse(bytes, |bytes| from_json(&bytes)).await?))
    }
}

/// A JSON body whose fields are all optional: no body is an empty object.
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default + Send + 'static> FromRequest<Arc<Door>> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, door: &Arc<Door>) -> Result<Self, ApiError> {
        let (_, bytes) = read(request, door.limits.max_message_bytes, false).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(parse(bytes, |bytes| from_json(&bytes)).await?))
    }
}

/// Runs a parser, on a thread of its own when the body is large.
pub(super) async fn parse<T: Send + 'static>(
    bytes: Bytes,
    parser: impl FnOnce(Bytes) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes.len() < PARSE_ASIDE {
        return parser(bytes);
    }
    tokio::task::spawn_blocking(move || parser(bytes))
        .await
        .unwrap_or_else(|_| Err(DoorError::Panicked.into()))
}

/// Reads the whole body.
pub(super) async fn read(request: Request, limit: usize, lines: bool) -> Result<(Format, Bytes), DoorError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok((Format::Json, Bytes::new()));
    }
    let format = format(&parts.headers, lines)?;
    uncompressed(&parts.headers)?;
    let announced: Option<u64> =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()).and_then(|n| n.parse().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(DoorError::BodyTooLarge { limit });
    }
    Ok((format, collect(body, limit).await?))
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, DoorError> {
    let error = match Limited::new(body, limit).collect().await {
        Ok(collected) => return Ok(collected.to_bytes()),
        Err(error) => error,
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Err(DoorError::BodyTooLarge { limit });
        }
        // The guard's account is the only one that puts a status there.
        if error.is::<Status>() {
            return Err(DoorError::Overloaded("bytes"));
        }
        cause = error.source();
    }
    Err(DoorError::UnreadableBody(error.to_string()))
}

fn format(headers: &HeaderMap, lines: bool) -> Result<Format, DoorError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(Format::Json);
    }
    if lines && essence.eq_ignore_ascii_case("application/x-ndjson") {
        return Ok(Format::Ndjson);
    }
    let given = if given.is_empty() { "(none)" } else { given };
    let wanted = if lines { "application/json or application/x-ndjson" } else { "application/json" };
    Err(DoorError::UnsupportedMediaType { given: given.to_owned(), wanted })
}

fn uncompressed(headers: &HeaderMap) -> Result<(), DoorError> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let given = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(DoorError::UnsupportedEncoding(given));
        }
    }
    Ok(())
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|e| refused(&e, "").into())
}

/// One object per line; empty lines are skipped. Places are told as of a list called `field`.
pub(super) fn from_lines<T: DeserializeOwned>(bytes: &[u8], field: &str) -> Result<Vec<T>, ApiError> {
    let mut items = Vec::new();
    for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let item = serde_json::from_slice(line).map_err(|e| {
            let place = format!("in line {} of the body: ", number + 1);
            ApiError::from(refused(&e, &place)).within(&format!("{field}/{}", items.len()))
        })?;
        items.push(item);
    }
    Ok(items)
}

fn refused(error: &serde_json::Error, place: &str) -> DoorError {
    let text = format!("{place}{error}");
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => DoorError::InvalidJson(text),
        // serde has no other way to tell.
        Category::Data if error.to_string().starts_with("unknown field") => DoorError::UnknownField(text),
        Category::Data => DoorError::InvalidRequest(text),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        k: u32,
    }

    fn request(headers: &[(&str, &str)], body: &'static str) -> Request {
        let mut builder = http::Request::builder();
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::from(body)).unwrap()
    }

    async fn code(
        headers: &[(&str, &str)],
        body: &'static str,
        lines: bool,
    ) -> Result<(Format, Bytes), &'static str> {
        read(request(headers, body), 10, lines).await.map_err(|e| ApiError::from(e).code())
    }

    #[tokio::test]
    async fn what_is_not_json_is_refused_before_it_is_read() {
        let json = ("content-type", "application/json; charset=utf-8");
        assert_eq!(code(&[json], "{}", false).await.unwrap().0, Format::Json);
        assert_eq!(code(&[("content-type", "text/plain")], "{}", false).await, Err("unsupported_media_type"));
        assert_eq!(code(&[], "{}", false).await, Err("unsupported_media_type"));
        assert_eq!(
            code(&[json, ("content-encoding", "gzip")], "{}", false).await,
            Err("unsupported_encoding")
        );
        assert_eq!(code(&[json, ("content-length", "11")], "{}", false).await, Err("body_too_large"));
        assert_eq!(code(&[json], "{\"k\": 1234}", false).await, Err("body_too_large"));
        let lines = ("content-type", "application/x-ndjson");
        assert_eq!(code(&[lines], "{}", true).await.unwrap().0, Format::Ndjson);
        assert_eq!(code(&[lines], "{}", false).await, Err("unsupported_media_type"));
        assert!(code(&[], "", false).await.unwrap().1.is_empty());
    }

    #[test]
    fn each_mistake_has_its_code() {
        let code = |text: &str| from_json::<Shape>(text.as_bytes()).unwrap_err().code();
        assert_eq!(code(""), "invalid_json");
        assert_eq!(code("{\"k\": NaN}"), "invalid_json");
        assert_eq!(code("{\"k\": 1} x"), "invalid_json");
        assert_eq!(code("{\"k\": 1, \"kk\": 2}"), "unknown_field");
        assert_eq!(code("{\"k\": \"1\"}"), "invalid_request");
        assert_eq!(code("{\"k\": 1, \"k\": 2}"), "invalid_request");
        assert_eq!(code("{}"), "invalid_request");
        assert_eq!(from_json::<Shape>(b"{\"k\": 7}").unwrap().k, 7);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let shapes: Vec<Shape> = from_lines(b"{\"k\":1}\r\n\n{\"k\":2}\n", "entries").unwrap();
        assert_eq!(shapes.len(), 2);
        let error = from_lines::<Shape>(b"{\"k\":1}\n\n{\"q\":2}", "entries").unwrap_err();
        assert_eq!(error.code(), "unknown_field");
        assert!(error.message().contains("line 3"), "{}", error.message());
    }
}
