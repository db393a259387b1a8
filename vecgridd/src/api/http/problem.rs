//! RFC 9457, as every failure over REST looks.

use serde::Serialize;
use utoipa::ToSchema;

/// Why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Problem {
    /// `urn:vecgrid:error:<code>`.
    #[serde(rename = "type")]
    pub(in crate::api) kind: String,
    /// Name of the HTTP status.
    pub(in crate::api) title: String,
    /// HTTP status.
    pub(in crate::api) status: u16,
    /// For a person.
    pub(in crate::api) detail: String,
    /// Stable, for programs.
    pub(in crate::api) code: String,
    /// `failed`: nothing happened. `unknown`: it may have happened; retry with the same Idempotency-Key.
    pub(in crate::api) outcome: String,
    /// What is wrong where; at most 20.
    pub(in crate::api) errors: Vec<ProblemPart>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProblemPart {
    /// Stable, for programs.
    pub(in crate::api) code: String,
    /// JSON pointer into the request's body; empty for the whole.
    pub(in crate::api) pointer: String,
    /// For a person.
    pub(in crate::api) message: String,
}
