//! The wanted table: two cheapest flows, copies first, then which copy is the primary.
//!
//! ```text
//! source ─(copies)→ partition ─→ zones ─→ hosts ─→ member ─(its share, rounded down)→ sink
//!                   what deal() says; a copy         └─(one more)→ pool ─(what is left)→ sink
//!                   that must be made costs 1
//! ```
//!
//! The room into the sink is exactly the number of copies, so a full flow gives every member its
//! share rounded down or up, and [`deal`] its due at every branch. A full flow exists: giving each
//! member `share / partitions` of every partition respects all bounds, and a network with whole
//! bounds that a fractional flow fills is filled by a whole one, too. The same argument holds for
//! primaries with `1 / copies` of a primary for every copy.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    Candidate, Holders,
    flow::{ArcId, Network, Node},
    spread::{Domain, around, deal, quotas},
};
use crate::types::MemberId;

/// Who should hold what, with `backups` backups per partition where there are members enough.
/// Without candidates nothing could be better: the current table is the answer.
///
/// A candidate of weight 0 is to be emptied. `current` may name members that are gone.
pub fn place(candidates: &[Candidate], current: &[Holders], backups: u8) -> Vec<Holders> {
    let mut members: Vec<Candidate> = candidates.iter().filter(|c| c.weight > 0).cloned().collect();
    // The answer must not depend on the order in which members are told.
    members.sort();
    members.dedup_by(|a, b| a.member == b.member);
    if members.is_empty() || current.is_empty() {
        return current.to_vec();
    }
    let copies = (usize::from(backups) + 1).min(members.len());
    let held = Held::of(&members, current);
    let placed = place_copies(&members, &held, copies);
    let primaries = choose_primaries(&held, &placed, members.len(), copies);
    let name = |index: &usize| members[*index].member.clone();
    let holders = placed.iter().zip(primaries).map(|(copies, primary)| Holders {
        primary: name(&primary),
        others: copies.iter().filter(|&&copy| copy != primary).map(name).collect(),
    });
    holders.collect()
}

/// The current table, by index of candidates; who is none of them is forgotten.
struct Held {
    /// Per partition and candidate.
    copies: Vec<Vec<bool>>,
    primaries: Vec<Option<usize>>,
}

impl Held {
    fn of(members: &[Candidate], current: &[Holders]) -> Self {
        let indexes: BTreeMap<&MemberId, usize> =
            members.iter().enumerate().map(|(index, candidate)| (&candidate.member, index)).collect();
        let copies = |holders: &Holders| {
            let mut held = vec![false; members.len()];
            for index in holders.members().filter_map(|member| indexes.get(member)) {
                held[*index] = true;
            }
            held
        };
        Self {
            copies: current.iter().map(copies).collect(),
            primaries: current.iter().map(|holders| indexes.get(&holders.primary).copied()).collect(),
        }
    }
}

/// Whole shares between floor and ceiling, as ways into the sink.
fn shares_into(network: &mut Network, sink: Node, shares: &[(usize, usize)], total: usize) -> Vec<Node> {
    let sure: usize = shares.iter().map(|(low, _)| low).sum();
    let pool = network.node();
    network.arc(pool, sink, total.saturating_sub(sure) as u32, 0);
    let mut way_in = |&(low, high): &(usize, usize)| {
        let member = network.node();
        network.arc(member, sink, low as u32, 0);
        if high > low {
            network.arc(member, pool, 1, 0);
        }
        member
    };
    shares.iter().map(&mut way_in).collect()
}

/// Members (by index, ascending) of each partition.
fn place_copies(members: &[Candidate], held: &Held, copies: usize) -> Vec<Vec<usize>> {
    let root = Domain::of(members);
    let partitions = held.copies.len();
    let shares: Vec<(usize, usize)> =
        quotas(&root, partitions, copies, members.len()).into_iter().map(around).collect();
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let nodes = shares_into(&mut network, sink, &shares, partitions * copies);
    let seeds: Vec<u64> = members.iter().map(|c| xxh3_64_with_seed(c.member.0.as_bytes(), 0)).collect();
    let mut ways: Vec<Vec<(usize, ArcId)>> = Vec::with_capacity(partitions);
    for (partition, held) in held.copies.iter().enumerate() {
        let node = network.node();
        network.arc(source, node, copies as u32, 0);
        let mut dealer = Dealer { network: &mut network, nodes: &nodes, held, ways: Vec::new() };
        dealer.deal(&root, copies, Some(node), None, &|member| mix(seeds[member], partition));
        ways.push(dealer.ways);
    }
    network.solve(source, sink);
    let chosen = |ways: &Vec<(usize, ArcId)>| {
        let mut chosen: Vec<usize> =
            ways.iter().filter(|(_, arc)| network.flow(*arc) > 0).map(|(member, _)| *member).collect();
        chosen.sort_unstable();
        chosen
    };
    ways.iter().map(chosen).collect()
}

