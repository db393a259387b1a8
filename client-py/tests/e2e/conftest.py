"""A real daemon for all end-to-end tests, and a fresh collection for each."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vecgrid

READY_WITHIN = 60.0
STOPPED_WITHIN = 30.0
DIMENSION = 32
COUNT = 1_200

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@dataclass(frozen=True)
class Daemon:
    """Where the daemon listens."""

    tcp: str
    socket: str
    pid: int


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("vecgridd")
    port_file = home / "ports.json"
    command = [os.environ["VECGRIDD_BIN"], "--data-dir", str(home / "data"), "--socket", str(home / "s.sock")]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--partitions", "8"]
    command += ["--bootstrap", "--discovery", "none", "--port-file", str(port_file)]
    log = home / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + READY_WITHIN
        # The file appears, whole, when the daemon is ready.
        while not port_file.exists():
            if process.poll() is not None:
                pytest.fail(f"vecgridd ended with {process.returncode}:\n{log.read_text()[-4000:]}")
            if time.monotonic() > deadline:
                pytest.fail(f"vecgridd was not ready within {READY_WITHIN} s:\n{log.read_text()[-4000:]}")
            time.sleep(0.02)
        ports = json.loads(port_file.read_text())
        yield Daemon(ports["api"], ports["socket"], ports["pid"])
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"vecgridd did not stop within {STOPPED_WITHIN} s:\n{log.read_text()[-4000:]}")
    assert process.returncode == 0, log.read_text()[-4000:]


@pytest.fixture(params=["socket", "tcp"])
def endpoint(request: pytest.FixtureRequest, daemon: Daemon) -> str:
    """Each test that asks for it runs over the Unix socket and over TCP."""
    return f"unix:{daemon.socket}" if request.param == "socket" else f"http://{daemon.tcp}"


@pytest.fixture
def client(endpoint: str) -> Iterator[vecgrid.Client]:
    with vecgrid.Client(endpoint) as client:
        yield client


_names = (f"e2e-{number}" for number in itertools.count())


@pytest.fixture
def empty(daemon: Daemon) -> Iterator[str]:
    """A collection of 3 dimensions."""
    name = next(_names)
    with vecgrid.Client(f"unix:{daemon.socket}") as client:
        client.create_collection(name, 3)
        yield name
        client.drop_collection(name)


@dataclass(frozen=True)
class Filled:
    """A collection and what is in it."""

    name: str
    vectors: np.ndarray

    def truth(self, query: np.ndarray, k: int, keep: np.ndarray | None = None) -> list[str]:
        """Ids of the nearest by cosine."""
        rows = np.arange(COUNT) if keep is None else np.flatnonzero(keep)
        vectors = self.vectors[rows].astype(np.float64)
        query = query.astype(np.float64)
        cosine = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
        return [f"row {rows[i]}" for i in np.argsort(-cosine, kind="stable")[:k]]


@pytest.fixture(scope="session")
def filled(daemon: Daemon) -> Filled:
    """1,200 random vectors with metadata: n, n % 3 as text, and a tag on every tenth. Read only."""
    vectors = np.random.default_rng(7).standard_normal((COUNT, DIMENSION)).astype(np.float32)
    metadatas = [
        {"n": i, "third": "abc"[i % 3]} | ({"tag": "ten"} if i % 10 == 0 else {}) for i in range(COUNT)
    ]
    with vecgrid.Client(f"unix:{daemon.socket}") as client:
        client.create_collection("filled", DIMENSION, index={"engine": "flat"})
        ids = [f"row {i}" for i in range(COUNT)]
        result = client.upsert_many(
            "filled", ids=ids, vectors=vectors, metadatas=metadatas, batch_entries=250
        )
    assert result == vecgrid.UpsertManyResult(COUNT)
    return Filled("filled", vectors)
