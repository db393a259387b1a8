//! Count on the wire.

use vecgrid_proto::v1;

use crate::service::FilterDraft;

/// The collection's name and the filter, if any.
pub fn draft(request: v1::CountRequest) -> (String, Option<FilterDraft>) {
    (request.collection, super::filter::decode(request.filter_json))
}
