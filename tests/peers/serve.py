#!/usr/bin/env python3
"""One peer behind its standard input and output, for `bench compare`: a line of JSON asks, a line of JSON answers.

The caller keeps several of these alive and asks them in turn, so that all engines are measured in the same minutes.
A peer that waits for its next line uses no processor. Rows that were found are answered as they are: the caller
judges everybody's answers alike.

    {"do":"build"}                                 → build_s, bytes_per_row, index_bytes_per_row, version, threads
    {"do":"batch","ef":64,"threads":1,"rows":true} → qps, cpus, rows: all queries in one call
    {"do":"single","ef":64}                        → p50_us, p99_us: one call for each query
    {"do":"import","links":true}                   → upsert_s, flush_s, optimize_s, total_s (Qdrant, --metadata)
    {"do":"filter","filter":{…},"queries":500,"ef":64,"acorn":false,"rows":true} → qps, rows (after import)

A request that fails is answered with {"error": …}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers
import qdrant
from built import Built, Settings
from engines import ENGINES


class Peer:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.base = peers.load(options.base, options.metric)
        self.queries = peers.load(options.queries, options.metric)
        self.settings = Settings(options.metric, options.m, options.ef_construction, options.build_threads)
        self.built: Built | None = None
        self.shard: qdrant.Shard | None = None
        # The Python work of a request, done once for each ef.
        self.requests: dict[Any, Any] = {}

    def build(self) -> dict[str, Any]:
        before = peers.resident_bytes()
        clock = time.perf_counter()
        built = ENGINES[self.options.engine](self.base, self.settings)
        build_s = built.build_s or time.perf_counter() - clock
        self.built = built
        rows = len(self.base)
        return {
            "build_s": round(build_s, 3),
            "bytes_per_row": round((peers.resident_bytes() - before) / rows),
            "index_bytes_per_row": None if built.own_bytes is None else round(built.own_bytes / rows),
            "version": peers.version_of(self.options.engine),
            "threads": built.threads,
        }

    def _request(self, ef: int) -> tuple[Built, Any]:
        if self.built is None:
            raise RuntimeError("not built")
        self.built.set_ef(ef)
        if ef not in self.requests:
            self.requests.clear()
            self.requests[ef] = self.built.ask(self.queries, self.options.k)
        return self.built, self.requests[ef]

    def batch(self, ef: int, threads: int = 1, rows: bool = False) -> dict[str, Any]:
        built, request = self._request(ef)
        processor, clock = time.process_time(), time.perf_counter()
        answer = built.batch(request, threads)
        took = time.perf_counter() - clock
        cpus = (time.process_time() - processor) / took
        found = {"rows": built.rows(answer).tolist()} if rows else {}
        return {"qps": round(len(self.queries) / took, 1), "cpus": round(cpus, 2), **found}

    def single(self, ef: int) -> dict[str, Any]:
        built, request = self._request(ef)
        times = peers.single_times(built, request, len(self.queries))
        return {
            "p50_us": round(float(np.percentile(times, 50)), 1),
            "p99_us": round(float(np.percentile(times, 99)), 1),
        }

    def _import(self, links: bool) -> dict[str, Any]:
        if not self.options.engine.startswith("qdrant") or self.options.metadata is None:
            raise RuntimeError("only Qdrant's engine imports rows with metadata")
        with self.options.metadata.open(encoding="utf-8") as lines:
            payloads = [{k: v for k, v in json.loads(line).items() if k != "id"} for line in lines]
        int8 = self.options.engine.endswith("int8")
        shard = qdrant.Shard(self.base.shape[1], self.settings, int8=int8, payloads=True, wal=True, links=links)
        operations = shard.operations(self.base, payloads)
        took = shard.fill(operations, len(self.base))
        self.shard = shard
        return {**{name: round(value, 3) for name, value in took.items()}, "version": peers.version_of("qdrant")}

    def filter(
        self, filter: dict[str, Any], queries: int, ef: int, acorn: bool = False, rows: bool = False
    ) -> dict[str, Any]:
        if self.shard is None:
            raise RuntimeError("nothing imported")
        key = (json.dumps(filter), queries, ef, acorn)
        if key not in self.requests:
            self.requests.clear()
            made = self.shard.requests(self.queries[:queries], self.options.k, ef, filter, acorn)
            self.requests[key] = self.shard.library.QueryBatchRequest(made)
        request = self.requests[key]
        clock = time.perf_counter()
        answer = self.shard.shard.query_batch(request)
        took = time.perf_counter() - clock
        found = {"rows": qdrant.rows_of(answer).tolist()} if rows else {}
        return {"qps": round(queries / took, 1), **found}

    def answer(self, line: str) -> dict[str, Any]:
        request = json.loads(line)
        verbs = {
            "build": self.build,
            "batch": self.batch,
            "single": self.single,
            "import": self._import,
            "filter": self.filter,
        }
        verb = verbs[request.pop("do")]
        return verb(**request)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=list(ENGINES), required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, help="one JSON object per row")
    parser.add_argument("--metric", choices=["cosine", "euclidean", "dot"], default="cosine")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument("--build-threads", type=int, default=2)
    peer = Peer(parser.parse_args())
    for line in sys.stdin:
        try:
            answer = peer.answer(line)
        except Exception as error:  # noqa: BLE001: whatever a library throws, the caller is told and goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
