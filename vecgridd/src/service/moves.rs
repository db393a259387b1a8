//! The copies that members are making on others at this moment.
//!
//! Only the member that makes a copy knows how far it is. Whoever is asked passes the question on, once, to those that
//! order the writes of partitions that are moving; who does not answer is named.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;
use vecgrid_proto::peer as wire;

use super::{RequestContext, Service, ServiceError, answer::Scope, scatter::Part};
use crate::{
    index::PartitionSet,
    partition::{Copying, Stage},
    peer::Rows,
    types::{ClusterView, Member, MemberId, PartitionId},
};

/// How long another member is waited for: people look at this, and look again.
const PATIENCE: Duration = Duration::from_secs(1);

/// A copy on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// Of which partition.
    pub partition: PartitionId,
    /// Who sends it.
    pub from: MemberId,
    /// Who is to have it.
    pub to: MemberId,
    /// `waiting`, `rows` or `log`.
    pub stage: String,
    /// Bytes of rows that were sent.
    pub sent: u64,
    /// Bytes of rows in all, about.
    pub total: u64,
    /// Since when they are sent.
    pub took: Duration,
}

impl Move {
    /// Bytes per second since rows are sent.
    pub fn rate(&self) -> u64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { (self.sent as f64 / seconds) as u64 } else { 0 }
    }

    /// Until the rows are there; `None` while nobody can say.
    pub fn left(&self) -> Option<Duration> {
        let rate = self.rate();
        let left = self.total.saturating_sub(self.sent);
        (self.stage == name(Stage::Rows) && rate > 0)
            .then(|| Duration::from_secs_f64(left as f64 / rate as f64))
    }
}

/// What is on its way in the grid.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// By partition.
    pub moves: Vec<Move>,
    /// Members that were asked in vain.
    pub unanswered: Vec<MemberId>,
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Waiting => "waiting",
        Stage::Rows => "rows",
        Stage::Log => "log",
    }
}

/// Who orders the writes of partitions that are moving, this member excepted.
fn to_ask(view: &ClusterView, me: &MemberId) -> BTreeMap<MemberId, PartitionSet> {
    let mut ask: BTreeMap<MemberId, PartitionSet> = BTreeMap::new();
    for partition in (0..view.partitions()).map(PartitionId).filter(|partition| view.is_moving(*partition)) {
        let primary = &view.partition(partition).primary;
        if primary != me && view.member(primary).is_some_and(Member::is_alive) {
            ask.entry(primary.clone()).or_default().insert(partition);
        }
    }
    ask
}

impl Service {
    /// All copies that members are making, as far as they answer.
    pub async fn moves(&self, ctx: &RequestContext) -> Moves {
        let view = self.view();
        let ctx = &RequestContext { deadline: ctx.deadline.min(Instant::now() + PATIENCE), ..ctx.clone() };
        let asked = to_ask(&view, &self.parts.member).into_iter().map(|(member, set)| async move {
            let message = wire::MovesRequest { asked: Some(self.asked(ctx, &set)) };
            let send = |mut rows: Rows, request| async move { rows.moves(request).await };
            let answer = self.ask_member::<_, wire::MovesResponse, _>(ctx, &member, ("moves", message), send);
            (member.clone(), answer.await)
        });
        let mut found = Moves { moves: self.moves_here(), unanswered: Vec::new() };
        for (member, answer) in join_all(asked).await {
            match answer {
                Ok((answer, _)) => {
                    found.moves.extend(answer.moves.into_iter().filter_map(|told| heard(&member, told)));
                }
                Err(_) => found.unanswered.push(member),
            }
        }
        found.moves.sort_by(|a, b| (a.partition, &a.to).cmp(&(b.partition, &b.to)));
        found
    }

    /// The copies that this member is making.
    pub fn moves_here(&self) -> Vec<Move> {
        let me = &self.parts.member;
        let of = |(partition, owner): (PartitionId, crate::partition::Handle)| {
            owner.copies().iter().map(|copy| shown(partition, me, copy)).collect::<Vec<_>>()
        };
        self.parts.hosts.owners().into_iter().flat_map(of).collect()
    }

    /// The same, for another member: all of them, whatever it asked for.
    pub(super) async fn answer_moves(
        &self,
        _: &Scope,
    ) -> Result<Option<Part<wire::MovesResponse>>, ServiceError> {
        let moves = self.moves_here().into_iter().map(told).collect();
        Ok(Some(Part::new(wire::MovesResponse { told: None, moves }, PartitionSet::new())))
    }
}

fn shown(partition: PartitionId, me: &MemberId, copy: &Copying) -> Move {
    let rows = copy.rows;
    Move {
        partition,
        from: me.clone(),
        to: copy.to.clone(),
        stage: name(copy.stage).to_owned(),
        sent: rows.map_or(0, |rows| rows.sent),
        total: rows.map_or(0, |rows| rows.expected),
        took: rows.map_or(Duration::ZERO, |rows| rows.until.saturating_duration_since(rows.since)),
    }
}

fn told(copy: Move) -> wire::Move {
    wire::Move {
        partition: copy.partition.0.into(),
        to: copy.to.0,
        stage: copy.stage,
        sent_bytes: copy.sent,
        total_bytes: copy.total,
        took_us: u64::try_from(copy.took.as_micros()).unwrap_or(u64::MAX),
    }
}

fn heard(from: &MemberId, told: wire::Move) -> Option<Move> {
    Some(Move {
        partition: PartitionId(u16::try_from(told.partition).ok()?),
        from: from.clone(),
        to: MemberId(told.to),
        stage: told.stage,
        sent: told.sent_bytes,
        total: told.total_bytes,
        took: Duration::from_micros(told.took_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Holders;

    fn id(name: &str) -> MemberId {
        MemberId(name.to_owned())
    }

    fn copy(stage: &str, sent: u64, total: u64, took: Duration) -> Move {
        let (partition, stage) = (PartitionId(3), stage.to_owned());
        Move { partition, from: id("a"), to: id("b"), stage, sent, total, took }
    }

    #[test]
    fn what_is_left_follows_from_what_was_sent() {
        let half = copy("rows", 10 << 20, 30 << 20, Duration::from_secs(5));
        assert_eq!((half.rate(), half.left()), (2 << 20, Some(Duration::from_secs(10))));
        assert_eq!(copy("rows", 0, 30, Duration::ZERO).left(), None, "nothing was sent");
        assert_eq!(copy("waiting", 0, 0, Duration::ZERO).left(), None);
        assert_eq!(heard(&id("a"), told(half.clone())), Some(half));
    }

    #[test]
    fn who_moves_nothing_is_not_asked() {
        let mut view = ClusterView::bootstrap("g", 4, &id("a"));
        for name in ["b", "c"] {
            view.members.insert(id(name), Member::new(id(name), "", name));
        }
        for (partition, primary) in ["a", "b", "b", "c"].iter().enumerate() {
            (view.table[partition].primary, view.table[partition].in_sync) = (id(primary), vec![id(primary)]);
        }
        view.wanted = view.table.iter().map(Holders::from).collect();
        assert!(to_ask(&view, &id("a")).is_empty());
        view.wanted[0].primary = id("c");
        view.wanted[2].primary = id("c");
        let asked = to_ask(&view, &id("a"));
        assert_eq!(
            asked.into_iter().collect::<Vec<_>>(),
            [(id("b"), [PartitionId(2)].into_iter().collect())]
        );
    }
}
