//! Births of grids in every order that chance comes up with.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::birth::{Birth, Effect, Event, Rules, Sighting};
use crate::types::MemberId;

fn at(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8], 5701))
}

fn id(number: usize) -> MemberId {
    MemberId(format!("m{number}"))
}

/// A daemon: what it decides, and what its disk has.
struct Node {
    birth: Birth,
    rules: Rules,
    running: bool,
    grid: Option<String>,
    doing: Option<Effect>,
}

/// Daemons, the questions under way among them, and the grids they made.
struct World {
    random: StdRng,
    nodes: Vec<Node>,
    answers: Vec<(usize, SocketAddr, Option<Sighting>)>,
    created: Vec<String>,
    members: BTreeMap<String, BTreeSet<usize>>,
    with_data: BTreeSet<String>,
    foreign: usize,
}

impl World {
    fn new(seed: u64, rules: &[Rules]) -> Self {
        let node = |(number, rules): (usize, &Rules)| Node {
            birth: Birth::new(id(number), "g", rules.clone()),
            rules: rules.clone(),
            running: false,
            grid: None,
            doing: None,
        };
        Self {
            random: StdRng::seed_from_u64(seed),
            nodes: rules.iter().enumerate().map(node).collect(),
            answers: Vec::new(),
            created: Vec::new(),
            members: BTreeMap::new(),
            with_data: BTreeSet::new(),
            foreign: 0,
        }
    }

    /// What a node answers now; nothing when it does not run.
    fn ask(&self, number: usize) -> Option<Sighting> {
        let node = self.nodes.get(number).filter(|node| node.running)?;
        let members = node.grid.as_ref().map_or(0, |grid| self.members[grid].len());
        let empty = node.grid.as_ref().is_some_and(|grid| !self.with_data.contains(grid));
        let (grid, fresh) = (node.grid.clone(), node.birth.fresh());
        Some(Sighting { grid_name: "g".into(), grid, member: id(number), members, empty, fresh })
    }

    fn tell(&mut self, number: usize, event: Event) {
        for effect in self.nodes[number].birth.step(event) {
            match effect {
                Effect::Foreign { .. } => self.foreign += 1,
                Effect::WaitAgain => {}
                doing => self.nodes[number].doing = Some(doing),
            }
        }
    }

    fn is_member(&mut self, number: usize) {
        let Some(grid) = self.nodes[number].grid.clone() else { return };
        let (members, empty) = (self.members[&grid].len(), !self.with_data.contains(&grid));
        self.tell(number, Event::Member { grid, members, empty });
    }

    fn start(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.birth = Birth::new(id(number), "g", node.rules.clone());
        (node.running, node.doing) = (true, None);
        self.is_member(number);
    }

    /// Does what a node wanted done, as the control plane would.
    fn act(&mut self, number: usize) {
        let Some(doing) = self.nodes[number].doing.take() else { return };
        let own = self.nodes[number].grid.clone();
        match doing {
            Effect::Create => {
                assert_eq!(own, None);
                let grid =
                    format!("grid-{:02}", self.random.random_range(0..90) * 10 + self.created.len() % 10);
                self.created.push(grid.clone());
                self.members.insert(grid.clone(), [number].into());
                self.nodes[number].grid = Some(grid);
            }
            Effect::Join(to) | Effect::Dissolve(to) => {
                let there = (0..self.nodes.len()).find(|n| at(*n) == to).unwrap();
                let target = self.nodes[there].grid.clone().filter(|_| self.nodes[there].running);
                let harmless = own
                    .as_ref()
                    .is_none_or(|own| self.members[own].len() == 1 && !self.with_data.contains(own));
                match target.filter(|target| harmless && own.as_ref() != Some(target)) {
                    Some(target) => {
                        own.and_then(|own| self.members.remove(&own));
                        self.members.get_mut(&target).unwrap().insert(number);
                        self.nodes[number].grid = Some(target);
                    }
                    None => {
                        self.tell(number, Event::Failed);
                        return;
                    }
                }
            }
            Effect::WaitAgain | Effect::Foreign { .. } => {}
        }
        self.is_member(number);
    }

