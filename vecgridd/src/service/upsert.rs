//! Insert or replace entries.

use std::collections::HashMap;

use super::{
    EntryDraft, Outcome, RequestContext, Service, ServiceError,
    draft::{check_entries, check_request_id},
};
use crate::types::{Entry, EntryId, Mutation, Token, Version};

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct UpsertAnswer {
    /// Distinct ids stored.
    pub upserted: u64,
    /// Per entry of the request; an entry that a later one of the same id replaced has the later
    /// one's version.
    pub versions: Vec<Option<Version>>,
    /// Entries whose partition did not take them.
    pub errors: Vec<EntryFailure>,
    /// A read with it shows what was stored.
    pub token: Token,
}

/// An entry that was not stored, or of which that is not known.
#[derive(Debug, Clone)]
pub struct EntryFailure {
    /// Its place in the request.
    pub index: usize,
    /// Its id.
    pub id: String,
    /// Why.
    pub error: ServiceError,
}

impl Service {
    /// Stores entries; answers when they are durable and searchable. An invalid entry refuses the
    /// whole batch. Of equal ids the last one wins. The same `request_id` with the same content
    /// takes effect once.
    ///
    /// # Errors
    /// When nothing was stored, or nothing is known; partial failures are in the answer.
    pub async fn upsert(
        &self,
        ctx: &RequestContext,
        collection: &str,
        entries: Vec<EntryDraft>,
        request_id: Option<String>,
    ) -> Result<UpsertAnswer, ServiceError> {
        let collection = self.collection(ctx, collection).await?;
        let request_id = check_request_id(request_id.as_deref())?;
        let entries = check_entries(entries, &collection.config, "entries").map_err(ServiceError::Invalid)?;
        let ids: Vec<EntryId> = entries.iter().map(|entry| entry.id.clone()).collect();
        let (mutations, places) = last_of_each(entries);
        let distinct = mutations.len();

        let routed = self.write(ctx, &collection, mutations, request_id.as_ref()).await?;
        let mut outcomes: Vec<Option<Result<Version, ServiceError>>> = vec![None; distinct];
        let mut token = Token::default();
        for part in routed {
            let outcome = part.outcome.map(|outcome| outcome.version);
            if let Ok(version) = &outcome {
                token.raise(part.partition, *version);
            }
            for position in part.positions {
                if let Some(slot) = outcomes.get_mut(position) {
                    *slot = Some(outcome.clone());
                }
            }
        }
        let stored = outcomes.iter().filter(|outcome| matches!(outcome, Some(Ok(_)))).count();
        let (versions, errors) = (Vec::with_capacity(ids.len()), Vec::new());
        let mut answer = UpsertAnswer { upserted: stored as u64, versions, errors, token };
        for (index, (id, place)) in ids.iter().zip(places).enumerate() {
            match outcomes.get(place).cloned().flatten() {
                Some(Ok(version)) => answer.versions.push(Some(version)),
                Some(Err(error)) => {
                    answer.versions.push(None);
                    answer.errors.push(EntryFailure { index, id: id.as_str().to_owned(), error });
                }
                None => return Err(ServiceError::Internal("an entry was not routed".into())),
            }
        }
        match answer.errors.first() {
            Some(first) if stored == 0 => Err(worst(&answer.errors).unwrap_or_else(|| first.error.clone())),
            _ => Ok(answer),
        }
    }
}

/// The error that speaks for a batch of which nothing is known to be stored: an unknown outcome
/// before a definite one, since the caller must assume the former.
fn worst(errors: &[EntryFailure]) -> Option<ServiceError> {
    errors.iter().map(|failure| &failure.error).find(|error| error.outcome() == Outcome::Unknown).cloned()
}

/// The last entry of each id, in order of first appearance, and where each entry went.
fn last_of_each(entries: Vec<Entry>) -> (Vec<Mutation>, Vec<usize>) {
    let mut mutations: Vec<Mutation> = Vec::with_capacity(entries.len());
    let mut places = Vec::with_capacity(entries.len());
    let mut seen: HashMap<EntryId, usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let place = *seen.entry(entry.id.clone()).or_insert(mutations.len());
        match mutations.get_mut(place) {
            Some(earlier) => *earlier = Mutation::Put(entry),
            None => mutations.push(Mutation::Put(entry)),
        }
        places.push(place);
    }
    (mutations, places)
}
