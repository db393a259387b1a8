//! Who is asked for which partitions, and how their answers become one. Pure.
//!
//! The rule: this member first, for everything it answers for, then the fewest others for the rest: a whole graph costs
//! the same however many of its partitions are asked for, so fewer members is less work.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write,
    sync::Arc,
};

use arc_swap::ArcSwapOption;

use crate::{
    index::PartitionSet,
    partition::Who,
    types::{ClusterView, Explain, Hit, Member, MemberId, PartitionId},
};

/// How many partitions an error names.
const NAMED: usize = 8;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// This member: no message is needed.
    Here,
    /// Another one.
    There(MemberId),
}

/// Who is asked for what. Each wanted partition is in one place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// This member answers for these.
    pub here: PartitionSet,
    /// Others do.
    pub others: BTreeMap<MemberId, PartitionSet>,
    /// Members that should, but are away: nobody waits for them.
    pub away: BTreeMap<MemberId, PartitionSet>,
    /// The table names this member, which does not answer for them (yet, or any more).
    pub nobody: PartitionSet,
}

/// Who asks, and whom.
#[derive(Debug, Clone, Copy)]
pub struct Asks<'a> {
    /// This member.
    pub me: &'a MemberId,
    /// Who may answer.
    pub who: Who,
    /// Asked only where nobody else may answer.
    pub avoid: &'a BTreeSet<Holder>,
}

/// Plans for `wanted`, by what this member knows: the table, and for what it answers itself (`here`), which counts more.
pub fn plan(view: &ClusterView, here: &PartitionSet, wanted: &PartitionSet, asks: Asks<'_>) -> Plan {
    let Asks { me, who, avoid } = asks;
    let mut plan = Plan::default();
    let alive = |id: &&MemberId| view.member(id).is_some_and(Member::is_alive);
    let mut choices = Vec::new();
    for partition in wanted.iter() {
        let placement = view.partition(partition);
        if here.contains(partition) {
            plan.here.insert(partition);
            continue;
        }
        let primary = std::slice::from_ref(&placement.primary);
        let may = if who == Who::InSync { placement.in_sync.as_slice() } else { primary };
        let mut there: Vec<&MemberId> = may.iter().filter(|id| *id != me).filter(alive).collect();
        let avoided = |id: &MemberId| avoid.contains(&Holder::There(id.clone()));
        if !avoid.is_empty() && there.iter().any(|id| !avoided(id)) {
            there.retain(|id| !avoided(id));
        }
        if !there.is_empty() {
            choices.push((partition, there));
        } else if placement.primary == *me {
            plan.nobody.insert(partition);
        } else {
            plan.away.entry(placement.primary.clone()).or_default().insert(partition);
        }
    }
    plan.others = fewest(choices);
    plan
}

/// The members that together have all of these, few of them: whoever has the most of what is left, again and again.
fn fewest(mut choices: Vec<(PartitionId, Vec<&MemberId>)>) -> BTreeMap<MemberId, PartitionSet> {
    let mut chosen = BTreeMap::new();
    while !choices.is_empty() {
        let mut has: BTreeMap<&MemberId, usize> = BTreeMap::new();
        choices.iter().flat_map(|(_, there)| there).for_each(|id| *has.entry(id).or_default() += 1);
        // The first of equals: whoever plans for the same table plans the same.
        let most = has.into_iter().rev().max_by_key(|(_, partitions)| *partitions);
        let Some((most, _)) = most else { break };
        let mut set = PartitionSet::new();
        choices.retain(|(partition, there)| {
            let has = there.contains(&most);
            if has {
                set.insert(*partition);
            }
            !has
        });
        chosen.insert(most.clone(), set);
    }
    chosen
}

/// The last plan for all partitions, which stays the same until the table changes or what is answered here.
#[derive(Default)]
pub struct Plans(ArcSwapOption<Known>);

struct Known {
    view: Arc<ClusterView>,
    here: Arc<PartitionSet>,
    who: Who,
    plan: Arc<Plan>,
}

impl Plans {
    /// As [`plan`].
    pub fn plan(
        &self,
        view: &Arc<ClusterView>,
        here: &Arc<PartitionSet>,
        wanted: &PartitionSet,
        asks: Asks<'_>,
    ) -> Arc<Plan> {
        let all = asks.avoid.is_empty() && wanted.len() == usize::from(view.partitions());
        let who = asks.who;
        if all
            && let Some(known) = &*self.0.load()
            && (Arc::ptr_eq(&known.view, view) && Arc::ptr_eq(&known.here, here) && known.who == who)
        {
            return Arc::clone(&known.plan);
        }
        let plan = Arc::new(plan(view, here, wanted, asks));
        if all {
            let (view, here, plan) = (Arc::clone(view), Arc::clone(here), Arc::clone(&plan));
            self.0.store(Some(Arc::new(Known { view, here, who, plan })));
        }
        plan
    }
}

