//! One question to another member, and what its answer means.
//!
//! Every question says by which table it was routed, how long the answer is waited for, for which partitions, and what
//! the answer must show at least (`readable.rs`). Questions are asked once: who is asked next is decided by
//! [`super::scatter`].

use std::{future::Future, time::Duration};

use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use vecgrid_proto::peer as wire;

use super::{Outcome, RequestContext, Service, ServiceError, scatter::Miss};
use crate::{
    index::PartitionSet,
    peer::{Asks, MAX_DATA_MESSAGE, PeerError, Rows},
    types::{MemberId, PartitionId, Version},
};

/// A message with the head that all questions have.
pub trait Question: Message + Default + 'static {
    /// Takes the head.
    fn take_asked(&mut self) -> wire::Asked;
}

/// A message with the head that all answers have.
pub trait Answer: Message + Default + 'static {
    /// The head.
    fn told(&mut self) -> &mut Option<wire::Told>;
}

macro_rules! heads {
    ($($question:ident),+; $($answer:ident),+) => {
        $(impl Question for wire::$question {
            fn take_asked(&mut self) -> wire::Asked {
                self.asked.take().unwrap_or_default()
            }
        })+
        $(impl Answer for wire::$answer {
            fn told(&mut self) -> &mut Option<wire::Told> {
                &mut self.told
            }
        })+
    };
}

heads!(
    WriteRequest, GetRequest, SearchRequest, CountRequest, ScrollRequest, SizesRequest, MovesRequest;
    WriteResponse, GetResponse, SearchResponse, CountResponse, ScrollResponse, SizesResponse, MovesResponse
);

impl Service {
    /// The head of a question about these partitions.
    pub(super) fn asked(&self, ctx: &RequestContext, partitions: &PartitionSet) -> wire::Asked {
        let floors: Vec<Version> = partitions.iter().map(|partition| self.floors.get(partition)).collect();
        let floors =
            if floors.iter().all(|floor| *floor == Version::default()) { Vec::new() } else { floors };
        wire::Asked {
            table_version: self.view().version(),
            patience_us: u64::try_from(ctx.left().as_micros()).unwrap_or(u64::MAX),
            partitions: numbers(partitions),
            floor_epochs: floors.iter().map(|floor| floor.epoch).collect(),
            floor_sequences: floors.iter().map(|floor| floor.sequence).collect(),
            strong: ctx.strong,
            token: ctx.at_least.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Asks a member, and counts it. The partitions that it does not answer for are given beside its answer.
    pub(super) async fn ask_member<Q, A, F>(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        (verb, message): (&'static str, Q),
        send: impl FnOnce(Rows, Request<Q>) -> F,
    ) -> Result<(A, PartitionSet), Miss>
    where
        Q: Question,
        A: Answer,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        if message.encoded_len() > MAX_DATA_MESSAGE {
            return Err(ServiceError::TooLarge.into());
        }
        let asked = self.parts.pool.ask_for_rows(to, message, ctx.left(), send).await;
        self.understood(to, verb, asked)
    }

    /// The same over a stream that is there already, for what is quickly answered.
    pub(super) async fn ask_shortly<Q, A>(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        (verb, message): (&'static str, Q),
    ) -> Result<(A, PartitionSet), Miss>
    where
        Q: Asks<Answer = A> + Message,
        A: Answer,
    {
        if message.encoded_len() > MAX_DATA_MESSAGE {
            return Err(ServiceError::TooLarge.into());
        }
        let asked = self.parts.pool.converse(to, message, ctx.left()).await;
        self.understood(to, verb, asked)
    }

    /// What it means that a member was asked and gave this.
    fn understood<A: Answer>(
        &self,
        to: &MemberId,
        verb: &'static str,
        asked: Result<A, PeerError>,
    ) -> Result<(A, PartitionSet), Miss> {
        let outcome = match asked {
            Ok(mut answer) => {
                let told = answer.told().take().unwrap_or_default();
                match told.failure {
                    Some(failure) => Err(self.miss(to, failure)),
                    None => Ok((answer, partitions(&told.elsewhere))),
                }
            }
            Err(error) => {
                let why = format!("{}: {error}", self.name_of(to));
                Err(if error.is_definite() { Miss::NotDone(why) } else { Miss::MaybeDone(why) })
            }
        };
        self.parts.metrics.member_asked(
            verb,
            match &outcome {
                Ok((_, elsewhere)) if elsewhere.is_empty() => "ok",
                Ok(_) => "elsewhere",
                Err(Miss::NotDone(_)) => "not_done",
                Err(Miss::MaybeDone(_)) => "unknown",
                Err(Miss::Failed(_)) => "failed",
            },
        );
        outcome
    }

    /// What a failure at another member means for the request.
    fn miss(&self, member: &MemberId, failure: wire::Failure) -> Miss {
        match self.told_by(member, failure) {
            // Its partitions will be elsewhere, or it comes back.
            ServiceError::ShuttingDown => Miss::NotDone(format!("{} is stopping", self.name_of(member))),
            error => Miss::Failed(error),
        }
    }

    /// The error that another member had, as if it had been ours.
    pub(super) fn told_by(&self, member: &MemberId, failure: wire::Failure) -> ServiceError {
        let wire::Failure { code, message, unknown } = failure;
        let said = format!("{}: {message}", self.name_of(member));
        match (code.as_str(), unknown) {
            ("request_id_reused", _) => ServiceError::RequestIdReused,
            ("overloaded", _) => {
                ServiceError::Overloaded("too much is in flight at the member that holds the rows")
            }
            ("deadline_exceeded", false) => ServiceError::DeadlineBefore,
            ("deadline_exceeded", true) => ServiceError::DeadlineDuring,
            ("storage_read_only", false) => ServiceError::StorageRefused(said),
            ("storage_read_only", true) => ServiceError::StorageReadOnly(said),
            ("shutting_down", false) => ServiceError::ShuttingDown,
            ("shutting_down", true) => ServiceError::Interrupted,
            ("too_few_copies", unsure) => ServiceError::TooFewCopies { unsure },
            ("answer_too_large", _) => ServiceError::TooLarge,
            ("no_leader", _) => ServiceError::NoLeader(said),
            _ => ServiceError::Internal(said),
        }
    }
}

/// An error for another member.
pub fn failure(error: &ServiceError) -> wire::Failure {
    let message = match error {
        // The text around it is added where it is told.
        ServiceError::StorageReadOnly(why)
        | ServiceError::StorageRefused(why)
        | ServiceError::NoLeader(why)
        | ServiceError::Internal(why) => why.clone(),
        other => other.to_string(),
    };
    wire::Failure { code: error.code().to_owned(), message, unknown: error.outcome() == Outcome::Unknown }
}

/// Partitions from the wire; what is none is in nobody's set.
pub fn partitions(numbers: &[u32]) -> PartitionSet {
    numbers.iter().filter_map(|number| u16::try_from(*number).ok()).map(PartitionId).collect()
}

/// Partitions for the wire, in order.
pub fn numbers(partitions: &PartitionSet) -> Vec<u32> {
    partitions.iter().map(|partition| partition.0.into()).collect()
}

/// By when an asker that still waits so long is to be answered: the answer needs time for its way.
pub fn deadline(patience_us: u64) -> Instant {
    let patience = Duration::from_micros(patience_us).min(Duration::from_secs(60));
    let way = (patience / 10).min(Duration::from_millis(20));
    Instant::now() + (patience - way)
}
