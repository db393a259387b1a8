#!/usr/bin/env python3
"""Measure other vector indexes on the same vectors, in one run.

    "$(tests/peers/setup.sh)" tests/peers/peers.py --base B.npy --queries Q.npy --json OUT

Prints a table and writes one JSON object per line: engine ef qps p50_us p99_us recall build_s bytes_per_row
(the fields of the project's own `bench`), and cpus, index_bytes_per_row, version beside them.

Each engine runs in a process of its own, one after the other: its memory can be told from the others', its
thread settings stay its own, and a crash costs one line of the table. An engine that cannot be imported or
fails is a line too ("missing" or "error"), and then the exit code is 1.

How it is measured:
- qps: the whole query set in one batched call (or prebuilt requests), on one search thread, the best of
  several rounds; `cpus` is the processor time that round used per second, so more than 1 betrays a second thread.
- p50_us, p99_us: single calls, one after the other, after a warm-up.
- recall: answers no further than the k-th true neighbour count (equal distances exist), duplicates do not.
- bytes_per_row: growth of the process' resident memory by the build. index_bytes_per_row: the engine's own
  count where it has one.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from built import Built, Settings
from engines import ENGINES

ROUNDS = 5
SINGLE_CALLS = 2_000
PACKAGES = {"hnswlib": "hnswlib", "faiss": "faiss-cpu", "usearch": "usearch", "qdrant": "qdrant-edge-py"}
# Two computations of one distance differ in the last bits; neighbours that differ by more are told apart.
SAME_DISTANCE = 1e-7


def load(path: Path, metric: str) -> np.ndarray:
    """Vectors as the engines get them: float32, of unit length under cosine."""
    vectors = np.load(path).astype(np.float32)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors)


def distances(metric: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distance of query i to row j (2-d rows) or to its own row (i, j) (3-d rows), in float64."""
    many = rows.ndim == 3
    products = np.einsum("qd,qkd->qk", queries, rows) if many else queries @ rows.T
    if metric == "cosine":
        return 1.0 - products
    if metric == "dot":
        return -products
    lengths = (rows**2).sum(axis=-1)
    squared = (queries**2).sum(axis=1)[:, None] + (lengths if many else lengths[None, :]) - 2.0 * products
    return np.sqrt(np.maximum(squared, 0.0))


def chunks(count: int, size: int = 128) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def farthest_allowed(
    metric: str, base: np.ndarray, queries: np.ndarray, k: int, truth: np.ndarray | None
) -> np.ndarray:
    """For each query the distance of its k-th true neighbour."""
    bound = np.empty(len(queries))
    if truth is not None:
        for part in chunks(len(queries)):
            kth = base[truth[part, k - 1]][:, None, :].astype(np.float64)
            bound[part] = distances(metric, queries[part].astype(np.float64), kth)[:, 0]
        return bound
    wide = base.astype(np.float64)
    for part in chunks(len(queries)):
        found = distances(metric, queries[part].astype(np.float64), wide)
        bound[part] = np.partition(found, k - 1, axis=1)[:, k - 1]
    return bound


def recall(metric: str, base: np.ndarray, queries: np.ndarray, answers: np.ndarray, bound: np.ndarray, k: int) -> float:
    hits = 0
    for part in chunks(len(queries)):
        answer = answers[part]
        found = distances(metric, queries[part].astype(np.float64), base[np.maximum(answer, 0)].astype(np.float64))
        near = (found <= bound[part, None] + SAME_DISTANCE) & (answer >= 0)
        for row, good in zip(answer, near, strict=True):
            hits += min(k, len(set(row[good].tolist())))
    return hits / (k * len(queries))


