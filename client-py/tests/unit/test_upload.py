"""Bulk loads: batches, order, errors, bounds; with both transports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

import vecgrid
from vecgrid.v1 import vecgrid_pb2 as pb

from .conftest import FakeDaemon, abort

S = grpc.StatusCode
Load = Callable[..., vecgrid.UpsertManyResult]


class Store:
    """Takes entries, refuses those whose metadata says "bad" as the daemon does, 20 at most per answer."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.entries: dict[str, str] = {}
        self.batches: list[int] = []
        self.most_in_flight = 0
        self._in_flight: list[set[str]] = []
        self._lock = threading.Lock()
        daemon.on("Upsert", self._upsert)

    def _upsert(self, request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        ids = {entry.id for entry in request.entries}
        with self._lock:
            assert all(ids.isdisjoint(others) for others in self._in_flight), (
                "two batches with one id at a time"
            )
            self._in_flight.append(ids)
            self.most_in_flight = max(self.most_in_flight, len(self._in_flight))
        try:
            bad = [i for i, entry in enumerate(request.entries) if "bad" in entry.metadata_json][:20]
            if bad:
                violations = [(f"entries[{i}].vector", f"{request.entries[i].id} is bad") for i in bad]
                abort(context, S.INVALID_ARGUMENT, "refused", reason="invalid_vector", violations=violations)
            with self._lock:
                self.batches.append(len(request.entries))
                self.entries.update({entry.id: entry.metadata_json for entry in request.entries})
            return pb.UpsertResponse(upserted=len(ids))
        finally:
            with self._lock:
                self._in_flight.remove(ids)


@pytest.fixture(params=["sync", "async"])
def load(request: pytest.FixtureRequest, daemon: FakeDaemon) -> Load:
    def with_threads(*args: Any, **kwargs: Any) -> vecgrid.UpsertManyResult:
        with vecgrid.Client(daemon.endpoint) as client:
            return client.upsert_many("c", *args, **kwargs)

    def with_asyncio(*args: Any, **kwargs: Any) -> vecgrid.UpsertManyResult:
        async def run() -> vecgrid.UpsertManyResult:
            async with vecgrid.AsyncClient(daemon.endpoint) as client:
                return await client.upsert_many("c", *args, **kwargs)

        return asyncio.run(run())

    return with_threads if request.param == "sync" else with_asyncio


def test_batches_by_count(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)
    ids = [str(i) for i in range(2_500)]
    result = load(
        ids=ids, vectors=np.ones((2_500, 3), np.float16), metadatas=[{"i": i} for i in range(2_500)]
    )
    assert result == vecgrid.UpsertManyResult(2_500)
    assert sorted(store.batches) == [500, 1_000, 1_000]
    assert store.entries == {str(i): '{"i":%d}' % i for i in range(2_500)}


def test_batches_by_bytes(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)
    # 4,000 bytes each; one that alone is above the limit goes by itself.
    entries = [(str(i), np.ones(50_000 if i == 3 else 1_000, np.float32)) for i in range(10)]
    assert load(entries, batch_bytes=13_000).upserted == 10
    assert sorted(store.batches) == [1, 3, 3, 3]


def test_at_most_so_many_in_flight_and_a_generator_is_read_lazily(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)
    read = 0

    def entries() -> Iterator[tuple[str, list[float]]]:
        nonlocal read
        for i in range(200):
            read += 1
            # Five in flight or held back, one being filled.
            assert read - sum(store.batches) <= 10 * 6
            yield str(i), [1.0]

    assert load(entries(), batch_entries=10, parallel=4).upserted == 200
    assert store.most_in_flight <= 4


def test_of_equal_ids_the_last_one_wins_across_batches(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)
    entries = [{"id": str(i % 7), "metadata": {"i": i}} for i in range(100)]
    load(entries, batch_entries=3, parallel=8)
    assert store.entries == {str(i % 7): '{"i":%d}' % i for i in range(93, 100)}


def test_bad_entries_are_listed_and_the_others_stored(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)
    bad = {0, 5, 17, 99} | set(range(40, 75))
    entries: list[Any] = [(f"e{i}", [1.0], {"note": "bad" if i in bad else "ok"}) for i in range(100)]
    entries[50] = ("e50", "not a vector", {})  # refused on this side already
    result = load(entries, batch_entries=50)
    assert [error.index for error in result.errors] == sorted(bad)
    assert {error.code for error in result.errors} == {"invalid_vector"}
    assert result.errors[0] == vecgrid.EntryError(0, "e0", "invalid_vector", "e0 is bad")
    assert result.upserted == 100 - len(bad)
    assert set(store.entries) == {f"e{i}" for i in range(100)} - {f"e{i}" for i in bad}


def test_too_many_bad_entries_stop_the_load(daemon: FakeDaemon, load: Load) -> None:
    Store(daemon)
    with pytest.raises(vecgrid.InvalidInput) as raised:
        load(((str(i), [1.0], {"bad": 1}) for i in range(10_000)), max_errors=30, batch_entries=100)
    assert raised.value.partial is not None
    assert 30 <= len(raised.value.partial.errors) <= 200
    assert len(daemon.requests) < 20


def test_a_failure_of_the_whole_stops_the_load_and_says_what_was_stored(
    daemon: FakeDaemon, load: Load
) -> None:
    def upsert(request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        if request.entries[0].id != "0":
            abort(context, S.NOT_FOUND, "dropped", reason="collection_not_found")
        return pb.UpsertResponse(upserted=len(request.entries))

    daemon.on("Upsert", upsert)
    with pytest.raises(vecgrid.NotFound) as raised:
        load([(str(i), [1.0]) for i in range(1_000)], batch_entries=10, parallel=1)
    assert raised.value.partial == vecgrid.UpsertManyResult(10)
    assert len(daemon.requests) == 2


def test_an_error_of_the_callers_generator_comes_out(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)

    def entries() -> Iterator[tuple[str, list[float]]]:
        for i in range(25):
            yield str(i), [1.0]
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended"):
        load(entries(), batch_entries=10)
    assert len(store.entries) == 20


def test_entries_that_their_partition_did_not_take_are_listed_by_place(
    daemon: FakeDaemon, load: Load
) -> None:
    def upsert(request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        error = pb.EntryError(
            index=1, id=request.entries[1].id, code="overloaded", message="full", outcome="failed"
        )
        return pb.UpsertResponse(upserted=len(request.entries) - 1, errors=[error])

    daemon.on("Upsert", upsert)
    result = load([(str(i), [1.0]) for i in range(6)], batch_entries=3)
    assert [(error.index, error.id) for error in result.errors] == [(1, "1"), (4, "4")]
    assert result.upserted == 4


def test_a_daemon_that_sheds_load_is_waited_for(daemon: FakeDaemon, load: Load) -> None:
    store = Store(daemon)
    take, tries = store._upsert, 0

    def upsert(request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        nonlocal tries
        tries += 1
        if tries % 2:
            abort(context, S.RESOURCE_EXHAUSTED, "busy", reason="overloaded", retry_ms=1)
        return take(request, context)

    daemon.on("Upsert", upsert)
    assert load([(str(i), [1.0]) for i in range(50)], batch_entries=10, parallel=2).upserted == 50


def test_progress_is_shown(daemon: FakeDaemon, load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    Store(daemon)
    load([(str(i), [1.0]) for i in range(50)], batch_entries=10, progress=True)
    shown = capfd.readouterr().err
    assert "50.0/50.0" in shown and "100%" in shown


def test_nothing_to_load_and_senseless_limits(daemon: FakeDaemon, load: Load) -> None:
    Store(daemon)
    assert load([]) == vecgrid.UpsertManyResult(0)
    assert daemon.requests == []
    with pytest.raises(vecgrid.InvalidInput):
        load([], batch_entries=0)


async def test_cancelling_an_async_load_leaves_nothing_in_flight(daemon: FakeDaemon) -> None:
    release, begun = threading.Event(), threading.Event()

    def upsert(request: pb.UpsertRequest, context: grpc.ServicerContext) -> pb.UpsertResponse:
        begun.set()
        release.wait(5)
        return pb.UpsertResponse()

    daemon.on("Upsert", upsert)
    try:
        async with vecgrid.AsyncClient(daemon.endpoint) as client:
            running = asyncio.create_task(client.upsert_many("c", [("a", [1.0])]))
            await asyncio.to_thread(begun.wait, 5)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.sleep(0)
            assert not [task for task in asyncio.all_tasks() if "_call" in repr(task.get_coro())]
    finally:
        release.set()
