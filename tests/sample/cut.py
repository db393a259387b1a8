#!/usr/bin/env python3
"""Cut the sample that this project ships from the full WordNet set.

    python tests/sample/cut.py ../shared/data [--out tests/sample]

Needs numpy. The cut is deterministic and independent of any random generator's version: inside each domain
the rows with the smallest SHA-256 of their id are taken, so the same data always gives the same files.

What it keeps in mind:
- a dozen domains are kept large, so that a search finds neighbours that a reader can judge (a gloss about soup
  should have other soups around it); every other domain keeps a share, so that a wrong answer is visible too;
- each of the eight filters of the full set matches some rows, and one of them (verb.weather) matches only 80;
- truth is exact: float16 -> float32, normalised in float32, compared in float64, ties broken by row number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 8_000
QUERIES = 200
TRUTH_DEPTH = 100
FILTERED_DEPTH = 10

# Rows wanted from the domains that the examples live in; a domain with fewer rows gives all it has.
WANTED = {
    "noun.food": 1_500,
    "noun.animal": 1_200,
    "noun.artifact": 1_000,
    "noun.plant": 600,
    "noun.feeling": 423,
    "noun.phenomenon": 300,
    "noun.time": 250,
    "noun.quantity": 250,
    "verb.consumption": 243,
    "verb.emotion": 200,
    "verb.motion": 200,
    "verb.weather": 80,
}

# The three searches of deploy/quickstart.sh: held-out glosses (by id), two bare and one with a filter.
QUICKSTART: list[tuple[str, dict[str, Any] | None]] = [
    ("noun-07847706", None),
    ("noun-02099429", None),
    ("noun-11501649", {"domain": "verb.weather"}),
]


def order(entry_id: str) -> bytes:
    """A fixed shuffle: the same on every machine, for ever."""
    return hashlib.sha256(entry_id.encode()).digest()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def by_domain(records: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Row numbers of each domain, in the fixed shuffle."""
    domains: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        domains.setdefault(record["domain"], []).append(row)
    for rows in domains.values():
        rows.sort(key=lambda row: order(records[row]["id"]))
    return dict(sorted(domains.items()))


def share(sizes: dict[str, int], total: int) -> dict[str, int]:
    """Split `total` in proportion to `sizes` (largest remainders get the rest), at least one each."""
    whole = sum(sizes.values())
    exact = {name: total * size / whole for name, size in sizes.items()}
    parts = {name: max(1, int(value)) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (parts[name] - exact[name], name))
    while sum(parts.values()) < total:
        for name in rest:
            if sum(parts.values()) == total:
                break
            parts[name] += parts[name] < sizes[name]
    while sum(parts.values()) > total:
        parts[max(parts, key=lambda name: (parts[name], name))] -= 1
    return parts


def choose_rows(records: list[dict[str, Any]]) -> list[int]:
    domains = by_domain(records)
    wanted = {name: min(count, len(domains[name])) for name, count in WANTED.items()}
    others = {name: len(rows) for name, rows in domains.items() if name not in wanted}
    wanted |= share(others, ROWS - sum(wanted.values()))
    # Kept in the order of the full set: neighbours in WordNet stay neighbours in the file.
    return sorted(row for name, rows in domains.items() for row in rows[: wanted[name]])


def choose_queries(records: list[dict[str, Any]], sampled: list[dict[str, Any]]) -> list[int]:
    """Held-out glosses, spread over the domains as the sample is; those of the quickstart always."""
    domains = by_domain(records)
    shown = {entry_id for entry_id, _ in QUICKSTART}
    for rows in domains.values():
        rows.sort(key=lambda row: records[row]["id"] not in shown)
    weight = {name: sum(r["domain"] == name for r in sampled) for name in domains}
    # A share can exceed the held-out rows of a domain: what is left over goes to the largest domains.
    parts = {name: min(part, len(domains[name])) for name, part in share(weight, QUERIES).items()}
    for name in sorted(domains, key=lambda name: (-len(domains[name]), name)):
        parts[name] += min(QUERIES - sum(parts.values()), len(domains[name]) - parts[name])
    return sorted(row for name, rows in domains.items() for row in rows[: parts[name]])


