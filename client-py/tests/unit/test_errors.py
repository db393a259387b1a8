"""From gRPC statuses to exceptions, and when a call is tried again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import grpc
import pytest

import vecgrid
from vecgrid import verbs
from vecgrid.attempts import Attempts, RetryPolicy
from vecgrid.errors import from_status
from vecgrid.v1 import vecgrid_pb2 as pb

from .conftest import FakeDaemon, abort, rich_status

S = grpc.StatusCode


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (S.INVALID_ARGUMENT, "wrong_dimension", vecgrid.InvalidInput),
        (S.NOT_FOUND, "collection_not_found", vecgrid.NotFound),
        (S.ALREADY_EXISTS, "collection_exists", vecgrid.Conflict),
        (S.RESOURCE_EXHAUSTED, "too_large", vecgrid.InvalidInput),
        (S.DEADLINE_EXCEEDED, "deadline_exceeded", vecgrid.DeadlineExceeded),
        (S.UNAVAILABLE, "storage_read_only", vecgrid.Unavailable),
        (S.INTERNAL, "internal", vecgrid.Internal),
    ],
)
def test_the_daemons_reason_becomes_code_and_class(
    daemon: FakeDaemon, status: grpc.StatusCode, reason: str, kind: type[vecgrid.VecGridError]
) -> None:
    daemon.on("Count", lambda request, context: abort(context, status, "why", reason=reason))
    with vecgrid.Client(daemon.endpoint) as client, pytest.raises(kind) as raised:
        client.count("c")
    assert (raised.value.code, raised.value.message) == (reason, "why")
    assert raised.value.is_definite, "a read changes nothing"
    assert str(raised.value) == f"why [{reason}]"
    assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_violations_name_the_refused_parts(daemon: FakeDaemon) -> None:
    violations = [("entries[1].vector", "has 2 components"), ("entries[4].id", "is empty")]
    daemon.on(
        "Upsert",
        lambda request, context: abort(
            context, S.INVALID_ARGUMENT, "bad", reason="wrong_dimension", violations=violations
        ),
    )
    with vecgrid.Client(daemon.endpoint) as client, pytest.raises(vecgrid.InvalidInput) as raised:
        client.upsert("c", [("a", [1.0])])
    assert raised.value.field == "entries[1].vector"
    assert [v.field for v in raised.value.violations] == ["entries[1].vector", "entries[4].id"]
    assert isinstance(raised.value, ValueError)


def trailers(**details: Any) -> list[tuple[str, str | bytes]]:
    return [
        ("x", "y"),
        ("grpc-status-details-bin", rich_status(S.UNAVAILABLE, "", **details).SerializeToString()),
    ]


def test_a_failed_write_is_unknown_unless_it_is_certain_that_nothing_happened() -> None:
    def outcome(status: grpc.StatusCode, details: str = "", given: Any = None, writes: bool = True) -> str:
        return from_status(status, details, given, writes=writes).outcome

    assert outcome(S.UNAVAILABLE, "Socket closed") == "unknown"
    assert outcome(S.UNAVAILABLE, "Socket closed", writes=False) == "failed"
    assert outcome(S.UNAVAILABLE, "failed to connect to all addresses; last error: refused") == "failed"
    assert outcome(S.DEADLINE_EXCEEDED, "Deadline Exceeded") == "unknown"
    assert outcome(S.INVALID_ARGUMENT) == "failed"
    assert outcome(S.RESOURCE_EXHAUSTED, "Sent message larger than max (5 vs. 4)") == "failed"
    assert outcome(S.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)") == "unknown"
    assert outcome(S.UNAVAILABLE, "", trailers(reason="shutting_down", outcome="failed")) == "failed"
    assert outcome(S.UNAVAILABLE, "", trailers(reason="shutting_down", outcome="unknown")) == "unknown"


def test_garbage_in_the_details_is_survived() -> None:
    error = from_status(S.UNAVAILABLE, "x", [("grpc-status-details-bin", b"\xff\xff")], writes=True)
    assert (error.code, error.outcome) == ("unavailable", "unknown")


def test_errors_survive_pickling() -> None:
    error = from_status(S.UNAVAILABLE, "x", trailers(reason="overloaded", retry_ms=100), writes=True)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is vecgrid.Unavailable
    assert (again.code, again.retry_after, str(again)) == ("overloaded", 0.1, str(error))


def test_a_shed_write_is_repeated_with_the_same_request_id(daemon: FakeDaemon) -> None:
    def upsert(request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        if len(daemon.requests) < 3:
            abort(context, S.RESOURCE_EXHAUSTED, "busy", reason="overloaded", retry_ms=10)
        return pb.UpsertResponse(upserted=1)

    daemon.on("Upsert", upsert)
    with vecgrid.Client(daemon.endpoint) as client:
        assert client.upsert("c", [("a", [1.0])]).upserted == 1
    assert len(daemon.requests) == 3
    assert len({request.request_id for request in daemon.requests}) == 1


@pytest.mark.parametrize(
    ("status", "details"),
    [
        (S.INVALID_ARGUMENT, {"reason": "invalid_k"}),
        (S.RESOURCE_EXHAUSTED, {"reason": "too_large"}),
        (S.UNAVAILABLE, {"reason": "storage_read_only", "outcome": "unknown"}),
        (S.INTERNAL, {"reason": "internal", "outcome": "unknown"}),
    ],
)
def test_lasting_failures_are_not_repeated(daemon: FakeDaemon, status: grpc.StatusCode, details: Any) -> None:
    daemon.on("Upsert", lambda request, context: abort(context, status, "no", **details))
    with vecgrid.Client(daemon.endpoint) as client, pytest.raises(vecgrid.VecGridError):
        client.upsert("c", [("a", [1.0])])
    assert len(daemon.requests) == 1


def test_a_write_that_may_have_happened_is_repeated_only_with_a_request_id(daemon: FakeDaemon) -> None:
    for verb in ("Upsert", "DropCollection"):
        daemon.on(
            verb,
            lambda request, context: abort(
                context, S.UNAVAILABLE, "gone", reason="shutting_down", outcome="unknown"
            ),
        )
    with vecgrid.Client(daemon.endpoint, retry=RetryPolicy(3, 0.01)) as client:
        for call, tries in (
            (lambda: client.upsert("c", [("a", [1.0])]), 3),
            (lambda: client.upsert("c", [("a", [1.0])], request_id=""), 1),
            (lambda: client.drop_collection("c"), 1),
        ):
            daemon.requests.clear()
            with pytest.raises(vecgrid.Unavailable) as raised:
                call()
            assert raised.value.is_unknown
            assert len(daemon.requests) == tries


def test_a_write_outlives_the_daemons_own_deadline_within_its_timeout(daemon: FakeDaemon) -> None:
    def upsert(request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        if len(daemon.requests) < 3:
            abort(context, S.DEADLINE_EXCEEDED, "cut", reason="deadline_exceeded", outcome="unknown")
        return pb.UpsertResponse(upserted=1)

    daemon.on("Upsert", upsert)
    with vecgrid.Client(daemon.endpoint) as client:
        assert client.upsert("c", [("a", [1.0])]).upserted == 1
    assert len({request.request_id for request in daemon.requests}) == 1


def test_one_unknown_attempt_makes_the_whole_call_unknown() -> None:
    class Raised(grpc.RpcError):
        def __init__(self, outcome: str) -> None:
            self.outcome = outcome

        def code(self) -> grpc.StatusCode:
            return S.UNAVAILABLE

        def details(self) -> str:
            return "x"

        def trailing_metadata(self) -> Any:
            return trailers(reason="shutting_down", outcome=self.outcome)

    attempts = Attempts(verbs.upsert("c", [], None, None, None, None), RetryPolicy(2, 0.01), 5.0)
    assert attempts.pause_after(Raised("unknown")) > 0
    with pytest.raises(vecgrid.Unavailable) as raised:
        attempts.pause_after(Raised("failed"))
    assert raised.value.is_unknown


def test_retries_stay_within_the_deadline(daemon: FakeDaemon) -> None:
    daemon.on(
        "Count",
        lambda request, context: abort(
            context, S.RESOURCE_EXHAUSTED, "busy", reason="overloaded", retry_ms=900
        ),
    )
    with vecgrid.Client(daemon.endpoint, timeout=0.5) as client, pytest.raises(vecgrid.Overloaded) as raised:
        client.count("c")
    assert raised.value.retry_after == pytest.approx(0.9)
    assert len(daemon.requests) == 1


def test_a_daemon_that_is_not_there_is_definitely_unavailable(tmp_path: Path) -> None:
    with vecgrid.Client(f"unix:{tmp_path}/none", timeout=1.0) as client:
        with pytest.raises(vecgrid.Unavailable) as raised:
            client.create_collection("c", 3)
    assert raised.value.code == "unavailable"
    assert raised.value.is_definite, "nothing was sent"


def test_a_deadline_passes(daemon: FakeDaemon) -> None:
    import threading

    release = threading.Event()
    daemon.on("Upsert", lambda request, context: release.wait(5) and pb.UpsertResponse())
    try:
        with vecgrid.Client(daemon.endpoint) as client, pytest.raises(vecgrid.DeadlineExceeded) as raised:
            client.upsert("c", [("a", [1.0])], timeout=0.05)
    finally:
        release.set()
    assert raised.value.is_unknown
