//! Upsert on the wire.

use vecgrid_proto::v1;

use crate::{
    service::{EntryDraft, UpsertAnswer},
    types::Invalid,
};

/// A decoded request.
pub struct Upsert {
    /// Name of the collection.
    pub collection: String,
    /// In order.
    pub entries: Vec<EntryDraft>,
    /// Makes a retry harmless.
    pub request_id: Option<String>,
}

/// Decodes the vectors.
///
/// # Errors
/// `invalid_vector`, with the place of the first such entry.
pub fn draft(request: v1::UpsertRequest) -> Result<Upsert, Invalid> {
    let v1::UpsertRequest { collection, entries, request_id } = request;
    let entry = |(index, entry)| {
        super::entry::decode(entry).map_err(|p: Invalid| p.within(&format!("entries/{index}")))
    };
    let entries = entries.into_iter().enumerate().map(entry).collect::<Result<_, _>>()?;
    Ok(Upsert { collection, entries, request_id: super::given(request_id) })
}

/// The answer.
pub fn answer(answer: &UpsertAnswer) -> v1::UpsertResponse {
    let unset = v1::Version::default();
    v1::UpsertResponse {
        upserted: answer.upserted,
        errors: answer
            .errors
            .iter()
            .map(|failure| v1::EntryError {
                index: u32::try_from(failure.index).unwrap_or(u32::MAX),
                id: failure.id.clone(),
                code: failure.error.code().to_owned(),
                message: failure.error.to_string(),
                outcome: failure.error.outcome().as_str().to_owned(),
            })
            .collect(),
        // A list cannot have holes in protobuf: a version of zeros stands for "unset".
        versions: answer
            .versions
            .iter()
            .map(|version| version.map_or(unset, super::entry::version))
            .collect(),
        token: answer.token.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_bad_vector_is_named_by_its_place() {
        let good = v1::Entry { id: "a".to_owned(), ..Default::default() };
        let vector = Some(v1::Vector { data: Bytes::from_static(&[1]), values: Vec::new() });
        let bad = v1::Entry { id: "b".to_owned(), vector, ..Default::default() };
        let request = v1::UpsertRequest { entries: vec![good.clone(), bad], ..Default::default() };
        let problem = draft(request).map(|_| ()).unwrap_err();
        assert_eq!((problem.code, problem.field.as_str()), ("invalid_vector", "entries/1/vector/data"));
        let request = v1::UpsertRequest { entries: vec![good], ..Default::default() };
        let upsert = draft(request).unwrap();
        assert!(upsert.request_id.is_none() && upsert.entries[0].vector.is_none());
    }
}
