"""Python values to messages and back."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest

import vecgrid
from vecgrid import messages, verbs
from vecgrid.v1 import vecgrid_pb2 as pb
from vecgrid.vectors import from_wire, rows_to_wire, to_wire

EXPECTED = struct.pack("<3f", 1.0, -2.5, 3.0)


@pytest.mark.parametrize(
    "vector",
    [
        [1.0, -2.5, 3.0],
        (1, -2.5, 3),
        np.array([1, -2.5, 3], dtype=np.float32),
        np.array([1, -2.5, 3], dtype=np.float64),
        np.array([1, -2.5, 3], dtype=np.float16),
        np.array([1, -2.5, 3], dtype=">f4"),
        np.array([1, 0, -2.5, 0, 3, 0], dtype=np.float32)[::2],
        memoryview(np.array([1, -2.5, 3], dtype=np.float32)),
    ],
    ids=["list", "tuple", "f32", "f64", "f16", "big-endian", "strided", "memoryview"],
)
def test_every_kind_of_vector_becomes_little_endian_f32(vector: object) -> None:
    assert to_wire(vector) == EXPECTED  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", [[[1.0]], 1.0, ["a"], [1 + 2j], [[1], [1, 2]], b"abcd", [True], None])
def test_what_is_no_vector_is_refused(vector: object) -> None:
    with pytest.raises(vecgrid.InvalidInput) as refused:
        to_wire(vector)  # type: ignore[arg-type]
    assert refused.value.code == "invalid_vector"
    assert refused.value.is_definite


def test_nan_and_overflow_reach_the_daemon_which_refuses_them() -> None:
    assert np.isnan(from_wire(to_wire([float("nan")]))[0])
    assert np.isinf(from_wire(to_wire([1e39]))[0])


def test_a_matrix_is_sent_row_by_row() -> None:
    matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert [from_wire(row).tolist() for row in rows_to_wire(matrix)] == [[0, 1, 2], [3, 4, 5]]
    assert rows_to_wire([[0, 1, 2], [3, 4, 5]]) == rows_to_wire(matrix)


def test_vectors_of_answers_share_memory_and_are_read_only() -> None:
    array = from_wire(EXPECTED)
    assert array.dtype == np.float32
    assert not array.flags.writeable


def entries_of(*args: object, **kwargs: object) -> list[pb.Entry]:
    call = verbs.upsert(
        "c", *args, **{"ids": None, "vectors": None, "metadatas": None, "request_id": None} | kwargs
    )  # type: ignore[arg-type]
    return list(call.request.entries)


def test_entries_columns_mappings_and_tuples_mean_the_same() -> None:
    vectors = np.eye(2, dtype=np.float32)
    expected = entries_of([vecgrid.Entry("a", vectors[0], {"n": 1}), vecgrid.Entry("b", vectors[1], None)])
    assert expected == entries_of([("a", [1, 0], {"n": 1}), ("b", [0, 1])])
    assert expected == entries_of(
        [{"id": "a", "vector": [1, 0], "metadata": {"n": 1}}, {"id": "b", "vector": [0, 1]}]
    )
    assert expected == entries_of(None, ids=["a", "b"], vectors=vectors, metadatas=[{"n": 1}, None])
    assert expected == entries_of(
        None, ids=np.array(["a", "b"]), vectors=iter(vectors), metadatas=iter([{"n": 1}, None])
    )
    assert [expected[0]] == entries_of(vecgrid.Entry("a", vectors[0], {"n": 1}))


def test_no_vector_and_an_empty_vector_differ() -> None:
    without, empty = entries_of([("a", None), ("b", [])])
    assert not without.HasField("vector")
    assert empty.HasField("vector")


def test_misspelt_keys_and_uneven_columns_are_refused() -> None:
    with pytest.raises(vecgrid.InvalidInput, match="vectr"):
        entries_of([{"id": "a", "vectr": [1]}])
    with pytest.raises(vecgrid.InvalidInput, match="length"):
        entries_of(None, ids=["a", "b"], vectors=np.eye(3))
    with pytest.raises(vecgrid.InvalidInput, match="differ in length"):
        entries_of(None, ids=iter(["a", "b"]), vectors=iter([[1.0]]))
    with pytest.raises(vecgrid.InvalidInput, match="list of ids"):
        entries_of(None, ids="abc")
    with pytest.raises(vecgrid.InvalidInput, match="either"):
        entries_of([("a", [1])], ids=["a"])


def test_metadata_round_trips_through_json() -> None:
    metadata = {
        "text": "Zoë \u0000 \n 🦀",
        "big": 2**53 + 1,
        "none": None,
        "list": [1, "a", {"x": 1.5}],
        "yes": True,
    }
    [entry] = entries_of([("a", None, metadata)])
    assert messages.parse_entry(entry).metadata == metadata
    [entry] = entries_of([("a", None, {"n": np.int64(7), "f": np.float32(0.5), "a": np.array([1, 2])})])
    assert json.loads(entry.metadata_json) == {"n": 7, "f": 0.5, "a": [1, 2]}


@pytest.mark.parametrize(
    "metadata", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, ["list"], "text"]
)
def test_metadata_without_a_form_in_json_is_refused(metadata: object) -> None:
    with pytest.raises(vecgrid.InvalidInput) as refused:
        entries_of([("ok", None), ("bad", None, metadata)])
    assert refused.value.code == "invalid_metadata"
    assert refused.value.field == "entries[1].metadata"


def test_ids_must_be_texts_with_a_utf8_form() -> None:
    for bad in (7, None, "\ud800"):
        with pytest.raises(vecgrid.InvalidInput) as refused:
            entries_of([(bad, [1.0])])
        assert (refused.value.code, refused.value.field) == ("invalid_id", "entries[0].id")


def test_writes_carry_a_fresh_request_id() -> None:
    first, second = (verbs.upsert("c", [("a", [1])], None, None, None, None) for _ in range(2))
    assert first.request.request_id != second.request.request_id
    assert 0 < len(first.request.request_id) <= 64
    assert first.repeatable
    assert not verbs.upsert("c", [("a", [1])], None, None, None, "").repeatable
    assert verbs.delete("c", "a", None, "mine").request.request_id == "mine"


def test_delete_takes_ids_or_a_filter_and_a_single_id() -> None:
    assert list(verbs.delete("c", "abc", None, None).request.ids) == ["abc"]
    assert verbs.delete("c", None, {"a": 1}, None).request.filter_json == '{"a":1}'
    with pytest.raises(vecgrid.InvalidInput):
        verbs.delete("c", ["a"], {"a": 1}, None)


def test_a_search_sends_only_what_was_given() -> None:
    request = verbs.search("c", [1.0], 5).request
    assert request == pb.SearchRequest(collection="c", vector=pb.Vector(data=struct.pack("<f", 1)), k=5)
    assert not request.HasField("ef") and not request.HasField("max_distance")
    assert not request.HasField("target_recall")
    assert verbs.search("c", [1.0], 5, target_recall=0.95).request.target_recall == 0.95
    request = verbs.search("c", [1.0], 5, ef=0, max_distance=0.0, filter={}, exact=True).request
    assert request.HasField("ef") and request.HasField("max_distance")
    assert request.filter_json == "{}"
    for bad in (-1, 2**32):
        with pytest.raises(vecgrid.InvalidInput):
            verbs.search("c", [1.0], bad)


def test_a_search_answer_has_what_was_asked_for() -> None:
    answer = pb.SearchResponse(
        hits=[pb.Hit(id="a", distance=0.5, vector=pb.Vector(data=EXPECTED)), pb.Hit(id="b", distance=1.0)],
        coverage=pb.Coverage(answered=7, partitions=8),
        took_us=12,
    )
    result = verbs.search("c", [1.0], 5, include_metadata=True, include_vector=True).parse(answer)
    assert result.ids == ["a", "b"]
    assert result.distances.dtype == np.float32
    assert result[0] == vecgrid.Hit("a", 0.5, {}, np.array([1, -2.5, 3], dtype=np.float32))
    assert result[1].vector is None
    assert (len(result), result.took_us, result.coverage.is_complete) == (2, 12, False)
    assert verbs.search("c", [1.0], 5).parse(answer)[0].metadata is None
    assert result.explain is None


def test_an_explanation_comes_when_asked_for() -> None:
    assert verbs.search("c", [1.0], 5, explain=True).request.explain
    steps = [pb.Explain.Step(name="select", took_ns=5), pb.Explain.Step(name="walk", took_ns=70)]
    answer = pb.SearchResponse(explain=pb.Explain(plan="walk", ef=96, eligible=9, steps=steps))
    explain = verbs.search("c", [1.0], 5, explain=True).parse(answer).explain
    assert explain == vecgrid.Explain("walk", 96, 9, 0, 0, 0, 0, 0, 0, {"select": 5, "walk": 70})


def test_a_large_batch_of_searches_becomes_several_requests() -> None:
    sizes = [len(call.request.searches) for call in verbs.search_batch("c", np.zeros((2_500, 2)), 10)]
    assert sizes == [1_000, 1_000, 500]
    sizes = [len(call.request.searches) for call in verbs.search_batch("c", np.zeros((25, 2)), 10_000)]
    assert sizes == [10, 10, 5]
    with pytest.raises(vecgrid.InvalidInput):
        next(verbs.search_batch("c", np.zeros(3), 10))


def test_a_collection_round_trips() -> None:
    config = verbs.create_collection("c", 3, "dot", {"engine": "flat", "m": 8}, "interval").request.config
    assert messages.parse_config(config) == vecgrid.CollectionConfig(
        "c", 3, "dot", vecgrid.IndexOptions("flat", 8), "interval"
    )
    assert messages.parse_config(pb.CollectionConfig(name="c", dimension=3)).metric == "cosine"
    config = verbs.create_collection("c", 3, "cosine", {"quantization": "int4"}, "sync").request.config
    assert config.index.quantization == "int4"
    assert messages.parse_config(config).index == vecgrid.IndexOptions(quantization="int4")
    for bad in ({"metric": "l3"}, {"durability": "maybe"}, {"index": {"mm": 1}}):
        arguments = {"metric": "cosine", "index": None, "durability": "sync"} | bad
        with pytest.raises(vecgrid.InvalidInput):
            verbs.create_collection("c", 3, **arguments)  # type: ignore[arg-type]


def test_unset_versions_are_none() -> None:
    answer = pb.UpsertResponse(upserted=1, versions=[pb.Version(epoch=1, sequence=2), pb.Version()])
    assert messages.parse_upsert(answer).versions == (vecgrid.Version(1, 2), None)
    assert vecgrid.Version(1, 9) < vecgrid.Version(2, 0)


def test_answers_are_frozen_and_compare_by_value() -> None:
    entry = vecgrid.Entry("a", np.zeros(2, np.float32), {})
    assert entry == vecgrid.Entry("a", [0, 0], {})
    assert entry != vecgrid.Entry("a", [0, 1], {})
    assert entry != vecgrid.Entry("a", None, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.id = "b"  # type: ignore[misc]
