//! Comparing copies on the wire.

use vecgrid_proto::v1;

use crate::{service::VerifyAnswer, types::CollectionId};

/// The answer; `name` says what a collection is called.
pub fn answer(answer: VerifyAnswer, name: impl Fn(CollectionId) -> String) -> v1::VerifyResponse {
    let copies = answer.copies.into_iter().map(|copy| v1::CopyVerdict {
        member: copy.member.to_string(),
        rows: copy.rows,
        version: copy.at.map_or_else(String::new, |at| at.to_string()),
        differences: copy
            .differences
            .into_iter()
            .map(|found| v1::Difference {
                what: found.what.name().to_owned(),
                collection: found.collection.map_or_else(String::new, &name),
                rows: found.rows,
                ids: found.ids,
            })
            .collect(),
        unverified: copy.unverified.unwrap_or_default(),
    });
    v1::VerifyResponse {
        partition: answer.partition.0.into(),
        verdict: answer.verdict.name().to_owned(),
        copies: copies.collect(),
    }
}
