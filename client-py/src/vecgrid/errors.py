"""What goes wrong, and what the caller may conclude.

One class per kind of failure; ``code`` is the daemon's stable reason (``collection_not_found``,
``wrong_dimension``, ...), the same that REST answers. The important question after a failed write is
whether it happened: ``is_definite`` says that it did not, ``is_unknown`` that it may have. Failures that
the daemon did not explain itself (a broken connection) are judged here, carefully: a read changes
nothing, so it always fails definitely; a write that may have left this process is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from .model import Outcome, UpsertManyResult, UpsertResult

DETAILS_KEY = "grpc-status-details-bin"
"""The trailer in which gRPC carries a google.rpc.Status."""

# What grpc says when no connection could be made: nothing was sent.
_NOT_SENT = re.compile(
    r"^(failed to connect to all addresses|name resolution failure|DNS resolution failed)", re.I
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One refused part of a request."""

    field: str
    """Path to it, such as ``entries[3].vector``."""
    message: str


class VecGridError(Exception):
    """Something the daemon, or the way to it, did not do."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "unknown",
        field: str | None = None,
        outcome: Outcome = "failed",
        violations: tuple[Violation, ...] = (),
        retry_after: float | None = None,
        partial: UpsertResult | UpsertManyResult | None = None,
    ) -> None:
        """Usually made by :func:`from_status`."""
        super().__init__(message)
        self.message = message
        self.code = code
        """Stable reason, part of the daemon's public contract."""
        self.field = field
        """Path to the first refused part of the request, such as ``entries[3].vector``."""
        self.outcome: Outcome = outcome
        self.violations = violations
        """All refused parts that the daemon listed."""
        self.retry_after = retry_after
        """Seconds after which the daemon suggests to try again."""
        self.partial = partial
        """Of a write of many entries: what was stored nevertheless, and what was not."""

    @property
    def is_definite(self) -> bool:
        """Nothing happened, for certain."""
        return self.outcome == "failed"

    @property
    def is_unknown(self) -> bool:
        """It may have happened: a repetition is harmless with the same request id only."""
        return self.outcome == "unknown"

    def __str__(self) -> str:
        """Message and code."""
        return f"{self.message} [{self.code}]"

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions cross process borders (multiprocessing), keyword arguments included."""
        return _revive, (type(self), self.message, self.__dict__)


class InvalidInput(VecGridError, ValueError):
    """The request breaks the contract; the same request will fail again."""


class NotFound(VecGridError):
    """No such collection, or no such entry."""


class Conflict(VecGridError):
    """It exists already, and differently."""


class Overloaded(VecGridError):
    """Too much in flight; ``retry_after`` says when to try again."""


class DeadlineExceeded(VecGridError):
    """Not done within the timeout."""


class Unavailable(VecGridError):
    """The daemon is not there, is starting or stopping, or takes no writes."""


class Internal(VecGridError):
    """A bug or a damaged disk."""


_S = grpc.StatusCode

_BY_STATUS: dict[grpc.StatusCode, type[VecGridError]] = {
    _S.INVALID_ARGUMENT: InvalidInput,
    _S.OUT_OF_RANGE: InvalidInput,  # a message above the daemon's limit
    _S.FAILED_PRECONDITION: InvalidInput,
    _S.NOT_FOUND: NotFound,
    _S.ALREADY_EXISTS: Conflict,
    _S.ABORTED: Conflict,
    _S.RESOURCE_EXHAUSTED: Overloaded,
    _S.DEADLINE_EXCEEDED: DeadlineExceeded,
    _S.UNAVAILABLE: Unavailable,
    _S.INTERNAL: Internal,
    _S.UNKNOWN: Internal,
    _S.DATA_LOSS: Internal,
    _S.UNIMPLEMENTED: Internal,
}

# Failures of single entries carry a code but no status.
_BY_CODE: dict[str, type[VecGridError]] = {
    "overloaded": Overloaded,
    "deadline_exceeded": DeadlineExceeded,
    "shutting_down": Unavailable,
    "storage_read_only": Unavailable,
    "partition_unavailable": Unavailable,
    "no_leader": Unavailable,
}

# After these, a write without the daemon's own explanation may have happened.
_MAY_HAVE_HAPPENED = {
    _S.UNAVAILABLE,
    _S.DEADLINE_EXCEEDED,
    _S.CANCELLED,
    _S.INTERNAL,
    _S.UNKNOWN,
    _S.DATA_LOSS,
    _S.ABORTED,
    _S.RESOURCE_EXHAUSTED,
}


def from_status(
    status: grpc.StatusCode,
    details: str | None,
    trailers: Iterable[tuple[str, str | bytes]] | None,
    *,
    writes: bool,
) -> VecGridError:
    """The exception for a failed call. ``writes``: the call would have changed something."""
    info, retry, problems = _explanation(trailers)
    message = details or status.name.lower()
    kind = _BY_STATUS.get(status, VecGridError)
    code = status.name.lower()
    outcome = _judge(status, message) if writes else "failed"
    if info is not None:
        code = info.reason
        if writes:
            outcome = "unknown" if info.metadata.get("outcome") == "unknown" else "failed"
    retry_after = None if retry is None else retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    if status is _S.RESOURCE_EXHAUSTED and retry_after is None:
        # Not a queue but a size limit, of the daemon or of this process: waiting does not help.
        kind = InvalidInput
        if info is None and "larger than max" in message:
            code = "message_too_large"
    field = problems[0].field if problems else None
    if info is not None:
        field = info.metadata.get("field") or field
    return kind(
        message, code=code, field=field, outcome=outcome, violations=problems, retry_after=retry_after
    )


def from_entry_errors(result: UpsertResult) -> VecGridError:
    """The exception for an upsert of which some entries were not stored."""
    first = result.errors[0]
    unknown = any(error.is_unknown for error in result.errors)
    return _BY_CODE.get(first.code, Internal)(
        f"{len(result.errors)} entries were not stored; the first is {first.id!r}: {first.message}",
        code=first.code,
        field=f"entries[{first.index}]",
        outcome="unknown" if unknown else "failed",
        partial=result,
    )


def _judge(status: grpc.StatusCode, message: str) -> Outcome:
    """What a status without the daemon's explanation says about a write."""
    if status is _S.UNAVAILABLE and _NOT_SENT.match(message):
        return "failed"
    if status is _S.RESOURCE_EXHAUSTED and "sent message larger than max" in message.lower():
        return "failed"
    return "unknown" if status in _MAY_HAVE_HAPPENED else "failed"


def _explanation(
    trailers: Iterable[tuple[str, str | bytes]] | None,
) -> tuple[Any | None, Any | None, tuple[Violation, ...]]:
    """ErrorInfo, RetryInfo and the violations of BadRequest, as far as the trailers carry them."""
    raw = next((value for key, value in trailers or () if key == DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return None, None, ()
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    refused = error_details_pb2.BadRequest()
    has_info = has_retry = False
    try:
        for detail in status_pb2.Status.FromString(raw).details:
            has_info = detail.Unpack(info) or has_info
            has_retry = detail.Unpack(retry) or has_retry
            detail.Unpack(refused)
    except DecodeError:
        return None, None, ()
    problems = tuple(Violation(v.field, v.description) for v in refused.field_violations)
    return (info if has_info else None), (retry if has_retry else None), problems


def _revive(kind: type[VecGridError], message: str, state: dict[str, Any]) -> VecGridError:
    error = kind(message)
    error.__dict__.update(state)
    return error
