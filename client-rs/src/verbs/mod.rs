//! The verbs of [`Client`](crate::Client), one file each.

mod count;
mod create_collection;
mod delete;
mod drain;
mod drop_collection;
mod get;
mod get_collection;
mod grid_status;
mod keep_copies;
mod list_collections;
mod moves;
mod scroll;
mod search;
mod search_stream;
mod upsert;
mod verify;