/// Why a partition has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing came in time.
    Late,
    /// Whoever was asked did not answer for it: it is on its way from one member to another.
    Moving,
    /// What went wrong.
    Because(String),
}

/// What is missing, for a person: `p003, p007 (n2 is away); p009 (no answer in time)`.
pub fn describe(missing: &BTreeMap<PartitionId, Why>) -> String {
    let mut reasons: BTreeMap<&str, Vec<PartitionId>> = BTreeMap::new();
    for (partition, why) in missing {
        let why = match why {
            Why::Late => "no answer in time",
            Why::Moving => "on its way to another member, or behind what the request is to be shown",
            Why::Because(why) => why,
        };
        reasons.entry(why).or_default().push(*partition);
    }
    let mut text = String::new();
    for (why, partitions) in reasons {
        let names: Vec<String> = partitions.iter().take(NAMED).map(ToString::to_string).collect();
        let more = partitions.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let between = if text.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(text, "{between}{}{more} ({why})", names.join(", "));
    }
    text
}

/// The `k` nearest of several lists, nearest first, ties by id; each id once.
pub fn merge(mut lists: Vec<Vec<Hit>>, k: usize) -> Vec<Hit> {
    if lists.len() < 2 {
        return lists.pop().unwrap_or_default();
    }
    let mut hits: Vec<Hit> = lists.into_iter().flatten().collect();
    hits.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.id.cmp(&b.id)));
    // Each partition was answered once, so there is none twice; an answer must not depend on that.
    let mut seen = HashSet::with_capacity(hits.len());
    hits.retain(|hit| seen.insert(hit.id.clone()));
    hits.truncate(k);
    hits
}

