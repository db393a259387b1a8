//! Tasks that do not cry for help.
//!
//! ```text
//! polled ─▶ wakes itself ─▶ tokio: back of the queue, and another thread is woken to take it
//!                           here:  polled once more
//! ```
//!
//! A body over HTTP/2 wakes its own task with every message that it sends (hyper registers for the stream's end, and h2
//! tells the same waker of room that the task has just made), and so does `FuturesUnordered` when all it has was
//! polled. tokio takes that for a wish to let others go first. With one request in flight there is nobody else: a thread
//! is woken for nothing, on a core that the client needs. [`Calm`] polls such a task again, a few times; what wakes it
//! from elsewhere, or later, goes the usual way. No wake-up is lost.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use pin_project_lite::pin_project;

/// Polls in a row; after that others get their turn.
const POLLS: usize = 3;

/// It is being polled: a wake-up is noted, not passed on.
const POLLED: u8 = 1;
/// There was a wake-up.
const WOKEN: u8 = 2;

/// Starts tasks of hyper's so.
#[derive(Debug, Clone, Copy, Default)]
pub struct CalmExecutor;

impl<F> Executor<F> for CalmExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        TokioExecutor::new().execute(Calm::new(task));
    }
}

pin_project! {
    /// A future that is polled again at once when it wakes itself.
    pub struct Calm<F> {
        #[pin]
        inner: F,
        bell: Arc<Bell>,
        waker: Waker,
    }
}

/// What the future is given to wake.
#[derive(Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Written even where it says so already: whoever polls next must see what this one did before it woke.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & POLLED == 0 {
            self.task.wake();
        }
    }
}

impl<F> Calm<F> {
    /// The same future.
    pub fn new(inner: F) -> Self {
        let bell = Arc::<Bell>::default();
        Self { inner, waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<F: Future> Future for Calm<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, outer: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.bell.task.register(outer.waker());
        let mut context = Context::from_waker(this.waker);
        for _ in 0..POLLS {
            this.bell.state.swap(POLLED, Ordering::AcqRel);
            let polled = this.inner.as_mut().poll(&mut context);
            if polled.is_ready() {
                return polled;
            }
            if this.bell.state.swap(0, Ordering::AcqRel) & WOKEN == 0 {
                return Poll::Pending;
            }
        }
        outer.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::AtomicUsize,
        task::Poll::{Pending, Ready},
        time::Duration,
    };

    use super::*;

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_wakes_itself_is_polled_again_at_once() {
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        let mut polls = 0;
        let mut calm = Box::pin(Calm::new(poll_fn(|cx| {
            polls += 1;
            if polls < POLLS {
                cx.waker().wake_by_ref();
                return Pending;
            }
            Ready(polls)
        })));
        assert_eq!(calm.as_mut().poll(&mut Context::from_waker(&waker)), Ready(POLLS));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_that_never_stops_lets_others_go_first() {
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        let mut polls = 0;
        let mut calm = Box::pin(Calm::new(poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        assert_eq!(calm.as_mut().poll(&mut Context::from_waker(&waker)), Pending);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        drop(calm);
        assert_eq!(polls, POLLS);
    }

    #[test]
    fn what_wakes_it_later_wakes_the_task() {
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        let mut inside = None;
        let mut calm = Box::pin(Calm::new(poll_fn(|cx| {
            inside = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        assert_eq!(calm.as_mut().poll(&mut Context::from_waker(&waker)), Pending);
        drop(calm);
        inside.unwrap().wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_from_another_thread_is_lost() {
        const ROUNDS: usize = 20_000;
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (done, finished) = tokio::sync::oneshot::channel();
        CalmExecutor.execute(async move {
            let mut got = 0;
            while receiver.recv().await.is_some() {
                got += 1;
            }
            let _ = done.send(got);
        });
        let sending = async {
            for round in 0..ROUNDS {
                sender.send(round).await.unwrap();
            }
            drop(sender);
        };
        tokio::time::timeout(Duration::from_secs(60), sending).await.unwrap();
        let finished = tokio::time::timeout(Duration::from_secs(60), finished).await;
        assert_eq!(finished.unwrap().unwrap(), ROUNDS);
    }
}
