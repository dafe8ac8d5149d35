"""The measuring stamp: 48 bytes at the head of every payload, written and verified a batch at a time.

Layout, little-endian: magic u32, producer u32, seq u64, key u64, due_ns i64, size u32,
run u32, checksum u64. ``due_ns`` is when the message was due (in a closed loop: when it was made), by the monotonic
clock of the cell's host. The stamp lives inside the payload because not every path carries headers
(``produce_batch`` drops them).

The checksum is the sum over all 64-bit words of the payload but the checksum itself (zero-padded to a
multiple of eight) of ``word * multiplier[i]`` modulo 2**64, each multiplier odd and distinct: a change of one
word is always seen (an odd factor is invertible), swapped words with probability 1 - 2**-63. One NumPy pass
costs about a tenth of zlib.crc32 called message by message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from operator import add
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.rows import Matrix, Rows, sizes_of
from brokerbench.brokers.types import constant

MAGIC = 0x4D424231
SIZE = 48
_WORDS = SIZE // 8
_CHECKSUM_WORD = 5
_AT_ONCE = 64
"""Number of records summed together when a pool is made; bounds the memory for it."""
_Number = TypeVar("_Number", bound=np.generic)

STAMP = np.dtype(
    [
        ("magic", "<u4"),
        ("producer", "<u4"),
        ("seq", "<u8"),
        ("key", "<u8"),
        ("due_ns", "<i8"),
        ("size", "<u4"),
        ("run", "<u4"),
        ("checksum", "<u8"),
    ]
)
_PLAIN = f"V{SIZE}"
"""A stamp as plain bytes: ``tolist`` makes bytes of all stamps at once."""

INTACT, CORRUPT, FOREIGN = 0, 1, 2
"""Status of a verified payload: as sent; altered; not stamped by this run (its fields have no meaning)."""


@lru_cache(maxsize=64)
def _multipliers(words: int) -> npt.NDArray[np.uint64]:
    """The multipliers of the first ``words`` words, the same for all lengths; 0 for the checksum's own word."""
    rng = np.random.default_rng(0x5EED)
    factors = rng.integers(0, 2**63, size=words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    factors[_CHECKSUM_WORD : _CHECKSUM_WORD + 1] = 0
    return factors


def _checksums(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Checksums of payloads given as a matrix (messages, words)."""
    # Modular: unsigned overflow wraps. ``words @ factors``, for which there is no BLAS, takes half as long again.
    sums: npt.NDArray[np.uint64] = np.einsum("ij,j->i", words, _multipliers(words.shape[1]))
    return sums


def random_records(*, size: int, seed: int, producer: int, pool: int = 1024) -> list[bytes]:
    """Incompressible bytes."""
    words_each = -(-size // 8)
    words = np.random.default_rng([seed, producer]).integers(0, 2**64, size=(pool, words_each), dtype=np.uint64)
    return [row[:size].tobytes() for row in words.view(np.uint8).reshape(pool, words_each * 8)]


class Stamper:
    """Makes stamped payloads for one producer from a pool of records, used in turn; a stamp covers a record's head.

    ``size`` in bytes, at least ``SIZE``, for random records; ``records`` (not empty, each of at least ``SIZE`` bytes)
    have sizes of their own.
    """

    def __init__(
        self, *, producer: int, run: int, size: int, seed: int, records: Sequence[bytes] | None = None
    ) -> None:
        least = size if records is None else min(map(len, records))
        if least < SIZE:
            raise ValueError(f"payload size must be at least {SIZE} bytes, not {least}")
        if records is None:
            records = random_records(size=size, seed=seed, producer=producer)
        self._run_of = (producer, run)
        self._sizes = np.fromiter(map(len, records), np.int64, len(records))
        self._factors = _multipliers(_WORDS)
        # Records of one size are rows of a matrix; others are bytes objects.
        self._matrix = _matrix(records) if _all(self._sizes == self._sizes[0]) else None
        self._bodies = [] if self._matrix is not None else [record[SIZE:] for record in records]
        self._body_sums = np.concatenate(
            [
                _sums_of([bytes(SIZE) + record[SIZE:] for record in records[at : at + _AT_ONCE]])
                for at in range(0, len(records), _AT_ONCE)
            ]
        )
        self._pool, self._next = len(records), 0

    def stamp(
        self, seqs: npt.NDArray[np.int64], keys: npt.NDArray[np.int64], due_ns: int | npt.NDArray[np.int64]
    ) -> tuple[Sequence[bytes], npt.NDArray[np.uint64]]:
        """Payloads for these sequence numbers and keys, and their checksums."""
        count, first = len(seqs), self._next
        self._reach(first + count)
        body_sums, sizes = self._body_sums, self._sizes
        self._next = (first + count) % self._pool
        head = np.zeros(count, STAMP)
        head["magic"] = MAGIC
        head["producer"], head["run"] = self._run_of
        head["size"] = sizes[first : first + count]
        head["seq"] = seqs
        head["key"] = keys
        head["due_ns"] = due_ns
        # The pool knows the body's share of the sum: only the head is summed anew.
        sums: npt.NDArray[np.uint64] = (
            body_sums[first : first + count] + head.view(np.uint64).reshape(count, _WORDS) @ self._factors
        )
        head["checksum"] = sums
        if self._matrix is not None:
            return self._rows(self._matrix, head, first), sums
        heads: list[bytes] = head.view(_PLAIN).tolist()
        return list(map(add, heads, self._bodies[first : first + count])), sums

    def _rows(self, pool: Matrix, head: npt.NDArray[np.void], first: int) -> Rows:
        count = len(head)
        whole = np.empty((count, pool.shape[1]), np.uint8)
        whole[:, :SIZE] = head.view(np.uint8).reshape(count, SIZE)
        done = 0
        while done < count:
            part = pool[first : first + count - done, SIZE:]
            whole[done : done + len(part), SIZE:] = part
            done, first = done + len(part), 0
        return Rows(whole)

    def _reach(self, end: int) -> None:
        """Repeat the pool until it reaches ``end``, for this batch and later ones."""
        if end > len(self._sizes):
            rounds = -(-end // self._pool)
            self._bodies = self._bodies[: self._pool] * rounds
            self._body_sums = np.tile(self._body_sums[: self._pool], rounds)
            self._sizes = np.tile(self._sizes[: self._pool], rounds)


@dataclass(frozen=True, slots=True)
class Stamps:
    """Verified stamps of a batch, as columns. Where ``status`` is FOREIGN, producer, seq and key are -1."""

    producer: npt.NDArray[np.int32]
    seq: npt.NDArray[np.int64]
    key: npt.NDArray[np.int64]
    due_ns: npt.NDArray[np.int64]
    size: npt.NDArray[np.int32]
    checksum: npt.NDArray[np.uint64]
    """Computed from the received bytes, whatever the stamp says."""
    status: npt.NDArray[np.int8]


def read(payloads: Sequence[bytes], run: int) -> Stamps:
    """Read and verify the stamps of payloads of any sizes."""
    count, sizes = len(payloads), sizes_of(payloads)
    if count and sizes[0] >= SIZE and (isinstance(payloads, Rows) or _all(sizes == sizes[0])):
        words = _equal_words(_matrix(payloads))
        heads, sums = words[:, :_WORDS], _checksums(words)
    else:
        whole = np.flatnonzero(sizes >= SIZE)
        if not len(whole):
            return _foreign(sizes)
        if len(whole) < count:
            return _scattered(read([payloads[at] for at in whole.tolist()], run), whole, sizes)
        flat, starts = _ragged_words(payloads, sizes)
        heads, sums = flat[starts[:, None] + np.arange(_WORDS)], _ragged_checksums(flat, starts)
    return _judged(np.ascontiguousarray(heads).view(STAMP).reshape(count), sums, sizes, run)


def _all(mask: npt.NDArray[np.bool_]) -> bool:
    """``mask.all()`` in a third of the time for a short mask."""
    return int(np.count_nonzero(mask)) == len(mask)


def _matrix(payloads: Sequence[bytes]) -> Matrix:
    """Payloads of one size as (messages, bytes)."""
    if isinstance(payloads, Rows):
        return payloads.matrix
    return np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), -1)


def _equal_words(matrix: Matrix) -> npt.NDArray[np.uint64]:
    """A matrix (messages, words), padded with zeros."""
    count, size = matrix.shape
    padded = -(-size // 8) * 8
    if padded == size:
        return np.ascontiguousarray(matrix).view("<u8")
    whole = np.zeros((count, padded), np.uint8)
    whole[:, :size] = matrix
    return whole.view("<u8")


def _ragged_words(
    payloads: Sequence[bytes], sizes: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """All words one after the other, each payload padded to whole words; and where each begins."""
    counts = -(-sizes.astype(np.int64) // 8)
    raw = b"".join(map(bytes.ljust, payloads, (counts * 8).tolist(), repeat(b"\0")))
    return np.frombuffer(raw, "<u8"), np.cumsum(counts) - counts


def _ragged_checksums(words: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    counts = np.diff(np.append(starts, len(words)))
    # A power of two, so that few sets of multipliers are kept.
    factors = _multipliers(1 << int(counts.max() - 1).bit_length())
    places = np.arange(len(words)) - np.repeat(starts, counts)
    sums: npt.NDArray[np.uint64] = np.add.reduceat(words * factors[places], starts)
    return sums


def _sums_of(payloads: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    return _ragged_checksums(*_ragged_words(payloads, np.fromiter(map(len, payloads), np.int32, len(payloads))))


def _judged(head: npt.NDArray[np.void], sums: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int32], run: int) -> Stamps:
    ours = (head["magic"] == MAGIC) & (head["run"] == run)
    intact = ours & (head["checksum"] == sums) & (head["size"] == sizes)
    if _all(intact):
        return Stamps(
            head["producer"].astype(np.int32),
            head["seq"].astype(np.int64),
            head["key"].astype(np.int64),
            head["due_ns"].astype(np.int64),
            sizes,
            sums,
            constant(INTACT, len(sizes), np.int8),
        )
    # A damaged stamp may still name its message: trusted only as far as "which message was altered".
    status = np.where(intact, INTACT, np.where(ours, CORRUPT, FOREIGN)).astype(np.int8)
    known = status != FOREIGN
    return Stamps(
        np.where(known, head["producer"].astype(np.int64), -1).astype(np.int32),
        np.where(known, head["seq"].astype(np.int64), -1),
        np.where(known, head["key"].astype(np.int64), -1),
        np.where(known, head["due_ns"], -1),
        sizes,
        sums,
        status,
    )


def _foreign(sizes: npt.NDArray[np.int32]) -> Stamps:
    count = len(sizes)
    none = np.full(count, -1, np.int64)
    return Stamps(
        np.full(count, -1, np.int32),
        none,
        none,
        none,
        sizes,
        np.zeros(count, np.uint64),
        np.full(count, FOREIGN, np.int8),
    )


def _scattered(found: Stamps, places: npt.NDArray[np.int64], sizes: npt.NDArray[np.int32]) -> Stamps:
    """Stamps at their places among payloads too short to have one."""

    def spread(column: npt.NDArray[_Number], missing: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        whole = missing.copy()
        whole[places] = column
        return whole

    none = _foreign(sizes)
    return Stamps(
        spread(found.producer, none.producer),
        spread(found.seq, none.seq),
        spread(found.key, none.key),
        spread(found.due_ns, none.due_ns),
        sizes,
        spread(found.checksum, none.checksum),
        spread(found.status, none.status),
    )
