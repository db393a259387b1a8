//! Collections by name. One that is not known here may have been made through another member a moment ago.
//!
//! Before it is said not to exist, the leader is asked once how far the grid is. Such questions go one after another,
//! and everybody who came before one began shares its answer: a flood of wrong names costs the leader one small message
//! at a time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{RequestContext, Service, ServiceError};
use crate::types::{Collection, CollectionName};

/// How long a leader, and what it knows, is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// One question at a time.
pub struct Questions {
    turn: Semaphore,
    /// How many have begun.
    begun: AtomicU64,
    /// Number of the last one that was answered.
    answered: AtomicU64,
}

impl Questions {
    /// None was asked.
    pub fn new() -> Self {
        Self { turn: Semaphore::new(1), begun: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// Asks, unless one that began after this call was answered meanwhile.
    async fn ask<F: Future<Output = ()>>(&self, question: impl FnOnce() -> F) {
        let before = self.begun.load(Ordering::SeqCst);
        // Never closed.
        let Ok(_turn) = self.turn.acquire().await else { return };
        if self.answered.load(Ordering::SeqCst) > before {
            return;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        question().await;
        self.answered.store(number, Ordering::SeqCst);
    }
}

impl Service {
    /// A collection by name.
    ///
    /// # Errors
    /// `collection_not_found`, and when the name is none.
    pub(super) async fn collection(
        &self,
        ctx: &RequestContext,
        name: &str,
    ) -> Result<Collection, ServiceError> {
        let name = CollectionName::new(name)?;
        if let Some(known) = self.view().collection(&name) {
            return Ok(known.clone());
        }
        let by = ctx.deadline.min(Instant::now() + PATIENCE);
        let asked = self.questions.ask(|| self.parts.control.catch_up(by));
        // Without an answer, what is known here counts.
        let _ = timeout_at(by, asked).await;
        self.view().collection(&name).cloned().ok_or(ServiceError::CollectionNotFound(name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn who_waits_shares_an_answer_that_was_asked_for_after_it_came() {
        let (questions, asked, answer) = (Questions::new(), AtomicU64::new(0), Arc::new(Notify::new()));
        let question = || async {
            asked.fetch_add(1, Ordering::SeqCst);
            answer.notified().await;
        };
        let all = join_all((0..50).map(|_| questions.ask(question)));
        let answering = async {
            // The first asks; the others came while it was asking, so that its answer is not enough for them.
            while asked.load(Ordering::SeqCst) < 2 {
                answer.notify_one();
                tokio::task::yield_now().await;
            }
            answer.notify_one();
        };
        tokio::join!(all, answering);
        assert_eq!(asked.load(Ordering::SeqCst), 2, "50 requests, two questions");
        let later = questions.ask(question);
        answer.notify_one();
        later.await;
        assert_eq!(asked.load(Ordering::SeqCst), 3, "who comes later asks anew");
    }
}
