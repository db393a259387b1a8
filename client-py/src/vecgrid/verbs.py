"""One function per verb: which request to send and how to read the answer. Pure.

A :class:`Call` is all a transport needs to know. Both transports make their calls from here, so the
two clients cannot drift apart.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from . import messages
from .errors import InvalidInput, NotFound
from .messages import Entries
from .model import (
    CollectionInfo,
    CreatedCollection,
    Deleted,
    Entry,
    GridStatus,
    IndexOptions,
    SearchResult,
    UpsertResult,
)
from .v1 import vecgrid_pb2 as pb
from .vectors import VectorLike, rows_to_wire, to_wire

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, where it goes, and how to read its answer."""

    method: str
    request: Any
    parse: Callable[[Any], T]
    writes: bool = False
    repeatable: bool = True
    """Sending it twice does what sending it once does (a read, or a write with a request id)."""


Metadata = tuple[tuple[str, str], ...]


def reads_show(strong: bool, at_least: str | None) -> Metadata:
    """What a request says about the writes that its answer must show."""
    if strong and at_least:
        raise InvalidInput("a strong read shows every write already: give one of the two", field="at_least")
    if at_least is not None and not (at_least.isascii() and at_least.isprintable()):
        raise InvalidInput(
            "a token is given as it came, with a write", code="invalid_token", field="at_least"
        )
    strongly: Metadata = (("vecgrid-consistency", "strong"),) if strong else ()
    return strongly + ((("vecgrid-at-least", at_least),) if at_least else ())


@dataclass(frozen=True, slots=True)
class Page:
    """One step of a walk over all entries."""

    entries: list[Entry]
    cursor: str


def create_collection(
    name: str,
    dimension: int,
    metric: str,
    index: IndexOptions | Mapping[str, Any] | None,
    durability: str,
) -> Call[CreatedCollection]:
    """Creates a collection. Not repeatable blindly: the second answer would say "not created"."""
    config = messages.config_message(name, dimension, metric, index, durability)
    return Call(
        "CreateCollection",
        pb.CreateCollectionRequest(config=config),
        lambda answer: CreatedCollection(messages.parse_config(answer.config), answer.created),
        writes=True,
        repeatable=False,
    )


def get_collection(name: str) -> Call[CollectionInfo]:
    """One collection."""
    request = pb.GetCollectionRequest()
    messages.set_text(request, "name", name)
    return Call("GetCollection", request, messages.parse_info)


def list_collections() -> Call[list[CollectionInfo]]:
    """All collections."""
    return Call(
        "ListCollections",
        pb.ListCollectionsRequest(),
        lambda answer: [messages.parse_info(info) for info in answer.collections],
    )


def drop_collection(name: str) -> Call[bool]:
    """Drops a collection. Not repeatable blindly: someone may have created it anew in between."""
    request = pb.DropCollectionRequest()
    messages.set_text(request, "name", name)
    return Call("DropCollection", request, lambda answer: bool(answer.dropped), writes=True, repeatable=False)


def upsert(
    collection: str,
    entries: Entries | None,
    ids: Iterable[str] | None,
    vectors: Iterable[Any] | npt.NDArray[Any] | None,
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    request_id: str | None,
) -> Call[UpsertResult]:
    """Inserts or replaces entries."""
    encoded: list[pb.Entry] = []
    for index, row in enumerate(messages.rows(entries, ids, vectors, metadatas)):
        try:
            encoded.append(messages.entry_message(row))
        except InvalidInput as error:
            error.field = f"entries[{index}].{error.field}"  # as the daemon would say it
            raise
    return upsert_encoded(collection, encoded, request_id)


def upsert_encoded(
    collection: str, entries: Sequence[pb.Entry], request_id: str | None
) -> Call[UpsertResult]:
    """The same, of entries that are messages already."""
    request = pb.UpsertRequest(entries=entries)
    messages.set_text(request, "collection", collection)
    messages.set_text(request, "request_id", new_request_id() if request_id is None else request_id)
    return Call("Upsert", request, messages.parse_upsert, writes=True, repeatable=request.request_id != "")


def get(collection: str, id: str) -> Call[Entry]:
    """One entry."""
    request = pb.GetRequest()
    messages.set_text(request, "collection", collection)
    messages.set_text(request, "id", id)
    return Call("Get", request, lambda answer: messages.parse_entry(answer.entry))


