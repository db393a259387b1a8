//! Delete over REST: one entry by its path, or many by ids or filter.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    answer,
    body::JsonBody,
    extract::{CollectionPath, Context, EntryPath, IdempotencyKey},
    problem::Problem,
};
use crate::{
    api::{door::Door, error::ApiError},
    service::{DeleteDraft, FilterDraft},
    types::Invalid,
};

/// Whether the entry existed.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedBody {
    deleted: bool,
}

/// Which entries go: exactly one of the two fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteInput {
    /// 1 to 10,000 ids; missing ones are not an error.
    #[serde(default)]
    ids: Option<Vec<String>>,
    /// Every entry that matches.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
}

impl DeleteInput {
    fn draft(self) -> Result<DeleteDraft, Invalid> {
        match (self.ids, self.filter) {
            (Some(ids), None) => Ok(DeleteDraft::Ids(ids)),
            (None, Some(filter)) => Ok(DeleteDraft::Filter(FilterDraft::Value(filter))),
            (None, None) => Err(Invalid::new("invalid_delete", "", "one of `ids` and `filter` is required")),
            (Some(_), Some(_)) => {
                Err(Invalid::new("invalid_delete", "", "give either `ids` or `filter`, not both"))
            }
        }
    }
}

/// How many entries existed and are gone.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedCountBody {
    deleted: u64,
}

/// Deletes one entry. Deleting what is not there answers false.
#[utoipa::path(
    delete, path = "/v1/collections/{collection}/entries/{id}", tag = "entries", operation_id = "delete_entry",
    params(
        ("collection" = String, Path, description = "Name of the collection"),
        ("id" = String, Path, description = "Id of the entry, percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry harmless; at most 64 characters"),
    ),
    responses(
        (status = 200, description = "There is no such entry now", body = DeletedBody, headers(("Vecgrid-Token" = String, description = "For another app: a read with it as `Vecgrid-At-Least` shows this write, whichever member it asks"))),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    EntryPath { collection, id }: EntryPath,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Response, ApiError> {
    let deleted = door.service()?.delete(&ctx, &collection, DeleteDraft::Ids(vec![id]), key).await;
    let done = deleted.map_err(|error| ApiError::from(error).unwrapped("ids/0"))?;
    let body = answer::json(&door, StatusCode::OK, &DeletedBody { deleted: done.deleted > 0 })?;
    Ok(answer::tokened(body, &done.token))
}

/// Deletes entries by ids, or by filter.
#[utoipa::path(
    post, path = "/v1/collections/{collection}/delete", tag = "entries", operation_id = "delete_entries",
    params(
        ("collection" = String, Path, description = "Name of the collection"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry harmless; at most 64 characters"),
    ),
    request_body = DeleteInput,
    responses(
        (status = 200, description = "Deleted", body = DeletedCountBody, headers(("Vecgrid-Token" = String, description = "For another app: a read with it as `Vecgrid-At-Least` shows this write, whichever member it asks"))),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn many(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(collection): CollectionPath,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(input): JsonBody<DeleteInput>,
) -> Result<Response, ApiError> {
    let done = door.service()?.delete(&ctx, &collection, input.draft()?, key).await?;
    let body = answer::json(&door, StatusCode::OK, &DeletedCountBody { deleted: done.deleted })?;
    Ok(answer::tokened(body, &done.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_must_not_guess() {
        let draft = |text: &str| serde_json::from_str::<DeleteInput>(text).unwrap().draft();
        assert!(matches!(draft(r#"{"ids":["a"]}"#), Ok(DeleteDraft::Ids(_))));
        assert!(matches!(draft(r#"{"filter":{}}"#), Ok(DeleteDraft::Filter(_))));
        for text in ["{}", r#"{"ids":["a"],"filter":{}}"#, r#"{"filter":null}"#] {
            assert_eq!(draft(text).unwrap_err().code, "invalid_delete", "{text}");
        }
    }
}
