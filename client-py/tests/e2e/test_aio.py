"""The asyncio client against a real daemon, over the Unix socket and over TCP."""

from __future__ import annotations

import asyncio
import uuid

import numpy as np
import pytest

import vecgrid

from .conftest import COUNT, Filled


async def test_all_verbs(endpoint: str) -> None:
    name = f"a-{uuid.uuid4().hex}"
    async with vecgrid.AsyncClient(endpoint) as client:
        assert (await client.create_collection(name, 3, metric="dot")).created
        assert (await client.upsert(name, [("a", [1, 0, 0], {"n": 1}), ("b", [2, 0, 0])])).upserted == 2
        entry = await client.get(name, "a")
        assert entry is not None and entry.metadata == {"n": 1}
        assert await client.get(name, "z") is None
        result = await client.search(name, [1, 0, 0], include_metadata=True)
        assert result.ids == ["b", "a"] and result.distances.tolist() == [-2, -1]
        assert await client.count(name, filter={"n": 1}) == 1
        assert (await client.get_collection(name)).count == 2
        assert name in [info.name for info in await client.list_collections()]
        assert [entry.id async for entry in client.scroll(name, page_size=1, filter={"n": 1})] == ["a"]
        assert await client.delete(name, "a") == 1
        assert (await client.grid_status()).member
        with pytest.raises(vecgrid.InvalidInput) as refused:
            await client.search(name, [1, 0, 0], k=0)
        assert refused.value.code == "invalid_k"
        assert await client.drop_collection(name)


async def test_searches_side_by_side(endpoint: str, filled: Filled) -> None:
    queries = filled.vectors[:200] + np.float32(0.01)
    async with vecgrid.AsyncClient(endpoint, timeout=60) as client:
        found = await asyncio.gather(*(client.search(filled.name, q, k=3, exact=True) for q in queries))
        batch = await client.search_batch(filled.name, queries, k=3, exact=True)
    assert [r.ids for r in found] == [r.ids for r in batch] == [filled.truth(q, 3) for q in queries]


async def test_bulk_upload(endpoint: str, empty: str) -> None:
    vectors = np.random.default_rng(5).standard_normal((COUNT, 3)).astype(np.float16)
    async with vecgrid.AsyncClient(endpoint) as client:
        ids = [f"🦀 {i}" for i in range(COUNT)]
        result = await client.upsert_many(empty, ids=ids, vectors=vectors, batch_entries=100, progress=True)
        assert result == vecgrid.UpsertManyResult(COUNT)
        assert {entry.id async for entry in client.scroll(empty, include_vector=False)} == set(ids)
