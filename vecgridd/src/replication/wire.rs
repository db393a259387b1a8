//! Messages about copies as bytes. What decides is small and JSON, rows and records travel as they are stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vecgrid_proto::peer as wire;

use crate::{
    migration::{Attempt, Chain, Have},
    partition::CopyMessage,
    types::{PartitionId, Version},
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    Ask { epoch: u64 },
    Rows { attempt: Attempt, chain: Chain, number: u64, last: bool, table_version: u64 },
    Records { epoch: u64, previous: (u64, u64), committed: u64, table_version: u64 },
}

/// As it is sent.
pub(super) fn request(partition: PartitionId, message: CopyMessage) -> wire::ReplicateRequest {
    let (head, body) = match message {
        CopyMessage::Ask { epoch } => (Head::Ask { epoch }, Vec::new()),
        CopyMessage::Rows { attempt, chain, number, last, pairs, table_version } => {
            let body = pairs.into_iter().flat_map(|(key, value)| [key, value]).collect();
            (Head::Rows { attempt, chain, number, last, table_version }, body)
        }
        CopyMessage::Records { epoch, previous, committed, records, table_version } => {
            let previous = (previous.epoch, previous.sequence);
            (Head::Records { epoch, previous, committed, table_version }, records)
        }
    };
    // Numbers and lists of them: this cannot fail.
    let head = serde_json::to_vec(&head).unwrap_or_default().into();
    wire::ReplicateRequest { partition: partition.0.into(), head, body }
}

/// As it was meant; `None` when it is none of ours.
pub(super) fn message(request: wire::ReplicateRequest) -> Option<(PartitionId, CopyMessage)> {
    let partition = PartitionId(u16::try_from(request.partition).ok()?);
    let message = match serde_json::from_slice(&request.head).ok()? {
        Head::Ask { epoch } => CopyMessage::Ask { epoch },
        Head::Rows { attempt, chain, number, last, table_version } => {
            let (pairs, rest) = request.body.as_chunks::<2>();
            let pairs = pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect();
            if !rest.is_empty() {
                return None;
            }
            CopyMessage::Rows { attempt, chain, number, last, pairs, table_version }
        }
        Head::Records { epoch, previous: (of, sequence), committed, table_version } => {
            let previous = Version { epoch: of, sequence };
            CopyMessage::Records { epoch, previous, committed, records: request.body, table_version }
        }
    };
    Some((partition, message))
}

/// What a copy has, as it is told.
pub(super) fn response(have: &Have) -> wire::ReplicateResponse {
    wire::ReplicateResponse { have: Bytes::from(serde_json::to_vec(have).unwrap_or_default()) }
}

/// The same, heard.
pub(super) fn have(response: &wire::ReplicateResponse) -> Option<Have> {
    serde_json::from_slice(&response.have).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let mut chain = Chain::default();
        assert!(chain.push(Version { epoch: 3, sequence: 1 }));
        let pair = |n: u8| (Bytes::from(vec![n]), Bytes::from(vec![n; 3]));
        let messages = [
            CopyMessage::Ask { epoch: 7 },
            CopyMessage::Rows {
                attempt: Attempt { epoch: 2, number: 1 << 40 },
                chain,
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
        let broken = wire::ReplicateRequest { head: Bytes::from_static(b"{}"), ..Default::default() };
        assert!(message(broken).is_none());
    }
}
