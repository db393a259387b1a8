"""Where the daemon is."""

from __future__ import annotations

import pytest

import vecgrid
from vecgrid.endpoint import channel_options, resolve


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("unix:/run/v.sock", "unix:/run/v.sock"),
        ("unix:///run/v.sock", "unix:/run/v.sock"),
        ("unix:v.sock", "unix:v.sock"),
        ("/run/v.sock", "unix:/run/v.sock"),
        ("http://127.0.0.1:5700", "127.0.0.1:5700"),
        ("http://host:1/", "host:1"),
        ("http://host", "host:5700"),
        ("localhost:5700", "localhost:5700"),
        ("localhost", "localhost:5700"),
        ("[::1]:9", "[::1]:9"),
        ("[::1]", "[::1]:5700"),
    ],
)
def test_endpoints(endpoint: str, target: str) -> None:
    assert resolve(endpoint) == target


@pytest.mark.parametrize(
    "endpoint", ["https://host:1", "", "unix:", "http://", "host/path", "a b", "ftp://x"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(vecgrid.InvalidInput) as refused:
        vecgrid.Client(endpoint)
    assert refused.value.code == "invalid_endpoint"


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VECGRID_ENDPOINT", raising=False)
    assert vecgrid.Client().target == "127.0.0.1:5700"
    monkeypatch.setenv("VECGRID_ENDPOINT", "unix:/x")
    assert vecgrid.AsyncClient().target == "unix:/x"
    assert vecgrid.Client("host:1").target == "host:1"


def test_the_authority_is_set_on_unix_sockets_only() -> None:
    assert ("grpc.default_authority", "localhost") in channel_options("unix:/x")
    assert "grpc.default_authority" not in dict(channel_options("host:1"))
