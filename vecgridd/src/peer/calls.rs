//! The calls. Each has a deadline, and says whether a failed one certainly had no effect.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Request, Response, Status};
use vecgrid_proto::peer as wire;

use super::{
    Asks, Envelope, PeerError, Pool,
    pool::{Client, Rows},
};
use crate::types::MemberId;

/// Sends one request to a member and waits for the answer, not longer than `patience`.
async fn ask<Q, A, F>(
    pool: &Pool,
    whom: (Option<&MemberId>, &str),
    patience: Duration,
    message: Q,
    send: impl FnOnce(Request<Q>) -> F,
) -> Result<A, PeerError>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let (to, name) = whom;
    let envelope = Envelope::from_me(pool.me(), to);
    let request = envelope.around(message).map_err(|reason| PeerError::Refused(name.to_owned(), reason))?;
    match timeout(patience, send(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(PeerError::of(name, &status)),
        Err(_) => Err(PeerError::Late(name.to_owned())),
    }
}

impl Pool {
    /// Who is at this address?
    ///
    /// # Errors
    /// [`PeerError`], as for all calls.
    pub async fn hello(
        &self,
        address: &str,
        message: wire::HelloRequest,
        patience: Duration,
    ) -> Result<wire::HelloResponse, PeerError> {
        let mut client = self.client_at(address)?;
        ask(self, (None, address), patience, message, |request| async move { client.hello(request).await })
            .await
    }

    /// What this member knows of its grid.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn look(&self, to: &MemberId, patience: Duration) -> Result<wire::HelloResponse, PeerError> {
        let mut client: Client = self.client(to)?;
        let send = |request| async move { client.hello(request).await };
        ask(self, (Some(to), &to.0), patience, wire::HelloRequest::default(), send).await
    }

    /// Is this member there? The connection is a new one, because an old one may not know yet.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn probe(&self, member: &MemberId, patience: Duration) -> Result<(), PeerError> {
        let (address, _) = self.address(member).ok_or_else(|| PeerError::NoAddress(member.0.clone()))?;
        let mut client = self.client_at(&address)?;
        let whom = (Some(member), address.as_str());
        let message = wire::HelloRequest::default();
        ask(self, whom, patience, message, |request| async move { client.hello(request).await }).await?;
        Ok(())
    }

    /// Asks whoever is at this address to be taken into its grid.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn join(
        &self,
        address: &str,
        message: wire::JoinRequest,
        patience: Duration,
    ) -> Result<wire::JoinResponse, PeerError> {
        let mut client = self.client_at(address)?;
        ask(self, (None, address), patience, message, |request| async move { client.join(request).await })
            .await
    }

    /// A message of the consensus.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn consensus(
        &self,
        to: &MemberId,
        message: wire::ConsensusRequest,
        patience: Duration,
    ) -> Result<wire::ConsensusResponse, PeerError> {
        let mut client: Client = self.client(to)?;
        let send = |request| async move { client.consensus(request).await };
        ask(self, (Some(to), &to.0), patience, message, send).await
    }

    /// A proposal for the leader.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn propose(
        &self,
        to: &MemberId,
        message: wire::ProposeRequest,
        patience: Duration,
    ) -> Result<wire::ProposeResponse, PeerError> {
        let mut client: Client = self.client(to)?;
        let send = |request| async move { client.propose(request).await };
        ask(self, (Some(to), &to.0), patience, message, send).await
    }

    /// A message to a copy of a partition.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn replicate(
        &self,
        to: &MemberId,
        message: wire::ReplicateRequest,
        patience: Duration,
    ) -> Result<wire::ReplicateResponse, PeerError> {
        let mut client = self.copies(to)?;
        let send = |request| async move { client.replicate(request).await };
        ask(self, (Some(to), &to.0), patience, message, send).await
    }

    /// Messages to copies of several partitions. `told` is given the answers as they come.
    ///
    /// # Errors
    /// [`PeerError`]; what was told before holds.
    pub async fn replicate_all(
        &self,
        to: &MemberId,
        message: wire::ReplicateAllRequest,
        patience: Duration,
        mut told: impl FnMut(Vec<wire::ReplicateResponse>),
    ) -> Result<(), PeerError> {
        let by = Instant::now() + patience;
        let mut client = self.copies(to)?;
        let send = |request| async move { client.replicate_all(request).await };
        let mut answers = ask(self, (Some(to), &to.0), patience, message, send).await?;
        loop {
            match timeout_at(by, answers.message()).await {
                Ok(Ok(Some(answer))) => told(answer.responses),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(status)) => return Err(PeerError::of(&to.0, &status)),
                Err(_) => return Err(PeerError::Late(to.0.clone())),
            }
        }
    }

    /// A question about a copy of a partition.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn inspect(
        &self,
        to: &MemberId,
        message: wire::InspectRequest,
        patience: Duration,
    ) -> Result<wire::InspectResponse, PeerError> {
        let mut client = self.copies(to)?;
        let send = |request| async move { client.inspect(request).await };
        ask(self, (Some(to), &to.0), patience, message, send).await
    }

    /// The links of a collection's graph, part by part; `take` says whether it wants more. Waits for each part.
    ///
    /// # Errors
    /// [`PeerError`]; what was taken before came from that member.
    pub async fn links(
        &self,
        to: &MemberId,
        message: wire::LinksRequest,
        patience: Duration,
        mut take: impl FnMut(wire::LinksPart) -> bool,
    ) -> Result<(), PeerError> {
        let mut client = self.copies(to)?;
        let send = |request| async move { client.links(request).await };
        let mut parts = ask(self, (Some(to), &to.0), patience, message, send).await?;
        loop {
            match timeout(patience, parts.message()).await {
                Ok(Ok(Some(part))) => {
                    if !take(part) {
                        return Ok(());
                    }
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(status)) => return Err(PeerError::of(&to.0, &status)),
                Err(_) => return Err(PeerError::Late(to.0.clone())),
            }
        }
    }

    /// A sign of life.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn beat(
        &self,
        to: &MemberId,
        message: wire::BeatRequest,
        patience: Duration,
    ) -> Result<wire::BeatResponse, PeerError> {
        let mut client: Client = self.client(to)?;
        let send = |request| async move { client.beat(request).await };
        ask(self, (Some(to), &to.0), patience, message, send).await
    }

    /// A short question about rows, over a stream.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn converse<Q: Asks>(
        &self,
        to: &MemberId,
        question: Q,
        patience: Duration,
    ) -> Result<Q::Answer, PeerError> {
        let stream = self.conversation(to)?;
        let reply = timeout(patience, stream.ask(&to.0, question.question())).await;
        let reply = reply.map_err(|_| PeerError::Late(to.0.clone()))??;
        let other = || PeerError::Failed(to.0.clone(), "it answered another question".to_owned());
        Q::answer(reply).ok_or_else(other)
    }

    /// A question about rows; `send` chooses which.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn ask_for_rows<Q, A, F>(
        &self,
        to: &MemberId,
        message: Q,
        patience: Duration,
        send: impl FnOnce(Rows, Request<Q>) -> F,
    ) -> Result<A, PeerError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = self.rows(to)?;
        ask(self, (Some(to), &to.0), patience, message, |request| send(client, request)).await
    }
}
