"""Python values to protobuf messages and back. Pure; knows nothing of connections.

Requests are checked here only where Python could not express what the daemon would refuse, or would
express something else than was meant: a metadata value that JSON has no form for, a text with a lone
surrogate, a mapping with a misspelt key. Everything else is the daemon's to refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from .errors import InvalidInput
from .model import (
    CollectionConfig,
    CollectionInfo,
    Coverage,
    Durability,
    Entry,
    EntryError,
    Explain,
    GridStatus,
    Hit,
    IndexOptions,
    Member,
    Metadata,
    Metric,
    PartitionStatus,
    SearchResult,
    UpsertResult,
    Version,
)
from .v1 import vecgrid_pb2 as pb
from .vectors import from_wire, to_wire

EntryLike = Entry | Mapping[str, Any] | tuple[Any, ...]
"""An :class:`Entry`; ``{"id", "vector", "metadata"}``; or ``(id, vector)``, ``(id, vector, metadata)``."""

Entries = Iterable[EntryLike] | Entry | Mapping[str, Any]
"""Many entries, or one."""

Row = tuple[Any, Any, Any]
"""Id, vector, metadata of an entry that is not checked yet."""

# --- JSON ---------------------------------------------------------------------------------------


def to_json(value: Mapping[str, Any] | None, field: str) -> str:
    """A JSON object as text; ``None`` is the empty text. Numpy values become numbers and lists."""
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"{field} must be a mapping, not {type(value).__name__}", code=f"invalid_{field}", field=field
        )
    try:
        text = _JSON.encode(value)
        if not text.isascii():
            text.encode()  # a lone surrogate has no UTF-8 form
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{field} is not JSON: {error}", code=f"invalid_{field}", field=field) from error


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
# Made once: json.dumps would make one for each value.


def from_json(text: str) -> Metadata:
    """A JSON object from text; the empty text is ``{}``."""
    parsed: Metadata = json.loads(text) if text else {}
    return parsed


# --- Entries ------------------------------------------------------------------------------------


def rows(
    entries: Entries | None,
    ids: Iterable[str] | None,
    vectors: Iterable[Any] | npt.NDArray[Any] | None,
    metadatas: Iterable[Mapping[str, Any] | None] | None,
) -> Iterator[Row]:
    """The entries of a request, given one by one or in columns; lazily, so that generators may be long."""
    if entries is not None:
        if not (ids is None and vectors is None and metadatas is None):
            raise InvalidInput(
                "give either entries or columns (ids, vectors, metadatas)", code="invalid_batch"
            )
        return map(_row, [entries] if isinstance(entries, (Entry, Mapping)) else entries)
    if ids is None or isinstance(ids, str):
        raise InvalidInput("entries or a list of ids are needed", code="invalid_batch", field="ids")
    columns: tuple[object, ...] = (ids, vectors, metadatas)
    lengths = [len(column) for column in columns if isinstance(column, Sized)]
    if len(set(lengths)) > 1:
        raise InvalidInput(f"columns differ in length: {lengths}", code="invalid_batch", field="ids")
    return _zipped(ids, vectors, metadatas)


def how_many(entries: Entries | None, ids: Iterable[str] | None) -> int | None:
    """How many entries these are, if that can be known without reading them."""
    if isinstance(entries, (Entry, Mapping)):
        return 1
    given: object = ids if entries is None else entries
    return len(given) if isinstance(given, Sized) else None


def _zipped(
    ids: Iterable[Any], vectors: Iterable[Any] | None, metadatas: Iterable[Any] | None
) -> Iterator[Row]:
    given = [column for column in (ids, vectors, metadatas) if column is not None]
    try:
        for values in zip(*given, strict=True):
            rest = iter(values)
            yield (
                next(rest),
                None if vectors is None else next(rest),
                None if metadatas is None else next(rest),
            )
    except ValueError as error:
        raise InvalidInput(f"columns differ in length: {error}", code="invalid_batch", field="ids") from error


_KEYS = {"id", "vector", "metadata"}


def _row(entry: Any) -> Row:
    if isinstance(entry, Entry):
        return entry.id, entry.vector, entry.metadata
    if isinstance(entry, Mapping):
        unknown = set(entry) - _KEYS
        if unknown:
            raise InvalidInput(
                f"an entry has {sorted(_KEYS)}, not {sorted(map(str, unknown))}", code="unknown_field"
            )
        return entry.get("id", ""), entry.get("vector"), entry.get("metadata")
    if isinstance(entry, tuple) and 2 <= len(entry) <= 3:
        return entry[0], entry[1], entry[2] if len(entry) == 3 else None
    raise InvalidInput(
        f"an entry is an Entry, a mapping or a tuple (id, vector[, metadata]), not {type(entry).__name__}",
        code="invalid_batch",
    )


def entry_message(row: Row) -> pb.Entry:
    """One entry on the wire."""
    id, vector, metadata = row
    message = pb.Entry(metadata_json=to_json(metadata, "metadata"))
    set_text(message, "id", id)
    if vector is not None:
        message.vector.data = to_wire(vector)
    return message


def set_text(message: Any, field: str, text: Any) -> None:
    """Sets a text field; refuses what is no text or has no UTF-8 form."""
    code = "invalid_collection_name" if field in ("collection", "name") else f"invalid_{field}"
    if not isinstance(text, str):
        raise InvalidInput(f"{field} must be a str, not {type(text).__name__}", code=code, field=field)
    try:
        setattr(message, field, text)
    except ValueError as error:  # UnicodeEncodeError included
        raise InvalidInput(f"{field} has no UTF-8 form: {error}", code=code, field=field) from error


def parse_entry(message: pb.Entry, *, with_vector: bool = True) -> Entry:
    """One entry of an answer."""
    return Entry(
        id=message.id,
        vector=from_wire(message.vector.data) if with_vector and message.HasField("vector") else None,
        metadata=from_json(message.metadata_json),
        version=parse_version(message.version) if message.HasField("version") else None,
    )


def parse_version(message: pb.Version) -> Version | None:
    """A version; the empty one stands for "none"."""
    if message.epoch == 0 and message.sequence == 0:
        return None
    return Version(message.epoch, message.sequence)


def parse_upsert(message: pb.UpsertResponse) -> UpsertResult:
    """Answer to an upsert."""
    return UpsertResult(
        upserted=message.upserted,
        versions=tuple(parse_version(version) for version in message.versions),
        errors=tuple(
            EntryError(e.index, e.id, e.code, e.message, "unknown" if e.outcome == "unknown" else "failed")
            for e in message.errors
        ),
        token=message.token,
    )


# --- Searches -----------------------------------------------------------------------------------


def search_message(
    collection: str,
    data: bytes,
    k: int,
    *,
    filter: Mapping[str, Any] | None = None,
    ef: int | None = None,
    target_recall: float | None = None,
    exact: bool = False,
    max_distance: float | None = None,
    include_metadata: bool = False,
    include_vector: bool = False,
    allow_partial: bool = False,
    explain: bool = False,
) -> pb.SearchRequest:
    """One search on the wire; ``data`` are the bytes of its vector."""
    try:
        return pb.SearchRequest(
            collection=collection,
            vector=pb.Vector(data=data),
            k=k,
            ef=ef,
            target_recall=target_recall,
            filter_json=to_json(filter, "filter"),
            exact=exact,
            max_distance=max_distance,
            include_metadata=include_metadata,
            include_vector=include_vector,
            allow_partial=allow_partial,
            explain=explain,
        )
    except InvalidInput:
        raise
    except ValueError as error:  # k or ef outside of 32 bits, text without UTF-8 form
        raise InvalidInput(f"not a search: {error}", code="invalid_search") from error


def parse_search(message: pb.SearchResponse, *, metadata: bool, vector: bool) -> SearchResult:
    """Answer to a search; ``metadata`` and ``vector`` say what was asked for."""
    hits = tuple(
        Hit(
            id=hit.id,
            distance=hit.distance,
            metadata=from_json(hit.metadata_json) if metadata else None,
            vector=from_wire(hit.vector.data) if vector and hit.HasField("vector") else None,
        )
        for hit in message.hits
    )
    return SearchResult(
        hits,
        Coverage(message.coverage.answered, message.coverage.partitions),
        message.took_us,
        _parse_explain(message.explain) if message.HasField("explain") else None,
    )


def _parse_explain(message: pb.Explain) -> Explain:
    return Explain(
        plan=message.plan,
        ef=message.ef,
        eligible=message.eligible,
        filtered=message.filtered,
        visited=message.visited,
        estimated=message.estimated,
        reranked=message.reranked,
        tail=message.tail,
        distances=message.distances,
        steps={step.name: step.took_ns for step in message.steps},
        target_recall=message.target_recall if message.HasField("target_recall") else None,
    )


# --- Collections and the grid -------------------------------------------------------------------


def config_message(
    name: str, dimension: int, metric: str, index: IndexOptions | Mapping[str, Any] | None, durability: str
) -> pb.CollectionConfig:
    """A collection's configuration on the wire."""
    options = index if isinstance(index, IndexOptions) else _index_options(index or {})
    try:
        return pb.CollectionConfig(
            name=name,
            dimension=dimension,
            metric=_number_of(metric, "METRIC", get_args(Metric)),  # type: ignore[arg-type]
            index=pb.IndexOptions(
                engine=options.engine,
                m=options.m,
                ef_construction=options.ef_construction,
                ef=options.ef,
                target_recall=options.target_recall,
                vectors=options.vectors,
                quantization=options.quantization,
            ),
            durability=_number_of(durability, "DURABILITY", get_args(Durability)),  # type: ignore[arg-type]
        )
    except InvalidInput:
        raise
    except ValueError as error:
        raise InvalidInput(f"not a collection: {error}", code="invalid_collection") from error


