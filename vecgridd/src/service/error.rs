//! How a verb can fail, and what the caller may conclude.
//!
//! One closed list for all verbs. Each error has a stable code, a kind (which the doors map to an
//! HTTP status or a gRPC code in `api/error.rs`) and an outcome: *failed* means that nothing
//! happened, *unknown* that it may have happened, so a retry needs the same request id.

use std::time::Duration;

use crate::types::{CollectionName, Invalid};

/// What a caller may conclude from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing happened and nothing will.
    Failed,
    /// It may have happened, or may still.
    Unknown,
}

impl Outcome {
    /// `failed` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// The class of an error; each door has one status for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input breaks the contract; the same input fails again. HTTP 400, INVALID_ARGUMENT.
    Invalid,
    /// HTTP 404, NOT_FOUND.
    NotFound,
    /// HTTP 409, ALREADY_EXISTS.
    Conflict,
    /// Not in this state of the grid. HTTP 409, FAILED_PRECONDITION.
    Precondition,
    /// A body or an answer above a limit. HTTP 413, RESOURCE_EXHAUSTED.
    TooLarge,
    /// Too much in flight: shed. HTTP 429, RESOURCE_EXHAUSTED, with a time to wait.
    Overloaded,
    /// The deadline passed. HTTP 504, DEADLINE_EXCEEDED.
    Deadline,
    /// Not now (starting, draining, disk failed). HTTP 503, UNAVAILABLE.
    Unavailable,
    /// A bug or a damaged disk. HTTP 500, INTERNAL.
    Internal,
}

/// Why a verb did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// One or more parts of the input were refused; never empty.
    #[error("{}", describe(.0))]
    Invalid(Vec<Invalid>),
    /// No collection of that name.
    #[error("there is no collection `{0}`: create it first (PUT /v1/collections/{0}, CreateCollection)")]
    CollectionNotFound(CollectionName),
    /// No entry of that id.
    #[error("the collection has no entry of this id")]
    EntryNotFound,
    /// A different collection of that name exists.
    #[error("collection `{0}` exists with another configuration: drop it first or choose another name")]
    CollectionExists(CollectionName),
    /// The request id was used before for different content.
    #[error("this request id was used for a write of different content: choose a fresh one")]
    RequestIdReused,
    /// Queues are full.
    #[error("overloaded: {0}; try again in a moment")]
    Overloaded(&'static str),
    /// The deadline passed before anything was done, or the verb only reads.
    #[error("the deadline passed before the work was done")]
    DeadlineBefore,
    /// The deadline passed while a write was on its way to the disk.
    #[error(
        "the deadline passed while the write was on its way: it may take effect; retry with the same request id"
    )]
    DeadlineDuring,
    /// The disk refused this write, which may be found after a restart.
    #[error("the disk refused the write: it may be found after a restart ({0})")]
    StorageReadOnly(String),
    /// The disk refused an earlier write; this one was not begun.
    #[error("the disk failed: this member takes no more writes until it is restarted ({0})")]
    StorageRefused(String),
    /// The daemon is stopping; this request was not begun.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// The daemon stopped while the write was on its way.
    #[error(
        "the daemon stopped while the write was on its way: it may take effect; retry with the same request id"
    )]
    Interrupted,
    /// Some partitions did not answer a question about many.
    #[error(
        "{answered} of {wanted} partitions answered, the others did not: {why}. Try again in a moment; a search may \
         also be content with what answers (allow_partial)"
    )]
    Incomplete {
        /// So many answered.
        answered: usize,
        /// So many were asked.
        wanted: usize,
        /// Which did not, and why.
        why: String,
        /// It was to delete, and some was deleted, or may be.
        unsure: bool,
    },
    /// Nobody could be asked for the partition of an entry.
    #[error("the member that holds this part of the grid cannot be asked: {why}{}", if *.unsure {
        "; the write may take effect: retry with the same request id"
    } else {
        "; nothing was done: try again in a moment"
    })]
    Unavailable {
        /// Which partition, and why.
        why: String,
        /// It was asked, and then lost.
        unsure: bool,
    },
    /// Fewer members are in sync than the grid demands.
    #[error("fewer members are in sync for this part of the grid than min_in_sync demands: {}", if *.unsure {
        "the write was taken before that, and is kept; retry with the same request id"
    } else {
        "nothing was done; try again when the members that are away are back"
    })]
    TooFewCopies {
        /// It was taken, and others fell away then.
        unsure: bool,
    },
    /// A message between members would be above their limit.
    #[error(
        "the request or its answer is too large to be passed on among members: ask for, or send, less at once"
    )]
    TooLarge,
    /// The grid cannot decide anything now.
    #[error(
        "the grid has no leader that can be reached, so nothing was changed: try again in a moment ({0})"
    )]
    NoLeader(String),
    /// The grid may have decided it, or not.
    #[error(
        "the grid did not confirm the change in time: it may take effect; look before you try again ({0})"
    )]
    Undecided(String),
    /// Somebody must take the partitions of a member that leaves.
    #[error(
        "this member cannot leave the grid: no other member is there to take its partitions (those that leave \
         themselves do not count). Start one, or just stop this one: its data stays in its data directory"
    )]
    NobodyElse,
    /// The control plane of this member has stopped.
    #[error("the control plane of this member has stopped: restart it ({0})")]
    ControlStopped(String),
    /// A bug or a damaged disk; the text is for the log and the operator.
    #[error("internal error: {0}")]
    Internal(String),
}

