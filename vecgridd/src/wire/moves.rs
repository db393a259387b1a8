//! What is on its way between members, on the wire.

use vecgrid_proto::v1;

use crate::service::{Move, Moves};

/// The answer.
pub fn answer(moves: &Moves) -> v1::MovesResponse {
    let one = |copy: &Move| v1::Move {
        partition: copy.partition.0.into(),
        source: copy.from.to_string(),
        target: copy.to.to_string(),
        stage: copy.stage.clone(),
        sent_bytes: copy.sent,
        total_bytes: copy.total,
        bytes_per_second: copy.rate(),
        seconds_left: copy.left().map(|left| left.as_secs_f64()),
    };
    v1::MovesResponse {
        moves: moves.moves.iter().map(one).collect(),
        unanswered: moves.unanswered.iter().map(ToString::to_string).collect(),
    }
}
