//! Walk over all entries in a stable order.
//!
//! The order is partition, then id. It does not depend on who holds a partition or on what is
//! written meanwhile, so a walk sees every entry that is there from its start to its end, once.

use std::ops::ControlFlow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Parts, RequestContext, ScrollDraft, Service, ServiceError};
use crate::{
    storage::{Family, keys::row},
    types::{CollectionId, EntryId, Filter, Invalid, PartitionId, StoredEntry},
};

/// Entries of one answer at most.
const MAX_LIMIT: usize = 10_000;
const DEFAULT_LIMIT: usize = 100;
/// Bytes of one answer, roughly: well below the message limit of every client.
const MAX_BYTES: usize = 16 << 20;
/// Rows looked at for one answer, so that a rare filter cannot hold a thread for long.
const MAX_SCANNED: usize = 50_000;

/// A page of entries.
#[derive(Debug, Clone)]
pub struct ScrollAnswer {
    /// May be fewer than asked for, even none, before the end.
    pub entries: Vec<StoredEntry>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
}

/// The last key that was looked at.
#[derive(Debug, Clone, PartialEq)]
struct Cursor {
    partition: PartitionId,
    after: Option<EntryId>,
}

impl Cursor {
    fn encode(&self) -> String {
        let mut bytes = self.partition.0.to_be_bytes().to_vec();
        if let Some(id) = &self.after {
            bytes.extend_from_slice(id.as_str().as_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(text: &str, partitions: u16) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("invalid_cursor", "cursor", "a cursor must come from an earlier answer");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let (partition, id) = bytes.split_first_chunk::<2>().ok_or_else(wrong)?;
        let partition = PartitionId(u16::from_be_bytes(*partition));
        if partition.0 >= partitions {
            return Err(wrong());
        }
        let after = match id {
            [] => None,
            id => Some(std::str::from_utf8(id).map_err(|_| wrong()).and_then(EntryId::new)?),
        };
        Ok(Self { partition, after })
    }
}

impl Service {
    /// The next page of entries that match.
    ///
    /// # Errors
    /// `invalid_limit`, `invalid_cursor`, `invalid_filter`, `collection_not_found`.
    pub async fn scroll(
        &self,
        ctx: &RequestContext,
        collection: &str,
        draft: ScrollDraft,
    ) -> Result<ScrollAnswer, ServiceError> {
        let collection = self.collection_here(collection)?;
        let partitions = self.view().partitions();
        let limit = draft.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            let message = format!("limit is 1 to {MAX_LIMIT}, not {limit}");
            return Err(Invalid::new("invalid_limit", "limit", message).into());
        }
        let filter = draft.filter.map(|filter| filter.check()).transpose()?;
        let cursor = match draft.cursor.as_deref() {
            None | Some("") => Cursor { partition: PartitionId(0), after: None },
            Some(text) => Cursor::decode(text, partitions)?,
        };
        let include_vector = draft.include_vector;
        let read = move |parts: &Parts| {
            let mut page = Page { entries: Vec::new(), limit, scanned: 0, bytes: 0, filter, include_vector };
            let next = page.fill(parts, collection.id, cursor, partitions)?;
            Ok(ScrollAnswer { entries: page.entries, cursor: next.map(|cursor| cursor.encode()) })
        };
        self.read(ctx, read).await
    }
}

struct Page {
    entries: Vec<StoredEntry>,
    limit: usize,
    scanned: usize,
    bytes: usize,
    filter: Option<Filter>,
    include_vector: bool,
}

impl Page {
    fn full(&self) -> bool {
        self.entries.len() >= self.limit || self.scanned >= MAX_SCANNED || self.bytes >= MAX_BYTES
    }

    /// Reads from `cursor` on; answers where to go on.
    fn fill(
        &mut self,
        parts: &Parts,
        collection: CollectionId,
        mut cursor: Cursor,
        partitions: u16,
    ) -> Result<Option<Cursor>, ServiceError> {
        loop {
            let (mut from, to) = row::all_of(collection);
            if let Some(id) = &cursor.after {
                // The least key behind this id.
                from = row::key(collection, id);
                from.push(0);
            }
            let mut visit = |key: &[u8], value: &[u8]| {
                let (_, id) = row::parse_key(key)?;
                self.scanned += 1;
                cursor.after = Some(id.clone());
                let mut stored = row::decode(id, value)?;
                if self.filter.as_ref().is_none_or(|f| f.matches(stored.entry.metadata.fields())) {
                    if !self.include_vector {
                        stored.entry.vector = None;
                    }
                    self.bytes += value.len();
                    self.entries.push(stored);
                }
                Ok(if self.full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            };
            parts.engine.scan(Family::Partition(cursor.partition), &from, &to, &mut visit)?;
            if self.full() {
                return Ok(Some(cursor));
            }
            if cursor.partition.0 + 1 >= partitions {
                return Ok(None);
            }
            cursor = Cursor { partition: PartitionId(cursor.partition.0 + 1), after: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_trip_and_garbage_does_not() {
        for after in [None, Some(EntryId::new("ü/\n").unwrap())] {
            let cursor = Cursor { partition: PartitionId(7), after };
            assert_eq!(Cursor::decode(&cursor.encode(), 8).unwrap(), cursor);
            assert!(Cursor::decode(&cursor.encode(), 7).is_err());
        }
        for garbage in ["", "A", "%%%", "AA"] {
            assert!(Cursor::decode(garbage, 8).is_err(), "{garbage}");
        }
    }
}
