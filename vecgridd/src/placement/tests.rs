//! The promises of the room, over thousands of joins, departures, zones and weights.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::*;
use crate::types::PartitionId;

fn id(number: usize) -> MemberId {
    MemberId(format!("member-{number:03}"))
}

fn plain(number: usize) -> Candidate {
    Candidate { member: id(number), zone: None, host: None, weight: 1 }
}

fn founded(partitions: usize) -> Vec<Holders> {
    vec![Holders { primary: id(0), others: Vec::new() }; partitions]
}

fn copies_of(table: &[Holders]) -> BTreeMap<MemberId, usize> {
    let mut counts = BTreeMap::new();
    table.iter().flat_map(Holders::members).for_each(|m| *counts.entry(m.clone()).or_default() += 1);
    counts
}

fn primaries_of(table: &[Holders]) -> BTreeMap<MemberId, usize> {
    let mut counts = BTreeMap::new();
    table.iter().for_each(|h| *counts.entry(h.primary.clone()).or_default() += 1);
    counts
}

/// Copies of `then` that do not exist in `now`.
fn made(now: &[Holders], then: &[Holders]) -> usize {
    let new = |(now, then): (&Holders, &Holders)| then.members().filter(|m| !now.holds(m)).count();
    now.iter().zip(then).map(new).sum()
}

fn range(counts: impl Iterator<Item = usize> + Clone) -> usize {
    counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
}

/// With one copy of each partition, equal weights and no zones the best can be counted: a member
/// keeps what it holds up to its share, and as many members as there are left-over partitions keep one more.
fn fewest_of_single_copies(members: &[Candidate], now: &[Holders]) -> usize {
    let held = copies_of(now);
    let held = members.iter().map(|c| held.get(&c.member).copied().unwrap_or(0));
    let (share, left_over) = (now.len() / members.len(), now.len() % members.len());
    let kept: usize = held.clone().map(|held| held.min(share)).sum();
    now.len() - kept - held.filter(|&held| held > share).count().min(left_over)
}

/// Promises 1, 2 and the equal-weight part of 3 and 4, judged without the code that keeps them.
fn judge(candidates: &[Candidate], table: &[Holders], backups: u8) {
    let usable: BTreeMap<&MemberId, &Candidate> =
        candidates.iter().filter(|c| c.weight > 0).map(|c| (&c.member, c)).collect();
    let copies = (usize::from(backups) + 1).min(usable.len());
    let zone = |m: &MemberId| usable[m].zone.clone();
    let host = |m: &MemberId| usable[m].host.clone().map_or((m.0.clone(), false), |host| (host, true));
    let zones: BTreeSet<_> = usable.keys().map(|m| zone(m)).collect();
    for holders in table {
        let members: BTreeSet<&MemberId> = holders.members().collect();
        assert_eq!(members.len(), copies, "copies on different members: {holders:?}");
        assert_eq!(holders.others.len() + 1, copies);
        let used: BTreeSet<_> = members.iter().map(|m| zone(m)).collect();
        assert_eq!(used.len(), copies.min(zones.len()), "zones of {holders:?}");
        for used in used {
            let inside = members.iter().filter(|m| zone(m) == used);
            let hosts: BTreeSet<_> = inside.clone().map(|m| host(m)).collect();
            let there: BTreeSet<_> = usable.keys().filter(|m| zone(m) == used).map(|m| host(m)).collect();
            assert_eq!(hosts.len(), inside.count().min(there.len()), "hosts of {holders:?}");
        }
    }
    let held = copies_of(table);
    let led = primaries_of(table);
    for member in usable.keys() {
        let copies_here = held.get(member).copied().unwrap_or(0);
        let led = led.get(member).copied().unwrap_or(0);
        assert!(
            (copies_here / copies..=copies_here.div_ceil(copies)).contains(&led),
            "primaries of {member}"
        );
    }
}