def normalised(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float32)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float64)


def nearest(similarity: np.ndarray, depth: int) -> np.ndarray:
    """The `depth` most similar columns of each row, nearest first, padded with -1."""
    found = np.argsort(-similarity, axis=1, kind="stable")[:, :depth].astype(np.int32)
    found[np.take_along_axis(similarity, found, axis=1) == -np.inf] = -1
    return found


def matches(condition: dict[str, Any], record: dict[str, Any]) -> bool:
    """The REST filter form, as far as wordnet_filters.json uses it; anything else is an error."""
    for field, wanted in condition.items():
        if field == "$or":
            if not any(matches(part, record) for part in wanted):
                return False
        elif isinstance(wanted, dict):
            if not all(compare(operator, record[field], bound) for operator, bound in wanted.items()):
                return False
        elif record[field] != wanted:
            return False
    return True


def compare(operator: str, value: Any, bound: Any) -> bool:
    if operator == "$gte":
        return value >= bound
    if operator == "$lt":
        return value < bound
    if operator == "$ne":
        return value != bound
    if operator == "$in":
        return value in bound
    raise ValueError(f"operator {operator} is not known here")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path, help="folder with wordnet_base.f16.npy and its companions")
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = arguments.parse_args()
    data, out = options.data, options.out

    all_records = read_jsonl(data / "wordnet_base.jsonl")
    all_queries = read_jsonl(data / "wordnet_queries.jsonl")
    rows = choose_rows(all_records)
    records = [all_records[row] for row in rows]
    query_rows = choose_queries(all_queries, records)
    queries = [all_queries[row] for row in query_rows]
    base_vectors = np.load(data / "wordnet_base.f16.npy", mmap_mode="r")[rows]
    query_vectors = np.load(data / "wordnet_queries.f16.npy")[query_rows]
    assert len(records) == ROWS and len(queries) == QUERIES

    np.save(out / "wordnet_8k.f16.npy", base_vectors)
    np.save(out / "queries.f16.npy", query_vectors)
    write_jsonl(out / "wordnet_8k.jsonl", records)
    write_jsonl(out / "queries.jsonl", queries)

    similarity = normalised(query_vectors) @ normalised(base_vectors).T
    np.save(out / "truth.npy", nearest(similarity, TRUTH_DEPTH))

    filters = json.loads((data / "wordnet_filters.json").read_text(encoding="utf-8"))
    counted = []
    for number, entry in enumerate(filters):
        match = np.array([matches(entry["filter"], record) for record in records])
        name = f"filtered_truth_f{number}.npy"
        np.save(out / name, nearest(np.where(match, similarity, -np.inf), FILTERED_DEPTH))
        counted.append(
            {"filter": entry["filter"], "matches": int(match.sum()), "selectivity": float(match.mean()), "truth": name}
        )
    (out / "filters.json").write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")

    place = {query["id"]: row for row, query in enumerate(queries)}
    shown = []
    for number, (entry_id, condition) in enumerate(QUICKSTART, start=1):
        row = place[entry_id]
        vector = [round(float(x), 6) for x in query_vectors[row].astype(np.float32)]
        name = f"quickstart_{number}.json"
        (out / name).write_text(json.dumps(vector) + "\n", encoding="utf-8")
        shown.append({"say": queries[row]["text"], "vector_row": row, "vector_file": name, "filter": condition})
    (out / "quickstart.json").write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    shutil.copyfile(data / "WORDNET-LICENSE", out / "WORDNET-LICENSE")
    for entry in counted:
        print(f"{entry['matches']:6} rows match {json.dumps(entry['filter'])}")


if __name__ == "__main__":
    main()
