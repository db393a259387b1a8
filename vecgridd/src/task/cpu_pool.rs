//! A bounded pool for computations that would block an I/O thread.
//!
//! Plain threads around one queue. A thread that finds it empty sleeps at once: work-stealing pools
//! spin for a while first, which on few cores takes the time from the I/O threads (measured:
//! decision 6).
//!
//! Handing a computation over costs two wake-ups. One that is shorter than that may run where it
//! is ([`CpuPool::run_short`]), as long as a seat is free: there are as many as I/O threads, or
//! as threads that may search, where that is fewer.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::{Semaphore, oneshot};

/// Why a computation gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpuPoolError {
    /// As many computations wait as may.
    #[error("too many computations are waiting")]
    Full,
    /// The computation panicked; the pool lives on.
    #[error("a computation panicked")]
    Panicked,
}

type Job = Box<dyn FnOnce() + Send>;

/// What the threads share.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    /// As many as there are places.
    jobs: VecDeque<Job>,
    /// Threads that sleep and were not woken yet.
    idle: usize,
    closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this mutex can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        let mut queue = self.queue();
        queue.jobs.push_back(job);
        let wake = queue.idle > 0;
        if wake {
            queue.idle -= 1;
        }
        drop(queue);
        if wake {
            self.more.notify_one();
        }
    }

    /// The next job; `None` when the pool is closed and the queue is empty.
    fn pop(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Dropped with the last handle: the threads finish what waits, and end.
struct Threads(Arc<Shared>);

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.more.notify_all();
    }
}

/// Runs closures on a fixed number of threads. More than `waiting` closures in flight are refused
/// at once, so the queue is bounded.
#[derive(Clone)]
pub struct CpuPool {
    threads: Arc<Threads>,
    places: Arc<Semaphore>,
    seats: Arc<Semaphore>,
}

impl CpuPool {
    /// Starts the threads. At most `seats` short computations run on the threads of their callers.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn new(threads: usize, waiting: usize, seats: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let pool = Threads(Arc::clone(&shared));
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            let work = move || {
                while let Some(job) = shared.pop() {
                    job();
                }
            };
            thread::Builder::new().name(format!("cpu-{number}")).spawn(work)?;
        }
        Ok(Self {
            threads: Arc::new(pool),
            places: Arc::new(Semaphore::new(waiting)),
            seats: Arc::new(Semaphore::new(seats)),
        })
    }

    /// Runs `work` and gives its result. Dropping the future does not stop the work, which keeps
    /// its place until it ends.
    ///
    /// # Errors
    /// [`CpuPoolError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CpuPoolError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| CpuPoolError::Full)?;
        let (reply, result) = oneshot::channel();
        self.threads.0.push(Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            drop(place);
            if let Ok(value) = outcome {
                // The caller may have gone: nothing to tell then.
                let _ = reply.send(value);
            }
        }));
        result.await.map_err(|_| CpuPoolError::Panicked)
    }

    /// Runs `work`, which is short, on this thread when a seat is free, else as [`CpuPool::run`].
    ///
    /// # Errors
    /// [`CpuPoolError`], in the same cases.
    pub async fn run_short<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CpuPoolError> {
        let Ok(_seat) = self.seats.try_acquire() else { return self.run(work).await };
        let _place = self.places.try_acquire().map_err(|_| CpuPoolError::Full)?;
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| CpuPoolError::Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::mpsc::sync_channel};

    use futures::{FutureExt, future::join_all};

    use super::*;

    fn name() -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn short_work_stays_while_a_seat_is_free_and_moves_when_none_is() {
        let pool = CpuPool::new(1, 8, 1).unwrap();
        assert_eq!(pool.run_short(name).await.unwrap(), name());
        let seat = pool.seats.clone().try_acquire_owned().unwrap();
        assert_eq!(pool.run_short(name).await.unwrap().as_deref(), Some("cpu-0"));
        drop(seat);
        assert_eq!(pool.run_short(name).await.unwrap(), name());
        assert_eq!(pool.run(name).await.unwrap().as_deref(), Some("cpu-0"));
    }

    #[tokio::test]
    async fn too_much_is_refused_and_places_come_back() {
        let pool = CpuPool::new(1, 1, 1).unwrap();
        let (go, wait) = sync_channel::<()>(1);
        let mut running = pin!(pool.run(move || wait.recv().is_ok()));
        assert!(running.as_mut().now_or_never().is_none());
        assert_eq!(pool.run(|| ()).await, Err(CpuPoolError::Full));
        assert_eq!(pool.run_short(|| ()).await, Err(CpuPoolError::Full));
        go.send(()).unwrap();
        assert_eq!(running.await, Ok(true));
        assert_eq!(pool.run(|| 1).await, Ok(1));
        assert_eq!(pool.run_short(|| 2).await, Ok(2));
    }

    #[tokio::test]
    async fn a_panic_is_one_result_and_no_more() {
        let pool = CpuPool::new(1, 1, 1).unwrap();
        for _ in 0..3 {
            assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(CpuPoolError::Panicked));
            assert_eq!(pool.run_short(|| panic!("on purpose")).await, Err::<(), _>(CpuPoolError::Panicked));
        }
        assert_eq!(pool.run(|| 1).await, Ok(1));
        assert_eq!(pool.run_short(|| 2).await, Ok(2));
    }

    #[tokio::test]
    async fn every_computation_of_many_is_answered() {
        let pool = CpuPool::new(3, 1_000, 1).unwrap();
        let all = (0..1_000_u64).map(|n| {
            let pool = pool.clone();
            async move { if n % 3 == 0 { pool.run_short(move || n).await } else { pool.run(move || n).await } }
        });
        let answers: Result<Vec<u64>, _> = join_all(all).await.into_iter().collect();
        assert_eq!(answers, Ok((0..1_000).collect()));
    }

    #[tokio::test]
    async fn threads_end_with_the_last_handle() {
        let pool = CpuPool::new(2, 8, 1).unwrap();
        pool.run(|| ()).await.unwrap();
        let shared = Arc::downgrade(&pool.threads.0);
        drop(pool);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
