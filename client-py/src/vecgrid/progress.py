"""A progress bar, or none."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Bar:
    """Shows how many entries are done when ``shown``; ``total`` is ``None`` if nobody knows."""

    def __init__(self, shown: bool, total: int | None) -> None:
        """Shows itself at once."""
        self._bar: Any = None
        if shown:
            # Imported here: most programs never show one.
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="entry", unit_scale=True, desc="upsert")

    def move_to(self, done: int) -> None:
        """So many are done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> Bar:
        """Goes at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last state on the screen."""
        if self._bar is not None:
            self._bar.close()
