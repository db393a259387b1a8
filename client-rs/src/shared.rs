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
//! first of them. Promises: an answer or an error for each, however the stream ends; who goes away is forgotten (the
//! daemon may finish its search, not longer than its deadline); the queue is bounded, and while the daemon does not read,
//! callers wait; a stream that has ended is replaced by the next search.
//!
//! Left out: searches that are large or whose answers may be, which would keep those behind them waiting, and those that
//! demand more than their own writes ([`crate::Consistency`]), because headers say that. They are calls of their own, and
//! so are all searches of a daemon that does not know `SearchUnordered`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use vecgrid_proto::v1 as pb;

use crate::call::Stub;

/// Searches that wait to be sent.
const QUEUE: usize = 64;
/// Largest request that shares the stream, in bytes: a vector of 8,192 components and a filter of as many bytes again.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Most hits of a search that shares the stream.
const MAX_HITS: u32 = 100;

/// The stream of one client and its clones.
#[derive(Debug)]
pub(crate) struct Shared {
    stub: Stub,
    max_answer_bytes: usize,
    stream: Mutex<Option<Conversation>>,
    /// The daemon does not know the method.
    unknown: AtomicBool,
}

impl Shared {
    /// No stream yet. An answer larger than `max_answer_bytes` is refused, and harms no other.
    pub fn new(stub: Stub, max_answer_bytes: usize) -> Self {
        // A limit of the stream's own would end the stream.
        let stub = stub.max_decoding_message_size(usize::MAX);
        Self { stub, max_answer_bytes, stream: Mutex::default(), unknown: AtomicBool::new(false) }
    }

    /// Should this search go over the stream?
    pub fn suits(&self, search: &pb::SearchRequest) -> bool {
        !self.unknown.load(Ordering::Relaxed)
            && !search.include_vector
            && search.k <= MAX_HITS
            && search.encoded_len() <= MAX_REQUEST_BYTES
    }

    /// From now on nothing does.
    pub fn give_up(&self) {
        self.unknown.store(true, Ordering::Relaxed);
    }

    /// Asks over the stream, and waits for the answer. Drop the future to give up.
    ///
    /// # Errors
    /// Why the stream ended, or that the answer is too large.
    pub async fn ask(
        &self,
        search: pb::SearchRequest,
        timeout: Duration,
    ) -> Result<Result<pb::SearchResponse, pb::Failure>, Status> {
        // Nought would be the daemon's default.
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let answer = self.stream().ask(search, timeout_ms).await?;
        match (answer.response, answer.failure) {
            (_, Some(failure)) => Ok(Err(failure)),
            (Some(response), None) if response.encoded_len() <= self.max_answer_bytes => Ok(Ok(response)),
            (Some(response), None) => Err(Status::out_of_range(format!(
                "the answer has {} bytes, this client takes {}",
                response.encoded_len(),
                self.max_answer_bytes
            ))),
            (None, None) => Err(Status::internal("an empty answer")),
        }
    }

    /// The stream that there is, or another one.
    fn stream(&self) -> Conversation {
        // Nothing under this mutex can panic half-way.
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stream {
            Some(open) if !open.waiting.has_ended() => open.clone(),
            _ => stream.insert(Conversation::open(self.stub.clone())).clone(),
        }
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
    fn open(mut stub: Stub) -> Self {
        let (questions, queue) = mpsc::channel(QUEUE);
        let waiting = Arc::<Waiting>::default();
        let hears = EndsWhenDropped(Arc::clone(&waiting));
        #[expect(clippy::disallowed_methods, reason = "it ends with its stream, which ends with the client")]
        tokio::spawn(async move {
            let talk = async {
                let mut answers = stub.search_unordered(ReceiverStream::new(queue)).await?.into_inner();
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

    async fn ask(&self, search: pb::SearchRequest, timeout_ms: u32) -> Result<pb::NumberedAnswer, Status> {
        let (seat, answer) = self.waiting.sit()?;
        let question = pb::NumberedSearch { number: seat.number, timeout_ms, search: Some(search) };
        if self.questions.send(question).await.is_err() {
            return Err(self.waiting.why());
        }
        answer.await.map_err(|_| self.waiting.why())
    }
}