    fn chance(&mut self, restarts: bool) {
        let (one, other) = (self.somebody(), self.somebody());
        match self.random.random_range(0..20) {
            0..=7 if one != other && self.nodes[one].running => {
                self.answers.push((one, at(other), self.ask(other)));
            }
            0..=13 if !self.answers.is_empty() => {
                let which = self.random.random_range(0..self.answers.len());
                let (to, from, answer) = self.answers.swap_remove(which);
                self.answered(to, from, answer);
            }
            14..=16 if self.nodes[one].running => self.act(one),
            17 | 18 if !self.nodes[one].running => self.start(one),
            19 if restarts && self.nodes[one].running => self.nodes[one].running = false,
            _ => {}
        }
    }

    fn answered(&mut self, to: usize, from: SocketAddr, answer: Option<Sighting>) {
        if self.nodes[to].running {
            self.tell(to, answer.map_or(Event::Silent(from), |answer| Event::Heard(from, answer)));
        }
    }

    fn somebody(&mut self) -> usize {
        self.random.random_range(0..self.nodes.len())
    }

    /// Everybody runs, and asks everybody, and gets an answer.
    fn settle(&mut self) {
        self.answers.clear();
        for _ in 0..3 * self.nodes.len() {
            for number in 0..self.nodes.len() {
                if !self.nodes[number].running {
                    self.start(number);
                }
                for other in (0..self.nodes.len()).filter(|other| *other != number) {
                    self.answered(number, at(other), self.ask(other));
                }
                self.is_member(number);
                self.tell(number, Event::LookedAround);
                self.tell(number, Event::Waited);
                self.act(number);
            }
        }
    }

