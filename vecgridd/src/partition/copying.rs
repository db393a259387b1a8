//! What is on its way to members that are to have a copy: a view that the owner publishes for people.

use std::sync::Arc;

use tokio::time::Instant;

use super::{lead::Line, owner::Owner};
use crate::types::MemberId;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Others are copied first.
    Waiting,
    /// Rows are sent.
    Rows,
    /// What was written meanwhile is sent, or all that is missing.
    Log,
}

/// A copy that another member is to have, and has not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copying {
    /// That member.
    pub to: MemberId,
    /// How far it is.
    pub stage: Stage,
    /// Rows, once they are sent.
    pub rows: Option<RowsSent>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsSent {
    /// When it was opened.
    pub since: Instant,
    /// When the last answer came.
    pub until: Instant,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes in all, about.
    pub expected: u64,
}

impl RowsSent {
    /// Of a snapshot, at this moment.
    pub(super) fn now(before: Option<Self>, (sent, expected): (u64, u64)) -> Self {
        let until = Instant::now();
        Self { since: before.map_or(until, |before| before.since), until, sent, expected }
    }
}

impl Line {
    fn stage(&self) -> Stage {
        match (self.started, self.installs) {
            (false, _) => Stage::Waiting,
            (true, true) => Stage::Rows,
            (true, false) => Stage::Log,
        }
    }
}

impl Owner {
    /// Shows how far copies are that do not count yet.
    pub(super) fn show_copies(&self) {
        let mut copies: Vec<Copying> = Vec::new();
        if let Some(lead) = &self.lead
            && !lead.lines.is_empty()
        {
            let counted = lead.handoff.counted();
            let new = lead.lines.iter().filter(|(to, _)| !counted.contains(to));
            copies.extend(new.map(|(to, line)| Copying {
                to: to.clone(),
                stage: line.stage(),
                rows: line.rows,
            }));
        }
        self.copies.send_if_modified(|shown| {
            let differs = **shown != *copies;
            if differs {
                *shown = Arc::from(copies);
            }
            differs
        });
    }
}