def resident_bytes() -> int:
    """Resident memory now, after giving freed memory back where the C library can."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def batch_rate(built: Built, request: Any, count: int) -> tuple[float, float, Any]:
    """Queries per second of the best round, the processors it used, its answer."""
    best, cpus, answer = 0.0, 0.0, None
    for _ in range(ROUNDS):
        processor, clock = time.process_time(), time.perf_counter()
        answer = built.batch(request, 1)
        took = time.perf_counter() - clock
        if count / took > best:
            best, cpus = count / took, (time.process_time() - processor) / took
    return best, cpus, answer


def single_times(built: Built, request: Any, count: int) -> np.ndarray:
    calls = min(count, SINGLE_CALLS)
    for i in range(min(calls, 50)):
        built.one(request, i)
    times = np.empty(calls)
    for i in range(calls):
        clock = time.perf_counter_ns()
        built.one(request, i)
        times[i] = (time.perf_counter_ns() - clock) / 1_000
    return times


def version_of(engine: str) -> str:
    package = PACKAGES[engine.split("_")[0]]
    return f"{package} {metadata.version(package)}"


def measure(engine: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Build one engine and yield one result for each ef. Runs in the engine's own process."""
    base = load(options.base, options.metric)
    queries = load(options.queries, options.metric)
    truth = np.load(options.truth) if options.truth else None
    bound = farthest_allowed(options.metric, base, queries, options.k, truth)
    settings = Settings(options.metric, options.m, options.ef_construction, options.build_threads)

    before = resident_bytes()
    clock = time.perf_counter()
    built = ENGINES[engine](base, settings)
    build_s = built.build_s or time.perf_counter() - clock
    grown = resident_bytes() - before

    for ef in options.ef:
        built.set_ef(ef)
        request = built.ask(queries, options.k)
        qps, cpus, answer = batch_rate(built, request, len(queries))
        times = single_times(built, request, len(queries))
        yield {
            "engine": engine,
            "ef": ef,
            "qps": round(qps, 1),
            "p50_us": round(float(np.percentile(times, 50)), 1),
            "p99_us": round(float(np.percentile(times, 99)), 1),
            "recall": round(recall(options.metric, base, queries, built.rows(answer), bound, options.k), 5),
            "build_s": round(build_s, 3),
            "bytes_per_row": round(grown / len(base)),
            "cpus": round(cpus, 2),
            "index_bytes_per_row": None if built.own_bytes is None else round(built.own_bytes / len(base)),
            "version": version_of(engine),
        }


def child(engine: str, options: argparse.Namespace) -> int:
    """The engine's own process: results on standard output, one JSON object per line."""
    try:
        for result in measure(engine, options):
            print(json.dumps(result), flush=True)
    except ImportError as error:
        print(json.dumps({"engine": engine, "missing": str(error)}), flush=True)
    return 0


def run(engine: str) -> Iterator[dict[str, Any]]:
    """Run one engine in a process of its own and yield what it reports, or one line that says why nothing came."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", engine]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        yield {"engine": engine, "error": f"its process ended with {process.returncode}"}


def print_row(result: dict[str, Any], out: TextIO) -> None:
    if "qps" not in result:
        why = "missing" if "missing" in result else "error"
        print(f"{result['engine']:<18}{why}: {result[why]}", file=out, flush=True)
        return
    print(
        f"{result['engine']:<18}{result['ef']:>5}{result['qps']:>10.0f}{result['p50_us']:>9.0f}{result['p99_us']:>9.0f}"
        f"{result['recall']:>9.4f}{result['build_s']:>9.1f}{result['bytes_per_row']:>8}{result['cpus']:>6.2f}",
        file=out,
        flush=True,
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--base", type=Path, required=True, help="(rows, dimension) float16 or float32 .npy")
    parser.add_argument("--queries", type=Path, required=True, help="(queries, dimension) .npy")
    parser.add_argument("--truth", type=Path, help="(queries, >= k) row numbers; computed exactly when not given")
    parser.add_argument("--metric", choices=["cosine", "euclidean", "dot"], default="cosine")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", type=numbers, default=[16, 32, 64, 128, 256], help="comma-separated")
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument("--build-threads", type=int, default=2)
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated; default: all")
    parser.add_argument("--json", type=Path, help="where to write one JSON object per line")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.engines = options.engines.split(",")
    if unknown := [name for name in options.engines if name not in ENGINES]:
        parser.error(f"unknown engines {', '.join(unknown)}; there are {', '.join(ENGINES)}")
    return options


def main() -> int:
    options = arguments()
    if options.only:
        return child(options.only, options)
    header = f"{'engine':<18}{'ef':>5}{'qps':>10}{'p50_us':>9}{'p99_us':>9}{'recall':>9}{'build_s':>9}{'B/row':>8}{'cpus':>6}"
    print(header, flush=True)
    whole = True
    lines = options.json.open("w", encoding="utf-8") if options.json else None
    for engine in options.engines:
        for result in run(engine):
            whole = whole and "qps" in result
            print_row(result, sys.stdout)
            if lines:
                lines.write(json.dumps(result) + "\n")
                lines.flush()
    if lines:
        lines.close()
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
