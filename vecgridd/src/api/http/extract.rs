//! What handlers take from a request's head.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, rejection::RawPathParamsRejection};
use http::{HeaderName, request::Parts};

use crate::{
    api::{
        door::Door,
        error::{ApiError, DoorError},
        guard::CallDeadline,
    },
    service::RequestContext,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The context the guard made.
pub(super) struct Context(pub(super) RequestContext);

impl FromRequestParts<Arc<Door>> for Context {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, ApiError> {
        let deadline = parts.extensions.get::<CallDeadline>().cloned();
        Ok(Self(deadline.unwrap_or_else(|| CallDeadline::default_of(&door.limits)).context()))
    }
}

/// `{collection}` of the path, percent-decoded.
pub(super) struct CollectionPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for CollectionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self(param(&params, "collection")?))
    }
}

/// `{collection}` and `{id}` of the path, percent-decoded: any UTF-8, byte for byte.
pub(super) struct EntryPath {
    pub(super) collection: String,
    pub(super) id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for EntryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = params(parts, state).await?;
        Ok(Self { collection: param(&params, "collection")?, id: param(&params, "id")? })
    }
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, ApiError> {
    RawPathParams::from_request_parts(parts, state).await.map_err(|rejection| {
        match rejection {
            // Its text names the parameter, and nothing else of it is public.
            RawPathParamsRejection::InvalidUtf8InPathParam(error) => {
                let part = if error.to_string().contains("`collection`") { "collection" } else { "id" };
                DoorError::InvalidPath(part.to_owned())
            }
            other => DoorError::Internal(other.to_string()),
        }
        .into()
    })
}

fn param(params: &RawPathParams, name: &str) -> Result<String, ApiError> {
    let found = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(|| DoorError::Internal(format!("the route has no {{{name}}}")).into())
}

/// `Idempotency-Key`: the request id of a write.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        let text = value.to_str().map_err(|_| DoorError::InvalidIdempotencyKey)?;
        Ok(Self(Some(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    async fn id(path: &str) -> (StatusCode, Vec<u8>) {
        let echo = get(|path: EntryPath| async move { path.id });
        let router: Router = Router::new().route("/v1/collections/{collection}/entries/{id}", echo);
        let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        (status, axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn any_utf8_id_travels_in_the_path_unchanged() {
        let all = [
            ("a%2Fb", "a/b"),
            ("%00", "\0"),
            ("%0A%0D", "\n\r"),
            ("a+b", "a+b"),
            ("%25", "%"),
            ("%252F", "%2F"),
            ("%2E%2E", ".."),
            ("%E2%9C%93", "✓"),
            ("%F0%9F%A6%80", "🦀"),
            ("a%20b", "a b"),
            ("%3F%23", "?#"),
            ("a:b;c=d,e", "a:b;c=d,e"),
        ];
        for (encoded, want) in all {
            let (status, got) = id(&format!("/v1/collections/c/entries/{encoded}")).await;
            assert_eq!(status, StatusCode::OK, "{encoded}");
            assert_eq!(got, want.as_bytes(), "{encoded}");
        }
    }

    #[tokio::test]
    async fn an_id_that_is_no_utf8_is_refused() {
        let (status, body) = id("/v1/collections/c/entries/%FF").await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &"invalid_id".into()));
        let (status, body) = id("/v1/collections/%FF/entries/a").await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &"invalid_collection_name".into()));
    }
}
