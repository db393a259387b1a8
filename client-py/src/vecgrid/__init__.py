"""Python client for vecgridd, the vector search daemon that runs beside your application.

:class:`Client` and :class:`AsyncClient` have the same methods. Vectors go in as lists or numpy arrays
and come out as numpy ``float32`` arrays; answers are frozen dataclasses; failures are
:class:`VecGridError` and its subclasses, which say whether a write may have happened.

Reading order of the modules::

    model      what comes out: Entry, Hit, SearchResult, ...
    errors     what goes wrong, and what one may conclude
    vectors    numpy <-> bytes on the wire
    messages   Python values <-> protobuf messages          pure
    verbs      one function per verb: which request, how to read the answer     pure
    attempts   deadline and retries of one call             pure, but for the clock
    upload     the bookkeeping of a bulk load               pure
    endpoint   where the daemon is
    client     the transport for threads
    aio        the transport for asyncio

Everything that decides is in the pure modules and is shared; the two transports only send and wait.
``vecgrid.v1`` is generated from the public contract and may be used with plain grpcio.
"""

from ._version import __version__
from .aio import AsyncClient
from .client import Client
from .errors import (
    Conflict,
    DeadlineExceeded,
    Internal,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
    VecGridError,
    Violation,
)
from .model import (
    CollectionConfig,
    CollectionInfo,
    Coverage,
    CreatedCollection,
    Deleted,
    Entry,
    EntryError,
    Explain,
    GridStatus,
    Hit,
    IndexOptions,
    Member,
    PartitionStatus,
    SearchResult,
    UpsertManyResult,
    UpsertResult,
    Version,
)

__all__ = [
    "AsyncClient",
    "Client",
    "CollectionConfig",
    "CollectionInfo",
    "Conflict",
    "Coverage",
    "CreatedCollection",
    "DeadlineExceeded",
    "Deleted",
    "Entry",
    "EntryError",
    "Explain",
    "GridStatus",
    "Hit",
    "IndexOptions",
    "Internal",
    "InvalidInput",
    "Member",
    "NotFound",
    "Overloaded",
    "PartitionStatus",
    "SearchResult",
    "Unavailable",
    "UpsertManyResult",
    "UpsertResult",
    "VecGridError",
    "Version",
    "Violation",
    "__version__",
]
