"""The transport for threads: sends calls, waits between attempts. Everything else is in the pure modules."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy.typing as npt

from . import endpoint as endpoints
from . import messages, upload, verbs
from .attempts import BULK, Attempts, RetryPolicy
from .errors import NotFound, from_entry_errors
from .messages import Entries
from .model import (
    CollectionInfo,
    CreatedCollection,
    Deleted,
    Durability,
    Entry,
    GridStatus,
    IndexOptions,
    Metric,
    SearchResult,
    UpsertManyResult,
    UpsertResult,
)
from .progress import Bar
from .v1 import vecgrid_pb2_grpc as rpc
from .vectors import VectorLike

T = TypeVar("T")


class Client:
    """A connection to a daemon. Cheap to keep, safe to share between threads and across ``fork``.

    ``endpoint`` is ``unix:/path``, ``http://host:port`` or ``host:port``; without one, ``$VECGRID_ENDPOINT``
    or ``127.0.0.1:5700``. ``timeout`` is the time in seconds for one call, retries included; each
    method takes its own. The connection is made by the first call. ``retry`` and ``options`` (of the
    gRPC channel) rarely need a change.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        options: Sequence[tuple[str, str | int]] = (),
    ) -> None:
        """Does not connect yet."""
        self._target = endpoints.resolve(endpoint)
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._options = endpoints.channel_options(self._target, options)
        # By process: after a fork the child opens its own. It keeps the parent's, untouched: closing it
        # there would disturb the parent's connection.
        self._channels: dict[int, tuple[grpc.Channel, Any]] = {}
        self._closed = False
        self._metadata: verbs.Metadata = ()
        self._parent: Client | None = None

    @property
    def target(self) -> str:
        """The gRPC target that the endpoint stands for."""
        return self._target

    def __enter__(self) -> Client:
        """Closes at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See :meth:`close`."""
        self.close()

    def close(self) -> None:
        """Closes the connection; the client cannot be used again."""
        if self._parent is not None:
            return self._parent.close()
        self._closed = True
        opened = self._channels.pop(os.getpid(), None)
        if opened is not None:
            opened[0].close()

    def reading(self, *, strong: bool = False, at_least: str | None = None) -> Client:
        """The same connection for reads that show more than what was written through this daemon (other writes show
        a moment later). ``strong``: every write that was acknowledged, whoever wrote it; slower, since primaries are
        asked. ``at_least``: the write that has this ``token``, which another app handed over."""
        reader = copy.copy(self)
        reader._parent = self._parent or self
        reader._metadata = verbs.reads_show(strong, at_least)
        return reader

    # --- Collections ---

    def create_collection(
        self,
        name: str,
        dimension: int,
        *,
        metric: Metric = "cosine",
        index: IndexOptions | Mapping[str, Any] | None = None,
        durability: Durability = "sync",
        timeout: float | None = None,
    ) -> CreatedCollection:
        """Creates a collection. An equal one may exist already (``created`` is false); a different one is a
        :class:`Conflict`."""
        return self._call(verbs.create_collection(name, dimension, metric, index, durability), timeout)

    def get_collection(self, name: str, *, timeout: float | None = None) -> CollectionInfo:
        """A collection's configuration and size."""
        return self._call(verbs.get_collection(name), timeout)

    def list_collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections."""
        return self._call(verbs.list_collections(), timeout)

    def drop_collection(self, name: str, *, timeout: float | None = None) -> bool:
        """Drops a collection with all its entries; false if there is none of that name."""
        return self._call(verbs.drop_collection(name), timeout)

    # --- Entries ---

    def upsert(
        self,
        collection: str,
        entries: Entries | None = None,
        *,
        ids: Iterable[str] | None = None,
        vectors: Iterable[Any] | npt.NDArray[Any] | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> UpsertResult:
        """Inserts or replaces up to 10,000 entries in one request; of equal ids the last one wins.

        Either ``entries`` (each an :class:`Entry`, a mapping with id, vector, metadata, or a tuple in that
        order) or columns. When this returns, all of them are durable and searchable. A batch with an
        invalid entry is refused whole. If some could not be stored, raises; the error's ``partial`` tells
        which. ``request_id``: repeating an upsert with the same one has no further effect; a fresh
        one is made up by default, ``""`` stands for none.
        """
        result = self._call(verbs.upsert(collection, entries, ids, vectors, metadatas, request_id), timeout)
        if result.errors:
            raise from_entry_errors(result)
        return result

    def upsert_many(
        self,
        collection: str,
        entries: Entries | None = None,
        *,
        ids: Iterable[str] | None = None,
        vectors: Iterable[Any] | npt.NDArray[Any] | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        batch_bytes: int = upload.BATCH_BYTES,
        batch_entries: int = upload.BATCH_ENTRIES,
        parallel: int = upload.PARALLEL,
        max_errors: int = upload.MAX_ERRORS,
        progress: bool = False,
        timeout: float = upload.TIMEOUT,
    ) -> UpsertManyResult:
        """Inserts or replaces any number of entries; input as in :meth:`upsert`, generators welcome.

        Sends batches, ``parallel`` of them at a time. Invalid entries are left out and listed in the
        result's ``errors``; after ``max_errors`` of them, or when the daemon does not answer within
        ``timeout`` seconds per batch, raises, with the outcome so far as the error's ``partial``.
        ``progress`` shows a progress bar.
        """
        load = upload.Upload(
            collection,
            messages.rows(entries, ids, vectors, metadatas),
            batch_bytes=batch_bytes,
            batch_entries=batch_entries,
            parallel=parallel,
            max_errors=max_errors,
        )
        running: dict[Future[UpsertResult], upload.Batch] = {}
        with Bar(progress, messages.how_many(entries, ids)) as bar:
            with ThreadPoolExecutor(parallel, thread_name_prefix="vecgrid-upload") as pool:
                while True:
                    while (batch := load.next_batch()) is not None:
                        running[pool.submit(self._call, load.call(batch), timeout, BULK)] = batch
                    if not running:
                        break
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        batch, error = running.pop(done), done.exception()
                        if error is None:
                            load.stored(batch, done.result())
                        else:
                            load.failed(batch, error)
                    bar.move_to(load.settled)
        return load.result()

    def get(self, collection: str, id: str, *, timeout: float | None = None) -> Entry | None:
        """An entry, or ``None`` if there is none of that id."""
        try:
            return self._call(verbs.get(collection, id), timeout)
        except NotFound as error:
            if verbs.is_missing_entry(error):
                return None
            raise

    def delete(
        self,
        collection: str,
        ids: str | Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Deleted:
        """Deletes entries by ids or by filter; answers how many existed and are gone."""
        return self._call(verbs.delete(collection, ids, filter, request_id), timeout)

    # --- Searches ---

    def search(
        self,
        collection: str,
        vector: VectorLike,
        *,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        ef: int | None = None,
        target_recall: float | None = None,
        exact: bool = False,
        max_distance: float | None = None,
        include_metadata: bool = False,
        include_vector: bool = False,
        allow_partial: bool = False,
        explain: bool = False,
        timeout: float | None = None,
    ) -> SearchResult:
        """The ``k`` nearest entries, nearest first.

        ``filter`` restricts them (``{"section": "games", "size": {"$lt": 1000}}``); ``ef`` is the breadth
        of the walk, more is more exact and slower; ``target_recall`` (0.5 to 0.999) has the daemon choose it;
        ``exact`` scans instead; ``max_distance`` drops farther hits; ``allow_partial`` accepts an answer that does not cover all partitions; ``explain`` answers
        with how the search was done.
        """
        call = verbs.search(
            collection,
            vector,
            k,
            filter=filter,
            ef=ef,
            target_recall=target_recall,
            exact=exact,
            max_distance=max_distance,
            include_metadata=include_metadata,
            include_vector=include_vector,
            allow_partial=allow_partial,
            explain=explain,
        )
        return self._call(call, timeout)

    def search_batch(
        self,
        collection: str,
        vectors: Sequence[VectorLike] | npt.NDArray[Any],
        *,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        ef: int | None = None,
        target_recall: float | None = None,
        exact: bool = False,
        max_distance: float | None = None,
        include_metadata: bool = False,
        include_vector: bool = False,
        allow_partial: bool = False,
        explain: bool = False,
        timeout: float | None = None,
    ) -> list[SearchResult]:
        """As :meth:`search`, for each row of a 2-D array or each vector of a list.

        Many vectors become several requests; ``timeout`` is for each of them.
        """
        calls = verbs.search_batch(
            collection,
            vectors,
            k,
            filter=filter,
            ef=ef,
            target_recall=target_recall,
            exact=exact,
            max_distance=max_distance,
            include_metadata=include_metadata,
            include_vector=include_vector,
            allow_partial=allow_partial,
            explain=explain,
        )
        return [result for call in calls for result in self._call(call, timeout)]

    def count(
        self, collection: str, *, filter: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> int:
        """How many entries there are, or match the filter."""
        return self._call(verbs.count(collection, filter), timeout)

    def scroll(
        self,
        collection: str,
        *,
        filter: Mapping[str, Any] | None = None,
        include_vector: bool = True,
        page_size: int = 500,
        timeout: float | None = None,
    ) -> Iterator[Entry]:
        """All entries, or those that match, in a stable order; fetched page by page while you iterate."""
        cursor = ""
        while True:
            page = self._call(
                verbs.scroll_page(collection, filter, page_size, include_vector, cursor), timeout
            )
            yield from page.entries
            cursor = page.cursor
            if not cursor:
                return

    def grid_status(self, *, timeout: float | None = None) -> GridStatus:
        """Members and partitions of the grid, as the answering member sees them."""
        return self._call(verbs.grid_status(), timeout)

    # --- Transport ---

    def _call(self, call: verbs.Call[T], timeout: float | None, policy: RetryPolicy | None = None) -> T:
        attempts = Attempts(call, policy or self._retry, self._timeout if timeout is None else timeout)
        while True:
            send = getattr(self._stub(), call.method)
            try:
                answer = send(call.request, timeout=attempts.timeout(), metadata=self._metadata)
            except grpc.RpcError as raised:
                pause = attempts.pause_after(raised)
            else:
                return call.parse(answer)
            time.sleep(pause)

    def _stub(self) -> Any:
        if self._parent is not None:
            return self._parent._stub()
        if self._closed:
            raise RuntimeError("this client is closed")
        pid = os.getpid()
        opened = self._channels.get(pid)
        if opened is None:
            channel = grpc.insecure_channel(self._target, options=self._options)
            # No lock (a fork could copy a locked one): the first thread's channel stays.
            opened = self._channels.setdefault(pid, (channel, rpc.VecGridStub(channel)))
            if opened[0] is not channel:
                channel.close()
        return opened[1]
