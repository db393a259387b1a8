//! The cheapest way to send whole units through a network.
//!
//! Placement is a question of this kind: units are copies, arcs say which member may hold a copy of
//! which partition, room on an arc bounds how many, and a copy that is not there yet costs one.
//! The answer is exact, so "minimal movement" is a theorem here and not a hope.
//!
//! How: primal-dual. Distances from the source over what room is left (Dijkstra, with potentials
//! that keep the costs non-negative), then a blocking flow along arcs that lie on shortest paths
//! (Dinic), until the sink cannot be reached. Costs are 0 and 1 here, so there are few rounds.
//! Each arc's first use goes in the order in which arcs were added: callers choose ties by that.
//! Source: Ahuja, Magnanti, Orlin, "Network Flows", chapter 9. The crates that have this are
//! copyleft or wrap C++; what we need is a page.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

const FAR: u32 = u32::MAX;

/// A place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(u32);

/// A way from one node to another; asked for its flow afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArcId(u32);

#[derive(Debug)]
struct Arc {
    to: u32,
    room: u32,
    cost: i32,
}

/// A network under construction, and its flow once solved.
#[derive(Debug, Default)]
pub(super) struct Network {
    // Arc 2i and its reverse 2i + 1; the reverse's room is the flow.
    arcs: Vec<Arc>,
    leaving: Vec<Vec<u32>>,
    potential: Vec<i32>,
}

impl Network {
    pub(super) fn node(&mut self) -> Node {
        self.leaving.push(Vec::new());
        Node(self.leaving.len() as u32 - 1)
    }

    /// A way for at most `room` units, each at `cost` (not negative).
    pub(super) fn arc(&mut self, from: Node, to: Node, room: u32, cost: i32) -> ArcId {
        let id = self.arcs.len() as u32;
        self.arcs.push(Arc { to: to.0, room, cost });
        self.arcs.push(Arc { to: from.0, room: 0, cost: -cost });
        self.leaving[from.0 as usize].push(id);
        self.leaving[to.0 as usize].push(id + 1);
        ArcId(id)
    }

    /// Units on this arc.
    pub(super) fn flow(&self, arc: ArcId) -> u32 {
        self.arcs[arc.0 as usize + 1].room
    }

    /// Sends as many units as fit, at the least total cost; how many they are.
    pub(super) fn solve(&mut self, source: Node, sink: Node) -> u32 {
        self.potential = vec![0; self.leaving.len()];
        let mut sent = 0;
        while self.reprice(source, sink) {
            while let Some(levels) = self.levels(source, sink) {
                sent += self.blocking_flow(source, sink, levels);
            }
        }
        sent
    }

    fn reduced_cost(&self, from: u32, arc: &Arc) -> i32 {
        arc.cost + self.potential[from as usize] - self.potential[arc.to as usize]
    }

    /// Makes the arcs of all shortest paths cost nothing; false when the sink is out of reach.
    fn reprice(&mut self, source: Node, sink: Node) -> bool {
        let mut distance = vec![i32::MAX; self.leaving.len()];
        let mut queue = BinaryHeap::from([Reverse((0, source.0))]);
        distance[source.0 as usize] = 0;
        while let Some(Reverse((so_far, node))) = queue.pop() {
            if so_far > distance[node as usize] {
                continue;
            }
            for &id in &self.leaving[node as usize] {
                let arc = &self.arcs[id as usize];
                let there = so_far + self.reduced_cost(node, arc);
                if arc.room > 0 && there < distance[arc.to as usize] {
                    distance[arc.to as usize] = there;
                    queue.push(Reverse((there, arc.to)));
                }
            }
        }
        let farthest = distance[sink.0 as usize];
        if farthest == i32::MAX {
            return false;
        }
        for (potential, distance) in self.potential.iter_mut().zip(&distance) {
            // Beyond the sink exact distances do not matter, and this keeps reduced costs positive.
            *potential += (*distance).min(farthest);
        }
        true
    }

