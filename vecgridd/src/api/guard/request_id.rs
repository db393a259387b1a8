//! Names for requests whose caller gave none.
//!
//! Unique within the life of this daemon and, by 64 random bits, beyond it. Not secret: drawing
//! each one from the operating system would cost more than the rest of the guard.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// Makes request ids.
pub(in crate::api) struct RequestIds {
    random: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(in crate::api) fn new() -> Self {
        Self { random: uuid::Uuid::new_v4().as_u64_pair().0, next: AtomicU64::new(0) }
    }

    /// 32 hexadecimal digits.
    pub(super) fn fresh(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}{number:016x}", self.random);
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}
