//! Protobuf messages ⇄ the nouns and drafts of the grid: pure functions, one file per verb.
//!
//! Nothing is judged here except what protobuf cannot say (bytes that are no floats, an enum number
//! that does not exist, a request without one of two fields): the rules are applied in `service/`,
//! the same for both doors. Protobuf's "empty means not given" ends here too: behind this room it
//! is an `Option`. REST's JSON is not here: its shapes live in `api/http/`.

pub mod collections;
pub mod copies;
pub mod count;
pub mod delete;
pub mod drain;
mod entry;
mod filter;
pub mod get;
pub mod grid;
pub mod moves;
pub mod scroll;
pub mod search;
pub mod upsert;
mod vector;
pub mod verify;

/// `None` for protobuf's empty string.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