    fn grids(&self) -> BTreeSet<Option<String>> {
        self.nodes.iter().map(|node| node.grid.clone()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn exactly_n_that_expect_n_never_make_two_grids(seed in any::<u64>(), n in 1..7_usize) {
        let mut world = World::new(seed, &vec![Rules { expect: Some(n), ..Rules::default() }; n]);
        for _ in 0..600 {
            world.chance(true);
            prop_assert!(world.created.len() <= 1, "{:?}", world.created);
        }
        world.settle();
        prop_assert_eq!(world.created.len(), 1);
        prop_assert_eq!(world.grids().len(), 1, "{:?}", world.grids());
    }

    #[test]
    fn one_that_bootstraps_takes_all_others_in(seed in any::<u64>(), n in 1..7_usize) {
        let mut rules = vec![Rules::default(); n];
        rules[seed as usize % n].bootstrap = true;
        let mut world = World::new(seed, &rules);
        for _ in 0..200 {
            world.chance(true);
            let who = world.somebody();
            if world.nodes[who].running {
                world.tell(who, Event::LookedAround);
            }
            prop_assert!(world.created.len() <= 1);
        }
        world.settle();
        prop_assert_eq!((world.created.len(), world.grids().len()), (1, 1));
    }

    #[test]
    fn no_empty_single_member_grid_stays_beside_another(seed in any::<u64>(), n in 2..7_usize) {
        let mut world = World::new(seed, &vec![Rules { bootstrap: true, ..Rules::default() }; n]);
        for number in 0..n {
            world.start(number);
            world.tell(number, Event::LookedAround);
            world.act(number);
        }
        prop_assert_eq!(world.grids().len(), n);
        for _ in 0..200 {
            world.chance(true);
        }
        world.settle();
        let alone = world.members.values().filter(|members| members.len() == 1).count();
        prop_assert!(!world.grids().contains(&None));
        // Two pairs may have met before the four did: those are two grids with members, and reported.
        prop_assert!(world.grids().len() == 1 || alone == 0 && world.foreign > 0, "{:?}", world.members);
    }

    #[test]
    fn grids_with_data_are_never_merged(seed in any::<u64>()) {
        let mut world = World::new(seed, &vec![Rules { bootstrap: true, ..Rules::default() }; 3]);
        for number in 0..2 {
            world.start(number);
            world.tell(number, Event::LookedAround);
            world.act(number);
            let grid = world.nodes[number].grid.clone().unwrap();
            world.with_data.insert(grid);
            world.is_member(number);
        }
        let before = world.grids();
        world.settle();
        let grids: BTreeSet<_> = world.nodes[..2].iter().map(|node| node.grid.clone()).collect();
        prop_assert!(before.is_superset(&grids) && grids.len() == 2);
        prop_assert!(world.foreign > 0, "it is reported");
    }

    #[test]
    fn by_multicast_those_that_see_each_other_in_time_make_one(seed in any::<u64>(), n in 1..7_usize) {
        let mut world = World::new(seed, &vec![Rules { after_waiting: true, ..Rules::default() }; n]);
        for _ in 0..300 {
            world.chance(false);
        }
        world.settle();
        prop_assert_eq!((world.created.len(), world.grids().len()), (1, 1));
    }
}

#[test]
fn who_sees_two_grids_of_its_name_takes_neither() {
    let mut birth = Birth::new(id(0), "g", Rules { bootstrap: true, ..Rules::default() });
    let grid = |name: &str, number| Sighting {
        grid_name: "g".into(),
        grid: Some(name.into()),
        member: id(number),
        members: 2,
        empty: false,
        fresh: BTreeSet::new(),
    };
    assert_eq!(birth.step(Event::Heard(at(1), grid("x", 1))), [Effect::Join(at(1))]);
    birth.step(Event::Failed);
    assert!(birth.step(Event::Heard(at(2), grid("y", 2))).is_empty());
    assert!(birth.step(Event::LookedAround).is_empty());
    assert!(birth.waits_for().unwrap().contains("several grids"));
    assert_eq!(birth.step(Event::Silent(at(1))), [Effect::Join(at(2))]);
}

/// The condition in the promise is needed: with more fresh members than N there may be two grids.
#[test]
fn more_than_n_can_make_two_grids() {
    let made_two = (0..2_000).any(|seed| {
        let mut world = World::new(seed, &vec![Rules { expect: Some(2), ..Rules::default() }; 4]);
        (0..600).for_each(|_| world.chance(false));
        world.created.len() > 1
    });
    assert!(made_two);
}

#[test]
fn a_grid_of_another_name_is_none_of_our_business() {
    let mut birth = Birth::new(id(0), "g", Rules { bootstrap: true, ..Rules::default() });
    let other = Sighting {
        grid_name: "h".into(),
        grid: Some("x".into()),
        member: id(1),
        members: 3,
        empty: false,
        fresh: BTreeSet::new(),
    };
    assert!(birth.step(Event::Heard(at(1), other)).is_empty());
    assert!(birth.waits_for().is_some());
    assert_eq!(birth.step(Event::LookedAround), [Effect::Create]);
    assert_eq!(birth.waits_for(), None);
}

#[test]
fn a_grid_that_exists_is_joined_even_with_bootstrap_and_a_failure_waits_for_news() {
    let mut birth = Birth::new(id(0), "g", Rules { bootstrap: true, ..Rules::default() });
    let member = Sighting {
        grid_name: "g".into(),
        grid: Some("x".into()),
        member: id(1),
        members: 1,
        empty: true,
        fresh: BTreeSet::new(),
    };
    assert_eq!(birth.step(Event::Heard(at(1), member.clone())), [Effect::Join(at(1))]);
    assert!(birth.step(Event::LookedAround).is_empty(), "one thing at a time");
    assert!(birth.step(Event::Failed).is_empty());
    assert_eq!(birth.step(Event::Heard(at(1), member)), [Effect::Join(at(1))]);
}
