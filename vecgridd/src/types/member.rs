//! A daemon of the grid, as all of them see it.

use serde::{Deserialize, Serialize};

use super::MemberId;

/// Whether a member counts. Only a committed decision changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It takes part.
    Alive,
    /// It was not heard for a session and is fenced. It comes back by itself.
    Away,
    /// It left for good. Its id is never used again.
    Left,
}

impl MemberState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Alive, Self::Away, Self::Left];

    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Away => "away",
            Self::Left => "left",
        }
    }
}

/// What a member says about itself; may change with each of its starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDetails {
    /// For people.
    pub name: String,
    /// The machine it runs on: members of one machine fail together; empty = unknown.
    #[serde(default)]
    pub host: String,
    /// Where other members reach it, `host:port`; empty for one that listens to none.
    pub address: String,
    /// Members of one zone may fail together; empty = unknown.
    pub zone: String,
    /// Its share of partitions beside members of weight 1; 0 = it did not say, which counts as 1.
    #[serde(default)]
    pub weight: u32,
    /// Grows with each start: what an earlier run of the daemon had promised does not bind this one.
    pub incarnation: u64,
    /// Of its daemon.
    pub version: String,
}

impl MemberDetails {
    /// Its share of partitions beside members of share 1.
    pub fn share(&self) -> u32 {
        self.weight.max(1)
    }
}

/// A daemon of the grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub id: MemberId,
    /// Its disk: one that lost its disk must not pass for the one that had it.
    pub store: String,
    /// In which order members joined: smaller is longer ago.
    pub joined: u64,
    /// Whether it counts.
    pub state: MemberState,
    /// What it says about itself.
    pub details: MemberDetails,
    /// It is on its way out: it gives away what it holds, and leaves when it holds nothing.
    #[serde(default)]
    pub leaving: bool,
    /// Why it is away, and what that means for its copies.
    #[serde(default)]
    pub absence: Absence,
}

/// How a member that is away is thought of. Of one that is there: [`Absence::Sudden`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// Nobody knows why. Partitions that are left with one copy get another one at once.
    #[default]
    Sudden,
    /// It said that it stops, so it comes back soon: nothing is copied on its account.
    Announced,
    /// It has been away for longer than a restart takes: others get its copies.
    Long,
}

impl Member {
    /// The first member of a grid.
    pub fn new(id: MemberId, store: &str, name: &str) -> Self {
        let details = MemberDetails { name: name.to_owned(), ..MemberDetails::default() };
        Self {
            id,
            store: store.to_owned(),
            joined: 1,
            state: MemberState::Alive,
            details,
            leaving: false,
            absence: Absence::Sudden,
        }
    }

    /// Gone for good.
    pub fn has_left(&self) -> bool {
        self.state == MemberState::Left
    }

    /// May be given partitions.
    pub fn takes(&self) -> bool {
        self.is_alive() && !self.leaving
    }

    /// Takes part.
    pub fn is_alive(&self) -> bool {
        self.state == MemberState::Alive
    }
}
