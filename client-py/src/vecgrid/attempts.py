"""Deadline and retries of one call: decides, does not wait.

A call is tried again after a failure that passes by itself (the daemon is not there yet, or sheds load
and says when to return) and only if a repetition is harmless: it is a read, a write with a request id,
or the failed attempt did nothing for certain. The whole of it stays within one deadline. If any attempt
may have happened, the final error says "unknown", whatever the last attempt said.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import grpc

from .errors import DeadlineExceeded, Overloaded, Unavailable, VecGridError, from_status
from .verbs import Call


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try and how long to wait in between (seconds)."""

    attempts: int = 5
    first_pause: float = 0.05
    max_pause: float = 1.0


BULK = RetryPolicy(attempts=60, first_pause=0.1, max_pause=1.0)
"""For bulk loads: they rather wait, even for a daemon that restarts, than stop half-way."""

# Unavailable until a person restarts the daemon.
_LASTING = {"storage_read_only"}


class Attempts:
    """The attempts of one call. A transport asks :meth:`timeout`, tries, and reports a failure."""

    def __init__(self, call: Call[Any], policy: RetryPolicy, timeout: float) -> None:
        """The clock starts now."""
        self._call = call
        self._policy = policy
        self._deadline = time.monotonic() + timeout
        self._failed = 0
        self._may_have_happened = False

    def timeout(self) -> float:
        """Seconds that are left for the next attempt."""
        return max(0.0, self._deadline - time.monotonic())

    def pause_after(self, raised: grpc.RpcError) -> float:
        """Seconds to wait before the next attempt; raises the call's error if there is none."""
        failure: Any = raised  # RpcError is a marker; what is raised has these methods too
        error = from_status(
            failure.code(), failure.details(), failure.trailing_metadata(), writes=self._call.writes
        )
        self._failed += 1
        pause = self._pause(error)
        self._may_have_happened |= error.is_unknown
        if pause is None or pause >= self.timeout():
            if self._may_have_happened:
                error.outcome = "unknown"
            raise error from raised
        return pause

    def _pause(self, error: VecGridError) -> float | None:
        passing = isinstance(error, (Overloaded, Unavailable)) and error.code not in _LASTING
        # The daemon cuts long deadlines. A write that waits for its turn (a bulk load that is faster than
        # the index) asks again under its request id, as long as its own deadline allows.
        passing |= self._call.writes and isinstance(error, DeadlineExceeded)
        harmless = self._call.repeatable or error.is_definite
        if not (passing and harmless) or self._failed >= self._policy.attempts:
            return None
        longest = min(self._policy.max_pause, self._policy.first_pause * 2 ** (self._failed - 1))
        # Jitter, so that clients which failed together do not return together.
        return (error.retry_after or 0.0) + random.uniform(longest / 2, longest)
