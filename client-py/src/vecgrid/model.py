"""What comes out of the client: plain frozen values.

Vectors are read-only numpy ``float32`` arrays that share memory with the answer they came in: copy
before you write to one. Metadata is ``None`` where it was not asked for and ``{}`` where it is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
"""One vector."""

Metadata = dict[str, Any]
"""A JSON object."""

Metric = Literal["cosine", "euclidean", "dot"]
"""Distance: ``1 - cos``, L2, or ``-(a.b)``. Smaller is nearer."""

Durability = Literal["sync", "interval", "none"]
"""Acknowledged: after fsync; or after the write, with an fsync within a second; or after the write."""

Outcome = Literal["failed", "unknown"]
"""``failed``: nothing happened. ``unknown``: it may have happened."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Place of a write in its partition's history; later writes to an entry compare greater."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An entry: its id, vector and metadata. ``version`` is set in answers and ignored in requests."""

    id: str
    vector: Array | list[float] | None = None
    metadata: Metadata | None = None
    version: Version | None = None

    def __eq__(self, other: object) -> bool:
        """Equal when all parts are; vectors compare by components."""
        if not isinstance(other, Entry):
            return NotImplemented
        mine, theirs = (self.id, self.metadata, self.version), (other.id, other.metadata, other.version)
        return mine == theirs and _equal_vectors(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]  # holds a dict and an array


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """One neighbour. ``metadata`` and ``vector`` are set when the search asked for them."""

    id: str
    distance: float
    metadata: Metadata | None = None
    vector: Array | None = None

    def __eq__(self, other: object) -> bool:
        """Equal when all parts are; vectors compare by components."""
        if not isinstance(other, Hit):
            return NotImplemented
        mine, theirs = (self.id, self.distance, self.metadata), (other.id, other.distance, other.metadata)
        return mine == theirs and _equal_vectors(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]  # holds a dict and an array


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the grid's partitions an answer covers."""

    answered: int
    partitions: int

    @property
    def is_complete(self) -> bool:
        """All partitions answered. Less is possible only with ``allow_partial=True``."""
        return self.answered == self.partitions


