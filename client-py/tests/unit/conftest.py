"""A daemon that answers whatever a test wants: stock grpcio, in this process, on a Unix socket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from vecgrid.v1 import vecgrid_pb2_grpc as rpc

Handler = Callable[[Any, grpc.ServicerContext], Any]


class FakeDaemon(rpc.VecGridServicer):
    """Answers a verb by the function set for it, and remembers the requests."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.requests: list[Any] = []
        self._handlers: dict[str, Handler] = {}

    def on(self, verb: str, handler: Handler) -> None:
        self._handlers[verb] = handler


def _verb(name: str) -> Handler:
    def answer(self: FakeDaemon, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return self._handlers[name](request, context)

    return answer


for _name in [n for n in vars(rpc.VecGridServicer) if n[0].isupper() and not n.endswith("Stream")]:
    setattr(FakeDaemon, _name, _verb(_name))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(f"unix:{tmp_path}/s")
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 1 << 26)])
    rpc.add_VecGridServicer_to_server(fake, server)
    server.add_insecure_port(fake.endpoint)
    server.start()
    yield fake
    server.stop(None).wait()


def rich_status(
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str | None = None,
    outcome: str = "failed",
    violations: list[tuple[str, str]] | None = None,
    retry_ms: int | None = None,
) -> status_pb2.Status:
    """A google.rpc.Status as the daemon makes it."""
    status = status_pb2.Status(code=code.value[0], message=message)

    def add(detail: Any) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)

    if reason is not None:
        add(error_details_pb2.ErrorInfo(reason=reason, domain="vecgrid", metadata={"outcome": outcome}))
    if violations:
        refused = error_details_pb2.BadRequest()
        for field, description in violations:
            refused.field_violations.add(field=field, description=description)
        add(refused)
    if retry_ms is not None:
        delay = duration_pb2.Duration(nanos=retry_ms * 1_000_000)
        add(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, **details: Any) -> Any:
    """Ends a call with a rich status."""
    status = rich_status(code, message, **details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


_STANDALONE = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor
from vecgrid.v1 import vecgrid_pb2 as pb, vecgrid_pb2_grpc as rpc
class Seven(rpc.VecGridServicer):
    def Count(self, request, context):
        return pb.CountResponse(count=7)
server = grpc.server(ThreadPoolExecutor(2))
rpc.add_VecGridServicer_to_server(Seven(), server)
server.add_insecure_port(sys.argv[1])
server.start()
print("ready", flush=True)
server.wait_for_termination(60)
"""


@pytest.fixture
def daemon_process(tmp_path: Path) -> Iterator[str]:
    """A fake daemon outside of this process, for tests that fork: it counts seven."""
    endpoint = f"unix:{tmp_path}/p"
    with subprocess.Popen(
        [sys.executable, "-c", _STANDALONE, endpoint], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            yield endpoint
        finally:
            process.kill()
