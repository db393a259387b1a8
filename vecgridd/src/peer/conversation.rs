//! Short questions to one member, many over one stream.
//!
//! ```text
//! ask ─▶ queue ═ stream of questions ═▶ the member
//!   ▲                                     │
//!   └── who waits for this number? ◀══ stream of replies
//! ```
//!
//! A call of its own costs more than most searches: headers, and a task at each side. Over a stream a question is one
//! frame. A member is asked over a few streams, since one is answered by one thread there; the one with the fewest
//! open questions is taken. Promises: each question has its reply or an error, however the stream ends, and is forgotten
//! when nobody waits for it any more; the queue is bounded, and while the other does not read, askers wait. A stream
//! that has ended is replaced by the next question.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use vecgrid_proto::peer::{self as wire, question::Question, reply::Reply};

use super::{Envelope, PeerError, pool::Rows};
use crate::task::Tasks;

/// Questions that wait to be sent, per stream.
const QUEUE: usize = 64;
/// Streams to one member at most; as many as there are cores, if that is less.
const STREAMS: usize = 4;

/// A question that a member is asked so, and what it is answered with.
pub trait Asks {
    /// What a fitting reply has.
    type Answer;

    /// As it is sent.
    fn question(self) -> Question;

    /// The answer, if the reply is one to such a question.
    fn answer(reply: Reply) -> Option<Self::Answer>;
}

macro_rules! asks {
    ($($verb:ident: $question:ident -> $answer:ident),+) => {
        $(impl Asks for wire::$question {
            type Answer = wire::$answer;

            fn question(self) -> Question {
                Question::$verb(self)
            }

            fn answer(reply: Reply) -> Option<Self::Answer> {
                match reply {
                    Reply::$verb(answer) => Some(answer),
                    _ => None,
                }
            }
        })+
    };
}

asks!(Search: SearchRequest -> SearchResponse, Get: GetRequest -> GetResponse);

/// The streams to one member.
pub(super) struct Conversations {
    streams: Mutex<Vec<Conversation>>,
    most: usize,
}

impl Conversations {
    /// None yet.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { streams: Mutex::default(), most: cores.min(STREAMS) }
    }

    /// The stream with the fewest open questions, or a new one.
    pub fn pick(
        &self,
        open: impl FnOnce() -> Result<Conversation, PeerError>,
    ) -> Result<Conversation, PeerError> {
        // Nothing under this mutex can panic half-way.
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| !stream.has_ended());
        let least = streams.iter().min_by_key(|stream| stream.open_questions());
        match least {
            Some(stream) if streams.len() >= self.most || stream.open_questions() == 0 => Ok(stream.clone()),
            _ => {
                let stream = open()?;
                streams.push(stream.clone());
                Ok(stream)
            }
        }
    }
}

/// One stream. Cheap to clone.
#[derive(Clone)]
pub(super) struct Conversation {
    questions: mpsc::Sender<wire::Question>,
    waiting: Arc<Waiting>,
}

/// Who waits for which reply.
#[derive(Default)]
struct Waiting(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    ended: Option<PeerError>,
}

/// One who waits; when it goes, its question is forgotten.
struct Seat<'w> {
    waiting: &'w Waiting,
    number: u64,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.waiting.lock().replies.remove(&self.number);
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing under this mutex can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sit(&self) -> Result<(Seat<'_>, oneshot::Receiver<Reply>), PeerError> {
        let mut open = self.lock();
        if let Some(why) = &open.ended {
            return Err(why.clone());
        }
        let (reply, receiver) = oneshot::channel();
        open.next += 1;
        let number = open.next;
        open.replies.insert(number, reply);
        Ok((Seat { waiting: self, number }, receiver))
    }

    fn told(&self, reply: wire::Reply) {
        let waits = self.lock().replies.remove(&reply.number);
        if let (Some(waits), Some(reply)) = (waits, reply.reply) {
            // It may have gone this moment.
            let _ = waits.send(reply);
        }
    }

    /// All who wait learn why.
    fn end(&self, why: PeerError) {
        let mut open = self.lock();
        open.ended = Some(why);
        open.replies.clear();
    }

    fn why(&self, whom: &str) -> PeerError {
        let unknown = || PeerError::Failed(whom.to_owned(), "its reply cannot be read".to_owned());
        self.lock().ended.clone().unwrap_or_else(unknown)
    }
}