/// Shares are equal as long as nothing forces them apart.
fn judge_equal(candidates: &[Candidate], table: &[Holders]) {
    let (held, led) = (copies_of(table), primaries_of(table));
    let of = |counts: &BTreeMap<MemberId, usize>| -> Vec<usize> {
        candidates.iter().map(|c| counts.get(&c.member).copied().unwrap_or(0)).collect()
    };
    assert!(range(of(&held).into_iter()) <= 1, "copies {held:?}");
    assert!(range(of(&led).into_iter()) <= 1, "primaries {led:?}");
}

#[test]
fn a_fourth_member_takes_a_quarter_and_nothing_else_moves() {
    let three: Vec<Candidate> = (0..3).map(plain).collect();
    let four: Vec<Candidate> = (0..4).map(plain).collect();
    let before = place(&three, &founded(271), 0);
    let after = place(&four, &before, 0);
    let moved = made(&before, &after);
    assert!(moved <= 69, "{moved} moves");
    assert_eq!(moved, 67);
    judge_equal(&four, &after);
    let steps = moves(&before, &after, |_| true);
    assert!(steps.iter().all(|m| !matches!(&m.step, Step::Add(to) if *to != id(3))));
    assert_eq!(place(&four, &after, 0), after, "a right table is left alone");
}

#[test]
fn every_join_and_departure_without_zones_moves_the_least() {
    for backups in 0..=4 {
        let mut table = founded(271);
        let sizes = (1..=12).chain((1..12).rev());
        for size in sizes {
            let candidates: Vec<Candidate> = (0..size).map(plain).collect();
            let next = place(&candidates, &table, backups);
            judge(&candidates, &next, backups);
            judge_equal(&candidates, &next);
            let copies = (usize::from(backups) + 1).min(size);
            let share = (271 * copies).div_ceil(size);
            let living = table.iter().flat_map(Holders::members).filter(|m| m.0 < id(size).0).count();
            let bound = (271 * copies).saturating_sub(living).max(share);
            let moved = made(&table, &next);
            assert!(moved <= bound, "backups {backups}, {size} members: {moved} moves, bound {bound}");
            table = next;
        }
    }
}

#[test]
fn the_backups_of_one_member_are_spread_over_the_others() {
    let candidates: Vec<Candidate> = (0..10).map(plain).collect();
    let table = place(&candidates, &founded(271), 1);
    for failed in 0..10 {
        let mut takes_over: BTreeMap<&MemberId, usize> = BTreeMap::new();
        for holders in table.iter().filter(|h| h.primary == id(failed)) {
            *takes_over.entry(&holders.others[0]).or_default() += 1;
        }
        let most = takes_over.values().copied().max().unwrap_or(0);
        // 27 primaries, 9 others: three each if dealt by hand.
        assert!(most <= 9 && takes_over.len() >= 6, "{failed}: {takes_over:?}");
    }
}

#[test]
fn one_zone_with_one_member_holds_a_copy_of_everything() {
    let zone = |number, zone: &str| Candidate { zone: Some(zone.to_owned()), ..plain(number) };
    let candidates = [zone(0, "a"), zone(1, "b"), zone(2, "b"), zone(3, "b")];
    let table = place(&candidates, &founded(271), 1);
    judge(&candidates, &table, 1);
    assert_eq!(copies_of(&table)[&id(0)], 271);
    assert_eq!(range((1..4).map(|n| copies_of(&table)[&id(n)])), 1);
}

#[test]
fn weights_are_proportions() {
    let heavy = Candidate { weight: 3, ..plain(3) };
    let candidates = [plain(0), plain(1), plain(2), heavy];
    let table = place(&candidates, &founded(270), 0);
    assert_eq!(copies_of(&table).into_values().collect::<Vec<_>>(), [45, 45, 45, 135]);
    let emptied = Candidate { weight: 0, ..plain(0) };
    let without = place(&[emptied, plain(1), plain(2)], &table, 0);
    assert_eq!(copies_of(&without).len(), 2);
}