@dataclass(frozen=True, slots=True)
class Explain:
    """How a search was done."""

    plan: str
    """``scan``, ``walk``, ``filtered_walk``, ``sift`` or ``walk_then_scan``."""
    ef: int
    """Breadth of the walk; 0 without one."""
    eligible: int
    """Entries that may be hits, whatever their distance."""
    filtered: int
    """Entries that the filter was held against one by one: no field index was sure."""
    visited: int
    """Entries whose links the walk read; 0 where the engine does not count."""
    estimated: int
    """Distances that the walk estimated from compressed vectors; 0 where the engine does not count."""
    reranked: int
    """Entries of the walk whose exact distance was computed."""
    tail: int
    """Entries outside the graph, scanned beside the walk."""
    distances: int
    """Exact distances computed in all."""
    steps: dict[str, int]
    """Nanoseconds of each step, in order: ``select``, ``walk``, ``rerank``, ``scan``, ``answer``."""
    target_recall: float | None = None
    """The recall that ``ef`` was chosen for; ``None`` when a breadth was asked for."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, nearest first, ties by id. Behaves as a sequence of its hits."""

    hits: tuple[Hit, ...]
    coverage: Coverage
    took_us: int
    """Time inside the daemon, in microseconds."""
    explain: Explain | None = None
    """How the search was done, when it asked."""

    @property
    def ids(self) -> list[str]:
        """Ids of the hits, in order."""
        return [hit.id for hit in self.hits]

    @property
    def distances(self) -> Array:
        """Distances of the hits, in order."""
        return np.array([hit.distance for hit in self.hits], dtype=np.float32)

    def __iter__(self) -> Iterator[Hit]:
        """Over the hits."""
        return iter(self.hits)

    def __len__(self) -> int:
        """Number of hits."""
        return len(self.hits)

    def __getitem__(self, at: int) -> Hit:
        """The hit at a place."""
        return self.hits[at]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How a collection is indexed. 0 and ``""`` stand for the daemon's defaults."""

    engine: str = ""
    """``native``, ``hnsw_rs`` or ``flat``."""
    m: int = 0
    """Links per node, 4 to 64."""
    ef_construction: int = 0
    """Breadth of the build, 16 to 2000."""
    ef: int = 0
    """Breadth of a search that names none, 1 to 10000; 0 = by ``target_recall``."""
    target_recall: float = 0.0
    """Recall that a search which names none reaches on average, 0.5 to 0.999; instead of ``ef``."""
    vectors: str = ""
    """Where full vectors and metadata are: ``memory`` or ``disk`` (mapped files)."""
    quantization: str = ""
    """What the graph keeps of a vector: ``int8``, ``int4``, ``f16``, ``bf16`` or ``none``."""


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """What a collection was created with."""

    name: str
    dimension: int
    metric: Metric = "cosine"
    index: IndexOptions = field(default_factory=IndexOptions)
    durability: Durability = "sync"


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection and its size."""

    config: CollectionConfig
    count: int
    """Live entries."""
    indexed: int
    """Of these, linked into the graph; the rest is scanned exactly."""
    index_bytes: int
    """Memory of the index: vectors, links, ids, metadata."""
    search_ef: int = 0
    """Breadth of a walk for ten hits that names none; 0 without a graph."""
    calibrated_rows: int = 0
    """Entries in the graph when it was last measured which breadth reaches which recall; 0 = not yet."""

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.config.name


@dataclass(frozen=True, slots=True)
class CreatedCollection:
    """Answer to a creation: the configuration with defaults filled in, and whether it is new."""

    config: CollectionConfig
    created: bool


@dataclass(frozen=True, slots=True)
class EntryError:
    """Why one entry of a batch was not stored (or may not have been)."""

    index: int
    """Place in the input, from 0."""
    id: str
    code: str
    message: str
    outcome: Outcome = "failed"

    @property
    def is_definite(self) -> bool:
        """The entry was not stored, for certain."""
        return self.outcome == "failed"

    @property
    def is_unknown(self) -> bool:
        """The entry may have been stored."""
        return self.outcome == "unknown"


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """Answer to an upsert."""

    upserted: int
    """Distinct ids stored."""
    versions: tuple[Version | None, ...] = ()
    """Per entry of the request, in order; ``None`` where it failed."""
    errors: tuple[EntryError, ...] = ()
    token: str = ""
    """For another app, beside another daemon of the grid: a read with it (``at_least``) shows this write."""


class Deleted(int):
    """How many entries existed and are gone: a number, with the token of the delete."""

    token: str
    """As of :class:`UpsertResult`."""

    def __new__(cls, deleted: int, token: str = "") -> Deleted:
        """A number with a token."""
        number = super().__new__(cls, deleted)
        number.token = token
        return number


@dataclass(frozen=True, slots=True)
class UpsertManyResult:
    """Answer to a bulk load."""

    upserted: int
    """Ids stored, summed over batches: an id that occurs in two batches counts twice."""
    errors: tuple[EntryError, ...] = ()
    """Entries that were not stored, by place in the input."""


@dataclass(frozen=True, slots=True)
class Member:
    """A daemon of the grid."""

    id: str
    name: str
    state: str
    version: str


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: who orders its writes and who holds it durably."""

    partition: int
    epoch: int
    primary: str
    in_sync: tuple[str, ...]
    state: str
    sequence: int


@dataclass(frozen=True, slots=True)
class GridStatus:
    """The grid as the answering member sees it."""

    grid: str
    member: str
    table_version: int
    members: tuple[Member, ...]
    partitions: tuple[PartitionStatus, ...]


def _equal_vectors(left: Array | list[float] | None, right: Array | list[float] | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left, right)
