//! One call: its deadline, and its retries.
//!
//! A call is tried again after `overloaded`, `unavailable` and a broken or refused connection, with
//! growing random pauses, until the deadline or the number of retries ends it. That is safe for
//! reads always, and for writes because each carries a request id under which the daemon applies it
//! once. When any try of a write ended unknown, the whole call does, whatever the last try said.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};
use vecgrid_proto::v1::vec_grid_client::VecGridClient;

use crate::{Client, Consistency, Error, Result};

/// The generated client of the contract.
pub(crate) type Stub = VecGridClient<Channel>;

/// Whether a call changes anything: decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

const CONSISTENCY: &str = "vecgrid-consistency";
const AT_LEAST: &str = "vecgrid-at-least";

impl Client {
    /// A request that says which writes its answer must show.
    pub(crate) fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        match &self.consistency {
            Consistency::Own => {}
            Consistency::Strong => {
                request.metadata_mut().insert(CONSISTENCY, MetadataValue::from_static("strong"));
            }
            Consistency::AtLeast(token) => {
                let token = token.parse().map_err(|_| Error::invalid_token())?;
                request.metadata_mut().insert(AT_LEAST, token);
            }
        }
        Ok(request)
    }

    /// A call of its own.
    pub(crate) async fn call<Q, A, F, Fut>(&self, effect: Effect, message: Q, send: F) -> Result<A>
    where
        Q: Message + Clone,
        F: Fn(Stub, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempts(effect, |by| self.attempt(effect, message.clone(), by, &send)).await
    }

    /// One try of it.
    pub(crate) async fn attempt<Q, A, F, Fut>(
        &self,
        effect: Effect,
        message: Q,
        by: Instant,
        send: F,
    ) -> Result<A>
    where
        Q: Message,
        F: FnOnce(Stub, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        // The transport would break off, which looks like a lost connection.
        let (bytes, limit) = (message.encoded_len(), self.options.max_message_bytes);
        if bytes > limit {
            return Err(Error::request_too_large(bytes, limit));
        }
        let mut request = self.request(message)?;
        request.set_timeout(by.saturating_duration_since(Instant::now()));
        match send(self.stub.clone(), request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Error::from_status(&status, effect, &self.options.endpoint)),
        }
    }

    /// Tries until it succeeds or must not be tried again; each try is told by when it must.
    pub(crate) async fn attempts<A, F, Fut>(&self, effect: Effect, attempt: F) -> Result<A>
    where
        F: Fn(Instant) -> Fut,
        Fut: Future<Output = Result<A>>,
    {
        // A century is enough, and keeps the addition from overflowing.
        let deadline = Instant::now() + self.timeout.min(Duration::from_secs(3_000_000_000));
        let mut pauses = Pauses::default();
        let mut unknown = false;
        loop {
            let error = match timeout_at(deadline, attempt(deadline)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => Error::deadline(effect, self.timeout),
            };
            unknown |= error.is_unknown();
            let error = if unknown { error.into_unknown() } else { error };
            if !error.is_retryable() || pauses.taken >= self.options.max_retries {
                return Err(error);
            }
            let pause = pauses.next(error.retry_after());
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
        }
    }
}

/// Growing random pauses between tries: about 50, 100, 200, 400 ms … 2 s.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    taken: u32,
}

impl Pauses {
    /// The next pause, not shorter than what the daemon asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let step = Duration::from_millis(50 << self.taken.min(5)).min(Duration::from_secs(2));
        self.taken += 1;
        let pause = step.mul_f64(0.5 + random_unit());
        match asked {
            // Everyone was asked to come back at the same time: spread out behind it.
            Some(asked) => asked.min(Duration::from_secs(60)) + pause.mul_f64(0.5),
            None => pause,
        }
    }

    /// Starts over after a success.
    pub(crate) fn reset(&mut self) {
        self.taken = 0;
    }
}

/// A random number in [0, 1); the random bits of a UUID are good enough for jitter.
fn random_unit() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// A fresh request id.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_random_and_stay_bounded() {
        let mut pauses = Pauses::default();
        for taken in 0..40_u32 {
            let step = (50_u64 << taken.min(5)).min(2000);
            let pause = pauses.next(None);
            assert!(
                pause >= Duration::from_millis(step / 2) && pause <= Duration::from_millis(step * 3 / 2),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn the_daemons_wish_is_a_floor() {
        let asked = Duration::from_millis(700);
        assert!(Pauses::default().next(Some(asked)) >= asked);
        assert!(Pauses::default().next(Some(Duration::MAX)) < Duration::from_secs(62));
    }
}