impl Conversation {
    /// Opens a stream to `whom`, served by `runtime` until the tasks are stopped or nobody has it any more.
    ///
    /// # Errors
    /// When the envelope cannot be written.
    pub fn open(
        mut rows: Rows,
        whom: &str,
        envelope: &Envelope,
        (runtime, tasks): (&Handle, &Tasks),
    ) -> Result<Self, PeerError> {
        let (questions, queue) = mpsc::channel(QUEUE);
        let request: Request<_> = envelope
            .around(ReceiverStream::new(queue))
            .map_err(|reason| PeerError::Refused(whom.to_owned(), reason))?;
        let waiting = Arc::<Waiting>::default();
        let (hears, whom, stop) = (Arc::clone(&waiting), whom.to_owned(), tasks.token());
        tasks.spawn_on(runtime, "conversation", async move {
            let talk = async {
                let mut replies = rows.converse(request).await?.into_inner();
                while let Some(reply) = replies.message().await? {
                    hears.told(reply);
                }
                // ABORTED: what was asked was not done, ask again.
                Err::<(), _>(Status::aborted("the member ended the stream"))
            };
            let ended = tokio::select! {
                ended = talk => ended.err(),
                () = stop.cancelled() => None,
            };
            let ended = ended.unwrap_or_else(|| Status::aborted("this member is stopping"));
            hears.end(PeerError::of(&whom, &ended));
        });
        Ok(Self { questions, waiting })
    }

    /// Asks, and waits for the reply.
    ///
    /// # Errors
    /// Why the stream ended.
    pub async fn ask(&self, whom: &str, question: Question) -> Result<Reply, PeerError> {
        let (seat, reply) = self.waiting.sit()?;
        let question = wire::Question { number: seat.number, question: Some(question) };
        if self.questions.send(question).await.is_err() {
            return Err(self.waiting.why(whom));
        }
        reply.await.map_err(|_| self.waiting.why(whom))
    }

    fn open_questions(&self) -> usize {
        self.waiting.lock().replies.len()
    }

    fn has_ended(&self) -> bool {
        self.waiting.lock().ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join};

    use super::*;

    fn pair() -> (Conversation, mpsc::Receiver<wire::Question>) {
        let (questions, queue) = mpsc::channel(QUEUE);
        (Conversation { questions, waiting: Arc::default() }, queue)
    }

    fn asked(id: &str) -> Question {
        wire::GetRequest { id: id.to_owned(), ..Default::default() }.question()
    }

    fn row(reply: Reply) -> Vec<u8> {
        wire::GetRequest::answer(reply).unwrap().row.unwrap().into()
    }

    fn reply(number: u64, row: &'static [u8]) -> wire::Reply {
        let answer = wire::GetResponse { told: None, row: Some(row.into()) };
        wire::Reply { number, reply: Some(Reply::Get(answer)) }
    }

    #[tokio::test]
    async fn replies_find_those_who_asked_in_any_order() {
        let (stream, mut queue) = pair();
        let both = join(stream.ask("b", asked("x")), stream.ask("b", asked("y")));
        let member = async {
            let (first, second) = (queue.recv().await.unwrap(), queue.recv().await.unwrap());
            stream.waiting.told(reply(second.number, b"2"));
            stream.waiting.told(reply(77, b"nobody asked that"));
            stream.waiting.told(reply(first.number, b"1"));
        };
        let ((x, y), ()) = join(both, member).await;
        assert_eq!((row(x.unwrap()), row(y.unwrap())), (b"1".to_vec(), b"2".to_vec()));
        assert_eq!(stream.open_questions(), 0);
        assert!(wire::SearchRequest::answer(reply(1, b"").reply.unwrap()).is_none());
    }

    #[tokio::test]
    async fn who_does_not_wait_is_forgotten_and_who_waits_learns_of_the_end() {
        let (stream, mut queue) = pair();
        assert!(stream.ask("b", asked("x")).now_or_never().is_none());
        assert_eq!(stream.open_questions(), 0, "nobody waits any more");
        let waits = stream.ask("b", asked("y"));
        let ends = async {
            queue.recv().await.unwrap();
            queue.recv().await.unwrap();
            stream.waiting.end(PeerError::Late("b".to_owned()));
        };
        let (waited, ()) = join(waits, ends).await;
        assert!(matches!(waited, Err(PeerError::Late(_))), "{waited:?}");
        assert!(matches!(stream.ask("b", asked("z")).await, Err(PeerError::Late(_))));
    }

    #[tokio::test]
    async fn a_stream_that_ended_is_replaced_and_a_busy_one_gets_company() {
        let mut streams = Conversations::new();
        streams.most = 2;
        let first = streams.pick(|| Ok(pair().0)).unwrap();
        let is_first = |stream: &Conversation| Arc::ptr_eq(&stream.waiting, &first.waiting);
        assert!(is_first(&streams.pick(|| Ok(pair().0)).unwrap()), "it has nothing to do");
        let (_seat, _reply) = first.waiting.sit().unwrap();
        let second = streams.pick(|| Ok(pair().0)).unwrap();
        assert!(!is_first(&second));
        let (_other_seat, _other_reply) = second.waiting.sit().unwrap();
        let (_third_seat, _third_reply) = second.waiting.sit().unwrap();
        assert!(is_first(&streams.pick(|| Ok(pair().0)).unwrap()), "two are enough");
        first.waiting.end(PeerError::Late("b".to_owned()));
        let third = streams.pick(|| Ok(pair().0)).unwrap();
        assert!(!is_first(&third) && !Arc::ptr_eq(&third.waiting, &second.waiting));
    }
}