fn describe(problems: &[Invalid]) -> String {
    match problems {
        [] => "invalid request".to_owned(),
        [only] => only.message.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.message, rest.len()),
    }
}

impl ServiceError {
    /// Stable code, part of the public contract.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(problems) => problems.first().map_or("invalid_request", |p| p.code),
            Self::CollectionNotFound(_) => "collection_not_found",
            Self::EntryNotFound => "entry_not_found",
            Self::CollectionExists(_) => "collection_exists",
            Self::RequestIdReused => "request_id_reused",
            Self::Overloaded(_) => "overloaded",
            Self::DeadlineBefore | Self::DeadlineDuring => "deadline_exceeded",
            Self::StorageReadOnly(_) | Self::StorageRefused(_) => "storage_read_only",
            Self::ShuttingDown | Self::Interrupted => "shutting_down",
            Self::Incomplete { .. } => "incomplete",
            Self::Unavailable { .. } => "partition_unavailable",
            Self::TooFewCopies { .. } => "too_few_copies",
            Self::TooLarge => "answer_too_large",
            Self::NoLeader(_) => "no_leader",
            Self::Undecided(_) => "undecided",
            Self::NobodyElse => "no_other_member",
            Self::ControlStopped(_) => "control_stopped",
            Self::Internal(_) => "internal",
        }
    }

    /// Class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::CollectionNotFound(_) | Self::EntryNotFound => ErrorKind::NotFound,
            Self::CollectionExists(_) | Self::RequestIdReused => ErrorKind::Conflict,
            Self::NobodyElse => ErrorKind::Precondition,
            Self::Overloaded(_) => ErrorKind::Overloaded,
            Self::DeadlineBefore | Self::DeadlineDuring => ErrorKind::Deadline,
            Self::StorageReadOnly(_) | Self::StorageRefused(_) | Self::ShuttingDown | Self::Interrupted => {
                ErrorKind::Unavailable
            }
            Self::Incomplete { .. } | Self::Unavailable { .. } | Self::TooFewCopies { .. } => {
                ErrorKind::Unavailable
            }
            Self::NoLeader(_) | Self::Undecided(_) | Self::ControlStopped(_) => ErrorKind::Unavailable,
            Self::TooLarge => ErrorKind::TooLarge,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// What the caller may conclude. An internal error counts as unknown.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::DeadlineDuring | Self::Interrupted | Self::Internal(_) => Outcome::Unknown,
            Self::Incomplete { unsure: true, .. }
            | Self::Unavailable { unsure: true, .. }
            | Self::TooFewCopies { unsure: true } => Outcome::Unknown,
            // The log may have the record even though the fsync failed.
            Self::StorageReadOnly(_) => Outcome::Unknown,
            Self::Undecided(_) | Self::ControlStopped(_) => Outcome::Unknown,
            Self::Invalid(_)
            | Self::CollectionNotFound(_)
            | Self::EntryNotFound
            | Self::CollectionExists(_)
            | Self::RequestIdReused
            | Self::Overloaded(_)
            | Self::StorageRefused(_)
            | Self::DeadlineBefore
            | Self::Incomplete { unsure: false, .. }
            | Self::Unavailable { unsure: false, .. }
            | Self::TooFewCopies { unsure: false }
            | Self::TooLarge
            | Self::NoLeader(_)
            | Self::NobodyElse
            | Self::ShuttingDown => Outcome::Failed,
        }
    }

    /// When it makes sense to try again, if soon.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded(_) => Some(Duration::from_millis(100)),
            Self::NoLeader(_)
            | Self::Incomplete { .. }
            | Self::Unavailable { .. }
            | Self::TooFewCopies { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<Invalid> for ServiceError {
    fn from(problem: Invalid) -> Self {
        Self::Invalid(vec![problem])
    }
}
