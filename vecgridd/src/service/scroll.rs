//! Walk over all entries in a stable order.
//!
//! The order is partition, then id. It does not depend on who holds a partition or on what is
//! written meanwhile, so a walk sees every entry that is there from its start to its end, once. Each member reads on
//! through as many partitions as it answers for; the page goes on at the next member.

use std::ops::ControlFlow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use tokio::time::Instant;
use vecgrid_proto::peer as wire;

use super::{
    FilterDraft, Parts, RequestContext, ScrollDraft, Service, ServiceError,
    answer::Scope,
    cover::Holder,
    scatter::{Miss, Part},
};
use crate::{
    index::PartitionSet,
    peer::Rows,
    storage::{Family, keys::row},
    types::{Collection, EntryId, Filter, Invalid, MemberId, PartitionId, StoredEntry},
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
    /// `invalid_limit`, `invalid_cursor`, `invalid_filter`, `collection_not_found`; `partition_unavailable`.
    pub async fn scroll(
        &self,
        ctx: &RequestContext,
        collection: &str,
        draft: ScrollDraft,
    ) -> Result<ScrollAnswer, ServiceError> {
        let collection = &self.collection(ctx, collection).await?;
        let partitions = self.view().partitions();
        let limit = draft.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            let message = format!("limit is 1 to {MAX_LIMIT}, not {limit}");
            return Err(Invalid::new("invalid_limit", "limit", message).into());
        }
        let json = draft.filter.as_ref().map(FilterDraft::to_json).unwrap_or_default();
        let filter = draft.filter.map(|filter| filter.check()).transpose()?;
        let mut cursor = match draft.cursor.as_deref() {
            None | Some("") => Cursor { partition: PartitionId(0), after: None },
            Some(text) => Cursor::decode(text, partitions)?,
        };
        let what = &What { collection, json, filter, include_vector: draft.include_vector };
        let mut left = Left { entries: limit, rows: MAX_SCANNED, bytes: MAX_BYTES };
        let mut entries = Vec::new();
        // What was found is worth more than a full page.
        let half = Instant::now() + ctx.left() / 2;
        while !left.is_full()
            && cursor.partition.0 < partitions
            && (entries.is_empty() || Instant::now() < half)
        {
            let from = &cursor;
            let ask = |holder, _| async move {
                match holder {
                    Holder::Here => Ok(self.scroll_here(ctx, what, from.clone(), left).await?),
                    Holder::There(member) => self.scroll_there(ctx, &member, what, from, left).await,
                }
            };
            let page = match self.gather_one(ctx, cursor.partition, ask).await {
                Ok(page) => page,
                // Half of a page, and the error with the next one.
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            };
            left = left.after(&page);
            cursor = page.next;
            entries.extend(page.entries);
        }
        let more = cursor.partition.0 < partitions;
        Ok(ScrollAnswer { entries, cursor: more.then(|| cursor.encode()) })
    }

    /// Reads on from a cursor, through the partitions that this member answers for.
    async fn scroll_here(
        &self,
        ctx: &RequestContext,
        what: &What<'_>,
        cursor: Cursor,
        left: Left,
    ) -> Result<Part<Page>, ServiceError> {
        let partitions = self.view().partitions();
        let (collection, filter) = (what.collection.id, what.filter.clone());
        let include_vector = what.include_vector;
        // What is read on into must be as fresh as what was asked for; a cursor goes on at another member instead.
        let readable: PartitionSet =
            self.readable(ctx).iter().filter(|p| self.shows_enough_of(ctx, *p)).collect();
        let who = ctx.who();
        let read = move |parts: &Parts| {
            let answers = readable;
            let begun = cursor.partition;
            let mut page = Page { entries: Vec::new(), rows: 0, bytes: 0, next: cursor };
            let mut read = PartitionSet::new();
            let mut failed = None;
            while answers.contains(page.next.partition) && page.next.partition.0 < partitions {
                read.insert(page.next.partition);
                let (mut from, to) = row::all_of(collection);
                if let Some(id) = &page.next.after {
                    // The least key behind this id.
                    from = row::key(collection, id);
                    from.push(0);
                }
                let family = Family::Partition(page.next.partition);
                let mut visit = |key: &[u8], value: &[u8]| {
                    let (_, id) = row::parse_key(key)?;
                    page.rows += 1;
                    page.next.after = Some(id.clone());
                    let mut stored = row::decode(id, value)?;
                    if filter.as_ref().is_none_or(|f| f.matches(stored.entry.metadata.fields())) {
                        if !include_vector {
                            stored.entry.vector = None;
                        }
                        page.bytes += value.len();
                        page.entries.push(stored);
                    }
                    Ok(if left.after(&page).is_full() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                };
                if let Err(error) = parts.engine.scan(family, &from, &to, &mut visit) {
                    failed = Some(error);
                    break;
                }
                if left.after(&page).is_full() {
                    break;
                }
                page.next = Cursor { partition: PartitionId(page.next.partition.0 + 1), after: None };
            }
            // Rows of a partition that moves away go after this member has stopped to answer for it: what was read of
            // such a one may be less than all.
            if read.is_empty() || !parts.still_read_by(who).covers(&read) {
                let next = Cursor { partition: begun, after: None };
                let nothing = Page { entries: Vec::new(), rows: 0, bytes: 0, next };
                return Ok(Part::new(nothing, [begun].into_iter().collect()));
            }
            match failed {
                Some(error) => Err(error.into()),
                None => Ok(Part::new(page, PartitionSet::new())),
            }
        };
        self.read(ctx, read).await
    }

    async fn scroll_there(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        what: &What<'_>,
        cursor: &Cursor,
        left: Left,
    ) -> Result<Part<Page>, Miss> {
        self.refuse_unknown(what.collection)?;
        let message = wire::ScrollRequest {
            asked: Some(self.asked(ctx, &[cursor.partition].into_iter().collect())),
            collection: what.collection.id.0,
            filter_json: what.json.clone(),
            include_vector: what.include_vector,
            after: cursor.after.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            entries: left.entries as u64,
            rows: left.rows as u64,
            bytes: left.bytes as u64,
        };
        let send = |mut rows: Rows, request| async move { rows.scroll(request).await };
        let (answer, elsewhere) =
            self.ask_member::<_, wire::ScrollResponse, _>(ctx, to, ("scroll", message), send).await?;
        let decode = |row: wire::Row| -> Result<StoredEntry, ServiceError> {
            Ok(row::decode(EntryId::new(&row.id)?, &row.row)?)
        };
        let (rows, bytes) = (answer.rows as usize, answer.bytes as usize);
        let next = cursor_of(answer.partition, &answer.after).map_err(ServiceError::from)?;
        let entries = answer.entries.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Part::new(Page { entries, rows, bytes, next }, elsewhere))
    }

    /// Reads for another member.
    pub(super) async fn answer_scroll(
        &self,
        scope: Scope,
        message: wire::ScrollRequest,
    ) -> Result<Option<Part<wire::ScrollResponse>>, ServiceError> {
        let Some(collection) = self.collection_of(message.collection) else { return Ok(None) };
        let Some(partition) = scope.partitions.iter().next() else { return Ok(None) };
        let cursor = cursor_of(partition.0.into(), &message.after)?;
        let filter = FilterDraft::of_json(&message.filter_json)?;
        let what = What {
            collection: &collection,
            json: String::new(),
            filter,
            include_vector: message.include_vector,
        };
        let left = Left {
            entries: (message.entries as usize).min(MAX_LIMIT),
            rows: (message.rows as usize).min(MAX_SCANNED),
            bytes: (message.bytes as usize).min(MAX_BYTES),
        };
        let part = self.scroll_here(&scope.ctx, &what, cursor, left).await?;
        let Page { entries, rows, bytes, next } = part.answer;
        let encode = |stored: StoredEntry| wire::Row {
            id: stored.entry.id.as_str().to_owned(),
            row: row::encode(&stored.entry, stored.version).into(),
        };
        let answer = wire::ScrollResponse {
            told: None,
            entries: entries.into_iter().map(encode).collect(),
            partition: next.partition.0.into(),
            after: next.after.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            rows: rows as u64,
            bytes: bytes as u64,
        };
        Ok(Some(Part::new(answer, part.elsewhere)))
    }
}

