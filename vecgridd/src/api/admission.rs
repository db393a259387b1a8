//! Who may come in: permits before work, so that too much is refused at once instead of late.
//!
//! Three pools: reads, writes, and bytes of request bodies. A single request that finds its pool
//! empty is shed (it can retry elsewhere or later); a message of a stream waits instead, because
//! the stream slows its sender down.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{error::DoorError, limits::ApiLimits};

/// What a call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Counted as a read, ends by its deadline.
    Read,
    /// Counted as a write, ends by its deadline.
    Write,
    /// Open for long; its messages are counted, each by itself.
    Stream,
    /// Health, metrics, documents: never shed, needs no service.
    Exempt,
}

/// The pools.
pub(super) struct Admission {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_bytes: usize,
}

impl Admission {
    pub(super) fn new(limits: &ApiLimits) -> Self {
        // Permits are taken by `u32`.
        let all_bytes = limits.max_bytes_in_flight.min(u32::MAX as usize);
        Self {
            reads: Arc::new(Semaphore::new(limits.max_reads)),
            writes: Arc::new(Semaphore::new(limits.max_writes)),
            bytes: Arc::new(Semaphore::new(all_bytes)),
            all_bytes,
        }
    }

    /// A place for one call, now or never. Streams and exempt calls need none.
    pub(super) fn try_enter(&self, class: Class) -> Result<Option<OwnedSemaphorePermit>, DoorError> {
        let Some((pool, name)) = self.pool(class) else { return Ok(None) };
        Arc::clone(pool).try_acquire_owned().map(Some).map_err(|_| DoorError::Overloaded(name))
    }

    /// A place for one message of a stream, by its deadline.
    pub(super) async fn enter(
        &self,
        class: Class,
        by: Instant,
    ) -> Result<Option<OwnedSemaphorePermit>, DoorError> {
        let Some((pool, name)) = self.pool(class) else { return Ok(None) };
        match timeout_at(by, Arc::clone(pool).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(DoorError::Overloaded(name)),
        }
    }

    fn pool(&self, class: Class) -> Option<(&Arc<Semaphore>, &'static str)> {
        match class {
            Class::Read => Some((&self.reads, "reads")),
            Class::Write => Some((&self.writes, "writes")),
            Class::Stream | Class::Exempt => None,
        }
    }

    /// An account for the bytes of one request; empty at first.
    pub(super) fn bytes(&self) -> ByteLease {
        ByteLease { pool: Arc::clone(&self.bytes), all: self.all_bytes, taken: AtomicUsize::new(0) }
    }
}

/// Bytes that one request holds; given back on drop.
pub(super) struct ByteLease {
    pool: Arc<Semaphore>,
    all: usize,
    taken: AtomicUsize,
}

impl ByteLease {
    /// Takes more bytes, now or never.
    pub(super) fn try_take(&self, bytes: usize) -> Result<(), DoorError> {
        let refused = DoorError::Overloaded("bytes");
        let Ok(count) = u32::try_from(bytes) else { return Err(refused) };
        let permit = self.pool.try_acquire_many(count).map_err(|_| refused)?;
        self.keep(permit, bytes);
        Ok(())
    }

    /// Takes more bytes, by a deadline. A message larger than the pool takes the whole pool.
    pub(super) async fn take(&self, bytes: usize, by: Instant) -> Result<(), DoorError> {
        let bytes = bytes.min(self.all);
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        match timeout_at(by, self.pool.acquire_many(count)).await {
            Ok(Ok(permit)) => {
                self.keep(permit, bytes);
                Ok(())
            }
            _ => Err(DoorError::Overloaded("bytes")),
        }
    }

    fn keep(&self, permit: tokio::sync::SemaphorePermit<'_>, bytes: usize) {
        permit.forget();
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for ByteLease {
    fn drop(&mut self) {
        self.pool.add_permits(*self.taken.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn small() -> Admission {
        Admission::new(&ApiLimits {
            max_reads: 1,
            max_writes: 1,
            max_bytes_in_flight: 10,
            ..ApiLimits::default()
        })
    }

    #[test]
    fn a_storm_of_reads_leaves_writes_alone() {
        let admission = small();
        let held = admission.try_enter(Class::Read).unwrap();
        assert!(matches!(admission.try_enter(Class::Read), Err(DoorError::Overloaded("reads"))));
        assert!(admission.try_enter(Class::Write).unwrap().is_some());
        assert!(admission.try_enter(Class::Exempt).unwrap().is_none());
        drop(held);
        assert!(admission.try_enter(Class::Read).is_ok());
    }

    #[test]
    fn bytes_come_back_when_the_request_ends() {
        let admission = small();
        let first = admission.bytes();
        first.try_take(6).unwrap();
        let second = admission.bytes();
        assert!(second.try_take(5).is_err());
        second.try_take(4).unwrap();
        drop(first);
        second.try_take(6).unwrap();
    }

    #[tokio::test]
    async fn a_stream_waits_until_there_is_room_or_the_deadline() {
        let admission = small();
        let soon = || Instant::now() + Duration::from_millis(20);
        let held = admission.bytes();
        held.take(usize::MAX, soon()).await.unwrap();
        let waiting = admission.bytes();
        assert!(waiting.take(1, soon()).await.is_err());
        drop(held);
        waiting.take(1, soon()).await.unwrap();
    }
}
