//! Messages about copies as bytes. Rows and records travel as they are stored.

use bytes::Bytes;
use vecgrid_proto::peer::{self as wire, replicate_request::Message};

use crate::{
    index::LinksPart,
    migration::{Attempt, Chain, Have},
    partition::CopyMessage,
    types::{PartitionId, Version},
};

/// As it is sent.
pub(super) fn request(partition: PartitionId, message: CopyMessage) -> wire::ReplicateRequest {
    let message = match message {
        CopyMessage::Ask { epoch } => Message::Ask(wire::Ask { epoch }),
        CopyMessage::Rows { attempt, chain, number, last, pairs, table_version } => {
            let pairs = pairs.into_iter().flat_map(|(key, value)| [key, value]).collect();
            let (attempt, chain) = (Some(attempt_for(attempt)), chain_for(&chain));
            Message::Rows(wire::Rows { attempt, chain, number, last, table_version, pairs })
        }
        CopyMessage::Records { epoch, previous, committed, records, table_version } => {
            let (previous_epoch, previous_sequence) = (previous.epoch, previous.sequence);
            Message::Records(wire::Records {
                epoch,
                previous_epoch,
                previous_sequence,
                committed,
                table_version,
                records,
            })
        }
    };
    wire::ReplicateRequest { partition: partition.0.into(), message: Some(message) }
}

/// Some slots of a graph, as they are sent.
pub(super) fn links_part(part: LinksPart) -> wire::LinksPart {
    let LinksPart { points, counts, links } = part;
    wire::LinksPart { rows: 0, points, counts, links }
}

/// As they were meant.
pub(super) fn part_of(part: wire::LinksPart) -> LinksPart {
    let wire::LinksPart { points, counts, links, .. } = part;
    LinksPart { points, counts, links }
}

/// As it was meant; `None` when it is none of ours.
pub(super) fn message(request: wire::ReplicateRequest) -> Option<(PartitionId, CopyMessage)> {
    let partition = PartitionId(u16::try_from(request.partition).ok()?);
    let message = match request.message? {
        Message::Ask(wire::Ask { epoch }) => CopyMessage::Ask { epoch },
        Message::Rows(wire::Rows { attempt, chain, number, last, table_version, pairs }) => {
            let (pairs, rest) = pairs.as_chunks::<2>();
            let pairs = pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect();
            if !rest.is_empty() {
                return None;
            }
            let (attempt, chain) = (attempt_of(attempt?), chain_of(&chain)?);
            CopyMessage::Rows { attempt, chain, number, last, pairs, table_version }
        }
        Message::Records(records) => CopyMessage::Records {
            epoch: records.epoch,
            previous: Version { epoch: records.previous_epoch, sequence: records.previous_sequence },
            committed: records.committed,
            records: records.records,
            table_version: records.table_version,
        },
    };
    Some((partition, message))
}

/// What a copy has, as it is told.
pub(super) fn response(partition: PartitionId, have: &Have) -> wire::ReplicateResponse {
    wire::ReplicateResponse {
        partition: partition.0.into(),
        promised: have.promised,
        chain: chain_for(&have.chain),
        attempt: Some(attempt_for(have.attempt)),
        installing: have.installing,
    }
}

/// The same, heard.
pub(super) fn have(response: wire::ReplicateResponse) -> Option<Have> {
    Some(Have {
        promised: response.promised,
        chain: chain_of(&response.chain)?,
        attempt: attempt_of(response.attempt?),
        installing: response.installing,
    })
}

fn chain_for(chain: &Chain) -> Bytes {
    // Lists of numbers: this cannot fail.
    serde_json::to_vec(chain).unwrap_or_default().into()
}

fn chain_of(bytes: &Bytes) -> Option<Chain> {
    serde_json::from_slice(bytes).ok()
}

fn attempt_for(attempt: Attempt) -> wire::Attempt {
    wire::Attempt { epoch: attempt.epoch, number: attempt.number }
}

fn attempt_of(attempt: wire::Attempt) -> Attempt {
    Attempt { epoch: attempt.epoch, number: attempt.number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        let mut chain = Chain::default();
        assert!(chain.push(Version { epoch: 3, sequence: 1 }));
        chain
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let pair = |n: u8| (Bytes::from(vec![n]), Bytes::from(vec![n; 3]));
        let messages = [
            CopyMessage::Ask { epoch: 7 },
            CopyMessage::Rows {
                attempt: Attempt { epoch: 2, number: 1 << 40 },
                chain: chain(),
                number: 4,
                last: true,
                pairs: vec![pair(1), pair(2)],
                table_version: 9,
            },
            CopyMessage::Records {
                epoch: 5,
                previous: Version { epoch: 4, sequence: 8 },
                committed: 6,
                records: vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")],
                table_version: 12,
            },
        ];
        for sent in messages {
            let (partition, came) = message(request(PartitionId(3), sent.clone())).unwrap();
            assert_eq!(partition, PartitionId(3));
            assert_eq!(format!("{came:?}"), format!("{sent:?}"));
        }
        assert!(message(wire::ReplicateRequest::default()).is_none());
    }

    #[test]
    fn an_answer_arrives_as_it_was_given() {
        let attempt = Attempt { epoch: 2, number: 1 };
        for installing in [None, Some(0), Some(7)] {
            let given = Have { promised: 9, chain: chain(), attempt, installing };
            assert_eq!(have(response(PartitionId(3), &given)), Some(given));
        }
        assert_eq!(have(wire::ReplicateResponse::default()), None);
    }
}
