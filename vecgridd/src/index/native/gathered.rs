//! What is kept of points that are sifted again and again, in the order they are looked at.
//!
//! A point's code, or its numbers, are somewhere in memory: waiting for them takes several times longer than reading them.
//! Of few points the upper halves of the numbers are kept side by side, and a sift ranks them all: codes would rule out half
//! of them at best, since those behind a narrow filter are all about as far away. Of more points it is the codes
//! (`columns`), a quarter of the memory.

use super::{
    columns::{Columns, EIGHT},
    frame::{Frame, Query},
    graph::Graph,
    kernels::Kernels,
    nibbles,
    walk::Eligible,
};

/// Numbers of points that are all ranked, at most, in bytes: half of what a core has to itself, 5,461 points of 384 components.
const MAX_RANKED: usize = 1 << 20;

/// See the module.
pub(in crate::index) struct Gathered {
    slots: Vec<u32>,
    /// In the order of `slots`.
    columns: Columns,
    /// Whether the columns are of numbers, not codes.
    are_ranked: bool,
}

impl Gathered {
    /// Of these points, which are in a graph that has codes.
    pub(super) fn of(graph: &Graph, frame: &Frame, slots: Vec<u32>) -> Self {
        let (coded, are_ranked) = (|slot: &u32| graph.coded(*slot), Self::ranks(frame, slots.len()));
        let columns = match are_ranked {
            true => {
                let rows = slots.iter().map(|slot| (graph.vectors().upper(*slot), coded(slot)));
                Columns::of_halves(nibbles::bytes(frame.length()), rows)
            }
            false => Columns::of_codes(frame.words(), slots.iter().map(coded)),
        };
        Self { slots, columns, are_ranked }
    }

    /// Whether so many points would all be ranked.
    pub(super) fn ranks(frame: &Frame, count: usize) -> bool {
        frame.is_halved() && count * nibbles::bytes(frame.length()) <= MAX_RANKED
    }

    /// Whether [`leasts`](Self::leasts) are the points' ranks.
    pub(super) fn are_ranked(&self) -> bool {
        self.are_ranked
    }

    /// Memory.
    pub(in crate::index) fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.columns.bytes()
    }

    /// Points.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The least rank of each point. What is missing of the last eight is infinite.
    pub(super) fn leasts(&self, kernels: &Kernels, query: &Query, leasts: &mut Vec<[f32; EIGHT]>) {
        leasts.clear();
        leasts.resize(self.len().div_ceil(EIGHT), [f32::INFINITY; EIGHT]);
        let kernel = if self.are_ranked { kernels.ranks_of_eights } else { kernels.leasts_of_eights };
        kernel(query, &self.columns, leasts);
        if let (Some(last), rest @ 1..) = (leasts.last_mut(), self.len() % EIGHT) {
            last[rest..].fill(f32::INFINITY);
        }
    }

    /// Adds those whose least ranks are above the one and not above the other, as far as they are eligible.
    pub(super) fn take(
        &self,
        leasts: &[[f32; EIGHT]],
        (above, up_to): (f32, f32),
        eligible: Eligible<'_>,
        mut add: impl FnMut(f32, u32),
    ) {
        for (slots, leasts) in self.slots.chunks(EIGHT).zip(leasts) {
            // A byte per point, so that the next one is found without a branch for each.
            let wanted = leasts.map(|least| u8::from((above < least) & (least <= up_to)));
            let mut wanted = u64::from_le_bytes(wanted);
            while wanted != 0 {
                let at = wanted.trailing_zeros() as usize / 8;
                wanted &= wanted - 1;
                // What is missing of the last eight is infinite, and so may be `up_to`.
                if let Some(slot) = slots.get(at)
                    && eligible.contains(*slot)
                {
                    add(leasts[at], *slot);
                }
            }
        }
    }
}
