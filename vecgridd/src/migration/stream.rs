//! What a primary sends to one other member to bring its copy level and keep it so. Pure.
//!
//! It sends one thing at a time and looks at the answer: the answer says everything the other has, so
//! a lost, late or repeated one does no harm. Nothing heard for a while is an event, too
//! ([`StreamEvent::Silence`]); then the last thing is sent again. The driver decides how many bytes
//! one thing has, and so how many are in flight.

use super::{Attempt, Chain, Have};
use crate::types::Version;

/// What happens to a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent<'a> {
    /// It begins, or nothing was heard for a while.
    Silence,
    /// The other answered.
    Have(&'a Have),
    /// A snapshot was opened for this attempt; `None` when that failed, and is to be tried later.
    Opened(Option<Version>),
    /// The primary's log has more.
    Grew,
}

/// What a stream wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEffect {
    /// Ask the other what it has.
    Ask,
    /// Open a snapshot of the committed rows, and report [`StreamEvent::Opened`].
    OpenSnapshot,
    /// Send this chunk of the open snapshot.
    SendRows {
        /// Which installation.
        attempt: Attempt,
        /// The log it stands for ends here.
        at: Version,
        /// Which chunk.
        chunk: u64,
    },
    /// The snapshot is no longer needed.
    CloseSnapshot,
    /// Send records that follow this one, as many as fit; perhaps none.
    SendRecords {
        /// The last one that the other has.
        after: Version,
    },
    /// The other has our log up to here on its disk.
    Durable(u64),
    /// The other has promised itself to a newer epoch: this member is no longer the primary.
    Fenced,
}

/// The primary's log, as far as a stream must know it.
#[derive(Debug, Clone, Copy)]
pub struct OwnLog<'a> {
    /// All of it, also what is no longer kept. It forgets nothing while this primary leads in its epoch.
    pub chain: &'a Chain,
    /// The oldest record that is kept; one more than the last when none is.
    pub first: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Installing {
    attempt: Attempt,
    at: Option<Version>,
    next: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Of the next installation.
    attempt: Attempt,
    installing: Option<Installing>,
    durable: Option<Version>,
    /// Whatever the other has is of no use: it gets a snapshot first.
    anew: bool,
}

impl Stream {
    /// Begins to bring a member level. `attempt` is greater than that of any earlier stream of this
    /// epoch to this member.
    pub fn new(attempt: Attempt) -> Self {
        Self { attempt, installing: None, durable: None, anew: false }
    }

    /// As [`Stream::new`], for a member whose copy is wrong: it is replaced as a whole. The member must not be in sync:
    /// what it has is thrown away when the first piece comes.
    pub fn anew(attempt: Attempt) -> Self {
        Self { anew: true, ..Self::new(attempt) }
    }

    /// Is the other's copy still one that is to be replaced?
    pub fn is_anew(&self) -> bool {
        self.anew
    }

    /// Where a stream that replaces this one must begin to count.
    pub fn next_attempt(&self) -> Attempt {
        self.attempt
    }

    /// The other has our log up to here on its disk; `None` before it said so in this epoch.
    pub fn durable(&self) -> Option<u64> {
        self.durable.map(|version| version.sequence)
    }

    /// What the other will be sent follows this record: the log is needed from there. `None`: not known yet.
    pub fn needs_after(&self) -> Option<u64> {
        let at = |installing: Installing| installing.at.map(|at| at.sequence);
        self.installing.map_or_else(|| self.durable(), at)
    }

    /// Takes one event.
    pub fn step(&mut self, log: OwnLog<'_>, event: StreamEvent<'_>) -> Vec<StreamEffect> {
        match event {
            StreamEvent::Silence => vec![self.again(log)],
            StreamEvent::Grew if self.installing.is_none() && self.durable.is_some() => vec![self.again(log)],
            StreamEvent::Grew => Vec::new(),
            StreamEvent::Opened(Some(at)) => match &mut self.installing {
                // Another one was opened before: pieces of two must not mix.
                Some(installing) if installing.at.is_some_and(|before| before != at) => Vec::new(),
                Some(installing) => {
                    installing.at = Some(at);
                    vec![self.again(log)]
                }
                None => vec![StreamEffect::CloseSnapshot],
            },
            StreamEvent::Opened(None) => {
                self.installing = None;
                Vec::new()
            }
            StreamEvent::Have(have) => self.heard(log, have),
        }
    }

    fn again(&self, log: OwnLog<'_>) -> StreamEffect {
        match (self.installing, self.durable) {
            (Some(Installing { attempt, at: Some(at), next }), _) => {
                StreamEffect::SendRows { attempt, at, chunk: next }
            }
            (Some(_), _) => StreamEffect::OpenSnapshot,
            (None, Some(after)) if after.sequence + 1 >= log.first => StreamEffect::SendRecords { after },
            // The log was cut meanwhile: the answer will lead to a snapshot.
            (None, _) => StreamEffect::Ask,
        }
    }

    fn heard(&mut self, log: OwnLog<'_>, have: &Have) -> Vec<StreamEffect> {
        if have.promised > self.attempt.epoch {
            return vec![StreamEffect::Fenced];
        }
        // An answer to an earlier primary says nothing about us.
        if have.promised < self.attempt.epoch {
            return Vec::new();
        }
        let mut effects = Vec::new();
        if let Some(installing) = &mut self.installing {
            if have.attempt != installing.attempt {
                return effects;
            }
            if let Some(chunks) = have.installing {
                if chunks <= installing.next {
                    return effects;
                }
                installing.next = chunks;
                return vec![self.again(log)];
            }
            self.installing = None;
            self.anew = false;
            effects.push(StreamEffect::CloseSnapshot);
        }
        let common = have.chain.common(log.chain);
        let reaches = |common: &Version| {
            !self.anew
                && have.installing.is_none()
                && common.sequence + 1 >= log.first
                && log.chain.compares_after(*common)
        };
        let known = common.filter(reaches);
        let Some(common) = known else {
            // An answer to an earlier question may look like this, too; then what we know is better.
            if self.durable.is_some_and(|durable| durable.sequence + 1 >= log.first) {
                return effects;
            }
            self.durable = None;
            self.attempt.number += 1;
            self.installing = Some(Installing { attempt: self.attempt, at: None, next: 0 });
            effects.push(StreamEffect::OpenSnapshot);
            return effects;
        };
        if self.durable.is_none_or(|durable| durable.sequence < common.sequence) {
            self.durable = Some(common);
            effects.push(StreamEffect::Durable(common.sequence));
            if common.sequence < log.chain.last().sequence {
                effects.push(StreamEffect::SendRecords { after: common });
            }
        }
        effects
    }
}