    /// Arcs from the source to each node along free arcs, if the sink can be reached by them.
    fn levels(&self, source: Node, sink: Node) -> Option<Vec<u32>> {
        let mut level = vec![FAR; self.leaving.len()];
        level[source.0 as usize] = 0;
        let mut queue = VecDeque::from([source.0]);
        while let Some(node) = queue.pop_front() {
            for &id in &self.leaving[node as usize] {
                let arc = &self.arcs[id as usize];
                if arc.room > 0 && level[arc.to as usize] == FAR && self.reduced_cost(node, arc) == 0 {
                    level[arc.to as usize] = level[node as usize] + 1;
                    queue.push_back(arc.to);
                }
            }
        }
        (level[sink.0 as usize] != FAR).then_some(level)
    }

    /// Fills paths whose every arc goes one level further, until there are none.
    fn blocking_flow(&mut self, source: Node, sink: Node, mut level: Vec<u32>) -> u32 {
        let mut next = vec![0_usize; self.leaving.len()];
        let mut path: Vec<u32> = Vec::new();
        let mut sent = 0;
        loop {
            let node = path.last().map_or(source.0, |&id| self.arcs[id as usize].to);
            if node == sink.0 {
                sent += self.send_along(&path);
                path.clear();
            } else if let Some(id) = self.way_on(node, &level, &mut next) {
                path.push(id);
            } else {
                // A dead end: nobody needs to come here again.
                level[node as usize] = FAR;
                if path.pop().is_none() {
                    return sent;
                }
            }
        }
    }

    fn way_on(&self, node: u32, level: &[u32], next: &mut [usize]) -> Option<u32> {
        let leaving = &self.leaving[node as usize];
        while let Some(&id) = leaving.get(next[node as usize]) {
            let arc = &self.arcs[id as usize];
            let further = level[arc.to as usize] != FAR && level[arc.to as usize] == level[node as usize] + 1;
            if further && arc.room > 0 && self.reduced_cost(node, arc) == 0 {
                return Some(id);
            }
            next[node as usize] += 1;
        }
        None
    }

    fn send_along(&mut self, path: &[u32]) -> u32 {
        let units = path.iter().map(|&id| self.arcs[id as usize].room).min().unwrap_or(0);
        for &id in path {
            self.arcs[id as usize].room -= units;
            self.arcs[id as usize ^ 1].room += units;
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Workers to jobs, both at most once: the cheapest of the largest matchings, by trying all.
    fn by_trying(costs: &[Vec<Option<i32>>], row: usize, used: u32) -> (u32, i32) {
        let Some(ways) = costs.get(row) else { return (0, 0) };
        let mut best = by_trying(costs, row + 1, used);
        for (job, cost) in ways.iter().enumerate() {
            if let Some(cost) = cost
                && used & (1 << job) == 0
            {
                let (count, sum) = by_trying(costs, row + 1, used | 1 << job);
                best = if (count + 1, -(sum + cost)) > (best.0, -best.1) {
                    (count + 1, sum + cost)
                } else {
                    best
                };
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn it_is_the_cheapest_of_the_largest_flows(
            costs in prop::collection::vec(prop::collection::vec(prop::option::of(0..4_i32), 5), 1..6)
        ) {
            let mut network = Network::default();
            let (source, sink) = (network.node(), network.node());
            let jobs: Vec<Node> = (0..5).map(|_| network.node()).collect();
            for &job in &jobs {
                network.arc(job, sink, 1, 0);
            }
            let mut ways = Vec::new();
            for row in &costs {
                let worker = network.node();
                network.arc(source, worker, 1, 0);
                for (job, cost) in row.iter().enumerate() {
                    ways.extend(cost.map(|cost| (network.arc(worker, jobs[job], 1, cost), cost)));
                }
            }
            let sent = network.solve(source, sink);
            let cost: i32 = ways.iter().map(|(arc, cost)| network.flow(*arc) as i32 * cost).sum();
            prop_assert_eq!((sent, cost), by_trying(&costs, 0, 0));
        }
    }
}