#[test]
fn without_candidates_nothing_changes() {
    assert_eq!(place(&[], &founded(8), 1), founded(8));
    assert_eq!(place(&[Candidate { weight: 0, ..plain(0) }], &founded(8), 1), founded(8));
}

/// Fifty members, the largest tree we expect, and the worst changes.
/// `cargo test --release -p vecgridd placement::tests::it_takes_milliseconds -- --nocapture`
#[test]
fn it_takes_milliseconds() {
    let zones = |number: usize| Candidate {
        zone: Some(format!("z{}", number % 3)),
        host: Some(format!("h{}", number / 2)),
        ..plain(number)
    };
    for (name, make) in [("no zones", &plain as &dyn Fn(usize) -> Candidate), ("3 zones", &zones)] {
        let fifty: Vec<Candidate> = (0..50).map(make).collect();
        for backups in [0, 2, 4] {
            let timed = |candidates: &[Candidate], table: &[Holders]| {
                let begun = Instant::now();
                let next = place(candidates, table, backups);
                (begun.elapsed(), next)
            };
            let (fresh, table) = timed(&fifty, &founded(271));
            let (left, table) = timed(&fifty[1..], &table);
            let (joined, table) = timed(&fifty, &table);
            let (halved, _) = timed(&fifty[..25], &table);
            println!(
                "{name}, {backups} backups: fresh {fresh:?}, leave {left:?}, join {joined:?}, halved {halved:?}"
            );
            assert!([fresh, left, joined, halved].into_iter().max() < Some(Duration::from_secs(2)));
        }
    }
}

fn random_candidate(
    random: &mut StdRng,
    number: usize,
    (zones, hosts): (usize, usize),
    weights: u32,
) -> Candidate {
    let zone = (zones > 0).then(|| format!("z{}", random.random_range(0..zones)));
    let host = (hosts > 0).then(|| format!("h{}", random.random_range(0..hosts)));
    Candidate { zone, host, weight: random.random_range(1..=weights), ..plain(number) }
}

/// A life of a grid: members come and go, the number of backups changes, and after every change
/// the table is right, stable, and cheap.
fn live(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let partitions = [8, 31, 64, 271][random.random_range(0..4)];
    let (zones, hosts) = (random.random_range(0..5), [0, 0, 3, 8][random.random_range(0..4)]);
    let weights = if random.random_bool(0.5) { 1 } else { 5 };
    let mut members = vec![random_candidate(&mut random, 0, (zones, hosts), weights)];
    let mut table = founded(partitions);
    let mut backups = random.random_range(0..=4);
    for number in 1..random.random_range(4..14) {
        match random.random_range(0..10) {
            0..6 => members.push(random_candidate(&mut random, number, (zones, hosts), weights)),
            6..9 if members.len() > 1 => {
                members.swap_remove(random.random_range(0..members.len()));
            }
            _ => backups = random.random_range(0..=4),
        }
        let next = place(&members, &table, backups);
        judge(&members, &next, backups);
        if zones < 2 && hosts == 0 && weights == 1 {
            judge_equal(&members, &next);
            if backups == 0 {
                assert_eq!(made(&table, &next), fewest_of_single_copies(&members, &table));
            }
        }
        assert_eq!(place(&members, &next, backups), next, "a right table is left alone");
        let mut shuffled = members.clone();
        shuffled.shuffle(&mut random);
        assert_eq!(place(&shuffled, &table, backups), next, "the order of members does not matter");
        follow(&members, &table, &next, backups);
        table = next;
    }
}

