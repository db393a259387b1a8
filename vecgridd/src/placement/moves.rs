//! From the table as it is to the table as it should be, one step at a time.
//!
//! Every step leaves a table that works: a copy is added before another is removed, and a primary
//! is switched only to a member that holds a copy by then. Partitions come in order of need: those
//! with the fewest living copies first, so that what is in danger is made safe before anything is
//! merely made even. The steps of one partition stand together, so that few copies are there twice
//! at any time. How many run at once, and when, is the business of `migration/`.

use super::Holders;
use crate::types::{MemberId, PartitionId};

/// One change of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which partition.
    pub partition: PartitionId,
    /// What changes.
    pub step: Step,
}

/// What a move does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give this member a copy, and wait until it is in sync.
    Add(MemberId),
    /// Make this member the primary. It holds a copy.
    Switch(MemberId),
    /// This member's copy is no longer needed.
    Remove(MemberId),
}

/// All steps from `current` to `wanted`, in the order in which they should be taken.
///
/// A partition whose primary is not alive has no steps: it needs a promotion first, and a plan made
/// after that.
pub fn moves(current: &[Holders], wanted: &[Holders], alive: impl Fn(&MemberId) -> bool) -> Vec<Move> {
    let mut plans = Vec::new();
    for (number, (now, then)) in (0_u16..).zip(current.iter().zip(wanted)) {
        if !alive(&now.primary) {
            continue;
        }
        let living = now.members().filter(|member| alive(member)).count();
        let steps = steps(now, then);
        if !steps.is_empty() {
            plans.push((living.min(then.members().count()), PartitionId(number), steps));
        }
    }
    plans.sort_by_key(|(living, partition, _)| (*living, *partition));
    let all = plans
        .into_iter()
        .flat_map(|(_, partition, steps)| steps.into_iter().map(move |step| Move { partition, step }));
    all.collect()
}

fn steps(now: &Holders, then: &Holders) -> Vec<Step> {
    let added = then.members().filter(|member| !now.holds(member)).cloned().map(Step::Add);
    let switched = (now.primary != then.primary).then(|| Step::Switch(then.primary.clone()));
    let removed = now.members().filter(|member| !then.holds(member)).cloned().map(Step::Remove);
    added.chain(switched).chain(removed).collect()
}
