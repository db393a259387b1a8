//! What the grid can decide.
//!
//! Commands and decisions are in the log and in messages among members as JSON: variants and fields
//! may be added (with a default), never renamed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::types::{
    ClusterView, Collection, CollectionConfig, CollectionId, CollectionName, CopySettings, Holders,
    MemberDetails, MemberId, PartitionId, Placement,
};

/// A proposed change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The grid's birth: the first decision of every log.
    Found(Box<ClusterView>),
    /// A fresh member comes in.
    Join {
        /// Who.
        member: MemberId,
        /// Its disk.
        store: String,
        /// What it says about itself.
        details: MemberDetails,
    },
    /// A member started again, came back, or can be reached elsewhere.
    Update {
        /// Who.
        member: MemberId,
        /// What it says about itself.
        details: MemberDetails,
    },
    /// A member was not heard for a session. It is fenced until it says [`Command::Update`].
    Fence {
        /// Who.
        member: MemberId,
        /// The run of its daemon that was not heard; a later run is not concerned.
        incarnation: u64,
    },
    /// A member stops and means to come back: it is fenced, and nothing is copied on its account for a while.
    Pause {
        /// Who.
        member: MemberId,
        /// The run of its daemon that stops; a later run is not concerned.
        incarnation: u64,
    },
    /// A member has been away for longer than a restart takes: others are to get its copies.
    GiveUp {
        /// Who.
        member: MemberId,
        /// The run of its daemon that was heard last.
        incarnation: u64,
    },
    /// A member is to give away what it holds, and then to leave for good.
    Leave(MemberId),
    /// It is to stay after all. A member that starts again says so, too.
    Stay(MemberId),
    /// A member has left for good; it must hold nothing any more, and nothing must be meant for it.
    Remove(MemberId),
    /// Says who should hold each partition. It takes effect once per roster: when members that may hold partitions
    /// have come, gone or moved since it was computed, or another plan was made for the same ones, it does nothing.
    /// A wrong plan loses nothing: who holds a partition is changed by [`Command::Place`] only, with its own rules.
    Want {
        /// [`ClusterView`] counts the changes of who may hold partitions; this one was seen.
        roster: u64,
        /// By number of partition.
        wanted: Vec<Holders>,
        /// Who was away, and was given nothing new: when one of them comes back there is a new plan.
        passed_over: BTreeSet<MemberId>,
    },
    /// Changes who holds a partition, if it is still held as expected.
    Place {
        /// Which one.
        partition: PartitionId,
        /// What the proposer saw.
        expected: Placement,
        /// What it is to be.
        next: Placement,
    },
    /// Says who holds one more copy of which partitions while a holder is away. A wrong choice loses nothing.
    StandIn {
        /// As for [`Command::Want`].
        roster: u64,
        /// All of them, from now on.
        stand_ins: BTreeMap<PartitionId, MemberId>,
    },
    /// Says how many copies there are to be.
    KeepCopies(CopySettings),
    /// Make a collection, or find an equal one.
    CreateCollection(CollectionConfig),
    /// Drop a collection: from now on it does not exist; its rows are removed afterwards.
    DropCollection(CollectionName),
    /// A member has removed the rows of a dropped collection.
    Purged {
        /// Which one.
        collection: CollectionId,
        /// Who.
        member: MemberId,
    },
    /// A grid of one member that never held anything is given up for another one of its name: the last decision of
    /// its log.
    Dissolve {
        /// Where that one answers.
        at: String,
    },
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// A new collection.
    Created(Collection),
    /// An equal collection exists.
    Exists(Collection),
    /// The collection that was dropped; `None` = there was none.
    Dropped(Option<CollectionId>),
    /// It is so now; also when it was so before.
    Noted,
}

/// Why a command was not accepted. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// A collection of that name exists and is different.
    #[error("another collection of the name `{}` exists", .0.as_str())]
    CollectionExists(CollectionName),
    /// The log begins with the grid's birth, which happens once.
    #[error("this is not the first decision of a grid")]
    NotFirst,
    /// Nothing can be decided before the grid's birth.
    #[error("the grid is not founded yet")]
    Unborn,
    /// It was given up for another one of its name.
    #[error("this member gave up its grid, which held nothing, and joins another one of its name")]
    Dissolved,
    /// Somebody may rely on it.
    #[error("only a grid of one member that never had a collection is given up")]
    InUse,
    /// No such member.
    #[error("the grid has no member {0}")]
    UnknownMember(MemberId),
    /// Ids of members that left are not used again.
    #[error(
        "member {0} has left the grid for good: start it with an empty --data-dir to join as a new member"
    )]
    HasLeft(MemberId),
    /// The same member on another disk: what the first one promised is not known to it.
    #[error(
        "member {0} had another disk: start it with an empty --data-dir to join as a new member, and remove \
         the old one"
    )]
    OtherStore(MemberId),
    /// A message of an earlier run of a daemon.
    #[error("member {0} has started again since")]
    OldIncarnation(MemberId),
    /// It still holds partitions.
    #[error("member {member} still holds {partitions} partitions")]
    StillHolds {
        /// Who.
        member: MemberId,
        /// How many.
        partitions: usize,
    },
    /// Somebody must take its partitions.
    #[error(
        "member {0} cannot leave: no other member is there to take its partitions (those that leave themselves do \
         not count). Start one, or just stop this one: its data stays in its data directory"
    )]
    NobodyElse(MemberId),
    /// A plan for other members, or the second one for the same.
    #[error("the plan is for the members of another time, or there is one: {roster} now, planned {planned}")]
    OldPlan {
        /// Now.
        roster: u64,
        /// What the plan of now was made for.
        planned: u64,
    },
    /// A plan that cannot be followed.
    #[error("not a plan: {0}")]
    BadPlan(String),
    /// Numbers that do not fit.
    #[error("{0}")]
    BadCopies(String),
    /// The partition is not held as the proposer thought.
    #[error("{partition} is held otherwise by now: {current:?}")]
    Stale {
        /// Which one.
        partition: PartitionId,
        /// How it is held.
        current: Option<Placement>,
    },
    /// A placement that would break an invariant.
    #[error("{0} cannot be held like that: {1}")]
    BadPlacement(PartitionId, String),
}