fn cursor_of(partition: u32, after: &str) -> Result<Cursor, Invalid> {
    let partition = PartitionId(u16::try_from(partition).unwrap_or(u16::MAX));
    let after = (!after.is_empty()).then(|| EntryId::new(after)).transpose()?;
    Ok(Cursor { partition, after })
}

/// What a walk is about.
struct What<'a> {
    collection: &'a Collection,
    /// The filter, for others.
    json: String,
    filter: Option<Filter>,
    include_vector: bool,
}

/// What a page may still take.
#[derive(Debug, Clone, Copy)]
struct Left {
    entries: usize,
    rows: usize,
    bytes: usize,
}

impl Left {
    fn after(self, page: &Page) -> Self {
        Self {
            entries: self.entries.saturating_sub(page.entries.len()),
            rows: self.rows.saturating_sub(page.rows),
            bytes: self.bytes.saturating_sub(page.bytes),
        }
    }

    fn is_full(self) -> bool {
        self.entries == 0 || self.rows == 0 || self.bytes == 0
    }
}

/// What one member read.
struct Page {
    entries: Vec<StoredEntry>,
    /// Looked at.
    rows: usize,
    /// Of those that match.
    bytes: usize,
    /// Where to go on; behind the last partition at the end.
    next: Cursor,
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
