//! Filters on the wire: JSON text, empty for none.

use crate::service::FilterDraft;

pub(super) fn decode(json: String) -> Option<FilterDraft> {
    super::given(json).map(FilterDraft::Json)
}
