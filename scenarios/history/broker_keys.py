"""Ordering keys: their names at a broker, and their numbers in a history."""

from __future__ import annotations

from collections.abc import Iterable

NO_KEY = -1
"""Delivered without a key."""
FOREIGN_KEY = -2
"""Delivered under a name that no producer of an experiment makes."""
UNTOLD_KEY = -3
"""The consumer did not ask for keys (load processes do not), or the history is of a format without them."""
_PREFIX = b"key-"
_HIGHEST = (1 << 63) - 1


def encode_key(key: int) -> bytes:
    """The ordering key of a key number. Negative numbers stand for "no key"."""
    return b"key-%d" % key


class EncodedKeys(dict[int, bytes]):
    """Each key encoded once: a look-up costs a tenth of a formatting."""

    def __missing__(self, key: int) -> bytes:
        encoded = self[key] = encode_key(key)
        return encoded


class KeyNumbers(dict[bytes | None, int]):
    """The number of each name, parsed once; foreign names are not kept, as there is no end of them."""

    def __init__(self) -> None:
        super().__init__({None: NO_KEY})

    def __missing__(self, name: bytes | None) -> int:
        number = _number(name)
        if number != FOREIGN_KEY:
            self[name] = number
        return number

    def of(self, names: Iterable[bytes | None]) -> list[int]:
        return list(map(self.__getitem__, names))


def _number(name: object) -> int:
    if isinstance(name, bytes) and name.startswith(_PREFIX) and name[len(_PREFIX) :].isdigit():
        number = int(name[len(_PREFIX) :])
        if number <= _HIGHEST and encode_key(number) == name:
            return number
    return FOREIGN_KEY
