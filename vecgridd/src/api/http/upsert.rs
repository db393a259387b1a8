//! Upsert over REST: one entry by its path, or a batch.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    answer,
    body::{self, Format, JsonBody},
    entry::{EntryContent, EntryInput},
    extract::{CollectionPath, Context, EntryPath, IdempotencyKey},
    problem::Problem,
};
use crate::{
    api::{
        door::Door,
        error::{ApiError, DoorError},
    },
    service::{EntryDraft, EntryFailure},
};

/// What was stored.
#[derive(Debug, Serialize, ToSchema)]
struct StoredBody<'a> {
    id: &'a str,
    /// `<epoch>-<sequence>` of the write.
    version: String,
}

/// A batch: 1 to 10,000 entries; of equal ids the last one wins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntriesInput {
    entries: Vec<EntryInput>,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
struct UpsertedBody {
    /// Distinct ids stored.
    upserted: u64,
    /// Entries whose partition did not take them.
    errors: Vec<EntryFailureBody>,
}

/// An entry that was not stored.
#[derive(Debug, Serialize, ToSchema)]
struct EntryFailureBody {
    /// Place in the batch.
    index: usize,
    id: String,
    code: String,
    message: String,
    /// `failed` or `unknown`.
    outcome: String,
}

impl From<&EntryFailure> for EntryFailureBody {
    fn from(failure: &EntryFailure) -> Self {
        Self {
            index: failure.index,
            id: failure.id.clone(),
            code: failure.error.code().to_owned(),
            message: failure.error.to_string(),
            outcome: failure.error.outcome().as_str().to_owned(),
        }
    }
}

/// Inserts or replaces one entry. Answered = durable and searchable.
#[utoipa::path(
    put, path = "/v1/collections/{collection}/entries/{id}", tag = "entries", operation_id = "put_entry",
    params(
        ("collection" = String, Path, description = "Name of the collection"),
        ("id" = String, Path, description = "Any non-empty UTF-8, percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry harmless; at most 64 characters"),
    ),
    request_body = EntryContent,
    responses(
        (status = 200, description = "Stored", body = StoredBody, headers(("ETag" = String, description = "The version"), ("Vecgrid-Token" = String, description = "For another app: a read with it as `Vecgrid-At-Least` shows this write, whichever member it asks"))),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    EntryPath { collection, id }: EntryPath,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(content): JsonBody<EntryContent>,
) -> Result<Response, ApiError> {
    let entries = vec![content.draft(id.clone())];
    let stored = door.service()?.upsert(&ctx, &collection, entries, key).await;
    // The service speaks of a list with one entry; this body is that entry.
    let stored = stored.map_err(|error| ApiError::from(error).unwrapped("entries/0"))?;
    if let Some(failure) = stored.errors.into_iter().next() {
        return Err(failure.error.into());
    }
    let Some(version) = stored.versions.into_iter().next().flatten() else {
        return Err(DoorError::Internal("a stored entry has no version".to_owned()).into());
    };
    let body = StoredBody { id: &id, version: version.to_string() };
    let answer = answer::tokened(answer::json(&door, StatusCode::OK, &body)?, &stored.token);
    Ok(answer::tagged(answer, version))
}

/// Inserts or replaces a batch: all entries are checked before any is stored.
#[utoipa::path(
    post, path = "/v1/collections/{collection}/entries", tag = "entries", operation_id = "upsert_entries",
    params(
        ("collection" = String, Path, description = "Name of the collection"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry harmless; at most 64 characters"),
    ),
    request_body(content((EntriesInput = "application/json"), (EntryInput = "application/x-ndjson"))),
    responses(
        (status = 200, description = "Stored, but for `errors`", body = UpsertedBody, headers(("Vecgrid-Token" = String, description = "For another app: a read with it as `Vecgrid-At-Least` shows this write, whichever member it asks"))),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn post(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(collection): CollectionPath,
    IdempotencyKey(key): IdempotencyKey,
    request: Request,
) -> Result<Response, ApiError> {
    let (format, bytes) = body::read(request, door.limits.max_message_bytes, true).await?;
    let entries = body::parse(bytes, move |bytes| drafts(format, &bytes)).await?;
    let stored = door.service()?.upsert(&ctx, &collection, entries, key).await?;
    let body = UpsertedBody {
        upserted: stored.upserted,
        errors: stored.errors.iter().map(EntryFailureBody::from).collect(),
    };
    Ok(answer::tokened(answer::json(&door, StatusCode::OK, &body)?, &stored.token))
}

fn drafts(format: Format, bytes: &[u8]) -> Result<Vec<EntryDraft>, ApiError> {
    let entries = match format {
        Format::Json => body::from_json::<EntriesInput>(bytes)?.entries,
        Format::Ndjson => body::from_lines::<EntryInput>(bytes, "entries")?,
    };
    Ok(entries.into_iter().map(EntryInput::draft).collect())
}
