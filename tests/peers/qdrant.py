"""Qdrant's engine in this process, without its server: the shard that Qdrant Edge ships.

One segment with one graph, as the others have. With payloads it also gets field indexes, made before the rows come:
with links, so that its graph has the extra ones it adds for filters, or without, which builds much quicker. All
Python objects are made outside the clocks.

One process of it uses one core for searches: a batch is one task per segment, and a second Python thread waits.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
from built import Built, Settings

# Rows of one upsert.
POINTS_PER_CALL = 1_000
# Fields of the data sets that filters name, with their kinds in Qdrant.
KEYWORDS, INTEGERS = ("pos", "domain"), ("words", "sense_len")
# Its default, in KB: filters that match less are scanned exactly. A row is 1.5 KB at 384 dimensions.
FULL_SCAN_KB = 10_000


class Shard:
    """An empty shard in a folder of its own."""

    def __init__(
        self, dimension: int, settings: Settings, *, int8: bool, payloads: bool, wal: bool, links: bool = True
    ) -> None:
        import qdrant_edge as library

        self.library, self.int8 = library, int8
        self.folder = tempfile.TemporaryDirectory(prefix="vecgrid-peer-")
        distance = {
            "cosine": library.Distance.Cosine,
            "euclidean": library.Distance.Euclid,
            "dot": library.Distance.Dot,
        }[settings.metric]
        quantized = None
        if int8:
            quantized = library.ScalarQuantizationConfig(type=library.ScalarType.Int8, memory=library.Memory.Pinned)
        self.shard = library.EdgeShard.create(
            self.folder.name,
            library.EdgeConfig(
                vectors=library.EdgeVectorParams(
                    size=dimension, distance=distance, datatype=library.VectorStorageDatatype.Float32
                ),
                hnsw_config=library.HnswIndexConfig(
                    m=settings.m,
                    ef_construct=settings.ef_construction,
                    # Without filters the graph is what is measured, however few rows there are.
                    full_scan_threshold=FULL_SCAN_KB if payloads else 10,
                    max_indexing_threads=settings.build_threads,
                    memory=library.Memory.Pinned,
                ),
                quantization_config=quantized,
                # One segment, indexed whatever its size.
                optimizers=library.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
                max_search_threads=1,
                wal_enabled=wal,
            ),
        )
        if payloads:
            keyword = library.KeywordIndexParams(enable_hnsw=links)
            integer = library.IntegerIndexParams(lookup=True, range=True, enable_hnsw=links)
            for name in KEYWORDS:
                self.shard.update(library.UpdateOperation.create_field_index(name, keyword))
            for name in INTEGERS:
                self.shard.update(library.UpdateOperation.create_field_index(name, integer))

    def operations(self, vectors: np.ndarray, payloads: list[dict[str, Any]] | None) -> list[Any]:
        """The upserts of all rows, ready to be sent."""
        library = self.library
        made = []
        for start in range(0, len(vectors), POINTS_PER_CALL):
            part = vectors[start : start + POINTS_PER_CALL].tolist()
            points = [
                library.Point(start + i, vector, payloads[start + i] if payloads else None)
                for i, vector in enumerate(part)
            ]
            made.append(library.UpdateOperation.upsert_points(points))
        return made

    def fill(self, operations: list[Any], count: int) -> dict[str, float]:
        """Upserts, makes it durable, builds the graph, makes that durable; seconds of each."""
        clock = [time.perf_counter()]
        for operation in operations:
            self.shard.update(operation)
        clock.append(time.perf_counter())
        self.shard.flush()
        clock.append(time.perf_counter())
        self.shard.optimize()
        clock.append(time.perf_counter())
        self.shard.flush()
        clock.append(time.perf_counter())
        linked = self.shard.info().indexed_vectors_count
        if linked < count:
            raise RuntimeError(f"only {linked} of {count} rows are in its graph")
        upsert, flush, optimize, flush_again = (later - earlier for earlier, later in zip(clock, clock[1:]))
        return {
            "upsert_s": upsert,
            "flush_s": flush + flush_again,
            "optimize_s": optimize,
            "total_s": clock[-1] - clock[0],
        }

    def requests(
        self, queries: np.ndarray, k: int, ef: int, filter: dict[str, Any] | None = None, acorn: bool = False
    ) -> list[Any]:
        library = self.library
        rescored = library.QuantizationSearchParams(rescore=True, oversampling=2.0) if self.int8 else None
        parameters = library.SearchParams(
            hnsw_ef=ef, quantization=rescored, acorn=library.AcornSearchParams(enable=True) if acorn else None
        )
        condition = translate(library, filter) if filter else None
        return [
            library.QueryRequest(limit=k, query=library.Query.Nearest(query), params=parameters, filter=condition)
            for query in queries.tolist()
        ]


def translate(library: Any, filter: dict[str, Any]) -> Any:
    """A filter in this project's form as Qdrant's. Knows what the data sets use; anything else is an error."""
    must: list[Any] = []
    must_not: list[Any] = []
    field = library.FieldCondition
    for name, part in filter.items():
        if name == "$or":
            must.append(library.Filter(should=[translate(library, inner) for inner in part]))
        elif not isinstance(part, dict):
            must.append(field(key=name, match=library.MatchValue(part)))
        else:
            limits = {}
            for operator, value in part.items():
                if operator in ("$lt", "$lte", "$gt", "$gte"):
                    limits[operator[1:]] = float(value)
                elif operator == "$ne":
                    must_not.append(field(key=name, match=library.MatchValue(value)))
                elif operator == "$in":
                    must.append(field(key=name, match=library.MatchAny(value)))
                else:
                    raise ValueError(f"{operator} has no translation")
            if limits:
                must.append(field(key=name, range=library.RangeFloat(**limits)))
    return library.Filter(must=must or None, must_not=must_not or None)


def rows_of(answers: list[list[Any]]) -> np.ndarray:
    """Row numbers, -1 where an answer is shorter than the longest."""
    found = np.full((len(answers), max(map(len, answers), default=0)), -1, dtype=np.int64)
    for row, hits in zip(found, answers, strict=True):
        row[: len(hits)] = [hit.id for hit in hits]
    return found


def build(vectors: np.ndarray, settings: Settings, *, int8: bool) -> Built:
    """As the other peers: vectors only, no log."""
    shard = Shard(vectors.shape[1], settings, int8=int8, payloads=False, wal=False)
    operations = shard.operations(vectors, None)
    took = shard.fill(operations, len(vectors))
    chosen: dict[str, int] = {}

    def ask(queries: np.ndarray, k: int) -> Any:
        requests = shard.requests(queries, k, chosen["ef"])
        return requests, shard.library.QueryBatchRequest(requests)

    return Built(
        set_ef=lambda ef: chosen.update(ef=ef),
        ask=ask,
        batch=lambda request, threads: shard.shard.query_batch(request[1]),
        one=lambda request, i: shard.shard.query(request[0][i]),
        rows=lambda answer: rows_of(answer if answer and isinstance(answer[0], list) else [answer]),
        build_s=took["total_s"],
        threads=False,
        keep=[shard],
    )
