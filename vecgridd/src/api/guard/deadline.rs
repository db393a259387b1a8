//! By when a call must be answered, and how fresh the answer must be: `Vecgrid-Consistency: strong` demands that a
//! read shows every write that was acknowledged, whoever wrote it, and `Vecgrid-At-Least: TOKEN` that it shows those of
//! a token, which came with the answer to a write.
//!
//! gRPC clients say `grpc-timeout`, REST clients `X-Request-Timeout-Ms`. Served by hyper, tonic does not look at
//! `grpc-timeout` by itself. Whoever says nothing gets the default; nobody gets more than the cap.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::Api;
use crate::{
    api::{error::DoorError, limits::ApiLimits},
    service::RequestContext,
    types::{Invalid, Token},
};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const CONSISTENCY: HeaderName = HeaderName::from_static("vecgrid-consistency");
const AT_LEAST: HeaderName = HeaderName::from_static("vecgrid-at-least");
/// The gRPC specification allows 8 digits.
const MAX_DIGITS: usize = 8;
/// 99,999,999 hours would overflow clocks; nobody waits longer than a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Travels in the extensions of a request.
#[derive(Debug, Clone)]
pub(in crate::api) struct CallDeadline {
    at: Instant,
    stream_end: Option<Instant>,
    strong: bool,
    at_least: Option<Arc<Token>>,
}

impl CallDeadline {
    /// Reads the headers.
    pub(in crate::api) fn of(api: Api, headers: &HeaderMap, limits: &ApiLimits) -> Result<Self, DoorError> {
        let asked = match api {
            Api::Grpc => headers.get(GRPC_TIMEOUT).map(grpc_timeout),
            Api::Http => headers.get(TIMEOUT_MS).map(timeout_ms),
        };
        let asked = asked.transpose()?;
        let now = Instant::now();
        let timeout = asked.unwrap_or(limits.default_deadline).min(limits.max_deadline);
        let strong = headers.get(CONSISTENCY).map(is_strong).transpose()?.unwrap_or(false);
        let at_least = headers.get(AT_LEAST).map(token).transpose()?.map(Arc::new);
        Ok(Self {
            at: now + timeout,
            stream_end: asked.map(|timeout| now + timeout.min(DAY)),
            strong,
            at_least,
        })
    }

    /// For a request without headers.
    pub(in crate::api) fn default_of(limits: &ApiLimits) -> Self {
        Self { at: Instant::now() + limits.default_deadline, stream_end: None, strong: false, at_least: None }
    }

    /// For a message of a stream: with a time of its own, and with what the stream's headers demand of reads.
    pub(in crate::api) fn of_message(&self, asked: Option<Duration>, limits: &ApiLimits) -> Self {
        let timeout = asked.unwrap_or(limits.default_deadline).min(limits.max_deadline);
        Self { at: Instant::now() + timeout, stream_end: None, ..self.clone() }
    }

    /// When the call must be answered.
    pub(in crate::api) fn at(&self) -> Instant {
        self.at
    }

    /// When the client gives up a stream, if it said so: not capped, streams may live long.
    pub(in crate::api) fn stream_end(&self) -> Option<Instant> {
        self.stream_end
    }

    /// For the service.
    pub(in crate::api) fn context(&self) -> RequestContext {
        RequestContext { deadline: self.at, strong: self.strong, at_least: self.at_least.clone() }
    }
}

/// Whether a read must show every acknowledged write.
fn is_strong(value: &HeaderValue) -> Result<bool, DoorError> {
    match value.as_bytes() {
        b"strong" => Ok(true),
        b"default" => Ok(false),
        other => {
            let given = String::from_utf8_lossy(other);
            Err(DoorError::InvalidConsistency(format!(
                "Vecgrid-Consistency is `strong` or `default`, not `{given}`"
            )))
        }
    }
}

/// What a read must show.
fn token(value: &HeaderValue) -> Result<Token, DoorError> {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.parse()
        .map_err(|refused: Invalid| DoorError::InvalidToken(format!("Vecgrid-At-Least: {}", refused.message)))
}

fn grpc_timeout(value: &HeaderValue) -> Result<Duration, DoorError> {
    let refused = || {
        let given = String::from_utf8_lossy(value.as_bytes());
        DoorError::InvalidTimeout(format!(
            "grpc-timeout is 1 to 8 digits and one of H M S m u n, not `{given}`"
        ))
    };
    let (digits, unit) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_at_checked(text.len().checked_sub(1)?))
        .ok_or_else(refused)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused());
    }
    let amount: u64 = digits.parse().map_err(|_| refused())?;
    Ok(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return Err(refused()),
    })
}

fn timeout_ms(value: &HeaderValue) -> Result<Duration, DoorError> {
    let amount = value.to_str().ok().and_then(|text| text.parse::<u32>().ok()).filter(|&ms| ms > 0);
    amount.map(|ms| Duration::from_millis(ms.into())).ok_or_else(|| {
        let given = String::from_utf8_lossy(value.as_bytes());
        DoorError::InvalidTimeout(format!(
            "X-Request-Timeout-Ms is a whole number of milliseconds above 0, not `{given}`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(api: Api, name: &'static str, value: &'static str) -> Result<Duration, DoorError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        let now = Instant::now();
        CallDeadline::of(api, &headers, &ApiLimits::default()).map(|d| d.at() - now)
    }

    fn close(got: Duration, want: Duration) -> bool {
        got >= want && got < want + Duration::from_millis(500)
    }

    #[test]
    fn every_unit_of_grpc_is_read_and_capped() {
        let cases = [
            ("200m", Duration::from_millis(200)),
            ("5S", Duration::from_secs(5)),
            ("1M", Duration::from_secs(60)),
            ("99999999H", Duration::from_secs(60)),
            ("5000000u", Duration::from_secs(5)),
            ("1n", Duration::ZERO),
            ("0m", Duration::ZERO),
        ];
        for (text, want) in cases {
            let got = deadline(Api::Grpc, "grpc-timeout", text).unwrap();
            assert!(close(got, want), "{text}: {got:?}");
        }
        for text in ["", "S", "5", "5s", "123456789m", "-1S", "1.5S", "+1S"] {
            assert!(deadline(Api::Grpc, "grpc-timeout", text).is_err(), "{text}");
        }
    }

    #[test]
    fn rest_says_milliseconds() {
        assert!(close(
            deadline(Api::Http, "x-request-timeout-ms", "250").unwrap(),
            Duration::from_millis(250)
        ));
        assert!(close(
            deadline(Api::Http, "x-request-timeout-ms", "600000").unwrap(),
            Duration::from_secs(60)
        ));
        for text in ["0", "-1", "1.5", "soon", "99999999999"] {
            assert!(deadline(Api::Http, "x-request-timeout-ms", text).is_err(), "{text}");
        }
        assert!(close(deadline(Api::Http, "grpc-timeout", "1m").unwrap(), Duration::from_secs(10)));
    }
}
