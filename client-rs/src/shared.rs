//! Searches of all callers over one stream.
//!
//! ```text
//! callers ─▶ queue ═ SearchUnordered ═▶ the daemon
//!    ▲                                     │
//!    └── who waits for this number? ◀══════┘
//! ```
//!
//! A call of its own costs more than most searches do: headers, a task and a router at the daemon. Over a stream a search is one
//! frame. So [`crate::Client::search`] puts short searches on one stream that all clones of a client share, opened by the
//! first of them. Promises: an answer or an error for each, however the stream ends; who goes away is forgotten (what the
//! daemon has begun it may finish, not longer than the search's deadline); the queue is bounded, and while the daemon does not read,
//! callers wait; a stream that has ended is replaced by the next search.
//!
//! Left out: searches that are large or whose answers may be, which would keep those behind them waiting, and those that
//! demand more than their own writes ([`crate::Consistency`]), because headers say that. They are calls of their own, and
//! so are searches that found a stream broken for a reason that stays, as with a daemon that does not know `SearchUnordered`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use prost::Message;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use vecgrid_proto::v1 as pb;

use crate::call::Stub;

/// Searches that wait to be sent.
const QUEUE: usize = 64;
/// Largest request that shares the stream, in bytes: a vector of 8,192 components and a filter of nearly as many bytes again.
/// The least that a daemon can be told to take is 64 KiB.
const MAX_REQUEST_BYTES: usize = 60 << 10;
/// Most hits of a search that shares the stream.
const MAX_HITS: u32 = 100;
/// Answers of up to so many bytes harm no other, whatever the client takes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// So long a daemon that does not know such streams is not asked again.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// The stream of one client and its clones.
#[derive(Debug)]
pub(crate) struct Shared {
    stub: Stub,
    /// The one in which the connection lives: others may not be driven, or end.
    runtime: Handle,
    max_message_bytes: usize,
    stream: Mutex<Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    open: Option<Conversation>,
    /// The daemon did not know the method.
    unknown_since: Option<Instant>,
}

/// How a search went over the stream.
pub(crate) enum Told {
    /// The daemon's answer to it.
    Answer(Result<pb::SearchResponse, pb::Failure>),
    /// The stream's end, which says nothing of the search.
    Ended(Status),
    /// It is to be a call of its own.
    Unsuited,
}

impl Shared {
    /// No stream yet. Must run in the runtime of the connection.
    pub fn new(stub: Stub, max_message_bytes: usize) -> Self {
        // Limits of the stream's own would end it for all.
        let stub = stub
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(max_message_bytes.max(MAX_ANSWER_BYTES));
        Self { stub, runtime: Handle::current(), max_message_bytes, stream: Mutex::default() }
    }

    /// Asks over the stream, if the search suits it, and waits for the answer. Drop the future to give up.
    pub async fn ask(&self, search: &pb::SearchRequest, by: Instant) -> Told {
        let Some(stream) = self.suits(search).then(|| self.stream()).flatten() else { return Told::Unsuited };
        let answer = match stream.ask(search.clone(), by).await {
            Ok(answer) => answer,
            Err(status) => return self.ended(status),
        };
        Told::Answer(match (answer.response, answer.failure) {
            (_, Some(failure)) => Err(failure),
            (Some(response), None) if response.encoded_len() <= self.max_message_bytes => Ok(response),
            (Some(response), None) => Err(pb::Failure {
                code: "message_too_large".to_owned(),
                message: format!(
                    "the answer has {} bytes, this client takes {}",
                    response.encoded_len(),
                    self.max_message_bytes
                ),
                status: Code::OutOfRange as u32,
                ..pb::Failure::default()
            }),
            (None, None) => return Told::Ended(Status::internal("an empty answer")),
        })
    }

    fn suits(&self, search: &pb::SearchRequest) -> bool {
        !search.include_vector
            && search.k <= MAX_HITS
            && search.encoded_len() <= MAX_REQUEST_BYTES.min(self.max_message_bytes)
    }

    fn ended(&self, status: Status) -> Told {
        match status.code() {
            Code::Unimplemented => {
                self.lock().unknown_since = Some(Instant::now());
                Told::Unsuited
            }
            _ => Told::Ended(status),
        }
    }

