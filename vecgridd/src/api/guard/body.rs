//! Counts the bytes of a request body before they pile up.
//!
//! A body that announces its length pays at once; any other pays frame by frame as it arrives. Both give
//! everything back when the request ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::header;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;

use crate::api::{
    admission::ByteLease,
    door::Door,
    error::{ApiError, DoorError},
};

/// Puts the body on the lease's account. The caller keeps the lease until the request ends.
pub(super) fn account(request: Request, lease: &Arc<ByteLease>, door: &Door) -> Result<Request, DoorError> {
    if let Some(length) = announced(&request) {
        // A body above the message limit is refused by its reader without being read.
        lease.try_take(length.min(door.limits.max_message_bytes))?;
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, body));
    }
    let counted = Counted { body, lease: Arc::clone(lease), metrics: Arc::clone(&door.metrics) };
    Ok(Request::from_parts(parts, Body::new(counted)))
}

fn announced(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

struct Counted {
    body: Body,
    lease: Arc<ByteLease>,
    metrics: Arc<crate::telemetry::Metrics>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    /// tonic finds a `Status` in the chain of causes and answers with it; so does `http/body.rs`.
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame?;
        let length = frame.data_ref().map_or(0, Bytes::len);
        match self.lease.try_take(length) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(error) => {
                self.metrics.request_shed("bytes");
                Poll::Ready(Some(Err(Status::from(ApiError::from(error)).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
