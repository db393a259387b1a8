//! Messages of the consensus, over `peer/`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    EmptyNode, RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use vecgrid_proto::peer::{ConsensusRequest, consensus_request::Kind};

use super::{NodeId, Types, member_of, quorum::QuorumClock};
use crate::{
    peer::{PeerError, Pool},
    task::clock,
    types::MemberId,
};

/// How long a member that cannot be reached is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes links to members.
#[derive(Clone)]
pub struct Network {
    pub pool: Pool,
    pub quorum: Arc<QuorumClock>,
    pub silent: Arc<AtomicBool>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> Link {
        Link {
            pool: self.pool.clone(),
            quorum: Arc::clone(&self.quorum),
            silent: Arc::clone(&self.silent),
            target: member_of(target),
            node: target,
        }
    }
}

/// A link to one member.
pub struct Link {
    pool: Pool,
    quorum: Arc<QuorumClock>,
    silent: Arc<AtomicBool>,
    target: MemberId,
    node: NodeId,
}

type Failed<E> = RPCError<NodeId, EmptyNode, E>;

impl Link {
    async fn ask<Q: Serialize, A: DeserializeOwned, E>(
        &self,
        kind: Kind,
        message: &Q,
        data: Bytes,
        patience: Duration,
    ) -> Result<A, Failed<E>>
    where
        E: std::error::Error + DeserializeOwned,
    {
        if self.silent.load(Ordering::Acquire) {
            return Err(RPCError::Unreachable(Unreachable::new(&std::io::Error::other("silent"))));
        }
        let message = serde_json::to_vec(message).map_err(|e| NetworkError::new(&e))?.into();
        let request = ConsensusRequest { kind: kind.into(), message, data };
        let answer =
            self.pool.consensus(&self.target, request, patience).await.map_err(|error| match error {
                // openraft asks again at once after other failures.
                PeerError::Unreachable(..)
                | PeerError::NoAddress(_)
                | PeerError::Refused(..)
                | PeerError::NotNow(..) => RPCError::Unreachable(Unreachable::new(&error)),
                PeerError::Late(_) | PeerError::Failed(..) => RPCError::Network(NetworkError::new(&error)),
            })?;
        let answer: Result<A, E> =
            serde_json::from_slice(&answer.message).map_err(|e| NetworkError::new(&e))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.node, error)))
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failed<RaftError<NodeId>>> {
        let (sent, term) = (clock::now(), rpc.vote.leader_id.term);
        let answer = self.ask(Kind::Append, &rpc, Bytes::new(), option.hard_ttl()).await?;
        match &answer {
            AppendEntriesResponse::HigherVote(_) => {}
            // Whatever it says about its log: it follows us.
            AppendEntriesResponse::Success
            | AppendEntriesResponse::PartialSuccess(_)
            | AppendEntriesResponse::Conflict => self.quorum.accepted(term, &self.target, sent),
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        mut rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failed<RaftError<NodeId, InstallSnapshotError>>> {
        // Beside the message: JSON would make four bytes of one.
        let data = std::mem::take(&mut rpc.data).into();
        self.ask(Kind::Snapshot, &rpc, data, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failed<RaftError<NodeId>>> {
        self.ask(Kind::Vote, &rpc, Bytes::new(), option.hard_ttl()).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}