    /// The stream that there is, or another one, unless the daemon knows none.
    fn stream(&self) -> Option<Conversation> {
        let mut stream = self.lock();
        if stream.unknown_since.is_some_and(|since| since.elapsed() < UNKNOWN_FOR) {
            return None;
        }
        Some(match &stream.open {
            Some(open) if !open.waiting.has_ended() => open.clone(),
            _ => stream.open.insert(Conversation::open(self.stub.clone(), &self.runtime)).clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        // Nothing under this mutex can panic half-way.
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream. Ends when nobody has it any more.
#[derive(Debug, Clone)]
struct Conversation {
    questions: mpsc::Sender<pb::NumberedSearch>,
    waiting: Arc<Waiting>,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
struct Waiting(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<pb::NumberedAnswer>>,
    ended: Option<Status>,
}

/// One who waits; when it goes, its search is forgotten.
struct Seat<'w> {
    waiting: &'w Waiting,
    number: u64,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.waiting.lock().answers.remove(&self.number);
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing under this mutex can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sit(&self) -> Result<(Seat<'_>, oneshot::Receiver<pb::NumberedAnswer>), Status> {
        let mut open = self.lock();
        if let Some(why) = &open.ended {
            return Err(why.clone());
        }
        let (answer, receiver) = oneshot::channel();
        open.next += 1;
        let number = open.next;
        open.answers.insert(number, answer);
        Ok((Seat { waiting: self, number }, receiver))
    }

    fn told(&self, answer: pb::NumberedAnswer) {
        let waits = self.lock().answers.remove(&answer.number);
        if let Some(waits) = waits {
            // It may have gone this moment.
            let _ = waits.send(answer);
        }
    }

    /// All who wait learn why.
    fn end(&self, why: Status) {
        let mut open = self.lock();
        open.ended.get_or_insert(why);
        open.answers.clear();
    }

    fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    fn why(&self) -> Status {
        self.lock().ended.clone().unwrap_or_else(ended)
    }
}

/// Also when the runtime goes in which the stream was read.
struct EndsWhenDropped(Arc<Waiting>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.end(ended());
    }
}

/// UNAVAILABLE: a search has no effect, ask again.
fn ended() -> Status {
    Status::unavailable("the stream of searches ended")
}

impl Conversation {
    /// Opens a stream that is read in this runtime.
    fn open(mut stub: Stub, runtime: &Handle) -> Self {
        let (questions, queue) = mpsc::channel::<pb::NumberedSearch>(QUEUE);
        let waiting = Arc::<Waiting>::default();
        let asks = Arc::clone(&waiting);
        let wanted = ReceiverStream::new(queue).filter(move |question| {
            // Whoever asked may have gone.
            std::future::ready(asks.lock().answers.contains_key(&question.number))
        });
        let hears = EndsWhenDropped(Arc::clone(&waiting));
        runtime.spawn(async move {
            let talk = async {
                let mut answers = stub.search_unordered(wanted).await?.into_inner();
                while let Some(answer) = answers.message().await? {
                    hears.0.told(answer);
                }
                Err::<(), _>(ended())
            };
            if let Err(why) = talk.await {
                hears.0.end(why);
            }
        });
        Self { questions, waiting }
    }

    async fn ask(&self, search: pb::SearchRequest, by: Instant) -> Result<pb::NumberedAnswer, Status> {
        let Ok(room) = self.questions.reserve().await else { return Err(self.waiting.why()) };
        let (seat, answer) = self.waiting.sit()?;
        let left = by.saturating_duration_since(Instant::now()).as_millis();
        // Nought would be the daemon's default.
        let timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        room.send(pb::NumberedSearch { number: seat.number, timeout_ms, search: Some(search) });
        answer.await.map_err(|_| self.waiting.why())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn pair() -> (Conversation, mpsc::Receiver<pb::NumberedSearch>) {
        let (questions, queue) = mpsc::channel(QUEUE);
        (Conversation { questions, waiting: Arc::default() }, queue)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn who_does_not_wait_is_forgotten_and_who_waits_learns_of_the_end() {
        let (stream, mut queue) = pair();
        assert!(stream.ask(pb::SearchRequest::default(), soon()).now_or_never().is_none());
        assert!(stream.waiting.lock().answers.is_empty(), "nobody waits any more");
        let mut waits = Box::pin(stream.ask(pb::SearchRequest::default(), soon()));
        assert!((&mut waits).now_or_never().is_none());
        let asked = queue.recv().await.unwrap();
        assert!(asked.timeout_ms > 9_000 && asked.timeout_ms <= 10_000, "{asked:?}");
        stream.waiting.end(Status::internal("x"));
        assert_eq!(waits.await.unwrap_err().message(), "x");
        let after = stream.ask(pb::SearchRequest::default(), soon()).await;
        assert_eq!(after.unwrap_err().message(), "x");
    }

    #[tokio::test]
    async fn with_a_full_queue_callers_wait() {
        let (stream, mut queue) = pair();
        let ask = || Box::pin(stream.ask(pb::SearchRequest::default(), soon()));
        let mut waiting: Vec<_> = (0..=QUEUE).map(|_| ask()).collect();
        waiting.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        assert_eq!(stream.waiting.lock().answers.len(), QUEUE);
        let number = queue.recv().await.unwrap().number;
        assert!((&mut waiting[QUEUE]).now_or_never().is_none());
        assert_eq!(stream.waiting.lock().answers.len(), QUEUE + 1);
        stream.waiting.told(pb::NumberedAnswer { number, ..pb::NumberedAnswer::default() });
        assert_eq!((&mut waiting[0]).await.unwrap().number, number);
    }
}