/// How a search was done by several members: together they did so much, and the slowest took so long.
pub fn merge_explained(one: Explain, other: Explain) -> Explain {
    let (mut sum, less) = if one.eligible >= other.eligible { (one, other) } else { (other, one) };
    sum.ef = sum.ef.max(less.ef);
    sum.eligible += less.eligible;
    sum.filtered += less.filtered;
    sum.visited += less.visited;
    sum.estimated += less.estimated;
    sum.reranked += less.reranked;
    sum.tail += less.tail;
    sum.distances += less.distances;
    sum.times.select = sum.times.select.max(less.times.select);
    sum.times.walk = sum.times.walk.max(less.times.walk);
    sum.times.rerank = sum.times.rerank.max(less.times.rerank);
    sum.times.scan = sum.times.scan.max(less.times.scan);
    sum.times.answer = sum.times.answer.max(less.times.answer);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EntryId, MemberState, Placement};

    static NOBODY: BTreeSet<Holder> = BTreeSet::new();

    fn id(name: &str) -> MemberId {
        MemberId(name.to_owned())
    }

    fn asks<'a>(me: &'a MemberId, who: Who, avoid: &'a BTreeSet<Holder>) -> Asks<'a> {
        Asks { me, who, avoid }
    }

    fn set(partitions: &[u16]) -> PartitionSet {
        partitions.iter().map(|number| PartitionId(*number)).collect()
    }

    /// Partition n belongs to the n-th of `primaries`; `gone` is away.
    fn view(primaries: &[&str], gone: &str) -> ClusterView {
        let mut view = ClusterView::bootstrap("g", 1, &id(primaries[0]));
        view.table = primaries
            .iter()
            .map(|name| Placement { epoch: 1, primary: id(name), in_sync: vec![id(name)] })
            .collect();
        for name in primaries {
            let mut member = Member::new(id(name), "", name);
            member.state = if *name == gone { MemberState::Away } else { MemberState::Alive };
            view.members.insert(id(name), member);
        }
        view
    }

    #[test]
    fn this_member_first_then_each_other_once() {
        let view = view(&["a", "b", "c", "b", "a", "c"], "c");
        // What this member answers for counts more than what its table says: 3 was just taken over.
        let plan = plan(&view, &set(&[0, 3]), &PartitionSet::all(6), asks(&id("a"), Who::InSync, &NOBODY));
        assert_eq!(plan.here, set(&[0, 3]));
        assert_eq!(plan.others, BTreeMap::from([(id("b"), set(&[1]))]));
        assert_eq!(plan.away, BTreeMap::from([(id("c"), set(&[2, 5]))]));
        assert_eq!(plan.nobody, set(&[4]));
    }

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        let view = view(&["a", "b", "c"], "");
        let plan = plan(&view, &set(&[0]), &set(&[2]), asks(&id("a"), Who::InSync, &NOBODY));
        assert_eq!(plan, Plan { others: BTreeMap::from([(id("c"), set(&[2]))]), ..Plan::default() });
    }

    #[test]
    fn copies_make_it_fewer_members_and_writes_go_to_primaries() {
        let mut view = view(&["b", "c", "d", "a", "b"], "");
        for (number, backup) in [(0, "c"), (1, "b"), (2, "c"), (3, "b"), (4, "d")] {
            view.table[number].in_sync.push(id(backup));
        }
        let all = PartitionSet::all(5);
        let here = set(&[3]);
        let me = id("a");
        let who = |who| plan(&view, &here, &all, asks(&me, who, &NOBODY));
        // b and c have three each, and one of them is enough for those; nobody need ask d.
        let two = BTreeMap::from([(id("b"), set(&[0, 1, 4])), (id("c"), set(&[2]))]);
        assert_eq!(who(Who::InSync).others, two);
        assert_eq!(who(Who::Primary).others.len(), 3);
        assert_eq!(who(Who::PrimaryUnderLease), who(Who::Primary));
        view.members.get_mut(&id("c")).unwrap().state = MemberState::Away;
        let without_c = plan(&view, &here, &all, asks(&me, Who::InSync, &NOBODY));
        assert_eq!(without_c.others, BTreeMap::from([(id("b"), set(&[0, 1, 4])), (id("d"), set(&[2]))]));
        // b gave no answer: it is asked for what nobody else has.
        let avoid = [Holder::There(id("b"))].into();
        let without_b = plan(&view, &here, &all, asks(&me, Who::InSync, &avoid));
        assert_eq!(without_b.others, BTreeMap::from([(id("b"), set(&[0, 1])), (id("d"), set(&[2, 4]))]));
        let primaries = plan(&view, &here, &all, asks(&me, Who::Primary, &NOBODY));
        assert_eq!(primaries.away, BTreeMap::from([(id("c"), set(&[1]))]));
    }

    #[test]
    fn a_plan_for_everything_is_made_once_for_a_table() {
        let (plans, me) = (Plans::default(), id("a"));
        let (first, here) = (Arc::new(view(&["a", "b"], "")), Arc::new(set(&[0])));
        let all = PartitionSet::all(2);
        let asks = asks(&me, Who::InSync, &NOBODY);
        let plan = plans.plan(&first, &here, &all, asks);
        assert!(Arc::ptr_eq(&plan, &plans.plan(&first, &here, &all, asks)));
        let other = Arc::new(view(&["b", "b"], ""));
        let nothing = Arc::new(set(&[]));
        assert_eq!(plans.plan(&other, &nothing, &all, asks).others[&id("b")], all);
        assert_eq!(plans.plan(&first, &here, &set(&[0]), asks).here, set(&[0]));
    }

    fn hit(id: &str, distance: f32) -> Hit {
        Hit { id: EntryId::new(id).unwrap(), distance, metadata: None, vector: None }
    }

    fn ids(hits: &[Hit]) -> Vec<&str> {
        hits.iter().map(|hit| hit.id.as_str()).collect()
    }

    #[test]
    fn the_nearest_of_all_ties_by_id_each_once() {
        let lists = vec![
            vec![hit("c", 1.0), hit("e", 3.0)],
            vec![hit("b", 1.0), hit("c", 1.0), hit("d", 2.0)],
            Vec::new(),
            vec![hit("a", -0.5)],
        ];
        assert_eq!(ids(&merge(lists.clone(), 4)), ["a", "b", "c", "d"]);
        assert_eq!(ids(&merge(lists, 10)), ["a", "b", "c", "d", "e"]);
        assert!(merge(Vec::new(), 3).is_empty());
    }

    #[test]
    fn work_is_added_up_and_the_slowest_counts() {
        let ms = std::time::Duration::from_millis;
        let mut one = Explain { ef: 40, eligible: 5, distances: 2, ..Explain::default() };
        let mut other = Explain { ef: 64, eligible: 7, distances: 3, ..Explain::default() };
        (one.times.walk, other.times.walk, other.times.scan) = (ms(9), ms(4), ms(1));
        let sum = merge_explained(one, other);
        assert_eq!((sum.ef, sum.eligible, sum.distances), (64, 12, 5));
        assert_eq!((sum.times.walk, sum.times.scan), (ms(9), ms(1)));
    }

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let away = Why::Because("n2 is away".to_owned());
        let mut missing: BTreeMap<_, _> = (0..10).map(|n| (PartitionId(n), away.clone())).collect();
        missing.insert(PartitionId(20), Why::Late);
        let text = describe(&missing);
        assert!(text.starts_with("p000, p001,") && text.contains("p007 and 2 more (n2 is away)"), "{text}");
        assert!(text.ends_with("p020 (no answer in time)"), "{text}");
    }
}