def is_missing_entry(error: NotFound) -> bool:
    """The collection is there, the entry is not."""
    return error.code == "entry_not_found"


def delete(
    collection: str, ids: str | Iterable[str] | None, filter: Mapping[str, Any] | None, request_id: str | None
) -> Call[Deleted]:
    """Deletes by ids or by filter."""
    if ids is not None and filter is not None:
        # With an empty list of ids the wire would take the filter alone: not what "these ids" says.
        raise InvalidInput("give ids or a filter, not both", code="invalid_delete", field="filter")
    request = pb.DeleteRequest(filter_json=messages.to_json(filter, "filter"))
    messages.set_text(request, "collection", collection)
    messages.set_text(request, "request_id", new_request_id() if request_id is None else request_id)
    # A single text would otherwise be taken for a list of its letters.
    wanted = [ids] if isinstance(ids, str) else list(ids or ())
    try:
        request.ids.extend(wanted)
    except ValueError as error:
        raise InvalidInput(f"ids have no UTF-8 form: {error}", code="invalid_id", field="ids") from error
    return Call(
        "Delete",
        request,
        lambda answer: Deleted(answer.deleted, answer.token),
        writes=True,
        repeatable=request.request_id != "",
    )


def search(collection: str, vector: VectorLike, k: int, **options: Any) -> Call[SearchResult]:
    """The nearest neighbours of one vector; options as in :func:`messages.search_message`."""
    request = messages.search_message(collection, to_wire(vector), k, **options)
    metadata, with_vector = request.include_metadata, request.include_vector
    return Call(
        "Search", request, lambda answer: messages.parse_search(answer, metadata=metadata, vector=with_vector)
    )


MAX_SEARCHES = 1_000
"""Most searches of one request; the contract's limit."""

_HITS_PER_ANSWER = 100_000
"""Keeps the answer to a batch below the message limit, short of huge metadata."""


def search_batch(
    collection: str, vectors: Sequence[VectorLike] | npt.NDArray[Any], k: int, **options: Any
) -> Iterator[Call[list[SearchResult]]]:
    """The nearest neighbours of many vectors: as many calls as the limits make necessary, in order."""
    encoded = iter(rows_to_wire(vectors))
    size = max(1, min(MAX_SEARCHES, _HITS_PER_ANSWER // max(1, k)))
    metadata = bool(options.get("include_metadata"))
    with_vector = bool(options.get("include_vector"))

    def parse(answer: Any) -> list[SearchResult]:
        return [messages.parse_search(r, metadata=metadata, vector=with_vector) for r in answer.results]

    while chunk := list(islice(encoded, size)):
        searches = [messages.search_message(collection, data, k, **options) for data in chunk]
        yield Call("SearchBatch", pb.SearchBatchRequest(searches=searches), parse)


def count(collection: str, filter: Mapping[str, Any] | None) -> Call[int]:
    """How many entries there are, or match."""
    request = pb.CountRequest(filter_json=messages.to_json(filter, "filter"))
    messages.set_text(request, "collection", collection)
    return Call("Count", request, lambda answer: int(answer.count))


def scroll_page(
    collection: str, filter: Mapping[str, Any] | None, limit: int, include_vector: bool, cursor: str
) -> Call[Page]:
    """One step of a walk over all entries."""
    try:
        request = pb.ScrollRequest(
            filter_json=messages.to_json(filter, "filter"),
            limit=limit,
            include_vector=include_vector,
            cursor=cursor,
        )
    except InvalidInput:
        raise
    except ValueError as error:
        raise InvalidInput(f"not a page size: {error}", code="invalid_limit", field="limit") from error
    messages.set_text(request, "collection", collection)
    return Call(
        "Scroll",
        request,
        lambda answer: Page(
            [messages.parse_entry(entry, with_vector=include_vector) for entry in answer.entries],
            answer.cursor,
        ),
    )


def grid_status() -> Call[GridStatus]:
    """The state of the grid."""
    return Call("GridStatus", pb.GridStatusRequest(), messages.parse_grid)


def new_request_id() -> str:
    """A fresh request id."""
    return uuid.uuid4().hex
