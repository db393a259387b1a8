//! The rules of deciding: examples, and what holds after any sequence of commands.

use proptest::prelude::*;

use super::{
    command::{Command, Decision, Refused},
    state::decide,
};
use crate::types::{
    ClusterView, CollectionConfig, CollectionId, CollectionName, CopySettings, Durability, Holders,
    IndexOptions, Member, MemberDetails, MemberId, MemberState, Metric, PartitionId, Placement,
};

const PARTITIONS: u16 = 4;

fn config(name: &str, dimension: u32) -> CollectionConfig {
    CollectionConfig {
        name: CollectionName::new(name).unwrap(),
        dimension,
        metric: Metric::Cosine,
        index: IndexOptions::default(),
        durability: Durability::Sync,
    }
}

fn id(number: u8) -> MemberId {
    MemberId(format!("m{number}"))
}

fn details(incarnation: u64) -> MemberDetails {
    MemberDetails { incarnation, ..MemberDetails::default() }
}

fn join(number: u8, incarnation: u64) -> Command {
    Command::Join { member: id(number), store: format!("disk{number}"), details: details(incarnation) }
}

fn grid() -> ClusterView {
    ClusterView::found("id", "g", PARTITIONS, Member::new(id(0), "disk0", ""))
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

#[test]
fn creating_an_equal_collection_finds_it_and_a_different_one_is_refused() {
    let mut view = grid();
    let Ok(Decision::Created(first)) = decide(&mut view, Command::CreateCollection(config("a", 4))) else {
        panic!()
    };
    let version = view.version();
    assert_eq!(decide(&mut view, Command::CreateCollection(config("a", 4))), Ok(Decision::Exists(first)));
    assert!(decide(&mut view, Command::CreateCollection(config("a", 5))).is_err());
    assert_eq!(view.version(), version);
}

#[test]
fn a_number_is_never_used_again_and_every_holder_removes_its_rows() {
    let mut view = grid();
    decide(&mut view, join(1, 1)).unwrap();
    let expected = view.table[0].clone();
    let both = Placement { in_sync: vec![id(0), id(1)], ..expected.clone() };
    decide(&mut view, Command::Place { partition: PartitionId(0), expected, next: both }).unwrap();
    decide(&mut view, Command::CreateCollection(config("a", 4))).unwrap();
    let Ok(Decision::Dropped(Some(dropped))) = decide(&mut view, Command::DropCollection(name("a"))) else {
        panic!()
    };
    let Ok(Decision::Created(again)) = decide(&mut view, Command::CreateCollection(config("a", 4))) else {
        panic!()
    };
    assert_ne!(again.id, dropped);
    let purged = |number| Command::Purged { collection: dropped, member: id(number) };
    decide(&mut view, purged(0)).unwrap();
    assert_eq!((view.purging().count(), view.purging_at(&id(1)).count()), (1, 1));
    assert_eq!(view.purging_at(&id(0)).count(), 0);
    decide(&mut view, purged(1)).unwrap();
    assert_eq!(view.purging().count(), 0);
    let version = view.version();
    assert_eq!(decide(&mut view, purged(1)), Ok(Decision::Noted));
    assert_eq!(view.version(), version, "nothing changed");
}

#[test]
fn a_log_begins_with_a_birth_and_has_one() {
    let mut view = ClusterView::unborn();
    assert_eq!(decide(&mut view, join(1, 1)), Err(Refused::Unborn));
    decide(&mut view, Command::Found(Box::new(grid()))).unwrap();
    assert_eq!(view, grid());
    assert_eq!(decide(&mut view, Command::Found(Box::new(grid()))), Err(Refused::NotFirst));
}

#[test]
fn a_member_that_lost_its_disk_or_left_does_not_come_back_under_its_id() {
    let mut view = grid();
    decide(&mut view, join(1, 1)).unwrap();
    assert_eq!(decide(&mut view, join(1, 1)), Ok(Decision::Noted), "the answer was lost");
    let other = Command::Join { member: id(1), store: "other".into(), details: details(2) };
    assert_eq!(decide(&mut view, other), Err(Refused::OtherStore(id(1))));
    decide(&mut view, Command::Remove(id(1))).unwrap();
    assert_eq!(decide(&mut view, join(1, 2)), Err(Refused::HasLeft(id(1))));
    assert_eq!(view.members().count(), 1);
}

#[test]
fn fencing_concerns_one_run_of_a_daemon_and_ends_when_it_says_so() {
    let mut view = grid();
    decide(&mut view, join(1, 3)).unwrap();
    let fence = |incarnation| Command::Fence { member: id(1), incarnation };
    let update = |incarnation| Command::Update { member: id(1), details: details(incarnation) };
    decide(&mut view, fence(2)).unwrap();
    assert_eq!(view.member(&id(1)).unwrap().state, MemberState::Alive);
    decide(&mut view, fence(3)).unwrap();
    assert_eq!(view.member(&id(1)).unwrap().state, MemberState::Away);
    assert_eq!(decide(&mut view, update(2)), Err(Refused::OldIncarnation(id(1))));
    decide(&mut view, update(4)).unwrap();
    assert_eq!(view.member(&id(1)).unwrap().state, MemberState::Alive);
}

#[test]
fn a_copy_in_sync_takes_the_place_of_a_primary_that_is_away_in_the_same_decision() {
    let mut view = grid();
    (1..3).for_each(|number| _ = decide(&mut view, join(number, 1)).unwrap());
    let set = |names: &[u8]| names.iter().map(|name| id(*name)).collect::<Vec<_>>();
    let placed =
        |epoch, primary, in_sync: &[u8]| Placement { epoch, primary: id(primary), in_sync: set(in_sync) };
    view.table =
        vec![placed(4, 1, &[1, 2]), placed(4, 0, &[0, 1]), placed(4, 1, &[1]), placed(4, 0, &[0, 2])];
    let fence = |number| Command::Fence { member: id(number), incarnation: u64::from(number > 0) };
    decide(&mut view, fence(1)).unwrap();
    let after = [placed(5, 2, &[2]), placed(5, 0, &[0]), placed(4, 1, &[1]), placed(4, 0, &[0, 2])];
    assert_eq!(view.table, after, "who has no copy in sync waits");
    // A proposal that was made before: decided, and at once undone, with an epoch of its own.
    let (expected, next) = (placed(5, 0, &[0]), placed(5, 0, &[0, 1]));
    let late = Command::Place { partition: PartitionId(1), expected, next };
    decide(&mut view, late.clone()).unwrap();
    assert_eq!(view.table[1], placed(6, 0, &[0]));
    assert!(decide(&mut view, late).is_err());
    decide(&mut view, fence(0)).unwrap();
    decide(&mut view, fence(2)).unwrap();
    assert_eq!(view.table[3], placed(5, 2, &[2]));
    assert_eq!(view.table[0], placed(5, 2, &[2]), "nobody is left that is in sync and there");
}

#[test]
fn who_holds_partitions_stays() {
    let mut view = grid();
    let refused = decide(&mut view, Command::Remove(id(0))).unwrap_err();
    assert_eq!(refused, Refused::StillHolds { member: id(0), partitions: usize::from(PARTITIONS) });
}

#[test]
fn a_plan_is_for_the_members_it_was_made_for_and_there_is_one() {
    let mut view = grid();
    decide(&mut view, join(1, 1)).unwrap();
    let holders = |number| Holders { primary: id(number), others: Vec::new() };
    let want = |roster, wanted| Command::Want { roster, wanted, passed_over: [].into() };
    let wanted: Vec<Holders> = [0, 1, 0, 1].map(holders).into();
    assert!(
        matches!(decide(&mut view, want(0, wanted.clone())), Err(Refused::OldPlan { .. })),
        "one joined since"
    );
    for bad in [vec![holders(0)], vec![holders(7); 4], vec![Holders { others: vec![id(0)], ..holders(0) }; 4]]
    {
        assert!(matches!(decide(&mut view, want(1, bad)), Err(Refused::BadPlan(_))));
    }
    decide(&mut view, want(1, wanted.clone())).unwrap();
    assert!(matches!(decide(&mut view, want(1, wanted)), Err(Refused::OldPlan { .. })));
    assert_eq!(view.wanted(PartitionId(1)), Some(&holders(1)));
    assert!(view.is_wanted_at(&id(1), PartitionId(1)) && !view.is_wanted_at(&id(0), PartitionId(1)));
    assert!(view.is_moving(PartitionId(1)) && !view.is_moving(PartitionId(0)));
    let refused = decide(&mut view, Command::Remove(id(1)));
    assert_eq!(refused, Err(Refused::StillHolds { member: id(1), partitions: 2 }), "they are meant for it");
}

#[test]
fn the_last_one_cannot_leave_and_who_leaves_may_stay_after_all() {
    let mut view = grid();
    assert_eq!(decide(&mut view, Command::Leave(id(0))), Err(Refused::NobodyElse(id(0))));
    decide(&mut view, join(1, 1)).unwrap();
    decide(&mut view, Command::Leave(id(0))).unwrap();
    let version = view.version();
    decide(&mut view, Command::Leave(id(0))).unwrap();
    assert_eq!(view.version(), version, "it does so already");
    assert_eq!(decide(&mut view, Command::Leave(id(1))), Err(Refused::NobodyElse(id(1))));
    decide(&mut view, Command::Stay(id(0))).unwrap();
    decide(&mut view, Command::Leave(id(1))).unwrap();
    decide(&mut view, join(1, 2)).unwrap();
    assert!(!view.member(&id(1)).unwrap().leaving, "who starts again stays");
}

#[test]
fn every_member_looks_for_rows_of_a_dropped_collection() {
    let mut view = grid();
    decide(&mut view, join(1, 1)).unwrap();
    decide(&mut view, Command::CreateCollection(config("a", 4))).unwrap();
    decide(&mut view, Command::DropCollection(name("a"))).unwrap();
    decide(&mut view, join(2, 1)).unwrap();
    assert!(
        (0..3).all(|member| view.purging_at(&id(member)).count() == 1),
        "one may be given a copy just now"
    );
    decide(&mut view, Command::Remove(id(1))).unwrap();
    assert_eq!(view.purging_at(&id(1)).count(), 0);
}

#[test]
fn the_state_of_an_earlier_version_is_read_and_has_no_plan() {
    let mut view = grid();
    decide(&mut view, join(1, 1)).unwrap();
    let mut old = serde_json::to_value(&view).unwrap();
    for field in ["wanted", "roster", "planned", "passed_over", "stand_ins", "copies"] {
        old.as_object_mut().unwrap().remove(field);
    }
    for field in ["leaving", "absence"] {
        old["members"]["m1"].as_object_mut().unwrap().remove(field);
    }
    let view: ClusterView = serde_json::from_value(old).unwrap();
    assert_eq!(view.wanted(PartitionId(0)), None);
    assert!(view.is_wanted_at(&id(0), PartitionId(0)) && !view.is_moving(PartitionId(0)));
}

/// A command that may fit or not: `expected` of a placement is the one of now, or an arbitrary one.
fn any_command() -> impl Strategy<Value = (Command, bool)> {
    let member = 0_u8..4;
    let placement =
        (1_u64..6, 0_u8..4, proptest::collection::vec(0_u8..4, 0..4)).prop_map(|(epoch, primary, set)| {
            Placement { epoch, primary: id(primary), in_sync: set.into_iter().map(id).collect() }
        });
    let command = prop_oneof![
        3 => (member.clone(), 0_u64..4).prop_map(|(m, i)| join(m, i)),
        2 => (member.clone(), 0_u64..4).prop_map(|(m, i)| Command::Update { member: id(m), details: details(i) }),
        2 => (member.clone(), 0_u64..4).prop_map(|(m, i)| Command::Fence { member: id(m), incarnation: i }),
        1 => (member.clone(), 0_u64..4).prop_map(|(m, i)| Command::Pause { member: id(m), incarnation: i }),
        1 => (member.clone(), 0_u64..4).prop_map(|(m, i)| Command::GiveUp { member: id(m), incarnation: i }),
        1 => (0_u8..6, 0_u8..4)
            .prop_map(|(backups, min_in_sync)| Command::KeepCopies(CopySettings { backups, min_in_sync })),
        2 => (0_u64..4, proptest::collection::btree_map(0..PARTITIONS, member.clone(), 0..3)).prop_map(
            |(roster, stand_ins)| {
                let stand_ins = stand_ins.into_iter().map(|(p, m)| (PartitionId(p), id(m))).collect();
                Command::StandIn { roster, stand_ins }
            }
        ),
        1 => member.clone().prop_map(|m| Command::Leave(id(m))),
        1 => member.clone().prop_map(|m| Command::Stay(id(m))),
        2 => member.clone().prop_map(|m| Command::Remove(id(m))),
        6 => (0_u64..4, proptest::collection::vec((0_u8..4, proptest::option::of(0_u8..4)), 3..6)).prop_map(
            |(roster, wanted)| {
                let holders = |(primary, other): (u8, Option<u8>)| Holders {
                    primary: id(primary),
                    others: other.into_iter().map(id).collect(),
                };
                let wanted = wanted.into_iter().map(holders).collect();
                Command::Want { roster, wanted, passed_over: [id(3)].into() }
            }
        ),
        12 => (0_u16..PARTITIONS + 1, placement.clone(), placement).prop_map(|(p, expected, next)| {
            Command::Place { partition: PartitionId(p), expected, next }
        }),
        1 => Just(Command::CreateCollection(config("a", 4))),
        1 => Just(Command::DropCollection(name("a"))),
        1 => (1_u32..4, member).prop_map(|(c, m)| Command::Purged {
            collection: crate::types::CollectionId(c),
            member: id(m)
        }),
    ];
    (command, proptest::bool::weighted(0.8))
}

/// What must hold between one state and the next (DESIGN: invariants 1 and 4).
fn check(before: &ClusterView, after: &ClusterView, command: &Command) -> Result<(), TestCaseError> {
    // Whoever is proposed into an in-sync set is counted from then on, and so in sync as soon as that is decided.
    let proposed = match command {
        Command::Place { next, .. } => next.in_sync.as_slice(),
        _ => &[],
    };
    prop_assert_eq!(after.version() > before.version(), after != before, "a version is one state");
    for (old, new) in before.table.iter().zip(&after.table) {
        // One for what is decided, one when that names somebody who is away.
        prop_assert!(new.epoch >= old.epoch && new.epoch <= old.epoch + 2);
        prop_assert!(new.epoch > old.epoch || new.primary == old.primary, "one primary per epoch");
        let was_in_sync = old.in_sync.contains(&new.primary) || proposed.contains(&new.primary);
        prop_assert!(was_in_sync, "who is promoted was in sync");
        prop_assert!(new.in_sync.contains(&new.primary));
        let holders = new.in_sync.iter().collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(holders.len(), new.in_sync.len());
        for holder in holders {
            let known = after.member(holder);
            prop_assert!(
                known.is_some_and(|member| !member.has_left()),
                "members that are gone hold nothing"
            );
        }
    }
    for placement in &after.table {
        let alive = |id: &MemberId| after.member(id).is_some_and(Member::is_alive);
        let there = placement.in_sync.iter().filter(|id| alive(id)).count();
        prop_assert!(there == 0 || there == placement.in_sync.len(), "writes wait for nobody who is away");
        prop_assert!(there == 0 || alive(&placement.primary), "somebody who is there orders the writes");
    }
    for (partition, id) in &after.stand_ins {
        prop_assert!(after.member(id).is_some_and(|member| !member.has_left()));
        prop_assert!(!after.meant(*partition).holds(id), "who stands in is not meant to hold it");
    }
    prop_assert_eq!(after.copies().fault(), None);
    prop_assert!(after.wanted.is_empty() || after.wanted.len() == after.table.len());
    for meant in after.wanted.iter().flat_map(Holders::members) {
        let gone = after.member(meant).is_none_or(Member::has_left);
        prop_assert!(!gone, "nothing is meant for members that are gone");
    }
    prop_assert!(after.roster >= before.roster && after.planned <= after.roster);
    prop_assert!(
        before.wanted == after.wanted || after.planned == after.roster,
        "a plan is for the roster of now"
    );
    for (id, member) in &before.members {
        let now = after.member(id);
        prop_assert!(now.is_some_and(|m| m.store == member.store && m.joined == member.joined));
        prop_assert!(!member.has_left() || now.is_some_and(Member::has_left), "who left stays away");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_commands_keep_the_invariants_and_give_the_same_state_everywhere(
        commands in proptest::collection::vec(any_command(), 1..60),
    ) {
        let (mut view, mut log) = (grid(), Vec::new());
        for (mut command, fitting) in commands {
            if let Command::Place { partition, expected, next } = &mut command
                && fitting
                && let Some(current) = view.table.get(usize::from(partition.0))
            {
                // As a careful proposer would, so that most are accepted.
                *expected = current.clone();
                next.epoch = current.epoch + u64::from(next.primary != current.primary);
                if !next.in_sync.contains(&next.primary) {
                    next.in_sync.push(next.primary.clone());
                }
            }
            if let Command::Want { roster, wanted, .. } = &mut command
                && fitting
            {
                *roster = view.roster;
                wanted.resize(view.table.len(), Holders { primary: id(0), others: vec![] });
            }
            let before = view.clone();
            let outcome = decide(&mut view, command.clone());
            prop_assert!(outcome.is_ok() || view == before, "what is refused changes nothing");
            check(&before, &view, &command)?;
            log.push(command);
        }
        // Another member reads the log as it was written, and snapshots as they were.
        let bytes = serde_json::to_vec(&log).unwrap();
        let log: Vec<Command> = serde_json::from_slice(&bytes).unwrap();
        let mut other = grid();
        for (at, command) in log.into_iter().enumerate() {
            let _ = decide(&mut other, command);
            if at % 7 == 0 {
                other = serde_json::from_slice(&serde_json::to_vec(&other).unwrap()).unwrap();
            }
        }
        prop_assert_eq!(other, view);
    }
}

#[test]
fn only_a_grid_of_one_member_that_never_held_anything_is_given_up_and_then_decides_nothing() {
    let dissolve = || Command::Dissolve { at: "there".to_owned() };
    let mut used = grid();
    decide(&mut used, Command::CreateCollection(config("a", 4))).unwrap();
    assert_eq!(decide(&mut used, dissolve()), Err(Refused::InUse));
    decide(&mut used, Command::DropCollection(name("a"))).unwrap();
    decide(&mut used, Command::Purged { collection: CollectionId(1), member: id(0) }).unwrap();
    assert!(!used.is_unused(), "it held something once");
    assert_eq!(decide(&mut used, dissolve()), Err(Refused::InUse));

    let mut shared = grid();
    decide(&mut shared, join(1, 1)).unwrap();
    assert_eq!(decide(&mut shared, dissolve()), Err(Refused::InUse));

    let mut unused = grid();
    assert_eq!(decide(&mut unused, dissolve()), Ok(Decision::Noted));
    assert_eq!(unused.dissolved(), Some("there"));
    let version = unused.version();
    assert_eq!(decide(&mut unused, dissolve()), Ok(Decision::Noted), "a lost answer");
    assert_eq!(decide(&mut unused, join(1, 1)), Err(Refused::Dissolved));
    assert_eq!(decide(&mut unused, Command::CreateCollection(config("a", 4))), Err(Refused::Dissolved));
    assert_eq!(unused.version(), version);
}

#[test]
fn a_state_from_before_grids_were_given_up_is_read() {
    let mut stored = serde_json::to_value(grid()).unwrap();
    stored.as_object_mut().unwrap().remove("dissolved");
    assert_eq!(serde_json::from_value::<ClusterView>(stored).unwrap(), grid());
}
