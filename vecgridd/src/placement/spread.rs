//! Where failures come together, and how many copies each member should hold.
//!
//! Members stand in hosts, hosts in zones: a tree. The copies of one partition are dealt out as
//! evenly as the tree permits, first over zones, then inside each over hosts, then over members:
//! with three zones and three copies one each, with two zones two and one. [`deal`] says for `k`
//! copies what every branch gets for certain and which branches may get one more.
//!
//! [`quotas`] gives each member its exact share: proportional to its weight, as far as what the
//! tree demands leaves it free. If a zone has one member and another has three, and there are two
//! copies, the lone member must hold a copy of everything; the other three share the rest. Such
//! bounds come first, balance second: water-filling, level by level.

use std::collections::BTreeMap;

use super::Candidate;

/// Whole numbers that a sum of floats may miss by this much are still meant.
const ROUNDING: f64 = 1e-6;

/// Members by host: its name, and whether that is a name that was given.
type Hosts<'a> = BTreeMap<(&'a str, bool), Vec<Domain>>;

/// A part of the grid that fails together.
#[derive(Debug)]
pub(super) enum Domain {
    /// Index of a candidate, and its weight.
    Member(usize, f64),
    /// A host, a zone or the grid, with the number of members inside.
    Group(Vec<Self>, usize),
}

impl Domain {
    /// The tree of all candidates. A group of one branch is that branch: it decides nothing.
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let mut zones: BTreeMap<Option<&str>, Hosts> = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            // A member that names no host has one of its own, whatever it is called.
            let host = candidate.host.as_deref().map_or((candidate.member.0.as_str(), false), |h| (h, true));
            let member = Self::Member(index, f64::from(candidate.weight));
            zones.entry(candidate.zone.as_deref()).or_default().entry(host).or_default().push(member);
        }
        let zone =
            |hosts: BTreeMap<_, Vec<Self>>| Self::group(hosts.into_values().map(Self::group).collect());
        Self::group(zones.into_values().map(zone).collect())
    }

    fn group(mut branches: Vec<Self>) -> Self {
        if branches.len() == 1 {
            return branches.remove(0);
        }
        let size = branches.iter().map(Self::size).sum();
        Self::Group(branches, size)
    }

    /// Members inside.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Member(..) => 1,
            Self::Group(_, size) => *size,
        }
    }
}

/// How the copies of one partition are dealt to branches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deal {
    /// Per branch: what it gets for certain, and whether it may get one more.
    pub(super) branches: Vec<(usize, bool)>,
    /// How many branches do get one more.
    pub(super) more: usize,
}

/// Deals `copies` as evenly as the sizes of the branches permit.
pub(super) fn deal(copies: usize, branches: &[Domain]) -> Deal {
    let below = |level: usize| branches.iter().map(|b| b.size().min(level)).sum::<usize>();
    let level = (0..=copies).rev().find(|&level| below(level) <= copies).unwrap_or(0);
    Deal {
        branches: branches.iter().map(|b| (b.size().min(level), b.size() > level)).collect(),
        more: copies - below(level).min(copies),
    }
}

/// Exact share of each candidate when every one of `partitions` has `copies`; at most one copy of
/// a partition per member, and `copies` at most the number of members.
pub(super) fn quotas(root: &Domain, partitions: usize, copies: usize, members: usize) -> Vec<f64> {
    let mut quotas = vec![0.0; members];
    let branch = Branch::of(root, copies, false, partitions as f64);
    branch.fill(copies as f64 * partitions as f64, &mut quotas);
    quotas
}

/// A whole range that holds a share: its floor and its ceiling.
pub(super) fn around(share: f64) -> (usize, usize) {
    ((share + ROUNDING).floor() as usize, (share - ROUNDING).ceil().max(0.0) as usize)
}

/// A domain with the least and most it may hold.
struct Branch {
    low: f64,
    high: f64,
    kind: Kind,
}

enum Kind {
    Member(usize, f64),
    Group(Vec<Branch>),
}

