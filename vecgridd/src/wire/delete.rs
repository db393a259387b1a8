//! Delete on the wire.

use vecgrid_proto::v1;

use crate::{service::DeleteDraft, types::Invalid};

/// A decoded request.
pub struct Delete {
    /// Name of the collection.
    pub collection: String,
    /// What goes.
    pub what: DeleteDraft,
    /// Makes a retry harmless.
    pub request_id: Option<String>,
}

/// Decides between ids and filter.
///
/// # Errors
/// `invalid_delete` for none or both: a delete must not guess.
pub fn draft(request: v1::DeleteRequest) -> Result<Delete, Invalid> {
    let v1::DeleteRequest { collection, ids, filter_json, request_id } = request;
    let what = match (ids.is_empty(), super::filter::decode(filter_json)) {
        (false, None) => DeleteDraft::Ids(ids),
        (true, Some(filter)) => DeleteDraft::Filter(filter),
        (true, None) => return Err(ambiguous("one of `ids` and `filter` is required")),
        (false, Some(_)) => return Err(ambiguous("give either `ids` or `filter`, not both")),
    };
    Ok(Delete { collection, what, request_id: super::given(request_id) })
}

fn ambiguous(message: &str) -> Invalid {
    Invalid::new("invalid_delete", "", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_ids_and_filter() {
        let request = |ids: &[&str], filter: &str| v1::DeleteRequest {
            ids: ids.iter().map(ToString::to_string).collect(),
            filter_json: filter.to_owned(),
            ..Default::default()
        };
        assert!(matches!(draft(request(&["a"], "")).unwrap().what, DeleteDraft::Ids(ids) if ids == ["a"]));
        assert!(matches!(draft(request(&[], "{}")).unwrap().what, DeleteDraft::Filter(_)));
        assert!(draft(request(&[], "")).is_err());
        assert!(draft(request(&["a"], "{}")).is_err());
    }
}
