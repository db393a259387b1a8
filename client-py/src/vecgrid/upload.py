"""The bookkeeping of a bulk load. Pure: a transport asks for batches, sends them, reports what came back.

    rows -> [one batch held back] -> in flight (at most `parallel`) -> result
                                        |  refused: without the guilty entries, once more

Promises: bounded memory (one batch held back plus those in flight); of equal ids the last one wins,
also across batches, because a batch waits while another one with the same id is in flight; every entry
that is not stored is in ``errors``. Stops at the first failure that concerns more than single entries, or
when ``max_errors`` entries have failed.

Leaves out: retries (attempts.py has them; each batch has its request id).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import InvalidInput, VecGridError, Violation, from_entry_errors
from .messages import Row, entry_message
from .model import EntryError, UpsertManyResult, UpsertResult
from .v1 import vecgrid_pb2 as pb
from .verbs import Call, new_request_id, upsert_encoded

BATCH_BYTES = 2 * 1024 * 1024
BATCH_ENTRIES = 1_000
PARALLEL = 4
MAX_ERRORS = 1_000
TIMEOUT = 300.0
"""Seconds for one batch, retries included. Long: the daemon slows writers down to the speed of its index."""

_ENTRY_PATH = re.compile(r"^entries\[(\d+)\]")


@dataclass(slots=True)
class Batch:
    """Entries that travel together, and their places in the input."""

    entries: list[pb.Entry] = field(default_factory=list[pb.Entry])
    places: list[int] = field(default_factory=list[int])
    size: int = 0
    request_id: str = field(default_factory=new_request_id)

    def add(self, entry: pb.Entry, place: int, size: int) -> None:
        """Appends one entry."""
        self.entries.append(entry)
        self.places.append(place)
        self.size += size

    def without(self, guilty: set[int]) -> Batch:
        """The other entries, as a new request."""
        rest = Batch()
        for index, (entry, place) in enumerate(zip(self.entries, self.places, strict=True)):
            if index not in guilty:
                rest.add(entry, place, entry.ByteSize())
        return rest


class Upload:
    """One bulk load. Used by one task or thread at a time."""

    def __init__(
        self,
        collection: str,
        rows: Iterator[Row],
        *,
        batch_bytes: int,
        batch_entries: int,
        parallel: int,
        max_errors: int,
    ) -> None:
        """Nothing is read from ``rows`` yet."""
        if min(batch_bytes, batch_entries, parallel) < 1:
            raise InvalidInput("batch_bytes, batch_entries and parallel are at least 1", code="invalid_batch")
        self._collection = collection
        self._rows = enumerate(rows)
        self._batch_bytes = batch_bytes
        self._batch_entries = batch_entries
        self._parallel = parallel
        self._max_errors = max_errors
        self._begun = Batch()  # being filled
        self._held: Batch | None = None  # full, waits for its turn
        self._again: deque[Batch] = deque()  # refused for single entries; their ids are in flight still
        self._in_flight = 0
        self._ids: set[str] = set()
        self._rows_end = False
        self._upserted = 0
        self._errors: list[EntryError] = []
        self._settled = 0
        self._stopped_by: BaseException | None = None

    @property
    def settled(self) -> int:
        """Entries of which the fate is known: for a progress bar."""
        return self._settled

    def next_batch(self) -> Batch | None:
        """A batch to send now; ``None``: wait for one in flight, or, if there is none, be done."""
        if self._stopped_by is not None or self._in_flight >= self._parallel:
            return None
        if self._again:
            self._in_flight += 1
            return self._again.popleft()
        if self._held is None:
            try:
                self._held = self._fill()
            except BaseException as error:  # from the caller's iterable: let what is in flight land first
                self._stopped_by = error
                return None
        batch = self._held
        if batch is None or not self._ids.isdisjoint(entry.id for entry in batch.entries):
            return None
        self._held = None
        self._ids.update(entry.id for entry in batch.entries)
        self._in_flight += 1
        return batch

    def call(self, batch: Batch) -> Call[UpsertResult]:
        """The call that sends a batch."""
        return upsert_encoded(self._collection, batch.entries, batch.request_id)

    def stored(self, batch: Batch, result: UpsertResult) -> None:
        """A batch was answered."""
        self._in_flight -= 1
        self._upserted += result.upserted
        for error in result.errors:
            self._fail(
                EntryError(batch.places[error.index], error.id, error.code, error.message, error.outcome)
            )
        self._release(batch)
        self._settled += len(batch.entries)
        if result.errors and len(self._errors) >= self._max_errors:
            self._stop(from_entry_errors(result))

    def failed(self, batch: Batch, error: BaseException) -> None:
        """A batch was not answered, or refused whole."""
        self._in_flight -= 1
        guilty = _guilty(error, len(batch.entries)) if isinstance(error, InvalidInput) else {}
        if not isinstance(error, InvalidInput) or not guilty:
            self._stop(error)
            self._release(batch)
            return
        for index, violation in guilty.items():
            entry = batch.entries[index]
            # The daemon lists places and messages; the code is that of the first.
            self._fail(EntryError(batch.places[index], entry.id, error.code, violation.message))
            self._ids.discard(entry.id)
        self._settled += len(guilty)
        rest = batch.without(set(guilty))
        # An id that occurs twice in the batch is in flight still.
        self._ids.update(entry.id for entry in rest.entries)
        if rest.entries:
            self._again.append(rest)
        if len(self._errors) >= self._max_errors:
            self._stop(error)

    def result(self) -> UpsertManyResult:
        """The outcome; raises what stopped the load, with the outcome so far as its ``partial``."""
        result = UpsertManyResult(self._upserted, tuple(sorted(self._errors, key=lambda error: error.index)))
        if self._stopped_by is not None:
            if isinstance(self._stopped_by, VecGridError):
                self._stopped_by.partial = result
            raise self._stopped_by
        return result

    def _fill(self) -> Batch | None:
        """Reads rows until a batch is full."""
        while not self._rows_end:
            try:
                place, row = next(self._rows)
            except StopIteration:
                self._rows_end = True
                break
            try:
                entry = entry_message(row)
            except InvalidInput as error:
                self._fail(EntryError(place, str(row[0]), error.code, error.message))
                self._settled += 1
                if len(self._errors) >= self._max_errors:
                    raise
                continue
            size = entry.ByteSize()
            full = None
            if self._begun.entries and self._begun.size + size > self._batch_bytes:
                full, self._begun = self._begun, Batch()
            self._begun.add(entry, place, size)
            if full is None and len(self._begun.entries) >= self._batch_entries:
                full, self._begun = self._begun, Batch()
            if full is not None:
                return full
        last, self._begun = self._begun, Batch()
        return last if last.entries else None

    def _release(self, batch: Batch) -> None:
        self._ids.difference_update(entry.id for entry in batch.entries)

    def _fail(self, error: EntryError) -> None:
        self._errors.append(error)

    def _stop(self, error: BaseException) -> None:
        self._stopped_by = self._stopped_by or error


def _guilty(error: InvalidInput, length: int) -> dict[int, Violation]:
    """The entries that a refusal names, by their index in the batch."""
    named = error.violations or (Violation(error.field or "", error.message),)
    found: dict[int, Violation] = {}
    for violation in named:
        path = _ENTRY_PATH.match(violation.field)
        if path and int(path[1]) < length:
            found.setdefault(int(path[1]), violation)
    return found
