"""Payloads of one size in one piece of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import constant

Matrix = npt.NDArray[np.uint8]


def sizes_of(payloads: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """In bytes."""
    if isinstance(payloads, Rows):
        return constant(payloads.matrix.shape[1], len(payloads), np.int32)
    return np.fromiter(map(len, payloads), np.int32, len(payloads))


class Rows(Sequence[bytes]):
    """A sequence of payloads. Columnar code takes ``matrix`` and makes no object per payload.

    ``matrix``: (messages, bytes), each row contiguous, at least one byte wide (ValueError); read-only through this.
    """

    __slots__ = ("matrix",)

    def __init__(self, matrix: Matrix) -> None:
        if not matrix.shape[1]:
            raise ValueError("rows without a width have no length either")
        self.matrix = matrix.view()
        self.matrix.flags.writeable = False

    def __len__(self) -> int:
        return len(self.matrix)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> Rows: ...
    def __getitem__(self, at: int | slice) -> bytes | Rows:
        return Rows(self.matrix[at]) if isinstance(at, slice) else self.matrix[at].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        # Plain bytes, all at once: a tenth of the time of row after row.
        payloads: list[bytes] = np.ascontiguousarray(self.matrix).view(f"V{self.matrix.shape[1]}").ravel().tolist()
        return iter(payloads)
