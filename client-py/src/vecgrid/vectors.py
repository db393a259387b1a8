"""Vectors: numpy on this side, little-endian float32 on the wire.

A contiguous ``float32`` array is sent as it lies in memory: one copy, into the message. Other numbers
are converted once. Whether the numbers make sense (dimension, NaN, zero length) is the daemon's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidInput
from .model import Array

VectorLike = Sequence[float] | npt.NDArray[Any]
"""What is accepted as a vector: a list of numbers, or a 1-D array of any number type."""

_WIRE = np.dtype("<f4")


def to_wire(vector: VectorLike) -> bytes:
    """The bytes of a vector."""
    return _as_float32(vector, 1, "a vector is one-dimensional").tobytes()


def rows_to_wire(vectors: Sequence[VectorLike] | npt.NDArray[Any]) -> list[bytes]:
    """The bytes of many vectors: a 2-D array, or a list of vectors."""
    if isinstance(vectors, np.ndarray):
        return [row.tobytes() for row in _as_float32(vectors, 2, "an array of vectors is two-dimensional")]
    return [to_wire(vector) for vector in vectors]


def from_wire(data: bytes) -> Array:
    """A read-only array over the bytes of an answer."""
    return np.frombuffer(data, dtype=_WIRE).astype(np.float32, copy=False)


def _as_float32(values: Any, dimensions: int, rule: str) -> npt.NDArray[np.float32]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of unequal length
        raise InvalidInput(f"not a vector: {error}", code="invalid_vector", field="vector") from error
    if array.ndim != dimensions:
        raise InvalidInput(f"{rule}: got shape {array.shape}", code="invalid_vector", field="vector")
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"not numbers: {array.dtype}", code="invalid_vector", field="vector")
    if array.dtype == _WIRE:
        return array
    # A component above float32 becomes infinite, which the daemon refuses.
    with np.errstate(over="ignore"):
        return array.astype(_WIRE)