def _index_options(options: Mapping[str, Any]) -> IndexOptions:
    try:
        return IndexOptions(**options)
    except TypeError as error:
        raise InvalidInput(f"index: {error}", code="unknown_field", field="index") from error


def _number_of(name: str, prefix: str, names: Sequence[str]) -> int:
    if name not in names:
        field = prefix.lower()
        raise InvalidInput(
            f"{field} is one of {list(names)}, not {name!r}", code=f"invalid_{field}", field=field
        )
    number: int = getattr(pb, f"{prefix}_{name.upper()}")
    return number


def parse_config(message: pb.CollectionConfig) -> CollectionConfig:
    """A collection's configuration."""
    metrics: dict[int, Metric] = {pb.METRIC_EUCLIDEAN: "euclidean", pb.METRIC_DOT: "dot"}
    durabilities: dict[int, Durability] = {pb.DURABILITY_INTERVAL: "interval", pb.DURABILITY_NONE: "none"}
    index = message.index
    return CollectionConfig(
        name=message.name,
        dimension=message.dimension,
        metric=metrics.get(message.metric, "cosine"),
        index=IndexOptions(
            index.engine,
            index.m,
            index.ef_construction,
            index.ef,
            index.target_recall,
            index.vectors,
            index.quantization,
        ),
        durability=durabilities.get(message.durability, "sync"),
    )


def parse_info(message: pb.CollectionInfo) -> CollectionInfo:
    """A collection and its size."""
    return CollectionInfo(
        config=parse_config(message.config),
        count=message.count,
        indexed=message.indexed,
        index_bytes=message.index_bytes,
        search_ef=message.search_ef,
        calibrated_rows=message.calibrated_rows,
    )


def parse_grid(message: pb.GridStatusResponse) -> GridStatus:
    """The state of the grid."""
    return GridStatus(
        grid=message.grid,
        member=message.member,
        table_version=message.table_version,
        members=tuple(Member(m.id, m.name, m.state, m.version) for m in message.members),
        partitions=tuple(
            PartitionStatus(p.partition, p.epoch, p.primary, tuple(p.in_sync), p.state, p.sequence)
            for p in message.partitions
        ),
    )