impl Branch {
    fn of(domain: &Domain, sure: usize, more: bool, partitions: f64) -> Self {
        let kind = match domain {
            Domain::Member(index, weight) => Kind::Member(*index, *weight),
            Domain::Group(branches, _) => {
                let dealt = deal(sure, branches).branches;
                let inner = branches.iter().zip(dealt);
                Kind::Group(inner.map(|(b, (sure, more))| Self::of(b, sure, more, partitions)).collect())
            }
        };
        Self { low: sure as f64 * partitions, high: (sure + usize::from(more)) as f64 * partitions, kind }
    }

    /// What it holds when the water stands at `level` copies per weight.
    fn at(&self, level: f64) -> f64 {
        let free = match &self.kind {
            Kind::Member(_, weight) => level * weight,
            Kind::Group(branches) => branches.iter().map(|b| b.at(level)).sum(),
        };
        free.clamp(self.low, self.high)
    }

    /// Gives `total` to the members inside.
    fn fill(&self, total: f64, quotas: &mut [f64]) {
        match &self.kind {
            Kind::Member(index, _) => quotas[*index] = total,
            Kind::Group(branches) => {
                let sum = |level: f64| branches.iter().map(|b| b.at(level)).sum::<f64>();
                // Weights are at least 1, so this level fills everything to its brim.
                let (mut dry, mut wet) = (0.0, branches.iter().map(|b| b.high).sum::<f64>());
                // Each round halves the error: more rounds than a double has bits.
                for _ in 0..80 {
                    let middle = f64::midpoint(dry, wet);
                    if sum(middle) < total { dry = middle } else { wet = middle }
                }
                for branch in branches {
                    branch.fill(branch.at(wet), quotas);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberId;

    fn members(places: &[(&str, &str, u32)]) -> Vec<Candidate> {
        let candidate = |(index, (zone, host, weight)): (usize, &(&str, &str, u32))| Candidate {
            member: MemberId(format!("m{index}")),
            zone: (!zone.is_empty()).then(|| (*zone).to_owned()),
            host: (!host.is_empty()).then(|| (*host).to_owned()),
            weight: *weight,
        };
        places.iter().enumerate().map(candidate).collect()
    }

    fn shares(places: &[(&str, &str, u32)], copies: usize) -> Vec<f64> {
        let members = members(places);
        let shares = quotas(&Domain::of(&members), 100, copies, members.len());
        shares.into_iter().map(|share| (share * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn shares_follow_weights_until_a_member_has_everything() {
        assert_eq!(shares(&[("", "", 1); 4], 1), [25.0; 4]);
        assert_eq!(shares(&[("", "", 1), ("", "", 3)], 1), [25.0, 75.0]);
        assert_eq!(shares(&[("", "", 1), ("", "", 1), ("", "", 8)], 2), [50.0, 50.0, 100.0]);
    }

    #[test]
    fn a_lone_member_of_a_zone_holds_what_the_spread_demands() {
        let zones = [("a", "", 1), ("b", "", 1), ("b", "", 1), ("b", "", 1)];
        assert_eq!(shares(&zones, 2), [100.0, 33.3333, 33.3333, 33.3333]);
        assert_eq!(shares(&zones, 1), [25.0; 4]);
        // Three copies in two zones: one here, two there; the lone member cannot hold two.
        assert_eq!(shares(&zones, 3), [100.0, 66.6667, 66.6667, 66.6667]);
    }

    #[test]
    fn copies_are_dealt_evenly() {
        let group = |sizes: &[usize]| -> Vec<Domain> {
            sizes.iter().map(|&size| Domain::Group(Vec::new(), size)).collect()
        };
        let dealt = |copies, sizes: &[usize]| {
            let Deal { branches, more } = deal(copies, &group(sizes));
            (branches, more)
        };
        assert_eq!(dealt(1, &[3, 3]), (vec![(0, true), (0, true)], 1));
        assert_eq!(dealt(3, &[3, 3]), (vec![(1, true), (1, true)], 1));
        assert_eq!(dealt(4, &[1, 5, 3]), (vec![(1, false), (1, true), (1, true)], 1));
        assert_eq!(dealt(2, &[1, 1]), (vec![(1, false), (1, false)], 0));
        assert_eq!(dealt(0, &[2, 1]), (vec![(0, true), (0, true)], 0));
    }
}
