"""The transport for asyncio: sends calls, waits between attempts. Everything else is in the pure modules."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio
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


class AsyncClient:
    """As :class:`vecgrid.Client`, for asyncio: the same methods, awaited."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        options: Sequence[tuple[str, str | int]] = (),
    ) -> None:
        """Does not connect yet, and needs no running event loop."""
        self._target = endpoints.resolve(endpoint)
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._options = endpoints.channel_options(self._target, options)
        # A channel belongs to a process and to an event loop.
        self._channels: dict[tuple[int, asyncio.AbstractEventLoop], tuple[grpc.aio.Channel, Any]] = {}
        self._closed = False
        self._metadata: verbs.Metadata = ()
        self._parent: AsyncClient | None = None

    @property
    def target(self) -> str:
        """The gRPC target that the endpoint stands for."""
        return self._target

    async def __aenter__(self) -> AsyncClient:
        """Closes at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See :meth:`close`."""
        await self.close()

    async def close(self) -> None:
        """Closes the connection; the client cannot be used again."""
        if self._parent is not None:
            return await self._parent.close()
        self._closed = True
        opened = self._channels.pop((os.getpid(), asyncio.get_running_loop()), None)
        if opened is not None:
            await opened[0].close()

    def reading(self, *, strong: bool = False, at_least: str | None = None) -> AsyncClient:
        """See :meth:`vecgrid.Client.reading`."""
        reader = copy.copy(self)
        reader._parent = self._parent or self
        reader._metadata = verbs.reads_show(strong, at_least)
        return reader

    # --- Collections ---

    async def create_collection(
        self,
        name: str,
        dimension: int,
        *,
        metric: Metric = "cosine",
        index: IndexOptions | Mapping[str, Any] | None = None,
        durability: Durability = "sync",
        timeout: float | None = None,
    ) -> CreatedCollection:
        """See :meth:`vecgrid.Client.create_collection`."""
        return await self._call(verbs.create_collection(name, dimension, metric, index, durability), timeout)

    async def get_collection(self, name: str, *, timeout: float | None = None) -> CollectionInfo:
        """See :meth:`vecgrid.Client.get_collection`."""
        return await self._call(verbs.get_collection(name), timeout)

    async def list_collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """See :meth:`vecgrid.Client.list_collections`."""
        return await self._call(verbs.list_collections(), timeout)

    async def drop_collection(self, name: str, *, timeout: float | None = None) -> bool:
        """See :meth:`vecgrid.Client.drop_collection`."""
        return await self._call(verbs.drop_collection(name), timeout)

    # --- Entries ---

    async def upsert(
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
        """See :meth:`vecgrid.Client.upsert`."""
        call = verbs.upsert(collection, entries, ids, vectors, metadatas, request_id)
        result = await self._call(call, timeout)
        if result.errors:
            raise from_entry_errors(result)
        return result

    async def upsert_many(
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
        """See :meth:`vecgrid.Client.upsert_many`. Cancelling it cancels the batches in flight."""
        load = upload.Upload(
            collection,
            messages.rows(entries, ids, vectors, metadatas),
            batch_bytes=batch_bytes,
            batch_entries=batch_entries,
            parallel=parallel,
            max_errors=max_errors,
        )
        running: dict[asyncio.Task[UpsertResult], upload.Batch] = {}
        with Bar(progress, messages.how_many(entries, ids)) as bar:
            try:
                while True:
                    while (batch := load.next_batch()) is not None:
                        running[asyncio.create_task(self._call(load.call(batch), timeout, BULK))] = batch
                    if not running:
                        break
                    for done in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                        batch, error = running.pop(done), done.exception()
                        if error is None:
                            load.stored(batch, done.result())
                        else:
                            load.failed(batch, error)
                    bar.move_to(load.settled)
            finally:
                for task in running:
                    task.cancel()
        return load.result()

    async def get(self, collection: str, id: str, *, timeout: float | None = None) -> Entry | None:
        """See :meth:`vecgrid.Client.get`."""
        try:
            return await self._call(verbs.get(collection, id), timeout)
        except NotFound as error:
            if verbs.is_missing_entry(error):
                return None
            raise

    async def delete(
        self,
        collection: str,
        ids: str | Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Deleted:
        """See :meth:`vecgrid.Client.delete`."""
        return await self._call(verbs.delete(collection, ids, filter, request_id), timeout)

    # --- Searches ---

    async def search(
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
        """See :meth:`vecgrid.Client.search`."""
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
        return await self._call(call, timeout)

    async def search_batch(
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
        """See :meth:`vecgrid.Client.search_batch`."""
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
        return [result for call in calls for result in await self._call(call, timeout)]

    async def count(
        self, collection: str, *, filter: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> int:
        """See :meth:`vecgrid.Client.count`."""
        return await self._call(verbs.count(collection, filter), timeout)

    async def scroll(
        self,
        collection: str,
        *,
        filter: Mapping[str, Any] | None = None,
        include_vector: bool = True,
        page_size: int = 500,
        timeout: float | None = None,
    ) -> AsyncIterator[Entry]:
        """See :meth:`vecgrid.Client.scroll`; an async iterator."""
        cursor = ""
        while True:
            call = verbs.scroll_page(collection, filter, page_size, include_vector, cursor)
            page = await self._call(call, timeout)
            for entry in page.entries:
                yield entry
            cursor = page.cursor
            if not cursor:
                return

    async def grid_status(self, *, timeout: float | None = None) -> GridStatus:
        """See :meth:`vecgrid.Client.grid_status`."""
        return await self._call(verbs.grid_status(), timeout)

    # --- Transport ---

    async def _call(self, call: verbs.Call[T], timeout: float | None, policy: RetryPolicy | None = None) -> T:
        attempts = Attempts(call, policy or self._retry, self._timeout if timeout is None else timeout)
        while True:
            send = getattr(self._stub(), call.method)
            try:
                answer = await send(call.request, timeout=attempts.timeout(), metadata=self._metadata)
            except grpc.RpcError as raised:
                pause = attempts.pause_after(raised)
            else:
                return call.parse(answer)
            await asyncio.sleep(pause)

    def _stub(self) -> Any:
        if self._parent is not None:
            return self._parent._stub()
        if self._closed:
            raise RuntimeError("this client is closed")
        key = (os.getpid(), asyncio.get_running_loop())
        opened = self._channels.get(key)
        if opened is None:
            # Loops that are gone (several asyncio.run of one client) took their connections with them.
            for pid, loop in list(self._channels):
                if pid == key[0] and loop.is_closed():
                    del self._channels[pid, loop]
            channel = grpc.aio.insecure_channel(self._target, options=self._options)
            opened = self._channels[key] = (channel, rpc.VecGridStub(channel))
        return opened[1]
