"""The peers: how each is built and asked, in the cheapest way its library offers.

Each entry of `ENGINES` takes (vectors, Settings) and returns a `Built`. Imports happen inside, so that a missing
peer is an ImportError of that peer alone. What is held equal: M, ef_construction, build threads, one search
thread, float32 input that the caller has normalised under cosine. What is not equal is what the peers are:
only Qdrant's int8 engine ranks its candidates again on full precision, so the other compressed ones end at
the recall of their codes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Rows handed to a peer in one call where it takes Python objects instead of an array.
POINTS_PER_CALL = 4_096


@dataclass(frozen=True)
class Settings:
    """What all peers are given alike."""

    metric: str
    m: int
    ef_construction: int
    build_threads: int


@dataclass
class Built:
    """One built index. `ask(queries, k)` does the Python work of a request outside the clock;
    `batch` and `one` run what it returned."""

    set_ef: Callable[[int], None]
    ask: Callable[[np.ndarray, int], Any]
    batch: Callable[[Any], Any]
    one: Callable[[Any, int], Any]
    rows: Callable[[Any], np.ndarray]
    own_bytes: int | None = None
    keep: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _ArrayRequest:
    """A request to a peer that takes numpy arrays: all queries, and each as an array of one."""

    all: np.ndarray
    each: Sequence[np.ndarray]
    k: int


def _arrays(queries: np.ndarray, k: int) -> _ArrayRequest:
    return _ArrayRequest(queries, [queries[i : i + 1] for i in range(len(queries))], k)


def hnswlib(vectors: np.ndarray, settings: Settings) -> Built:
    import hnswlib as library

    space = {"cosine": "cosine", "euclidean": "l2", "dot": "ip"}[settings.metric]
    index = library.Index(space=space, dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=settings.ef_construction, M=settings.m)
    index.add_items(vectors, num_threads=settings.build_threads)
    return Built(
        set_ef=index.set_ef,
        ask=_arrays,
        batch=lambda request: index.knn_query(request.all, k=request.k, num_threads=1),
        one=lambda request, i: index.knn_query(request.each[i], k=request.k, num_threads=1),
        rows=lambda answer: answer[0].astype(np.int64),
        own_bytes=index.index_file_size(),
    )


def _faiss(vectors: np.ndarray, settings: Settings, compressed: bool) -> Built:
    import faiss as library

    # On normalised vectors L2 orders as cosine does, and it is the metric that faiss' graph likes best.
    metric = library.METRIC_INNER_PRODUCT if settings.metric == "dot" else library.METRIC_L2
    library.omp_set_num_threads(settings.build_threads)
    dimension = vectors.shape[1]
    if compressed:
        index = library.IndexHNSWSQ(dimension, library.ScalarQuantizer.QT_8bit, settings.m, metric)
    else:
        index = library.IndexHNSWFlat(dimension, settings.m, metric)
    index.hnsw.efConstruction = settings.ef_construction
    if compressed:
        index.train(vectors)
    index.add(vectors)
    library.omp_set_num_threads(1)

    def set_ef(ef: int) -> None:
        index.hnsw.efSearch = ef

    return Built(
        set_ef=set_ef,
        ask=_arrays,
        batch=lambda request: index.search(request.all, request.k),
        one=lambda request, i: index.search(request.each[i], request.k),
        rows=lambda answer: answer[1],
        own_bytes=library.serialize_index(index).nbytes,
    )


def _usearch(vectors: np.ndarray, settings: Settings, scalar: str) -> Built:
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1],
        metric={"cosine": "cos", "euclidean": "l2sq", "dot": "ip"}[settings.metric],
        dtype=scalar,
        connectivity=settings.m,
        expansion_add=settings.ef_construction,
    )
    index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=settings.build_threads)

    def set_ef(ef: int) -> None:
        index.expansion_search = ef

    def rows(answer: Any) -> np.ndarray:
        keys = answer.keys.astype(np.int64)
        return keys if keys.ndim == 2 else keys[None, :]

    return Built(
        set_ef=set_ef,
        ask=_arrays,
        batch=lambda request: index.search(request.all, request.k, threads=1),
        one=lambda request, i: index.search(request.each[i], request.k, threads=1),
        rows=rows,
        own_bytes=int(index.serialized_length),
    )


def _qdrant_edge(vectors: np.ndarray, settings: Settings, int8: bool) -> Built:
    import qdrant_edge as library

    distance = {
        "cosine": library.Distance.Cosine,
        "euclidean": library.Distance.Euclid,
        "dot": library.Distance.Dot,
    }[settings.metric]
    quantized = None
    if int8:
        quantized = library.ScalarQuantizationConfig(type=library.ScalarType.Int8, memory=library.Memory.Pinned)
    folder = tempfile.TemporaryDirectory(prefix="vecgrid-peer-")
    shard = library.EdgeShard.create(
        folder.name,
        library.EdgeConfig(
            vectors=library.EdgeVectorParams(
                size=vectors.shape[1], distance=distance, datatype=library.VectorStorageDatatype.Float32
            ),
            hnsw_config=library.HnswIndexConfig(
                m=settings.m,
                ef_construct=settings.ef_construction,
                full_scan_threshold=10,
                max_indexing_threads=settings.build_threads,
                memory=library.Memory.Pinned,
            ),
            quantization_config=quantized,
            # One segment, indexed whatever its size: one graph, as the others have.
            optimizers=library.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
            max_search_threads=1,
            wal_enabled=False,
        ),
    )
    for start in range(0, len(vectors), POINTS_PER_CALL):
        part = vectors[start : start + POINTS_PER_CALL].tolist()
        points = [library.Point(start + i, vector) for i, vector in enumerate(part)]
        shard.update(library.UpdateOperation.upsert_points(points))
    shard.optimize()
    state = shard.info()
    if state.indexed_vectors_count < len(vectors):
        raise RuntimeError(f"only {state.indexed_vectors_count} of {len(vectors)} rows are in its graph")
    chosen: dict[str, int] = {}

    def ask(queries: np.ndarray, k: int) -> Any:
        rescored = library.QuantizationSearchParams(rescore=True, oversampling=2.0) if int8 else None
        parameters = library.SearchParams(hnsw_ef=chosen["ef"], quantization=rescored)
        requests = [
            library.QueryRequest(limit=k, query=library.Query.Nearest(query), params=parameters)
            for query in queries.tolist()
        ]
        return requests, library.QueryBatchRequest(requests)

    def rows(answer: Any) -> np.ndarray:
        answers = answer if answer and isinstance(answer[0], list) else [answer]
        found = np.full((len(answers), max(map(len, answers))), -1, dtype=np.int64)
        for row, hits in zip(found, answers, strict=True):
            row[: len(hits)] = [hit.id for hit in hits]
        return found

    return Built(
        set_ef=lambda ef: chosen.update(ef=ef),
        ask=ask,
        batch=lambda request: shard.query_batch(request[1]),
        one=lambda request, i: shard.query(request[0][i]),
        rows=rows,
        keep=[folder, shard],
    )


ENGINES: dict[str, Callable[[np.ndarray, Settings], Built]] = {
    "hnswlib": hnswlib,
    "faiss_hnsw": lambda vectors, settings: _faiss(vectors, settings, compressed=False),
    "faiss_hnsw_sq8": lambda vectors, settings: _faiss(vectors, settings, compressed=True),
    "usearch_f32": lambda vectors, settings: _usearch(vectors, settings, "f32"),
    "usearch_bf16": lambda vectors, settings: _usearch(vectors, settings, "bf16"),
    "usearch_i8": lambda vectors, settings: _usearch(vectors, settings, "i8"),
    "qdrant_edge_f32": lambda vectors, settings: _qdrant_edge(vectors, settings, int8=False),
    "qdrant_edge_int8": lambda vectors, settings: _qdrant_edge(vectors, settings, int8=True),
}
