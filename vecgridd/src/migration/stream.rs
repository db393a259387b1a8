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

impl OwnLog<'_> {
    /// Can a log that ends there be brought level with records alone? They must be kept, and how far it has come must
    /// be seen from its answers: not when the ends of so many epochs are forgotten that they say nothing.
    fn goes_on_from(&self, last: Version) -> bool {
        last.sequence + 1 >= self.first && self.chain.compares_after(last)
    }
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
    /// Of the last installation that was begun, or one before the first.
    attempt: Attempt,
    /// There was one in this epoch.
    begun: bool,
    installing: Option<Installing>,
    durable: Option<Version>,
    /// Whatever the other has is of no use: it gets a snapshot first.
    anew: bool,
}

impl Stream {
    /// Begins to bring a member level. `attempt` is greater than that of any earlier stream of this
    /// epoch to this member.
    pub fn new(attempt: Attempt) -> Self {
        Self { attempt, begun: false, installing: None, durable: None, anew: false }
    }

    /// The same for a member whose copy is wrong: it is replaced as a whole. The member must not be in sync: what it has
    /// is thrown away when the first piece comes.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { anew: true, ..self }
    }

    /// Is the other's copy still one that is to be replaced?
    pub fn is_anew(&self) -> bool {
        self.anew
    }

    /// The stream that a later one to the same member in the same epoch begins as. When this one has not finished an
    /// installation, that one must replace the copy as a whole, too: pieces may still be under way, and only a later
    /// installation makes sure that they are not taken for a beginning.
    #[must_use]
    pub fn successor(&self) -> Self {
        let anew = self.anew || self.installing.is_some();
        Self { anew, installing: None, durable: None, ..self.clone() }
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
                // Pieces may be under way, see `left_over`.
                self.anew |= self.installing.take().is_some();
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
            (None, Some(after)) if log.goes_on_from(after) => StreamEffect::SendRecords { after },
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
        // From before what it had was thrown away; or it never heard of that installation, and needs another one.
        let before = self.begun && have.attempt < self.attempt;
        if before && (self.installing.is_some() || self.durable.is_some()) {
            return effects;
        }
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
            !self.anew && !before && have.installing.is_none() && log.goes_on_from(*common)
        };
        let known = common.filter(reaches);
        let Some(common) = known else {
            // An answer to an earlier question may look like this, too; then what we know is better.
            if self.durable.is_some_and(|durable| log.goes_on_from(durable)) {
                return effects;
            }
            self.durable = None;
            self.attempt.number += 1;
            self.begun = true;
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