/// Takes the moves one by one: no step loses the last copy, and the end is the wanted table.
fn follow(members: &[Candidate], now: &[Holders], then: &[Holders], backups: u8) {
    let mut table = now.to_vec();
    let copies = (usize::from(backups) + 1).min(members.len());
    for Move { partition: PartitionId(partition), step } in moves(now, then, |_| true) {
        let holders = &mut table[usize::from(partition)];
        match step {
            Step::Add(to) => {
                assert!(!holders.holds(&to));
                holders.others.push(to);
            }
            Step::Switch(to) => {
                let at =
                    holders.others.iter().position(|m| *m == to).expect("a switch to a member with a copy");
                holders.others[at] = std::mem::replace(&mut holders.primary, to);
            }
            Step::Remove(from) => {
                assert!(holders.others.contains(&from), "only a backup is removed");
                holders.others.retain(|m| *m != from);
                assert!(holders.members().count() >= copies);
            }
        }
    }
    for (ours, wanted) in table.iter().zip(then) {
        assert_eq!(ours.primary, wanted.primary);
        let set = |h: &Holders| h.members().cloned().collect::<BTreeSet<_>>();
        assert_eq!(set(ours), set(wanted));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]
    #[test]
    fn lives_of_grids(seed in any::<u64>()) {
        live(seed);
    }
}

/// The fewest copies made by any table that keeps the promises, by trying all tables.
struct Trial<'a> {
    now: &'a [Holders],
    sets: Vec<Vec<usize>>,
    counts: Vec<usize>,
    best: usize,
}

impl Trial<'_> {
    fn fewest(now: &[Holders], members: usize, copies: usize) -> usize {
        let sets = (0_u32..1 << members).filter(|set| set.count_ones() as usize == copies);
        let sets = sets.map(|set| (0..members).filter(|m| set & (1 << m) != 0).collect()).collect();
        let mut trial = Trial { now, sets, counts: vec![0; members], best: usize::MAX };
        trial.go(0, 0);
        trial.best
    }

    fn go(&mut self, partition: usize, so_far: usize) {
        if so_far >= self.best {
            return;
        }
        let Some(holders) = self.now.get(partition) else {
            if range(self.counts.iter().copied()) <= 1 {
                self.best = so_far;
            }
            return;
        };
        for set in self.sets.clone() {
            let new = set.iter().filter(|&&m| !holders.holds(&id(m))).count();
            set.iter().for_each(|&m| self.counts[m] += 1);
            self.go(partition + 1, so_far + new);
            set.iter().for_each(|&m| self.counts[m] -= 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn no_table_at_all_is_cheaper(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let members: Vec<Candidate> = (0..random.random_range(1..5)).map(plain).collect();
        let copies = random.random_range(1..=2.min(members.len()));
        let table: Vec<Holders> = (0..6).map(|_| random_holders(&mut random)).collect();
        let next = place(&members, &table, copies as u8 - 1);
        prop_assert_eq!(made(&table, &next), Trial::fewest(&table, members.len(), copies));
    }
}

/// Any two of five members, perhaps the same twice; the fifth has gone.
fn random_holders(random: &mut impl Rng) -> Holders {
    let (a, b) = (random.random_range(0..5), random.random_range(0..5));
    Holders { primary: id(a), others: if a == b { Vec::new() } else { vec![id(b)] } }
}

#[test]
fn what_is_in_danger_comes_first_and_a_partition_without_a_primary_waits() {
    let held = |primary: usize, others: &[usize]| Holders {
        primary: id(primary),
        others: others.iter().map(|n| id(*n)).collect(),
    };
    let now = [held(0, &[1]), held(0, &[9]), held(9, &[0])];
    let then = [held(1, &[2]), held(0, &[1]), held(0, &[1])];
    let plan = moves(&now, &then, |m| *m != id(9));
    let step = |partition, step| Move { partition: PartitionId(partition), step };
    assert_eq!(
        plan,
        [
            step(1, Step::Add(id(1))),
            step(1, Step::Remove(id(9))),
            step(0, Step::Add(id(2))),
            step(0, Step::Switch(id(1))),
            step(0, Step::Remove(id(0))),
        ]
    );
}
