"""Both transports against a fake daemon."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from typing import Any

import grpc
import numpy as np
import pytest

import vecgrid
from vecgrid.v1 import vecgrid_pb2 as pb

from .conftest import FakeDaemon, abort

S = grpc.StatusCode


def test_both_clients_have_the_same_methods() -> None:
    def methods(of: type) -> dict[str, Any]:
        return {name: member for name, member in vars(of).items() if not name.startswith("_")}

    sync, aio = methods(vecgrid.Client), methods(vecgrid.AsyncClient)
    assert sync.keys() == aio.keys()
    for name, member in sync.items():
        if callable(member):
            assert inspect.signature(member).parameters == inspect.signature(aio[name]).parameters, name
    assert inspect.signature(vecgrid.Client) == inspect.signature(vecgrid.AsyncClient)


async def test_the_async_client_does_what_the_sync_one_does(daemon: FakeDaemon) -> None:
    daemon.on("Count", lambda request, context: pb.CountResponse(count=7))
    daemon.on(
        "Get",
        lambda request, context: abort(context, S.NOT_FOUND, "no", reason=f"{request.collection}_not_found"),
    )
    daemon.on("Scroll", scroll_of(5))
    async with vecgrid.AsyncClient(daemon.endpoint) as client:
        assert await asyncio.gather(*(client.count("c") for _ in range(20))) == [7] * 20
        assert await client.get("entry", "x") is None
        with pytest.raises(vecgrid.NotFound):
            await client.get("collection", "x")
        assert [entry.id async for entry in client.scroll("c", page_size=2)] == ["0", "1", "2", "3", "4"]
    with pytest.raises(RuntimeError, match="closed"):
        await client.count("c")


def test_one_async_client_lives_through_several_event_loops(daemon: FakeDaemon) -> None:
    daemon.on("Count", lambda request, context: pb.CountResponse(count=7))
    client = vecgrid.AsyncClient(daemon.endpoint)
    for _ in range(3):
        assert asyncio.run(client.count("c")) == 7
    asyncio.run(client.close())


def test_a_reader_says_which_writes_it_must_be_shown(daemon: FakeDaemon) -> None:
    said: list[dict[str, str]] = []

    def count(request: pb.CountRequest, context: grpc.ServicerContext) -> pb.CountResponse:
        said.append({k: v for k, v in context.invocation_metadata() if k.startswith("vecgrid-")})
        return pb.CountResponse(count=7)

    daemon.on("Count", count)
    daemon.on("Delete", lambda request, context: pb.DeleteResponse(deleted=2, token="3:1-2"))
    with vecgrid.Client(daemon.endpoint) as client:
        gone = client.delete("c", ["a", "b"])
        assert (gone, gone.token) == (2, "3:1-2")
        for reader in (client, client.reading(strong=True), client.reading(at_least=gone.token)):
            reader.count("c")
        assert said == [{}, {"vecgrid-consistency": "strong"}, {"vecgrid-at-least": "3:1-2"}]
        with pytest.raises(vecgrid.InvalidInput):
            client.reading(strong=True, at_least=gone.token)
        with pytest.raises(vecgrid.InvalidInput):
            client.reading(at_least="3:1-2\n")
        reader = client.reading(strong=True)
    with pytest.raises(RuntimeError, match="closed"):
        reader.count("c")


def scroll_of(total: int) -> Any:
    def scroll(request: pb.ScrollRequest, context: grpc.ServicerContext) -> pb.ScrollResponse:
        start = int(request.cursor or "0")
        end = min(total, start + request.limit)
        entries = [pb.Entry(id=str(i), metadata_json='{"i":%d}' % i) for i in range(start, end)]
        return pb.ScrollResponse(entries=entries, cursor=str(end) if end < total else "")

    return scroll


def test_scroll_fetches_page_by_page(daemon: FakeDaemon) -> None:
    daemon.on("Scroll", scroll_of(5))
    with vecgrid.Client(daemon.endpoint) as client:
        walk = client.scroll("c", page_size=2)
        assert next(walk).metadata == {"i": 0}
        assert len(daemon.requests) == 1
        assert [entry.id for entry in walk] == ["1", "2", "3", "4"]
    assert [request.cursor for request in daemon.requests] == ["", "2", "4"]


def test_get_answers_none_for_a_missing_entry_only(daemon: FakeDaemon) -> None:
    daemon.on(
        "Get",
        lambda request, context: abort(context, S.NOT_FOUND, "no", reason=f"{request.collection}_not_found"),
    )
    with vecgrid.Client(daemon.endpoint) as client:
        assert client.get("entry", "x") is None
        with pytest.raises(vecgrid.NotFound):
            client.get("collection", "x")


def test_an_upsert_that_was_stored_in_part_raises_and_says_what(daemon: FakeDaemon) -> None:
    failed = pb.EntryError(index=1, id="b", code="overloaded", message="full", outcome="failed")
    daemon.on("Upsert", lambda request, context: pb.UpsertResponse(upserted=1, errors=[failed]))
    with vecgrid.Client(daemon.endpoint) as client, pytest.raises(vecgrid.Overloaded) as raised:
        client.upsert("c", [("a", [1.0]), ("b", [1.0])])
    assert raised.value.partial is not None
    assert raised.value.partial.errors[0].id == "b"
    assert raised.value.field == "entries[1]"


def test_a_closed_client_says_so(daemon: FakeDaemon) -> None:
    client = vecgrid.Client(daemon.endpoint)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.count("c")


def test_a_message_above_the_limit_is_not_sent(daemon: FakeDaemon) -> None:
    limit = [("grpc.max_send_message_length", 1_000)]
    with (
        vecgrid.Client(daemon.endpoint, options=limit) as client,
        pytest.raises(vecgrid.InvalidInput) as raised,
    ):
        client.upsert("c", [("a", np.zeros(1_000, np.float32))])
    assert raised.value.code == "message_too_large"
    assert raised.value.is_definite
    assert daemon.requests == []


# Run as a program of its own: other tests leave gRPC threads behind, and a fork of a process in which
# such a thread holds a lock of gRPC's is not what is tested here.
_FORKS = """
import os, signal, sys
import vecgrid

client = vecgrid.Client(sys.argv[1], timeout=60)
assert client.count("c") == 7
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(90)  # a hang ends as a failure
        try:
            right = client.count("c") == 7
            client.close()
        except BaseException:
            os._exit(2)
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.count("c") == 7
client.close()
"""


def test_a_client_works_on_both_sides_of_a_fork(daemon_process: str) -> None:
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKS, daemon_process]
    subprocess.run(program, check=True, timeout=600)


def test_messages_up_to_the_daemons_limit_pass(daemon: FakeDaemon) -> None:
    """grpc's own limit is 4 MiB."""
    data = bytes(8 << 20)
    daemon.on("Get", lambda request, context: pb.GetResponse(entry=pb.Entry(vector=pb.Vector(data=data))))
    with vecgrid.Client(daemon.endpoint) as client:
        entry = client.get("c", "a")
    assert entry is not None and entry.vector is not None and len(entry.vector) == 2 << 20


def test_threads_share_one_connection(daemon: FakeDaemon) -> None:
    daemon.on("Count", lambda request, context: pb.CountResponse(count=7))
    with vecgrid.Client(daemon.endpoint) as client:
        counts: list[int] = []
        threads = [threading.Thread(target=lambda: counts.append(client.count("c"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [7] * 8
        assert len(client._channels) == 1
