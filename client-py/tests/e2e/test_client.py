"""The synchronous client against a real daemon, over the Unix socket and over TCP."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecgrid

from .conftest import COUNT, DIMENSION, Daemon, Filled


def test_a_collection_from_creation_to_end(client: vecgrid.Client) -> None:
    name = f"c-{uuid.uuid4().hex}"
    made = client.create_collection(
        name, 5, metric="euclidean", index=vecgrid.IndexOptions(m=24), durability="interval"
    )
    assert made.created
    assert (made.config.metric, made.config.durability, made.config.index.m) == ("euclidean", "interval", 24)
    assert made.config.index.engine, "defaults are filled in"
    again = client.create_collection(name, 5, metric="euclidean", index={"m": 24}, durability="interval")
    assert again == vecgrid.CreatedCollection(made.config, created=False)
    with pytest.raises(vecgrid.Conflict) as conflict:
        client.create_collection(name, 6)
    assert conflict.value.code == "collection_exists"
    assert client.get_collection(name) == vecgrid.CollectionInfo(
        made.config, 0, 0, client.get_collection(name).index_bytes
    )
    assert name in [info.name for info in client.list_collections()]
    assert client.drop_collection(name)
    assert not client.drop_collection(name)
    with pytest.raises(vecgrid.NotFound) as missing:
        client.get_collection(name)
    assert missing.value.code == "collection_not_found"


def test_entries_from_write_to_delete(client: vecgrid.Client, empty: str) -> None:
    result = client.upsert(
        empty, [("a", [1, 0, 0], {"n": 1}), vecgrid.Entry("b"), {"id": "c", "vector": [0, 1, 0]}]
    )
    assert result.upserted == 3 and len(result.versions) == 3
    a = client.get(empty, "a")
    assert a is not None and a == vecgrid.Entry("a", [1, 0, 0], {"n": 1}, result.versions[0])
    assert isinstance(a.vector, np.ndarray) and a.vector.dtype == np.float32
    b = client.get(empty, "b")
    assert b is not None and b.vector is None and b.metadata == {}
    assert client.get(empty, "z") is None
    assert client.search(empty, [1, 0, 0]).ids == ["a", "c"], "an entry without a vector is no hit"
    later = client.upsert(empty, vecgrid.Entry("a", [0, 0, 1], {"n": 2})).versions[0]
    assert later is not None and result.versions[0] is not None and later > result.versions[0]
    assert client.count(empty) == 3
    assert client.reading(strong=True).count(empty) == 3
    gone = client.delete(empty, ["a", "z"])
    assert gone == 1 and gone.token
    assert client.reading(at_least=gone.token).get(empty, "a") is None
    with pytest.raises(vecgrid.InvalidInput) as refused:
        client.reading(at_least="yesterday").count(empty)
    assert refused.value.code == "invalid_token"
    assert client.delete(empty, "b") == 1
    assert client.delete(empty, filter={"n": {"$exists": False}}) == 1
    assert client.count(empty) == 0


def test_of_equal_ids_in_a_batch_the_last_one_wins(client: vecgrid.Client, empty: str) -> None:
    assert client.upsert(empty, [("a", [1, 0, 0]), ("b", [0, 1, 0]), ("a", [0, 0, 1])]).upserted == 2
    entry = client.get(empty, "a")
    assert entry is not None and entry.vector is not None and list(entry.vector) == [0, 0, 1]


def test_a_repeated_request_takes_effect_once(client: vecgrid.Client, empty: str) -> None:
    request_id = f"mine-{uuid.uuid4()}"
    first = client.upsert(empty, [("a", [1, 0, 0])], request_id=request_id)
    again = client.upsert(empty, [("a", [1, 0, 0])], request_id=request_id)
    assert again.versions == first.versions
    with pytest.raises(vecgrid.Conflict) as reused:
        client.upsert(empty, [("a", [0, 1, 0])], request_id=request_id)
    assert reused.value.code == "request_id_reused"


NAMES = [
    "plain",
    "with space",
    "a/b",
    "../../etc/passwd",
    "nul\0nul",
    "line\nbreak\r\t",
    "Zoë",
    "日本語",
    "🦀" * 128,
]
NAMES += [
    "e\u0301",
    "\u00e9",
    "\u202eright to left",
    "%2e%2e",
    "\x7f",
    "?q=1#f",
    '"quote"',
    "\\back",
    "x" * 512,
]


def test_any_text_is_an_id_and_comes_back_as_it_was(client: vecgrid.Client, empty: str) -> None:
    client.upsert(empty, [(name, [1, i + 1, 0], {"text": name}) for i, name in enumerate(NAMES)])
    for name in NAMES:
        entry = client.get(empty, name)
        assert entry is not None and (entry.id, entry.metadata) == (name, {"text": name})
        assert client.count(empty, filter={"text": name}) == 1
    assert sorted(client.search(empty, [1, 1, 0], k=100).ids) == sorted(NAMES)
    assert sorted(entry.id for entry in client.scroll(empty)) == sorted(NAMES)
    assert client.delete(empty, NAMES) == len(NAMES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_exact_search_is_exact(client: vecgrid.Client, filled: Filled, dtype: Any) -> None:
    query = np.random.default_rng(1).standard_normal(DIMENSION).astype(dtype)
    result = client.search(filled.name, query, k=20, exact=True, include_vector=True, include_metadata=True)
    assert result.ids == filled.truth(query, 20)
    assert result.coverage == vecgrid.Coverage(8, 8)
    assert np.all(np.diff(result.distances) >= 0)
    for hit in result:
        row = int(hit.id.removeprefix("row "))
        assert hit.metadata is not None and hit.metadata["n"] == row
        assert hit.vector is not None and np.allclose(hit.vector, filled.vectors[row], atol=1e-6)
    assert client.search(filled.name, query.tolist(), k=20, exact=True).ids == result.ids
    bare = client.search(filled.name, query, k=1)[0]
    assert bare.metadata is None and bare.vector is None


N = np.arange(COUNT)


@pytest.mark.parametrize(
    ("filter", "keep"),
    [
        ({"third": "b"}, N % 3 == 1),
        ({"n": {"$lt": 15}}, N < 15),
        ({"n": {"$gte": 100, "$lte": 110}}, (N >= 100) & (N <= 110)),
        ({"tag": {"$exists": True}, "n": {"$gt": 600}}, (N % 10 == 0) & (N > 600)),
        ({"$or": [{"n": {"$in": [1, 2, 3]}}, {"n": 7}]}, np.isin(N, [1, 2, 3, 7])),
        ({"$not": {"third": {"$in": ["a", "b"]}}}, N % 3 == 2),
        ({"third": "none of them"}, np.zeros(COUNT, bool)),
    ],
    ids=["eq", "lt", "range", "exists", "or", "not", "nothing"],
)
def test_filters_restrict_search_count_and_scroll(
    client: vecgrid.Client, filled: Filled, filter: dict[str, Any], keep: np.ndarray
) -> None:
    query = np.random.default_rng(2).standard_normal(DIMENSION)
    assert client.search(filled.name, query, k=10, filter=filter, exact=True).ids == filled.truth(
        query, 10, keep
    )
    assert len(client.search(filled.name, query, k=10, filter=filter)) == min(10, keep.sum())
    assert client.count(filled.name, filter=filter) == keep.sum()
    walked = [
        entry.id for entry in client.scroll(filled.name, filter=filter, page_size=7, include_vector=False)
    ]
    assert sorted(walked) == sorted(f"row {i}" for i in np.flatnonzero(keep))


def test_a_batch_answers_as_its_searches_do(client: vecgrid.Client, filled: Filled) -> None:
    queries = np.random.default_rng(3).standard_normal((1_050, DIMENSION)).astype(np.float32)
    results = client.search_batch(filled.name, queries, k=3, exact=True, timeout=120)
    assert len(results) == 1_050
    for i in (0, 1, 999, 1_000, 1_049):
        assert results[i].ids == filled.truth(queries[i], 3)


def test_max_distance_drops_farther_hits(client: vecgrid.Client, filled: Filled) -> None:
    query = filled.vectors[5]
    limit = float(client.search(filled.name, query, k=10, exact=True).distances[4]) + 1e-6
    assert len(client.search(filled.name, query, k=10, exact=True, max_distance=limit)) == 5


def test_scroll_walks_everything_once(client: vecgrid.Client, filled: Filled) -> None:
    walked = list(client.scroll(filled.name, page_size=100))
    assert len({entry.id for entry in walked}) == len(walked) == COUNT
    for entry in walked[:50]:
        assert entry.vector is not None
        assert np.allclose(entry.vector, filled.vectors[int(entry.id.removeprefix("row "))], atol=1e-6)


def test_bulk_upload_from_a_generator_with_progress(
    client: vecgrid.Client, empty: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = {7, 500, 2_345}
    entries = (
        {"id": f"{i}", "vector": [1.0, float(i)] + [0.0] * (i not in bad), "metadata": {"i": i}}
        for i in range(3_000)
    )
    result = client.upsert_many(empty, entries, batch_entries=400, progress=True)
    assert result.upserted == 2_997
    assert {(error.index, error.id, error.code) for error in result.errors} == {
        (i, str(i), "wrong_dimension") for i in bad
    }
    assert all(error.is_definite for error in result.errors)
    assert client.count(empty) == 2_997
    assert "3.00k" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (("a", [1.0, 2.0]), "wrong_dimension"),
        (("a", []), "wrong_dimension"),
        (("a", [float("nan"), 0, 0]), "invalid_vector"),
        (("a", [float("inf"), 0, 0]), "invalid_vector"),
        (("a", [1e39, 0, 0]), "invalid_vector"),
        (("a", [0, 0, 0]), "zero_vector"),
        (("", [1, 0, 0]), "invalid_id"),
        (("x" * 513, [1, 0, 0]), "invalid_id"),
        (("a", [1, 0, 0], {"x": "y" * (1 << 20)}), "metadata_too_large"),
    ],
    ids=["short", "empty", "nan", "inf", "1e39", "zero", "no id", "long id", "large metadata"],
)
def test_bad_entries_are_refused_and_nothing_is_stored(
    client: vecgrid.Client, empty: str, entry: tuple[Any, ...], code: str
) -> None:
    with pytest.raises(vecgrid.InvalidInput) as refused:
        client.upsert(empty, [("good", [1, 0, 0]), entry])
    assert refused.value.code == code
    assert refused.value.is_definite
    assert (refused.value.field or "").startswith("entries[1]")
    assert client.count(empty) == 0


def test_bad_requests_are_refused_with_their_codes(client: vecgrid.Client, empty: str) -> None:
    def refusal(call: Any) -> str:
        with pytest.raises(vecgrid.InvalidInput) as refused:
            call()
        return refused.value.code

    assert refusal(lambda: client.search(empty, [1, 0, 0], k=0)) == "invalid_k"
    assert refusal(lambda: client.search(empty, [1, 0, 0], k=10_001)) == "invalid_k"
    assert refusal(lambda: client.search(empty, [1, 0, 0], ef=0)) == "invalid_ef"
    assert refusal(lambda: client.search(empty, [1, 0], k=1)) == "wrong_dimension"
    assert refusal(lambda: client.search(empty, [1, 0, 0], filter={"a": {"$like": 1}})) == "invalid_filter"
    assert refusal(lambda: client.count(empty, filter={"a": {"$like": 1}})) == "invalid_filter"
    assert refusal(lambda: client.create_collection("../x", 3)) == "invalid_collection_name"
    assert refusal(lambda: client.create_collection("x", 0)) == "invalid_dimension"
    assert refusal(lambda: client.upsert(empty, [])) == "invalid_batch"
    refusal(lambda: client.delete(empty))
    with pytest.raises(vecgrid.NotFound) as missing:
        client.upsert("no-such-collection", [("a", [1, 0, 0])])
    assert missing.value.code == "collection_not_found"


def test_the_grid_describes_itself(client: vecgrid.Client) -> None:
    status = client.grid_status()
    assert [member.id for member in status.members] == [status.member]
    assert sorted(p.partition for p in status.partitions) == list(range(8))
    assert all(p.primary == status.member and status.member in p.in_sync for p in status.partitions)


def wait_stopped(pid: int) -> None:
    """Until no thread of the process can run: the signal alone takes its time on a busy machine."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        if all(state in "Tt" for state in states):
            return
    pytest.fail("the daemon did not stop")


def test_a_deadline_is_kept(client: vecgrid.Client, daemon: Daemon, filled: Filled) -> None:
    client.search(filled.name, filled.vectors[0])  # connected: only the answer can be late
    # A stopped daemon cannot answer in time, however fast the machine is.
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        wait_stopped(daemon.pid)
        with pytest.raises(vecgrid.DeadlineExceeded):
            client.search(filled.name, filled.vectors[0], timeout=0.2)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert client.search(filled.name, filled.vectors[0]).hits