/// A number that looks random per partition and member: it breaks ties, so that the backups of one
/// member's partitions are spread over all others.
fn mix(seed: u64, partition: usize) -> u64 {
    xxh3_64_with_seed(&(partition as u64).to_le_bytes(), seed)
}

/// Draws one partition's part of the network.
struct Dealer<'a> {
    network: &'a mut Network,
    nodes: &'a [Node],
    held: &'a [bool],
    ways: Vec<(usize, ArcId)>,
}

impl Dealer<'_> {
    /// `sure` brings exactly `copies` units into the domain, `more` perhaps one besides.
    fn deal(
        &mut self,
        domain: &Domain,
        copies: usize,
        sure: Option<Node>,
        more: Option<Node>,
        order: &dyn Fn(usize) -> u64,
    ) {
        let branches = match domain {
            Domain::Member(index, _) => {
                for from in [sure, more].into_iter().flatten() {
                    let cost = i32::from(!self.held[*index]);
                    self.ways.push((*index, self.network.arc(from, self.nodes[*index], 1, cost)));
                }
                return;
            }
            Domain::Group(branches, _) => branches,
        };
        let dealt = deal(copies, branches);
        let extra = self.network.node();
        for (from, room) in [(sure, dealt.more), (more, 1)] {
            if let Some(from) = from.filter(|_| room > 0) {
                self.network.arc(from, extra, room as u32, 0);
            }
        }
        let mut inner: Vec<_> = branches.iter().zip(dealt.branches).collect();
        inner.sort_by_key(|(branch, _)| first_of(branch, order));
        for (branch, (copies, one_more)) in inner {
            let sure = sure.filter(|_| copies > 0).map(|from| self.enter(branch, from, copies));
            let more = one_more.then(|| self.enter(branch, extra, 1));
            self.deal(branch, copies, sure, more, order);
        }
    }

    /// A node that brings at most `room` units into a branch. A member needs none: its arc is the way.
    fn enter(&mut self, branch: &Domain, from: Node, room: usize) -> Node {
        if matches!(branch, Domain::Member(..)) {
            return from;
        }
        let node = self.network.node();
        self.network.arc(from, node, room as u32, 0);
        node
    }
}

/// The smallest rank of a domain's members.
fn first_of(domain: &Domain, order: &dyn Fn(usize) -> u64) -> u64 {
    match domain {
        Domain::Member(index, _) => order(*index),
        Domain::Group(branches, _) => branches.iter().map(|b| first_of(b, order)).min().unwrap_or(u64::MAX),
    }
}

/// One of the copies of each partition; each member in proportion to its copies.
fn choose_primaries(held: &Held, placed: &[Vec<usize>], members: usize, copies: usize) -> Vec<usize> {
    let mut counts = vec![0_usize; members];
    placed.iter().flatten().for_each(|&member| counts[member] += 1);
    let shares: Vec<(usize, usize)> =
        counts.iter().map(|&count| (count / copies, count.div_ceil(copies))).collect();
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let nodes = shares_into(&mut network, sink, &shares, placed.len());
    let mut ways: Vec<Vec<(usize, ArcId)>> = Vec::with_capacity(placed.len());
    for (partition, holders) in placed.iter().enumerate() {
        let node = network.node();
        network.arc(source, node, 1, 0);
        // A copy that is there can take over without waiting for rows.
        let first = |member: &usize| {
            let arrives = !held.copies[partition][*member];
            (arrives, mix(*member as u64, partition))
        };
        let mut holders = holders.clone();
        holders.sort_by_key(first);
        let way = |&member: &usize| {
            let cost = i32::from(held.primaries[partition] != Some(member));
            (member, network.arc(node, nodes[member], 1, cost))
        };
        ways.push(holders.iter().map(way).collect());
    }
    network.solve(source, sink);
    let chosen = ways.iter().map(|ways| {
        let chosen = ways.iter().find(|(_, arc)| network.flow(*arc) > 0).or(ways.first());
        chosen.map_or(0, |(member, _)| *member)
    });
    chosen.collect()
}
