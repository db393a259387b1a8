//! Answering other members about rows.
//!
//! ```text
//! listener ─▶ Guard ─▶ Answers ─▶ a place? ─▶ level with the asker's table ─▶ which partitions? ─▶ the verb, here
//! ```
//!
//! Promises: what is asked here is answered from here, never passed on; requests in progress are bounded, and more are
//! refused at once; the answer is there before the asker gives up; an answer speaks for exactly the partitions that are
//! not named as `elsewhere`, and shows at least what its asker knows to be acknowledged.

use std::{
    future::Future,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use vecgrid_proto::peer::{self as wire, data_server::Data};

use super::{
    RequestContext, Service, ServiceError,
    remote::{self, Answer, Question},
    scatter::Part,
};
use crate::{
    index::PartitionSet,
    peer::MAX_DATA_MESSAGE,
    types::{Collection, CollectionId, PartitionId, Token, Version},
};

/// Requests of other members in progress, reads and writes each: as many as an app's door takes.
const IN_PROGRESS: usize = 256;
/// How long a member that is behind may take to learn of the table that the asker knows.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Questions of one stream that are answered at once; more wait to be read.
const AT_ONCE: usize = 64;

/// Answers once the service is there, and for as long as it is. Cheap to clone.
#[derive(Clone)]
pub struct Answers {
    service: Weak<OnceLock<Service>>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// Ends streams.
    stop: CancellationToken,
}

/// What an asker may be told about: ready for a verb.
pub struct Scope {
    /// How long there is.
    pub ctx: RequestContext,
    /// Partitions that were asked for, and that this member answers for.
    pub partitions: PartitionSet,
}

impl Answers {
    /// Of a service that may still have to start.
    pub fn new(service: &Arc<OnceLock<Service>>) -> Self {
        let places = || Arc::new(Semaphore::new(IN_PROGRESS));
        let (reads, writes, stop) = (places(), places(), CancellationToken::new());
        Self { service: Arc::downgrade(service), reads, writes, stop }
    }

    /// Streams end then.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Runs a verb for what this member answers for; `None` of a verb: it does not know the collection.
    async fn answer<Q, A, F>(
        &self,
        places: &Semaphore,
        mut message: Q,
        verb: impl FnOnce(Service, Scope, Q) -> F,
    ) -> Result<A, Status>
    where
        Q: Question,
        A: Answer,
        F: Future<Output = Result<Option<Part<A>>, ServiceError>>,
    {
        let service = self.service()?;
        let asked = message.take_asked();
        let (deadline, strong) = (remote::deadline(asked.patience_us), asked.strong);
        let token: Token = asked.token.parse().map_err(|_| Status::invalid_argument("no token"))?;
        let at_least = (!asked.token.is_empty()).then(|| Arc::new(token));
        let ctx = RequestContext { deadline, strong, at_least };
        let wanted = remote::partitions(&asked.partitions);
        let outcome = match places.try_acquire() {
            Ok(_place) => {
                service.catch_up(&ctx, asked.table_version).await;
                let partitions = service.answerable(&ctx, &asked).await;
                let elsewhere = wanted.without(&partitions);
                let part = if partitions.is_empty() {
                    Ok(None)
                } else {
                    verb(service.clone(), Scope { ctx, partitions }, message).await
                };
                part.map(|part| match part {
                    Some(part) => (part.answer, elsewhere.union(&part.elsewhere)),
                    None => (A::default(), wanted),
                })
            }
            Err(_) => Err(ServiceError::Overloaded("too many requests of other members")),
        };
        let told = |elsewhere: &PartitionSet, failure| {
            let table_version = service.view().version();
            Some(wire::Told { table_version, elsewhere: remote::numbers(elsewhere), failure })
        };
        let failed = |error: &ServiceError| {
            let mut answer = A::default();
            *answer.told() = told(&PartitionSet::new(), Some(remote::failure(error)));
            answer
        };
        Ok(match outcome {
            Ok((mut answer, elsewhere)) => {
                *answer.told() = told(&elsewhere, None);
                if answer.encoded_len() > MAX_DATA_MESSAGE { failed(&ServiceError::TooLarge) } else { answer }
            }
            Err(error) => failed(&error),
        })
    }

    /// The service. ABORTED: nothing was done, ask again.
    fn service(&self) -> Result<Service, Status> {
        let cell = self.service.upgrade().ok_or_else(|| Status::aborted("this member is stopping"))?;
        cell.get().cloned().ok_or_else(|| Status::aborted("this member is starting"))
    }

    async fn reply(&self, question: wire::Question) -> Result<wire::Reply, Status> {
        use wire::{question::Question, reply::Reply};
        let reply = match question.question {
            Some(Question::Search(message)) => {
                let verb = |service: Service, scope, message| async move {
                    service.answer_search(scope, message).await
                };
                Reply::Search(self.answer(&self.reads, message, verb).await?)
            }
            Some(Question::Get(message)) => {
                let verb = |service: Service, scope, message| async move {
                    service.answer_get(scope, message).await
                };
                Reply::Get(self.answer(&self.reads, message, verb).await?)
            }
            None => return Err(Status::unimplemented("a question that this version does not know")),
        };
        Ok(wire::Reply { number: question.number, reply: Some(reply) })
    }
}

impl Service {
    /// Waits for the table that the asker knows: what it asks about may be new.
    async fn catch_up(&self, ctx: &RequestContext, version: u64) {
        let mut view = self.parts.control.watch();
        let by = ctx.deadline.min(Instant::now() + CATCH_UP);
        // Without it the answer is the best this member can give: it says by which table.
        let _ = timeout_at(by, view.wait_for(|view| view.version() >= version)).await;
    }

    /// The partitions of a question for which this member answers, and shows what the asker knows of.
    async fn answerable(&self, ctx: &RequestContext, asked: &wire::Asked) -> PartitionSet {
        let answers = self.readable(ctx);
        // In the order of the question.
        let mut floors: Vec<(PartitionId, Version)> = Vec::new();
        let mut set = PartitionSet::new();
        for (at, number) in asked.partitions.iter().enumerate() {
            let Ok(number) = u16::try_from(*number) else { continue };
            let partition = PartitionId(number);
            if !answers.contains(partition) {
                continue;
            }
            set.insert(partition);
            if let (Some(&epoch), Some(&sequence)) =
                (asked.floor_epochs.get(at), asked.floor_sequences.get(at))
                && (epoch, sequence) != (0, 0)
            {
                floors.push((partition, Version { epoch, sequence }));
            }
        }
        // Members ask in the order of numbers; whoever does not is answered by what is found.
        let floor = |partition| match floors.binary_search_by_key(&partition, |(of, _)| *of) {
            Ok(at) => floors[at].1,
            Err(_) => Version::default(),
        };
        self.reach(ctx, &set, floor).await.0
    }

    /// A collection by its number.
    pub(super) fn collection_of(&self, id: u32) -> Option<Collection> {
        self.view().collection_by_id(CollectionId(id)).cloned()
    }
}

#[tonic::async_trait]
impl Data for Answers {
    async fn write(
        &self,
        request: Request<wire::WriteRequest>,
    ) -> Result<Response<wire::WriteResponse>, Status> {
        let wanted = request.get_ref().asked.as_ref().map(|asked| asked.partitions.clone());
        let wanted = wanted.unwrap_or_default();
        self.answer(&self.writes, request.into_inner(), |service, scope, message| async move {
            service.answer_write(&scope, &wanted, message).await
        })
        .await
        .map(Response::new)
    }

    type ConverseStream = BoxStream<'static, Result<wire::Reply, Status>>;

    async fn converse(
        &self,
        request: Request<Streaming<wire::Question>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        self.service()?;
        let (answers, stop) = (self.clone(), self.stop.clone());
        // Short ones are answered on this thread, one after the other: askers have a few streams.
        let replies = request.into_inner().map(move |question| {
            let answers = answers.clone();
            async move { answers.reply(question?).await }
        });
        let replies = replies.buffer_unordered(AT_ONCE).take_until(stop.cancelled_owned());
        Ok(Response::new(replies.boxed()))
    }

    async fn count(
        &self,
        request: Request<wire::CountRequest>,
    ) -> Result<Response<wire::CountResponse>, Status> {
        self.answer(&self.reads, request.into_inner(), |service, scope, message| async move {
            service.answer_count(scope, message).await
        })
        .await
        .map(Response::new)
    }

    async fn delete_matching(
        &self,
        request: Request<wire::CountRequest>,
    ) -> Result<Response<wire::CountResponse>, Status> {
        self.answer(&self.writes, request.into_inner(), |service, scope, message| async move {
            service.answer_delete(scope, message).await
        })
        .await
        .map(Response::new)
    }

    async fn scroll(
        &self,
        request: Request<wire::ScrollRequest>,
    ) -> Result<Response<wire::ScrollResponse>, Status> {
        self.answer(&self.reads, request.into_inner(), |service, scope, message| async move {
            service.answer_scroll(scope, message).await
        })
        .await
        .map(Response::new)
    }

    async fn sizes(
        &self,
        request: Request<wire::SizesRequest>,
    ) -> Result<Response<wire::SizesResponse>, Status> {
        self.answer(&self.reads, request.into_inner(), |service, scope, message| async move {
            service.answer_sizes(scope, message).await
        })
        .await
        .map(Response::new)
    }

    async fn moves(
        &self,
        request: Request<wire::MovesRequest>,
    ) -> Result<Response<wire::MovesResponse>, Status> {
        self.answer(&self.reads, request.into_inner(), |service, scope, _| async move {
            service.answer_moves(&scope).await
        })
        .await
        .map(Response::new)
    }
}
