//! Scroll on the wire.

use vecgrid_proto::v1;

use crate::service::{ScrollAnswer, ScrollDraft};

/// The collection's name and what to walk.
pub fn draft(request: v1::ScrollRequest) -> (String, ScrollDraft) {
    let draft = ScrollDraft {
        filter: super::filter::decode(request.filter_json),
        limit: (request.limit != 0).then_some(request.limit as usize),
        cursor: super::given(request.cursor),
        include_vector: request.include_vector,
    };
    (request.collection, draft)
}

/// The answer; an empty cursor says that the walk is over.
pub fn answer(answer: &ScrollAnswer) -> v1::ScrollResponse {
    v1::ScrollResponse {
        entries: answer.entries.iter().map(super::entry::encode).collect(),
        cursor: answer.cursor.clone().unwrap_or_default(),
    }
}
