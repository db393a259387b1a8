"""The peers: how each is built and asked, in the cheapest way its library offers.

Each entry of `ENGINES` takes (vectors, Settings) and returns a `Built`. Imports happen inside, so that a missing
peer is an ImportError of that peer alone. What is held equal: M, ef_construction, build threads, one search
thread, float32 input that the caller has normalised under cosine. What is not equal is what the peers are:
only Qdrant's int8 engine ranks its candidates again on full precision, so the other compressed ones end at
the recall of their codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import qdrant
from built import Built, Settings


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
        batch=lambda request, threads: index.knn_query(request.all, k=request.k, num_threads=threads),
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

    def batch(request: _ArrayRequest, threads: int) -> Any:
        library.omp_set_num_threads(threads)
        try:
            return index.search(request.all, request.k)
        finally:
            library.omp_set_num_threads(1)

    return Built(
        set_ef=set_ef,
        ask=_arrays,
        batch=batch,
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
        batch=lambda request, threads: index.search(request.all, request.k, threads=threads),
        one=lambda request, i: index.search(request.each[i], request.k, threads=1),
        rows=rows,
        own_bytes=int(index.serialized_length),
    )


ENGINES: dict[str, Callable[[np.ndarray, Settings], Built]] = {
    "hnswlib": hnswlib,
    "faiss_hnsw": lambda vectors, settings: _faiss(vectors, settings, compressed=False),
    "faiss_hnsw_sq8": lambda vectors, settings: _faiss(vectors, settings, compressed=True),
    "usearch_f32": lambda vectors, settings: _usearch(vectors, settings, "f32"),
    "usearch_bf16": lambda vectors, settings: _usearch(vectors, settings, "bf16"),
    "usearch_i8": lambda vectors, settings: _usearch(vectors, settings, "i8"),
    "qdrant_edge_f32": lambda vectors, settings: qdrant.build(vectors, settings, int8=False),
    "qdrant_edge_int8": lambda vectors, settings: qdrant.build(vectors, settings, int8=True),
}
