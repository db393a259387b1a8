"""Where the daemon is, and with which options a channel to it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ._version import __version__
from .errors import InvalidInput

ENV = "VECGRID_ENDPOINT"
DEFAULT = "127.0.0.1:5700"
DEFAULT_PORT = 5700
MAX_MESSAGE = 64 * 1024 * 1024
"""Most bytes of a message, both ways; the daemon's limit."""

Option = tuple[str, str | int]


def resolve(endpoint: str | None) -> str:
    """The gRPC target of an endpoint; ``None`` stands for $VECGRID_ENDPOINT, else loopback TCP."""
    text = endpoint if endpoint is not None else os.environ.get(ENV) or DEFAULT
    if text.startswith("/"):
        return f"unix:{text}"
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        if not path:
            raise _refused(text)
        return f"unix:{path}"
    scheme, found, rest = text.partition("://")
    if found:
        if scheme != "http":
            raise _refused(text)
        text = rest.rstrip("/")
    if not text or "/" in text or any(c.isspace() for c in text):
        raise _refused(text)
    # An IPv6 address has its colons inside brackets.
    return text if ":" in text.rpartition("]")[2] else f"{text}:{DEFAULT_PORT}"


def channel_options(target: str, changes: Iterable[Option] = ()) -> list[Option]:
    """Options for a channel to a target; ``changes`` go over ours."""
    options: list[Option] = [
        ("grpc.max_send_message_length", MAX_MESSAGE),
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.primary_user_agent", f"vecgrid-python/{__version__}"),
        # The daemon is beside us: a proxy from the environment is not on the way to it.
        ("grpc.enable_http_proxy", 0),
        # Clients do not share connections behind our back, across a fork least of all.
        ("grpc.use_local_subchannel_pool", 1),
        # A restarted daemon is found again soon; the defaults (1 s to 2 min) are for the open internet.
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if target.startswith("unix:"):
        # grpc would send the socket's path as the authority, which HTTP/2 servers refuse.
        options.append(("grpc.default_authority", "localhost"))
    return list((dict(options) | dict(changes)).items())


def _refused(text: str) -> InvalidInput:
    return InvalidInput(
        f"not an endpoint: {text!r}; use unix:/path, http://host:port or host:port (TLS is not offered yet)",
        code="invalid_endpoint",
        field="endpoint",
    )
