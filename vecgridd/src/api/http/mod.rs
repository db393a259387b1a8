//! The REST door. One file per verb: the shapes of its JSON and its handlers.
//!
//! Shapes are written by hand, apart from the nouns in `types/`: they are the contract, and refuse unknown
//! fields, so that a typo (`"filer"`) is an error and not a search without a filter. `openapi.rs` collects
//! them into `/openapi.json`.

mod answer;
mod body;
mod collections;
mod copies;
mod count;
mod delete;
mod drain;
mod entry;
mod extract;
mod get;
mod grid;
mod health;
mod moves;
pub(super) mod openapi;
pub(super) mod problem;
pub(super) mod routes;
mod scroll;
mod search;
mod upsert;
mod verify;
