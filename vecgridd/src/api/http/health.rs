//! For the platform: alive, ready, numbers. Answered from the moment ports are bound, and never shed.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::problem::Problem;
use crate::api::{
    door::{Door, Readiness},
    error::{ApiError, DoorError},
};

/// 200 unless a restart would help: work threads died.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "livez",
    responses(
        (status = 200, description = "Alive", body = String, content_type = "text/plain"),
        (status = 503, description = "Worker threads died", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn livez(State(door): State<Arc<Door>>) -> Response {
    if door.is_alive() {
        say(StatusCode::OK, "alive\n")
    } else {
        say(StatusCode::SERVICE_UNAVAILABLE, "dead\n")
    }
}

/// 200 while requests should be sent here.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Starting, draining or broken", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn readyz(State(door): State<Arc<Door>>) -> Response {
    match door.readiness() {
        Readiness::Ready => say(StatusCode::OK, "ready\n"),
        Readiness::Starting => say(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Readiness::Draining => say(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Readiness::NotReady => say(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

fn say(status: StatusCode, text: &'static str) -> Response {
    let plain = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let fresh = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, [plain, fresh], text).into_response()
}

/// Numbers for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses(
        (status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Result<Response, ApiError> {
    let scraped = Arc::clone(&door);
    // The snapshot may ask the row store.
    let text = tokio::task::spawn_blocking(move || scraped.metrics.scrape(&*scraped.snapshot)).await;
    let text = text.map_err(|_| DoorError::Panicked)?.map_err(|e| DoorError::Internal(e.to_string()))?;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
