"""Memory that NumPy shares with the C library: structures and bytes that lie at addresses. Needs no symbol of it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.kafka.client_protocols import MESSAGE, Messages
from brokerbench.brokers.rows import Rows

Addresses = npt.NDArray[np.uint64]

_LOWEST, _HIGHEST = 1 << 16, 1 << 48
"""Addresses between which the memory of a process lies: below, Linux maps nothing; above is the kernel's."""
_BASE, _SPAN = np.uint64(_LOWEST), np.uint64(_HIGHEST - _LOWEST)
_LONGEST_BYTES = 1 << 14
"""The longest piece, in bytes, that NumPy copies together: it counts an array's bytes in 63 bits."""
_FEW = 20
"""The number of messages of one size from which on it pays to copy them together."""


def address(array: npt.NDArray[np.number[Any]]) -> int:
    """The address of its first item. A third of the time of ``array.ctypes.data`` (ten times, for structures)."""
    found: int = array.__array_interface__["data"][0]
    return found


class MessageBuffer:
    """Memory for the messages of a batch that is sent; each batch uses it again."""

    def __init__(self) -> None:
        self._messages: Messages = np.zeros(0, MESSAGE)
        self.address = 0

    def of(self, count: int) -> Messages:
        """``count`` structures, which hold what the batch before left there."""
        if len(self._messages) < count:
            self._messages = np.zeros(count, MESSAGE)
            self.address = int(self._messages.ctypes.data)
        return self._messages[:count]


def joined(parts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], Addresses, Addresses | int]:
    """One array with all of them, which the caller keeps alive; the address of each part in it; their sizes."""
    if isinstance(parts, Rows):
        whole = np.ascontiguousarray(parts.matrix)
        count, size = whole.shape
        return whole, _steps(count, size) + np.uint64(address(whole)), size
    sizes = np.fromiter(map(len, parts), np.uint64, len(parts))
    whole = np.frombuffer(b"".join(parts) or b"\0", np.uint8)
    ends = sizes.cumsum()
    ends += np.uint64(address(whole))
    ends -= sizes
    return whole, ends, sizes


@lru_cache(maxsize=64)
def _steps(count: int, size: int) -> Addresses:
    return np.arange(0, count * size, size, dtype=np.uint64)


def messages_at(addresses: Addresses) -> Messages:
    """A copy of the messages at these addresses, as columns. The addresses are those that a function returned."""
    return _copies(addresses - _BASE, MESSAGE.itemsize).view(MESSAGE)


def bytes_at(addresses: Addresses, sizes: Addresses) -> Sequence[bytes]:
    """A copy of ``sizes`` bytes at each address. Raises ValueError for an address that no process has."""
    if not len(sizes):
        return []
    size = int(sizes[0])
    if 0 < size <= _LONGEST_BYTES and np.count_nonzero(sizes == size) == len(sizes):
        return Rows(_copies(offsets_of(addresses), size).view(np.uint8).reshape(-1, size))
    found = np.unique(sizes)
    if len(found) * _FEW > len(sizes) or int(found[-1]) > _LONGEST_BYTES:
        offsets_of(addresses[sizes > 0])
        return list(map(ctypes.string_at, addresses.tolist(), sizes.tolist()))
    pieces = np.full(len(sizes), b"", object)
    for size in found[found > 0].tolist():
        rows = np.flatnonzero(sizes == size)
        pieces[rows] = _copies(offsets_of(addresses[rows]), size).tolist()
    copies: list[bytes] = pieces.tolist()
    return copies


def offsets_of(addresses: Addresses) -> Addresses:
    """How far above ``_LOWEST`` each lies. Raises ValueError for an address that no process has; 2 us a call."""
    offsets = addresses - _BASE  # a lower address wraps around, to more than the span
    if np.count_nonzero(offsets >= _SPAN):
        raise ValueError("librdkafka gave an address outside of this process: its structures are not those expected")
    return offsets


def _copies(offsets: Addresses, size: int) -> npt.NDArray[np.void]:
    """``size`` bytes from each of these places above ``_LOWEST``: one call of NumPy for all."""
    copies: npt.NDArray[np.void] = _memory(size)[offsets.view(np.int64)]
    return copies


class _ProcessMemory:
    """The memory of this process, as all items of ``size`` bytes that begin between ``_LOWEST`` and ``_HIGHEST``.

    Made once for each size. An array for the span of each batch takes 10 to 20 us more, and a copy by the kernel
    (``process_vm_readv``), which answers a wrong address with an error, thirty times as long.
    """

    def __init__(self, size: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (_LOWEST, True),
            "shape": (_HIGHEST - _LOWEST,),
            "strides": (1,),
            "typestr": f"|V{size}",
        }


@lru_cache(maxsize=64)
def _memory(size: int) -> npt.NDArray[np.void]:
    return np.asarray(_ProcessMemory(size))
