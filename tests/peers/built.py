"""What a peer is given, and what it is once built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """What all peers are given alike."""

    metric: str
    m: int
    ef_construction: int
    build_threads: int


@dataclass
class Built:
    """One built index. `ask(queries, k)` does the Python work of a request outside the clock;
    `batch` and `one` run what it returned, `batch` on so many threads."""

    set_ef: Callable[[int], None]
    ask: Callable[[np.ndarray, int], Any]
    batch: Callable[[Any, int], Any]
    one: Callable[[Any, int], Any]
    rows: Callable[[Any], np.ndarray]
    own_bytes: int | None = None
    # Seconds of the build, where making Python objects for it must not count.
    build_s: float | None = None
    # Can one process use more than one core? Where not, two of them stand for two threads.
    threads: bool = True
    keep: list[Any] = field(default_factory=list)
