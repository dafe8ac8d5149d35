"""How messages become SQS entries: text envelopes, sizes, message groups. Pure functions.

SQS bodies are text of at most 1 MiB, and some characters are refused. A body here is ``KEY:PAYLOAD``, both in
base64; a message without key has ``-`` in place of the key. Base64 adds a third, runs at C speed, and is within 8 % of
the most compact text encodings; a Binary attribute would be base64 on the wire as well.
"""

from __future__ import annotations

import math
import string
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import sha256

from brokerbench.brokers.errors import Refused

MAX_ENTRIES = 10
MAX_REQUEST_BYTES = 1_048_576
"""Most bytes of bodies and attributes in one request; one message may take all of them."""
MAX_PAYLOAD_BYTES = (MAX_REQUEST_BYTES - 2) // 4 * 3
"""Without key and attributes."""
MAX_ATTRIBUTES = 10
MAX_GROUP_CHARS = 128
UNKEYED = "-"
_GROUP_CHARS = frozenset((string.ascii_letters + string.digits + string.punctuation).encode())


def encode(payloads: Sequence[bytes], keys: Sequence[bytes] | None) -> list[str]:
    """Bodies of messages."""
    if keys is None:
        return ["-:" + str(b2a_base64(payload, newline=False), "ascii") for payload in payloads]
    heads = {key: str(b2a_base64(key, newline=False), "ascii") + ":" for key in set(keys)}
    return [
        heads[key] + str(b2a_base64(payload, newline=False), "ascii")
        for key, payload in zip(keys, payloads, strict=True)
    ]


def decode(bodies: Sequence[str]) -> tuple[list[bytes], list[bytes | None]]:
    """Payloads and keys of messages. Raises Refused for a body that ``encode`` did not make."""
    keys: dict[str, bytes | None] = {UNKEYED: None}
    payloads: list[bytes] = []
    heads: list[str] = []
    try:
        for body in bodies:
            head, colon, tail = body.partition(":")
            if not colon:
                raise NotBase64
            payloads.append(a2b_base64(tail, strict_mode=True))
            heads.append(head)
            if head not in keys:
                keys[head] = a2b_base64(head, strict_mode=True)
    except ValueError:
        raise Refused("a message was received that this profile did not send: its body is no envelope") from None
    return payloads, [keys[head] for head in heads]


def group_of(key: bytes | None) -> str:
    """The message group of a key: the key itself where SQS allows its characters, else a digest.

    All messages without key are one group. Two keys that share a group by chance only wait for each other.
    """
    if key is None:
        return UNKEYED
    if 0 < len(key) <= MAX_GROUP_CHARS and _GROUP_CHARS.issuperset(key):
        return key.decode("ascii")
    return f"sha256:{sha256(key).hexdigest()}"


def attribute_problem(attributes: Mapping[str, str]) -> str:
    """Why SQS would refuse these; empty when it would not."""
    if len(attributes) > MAX_ATTRIBUTES:
        return f"{len(attributes)} attributes: SQS carries at most {MAX_ATTRIBUTES}"
    if not all(name and value for name, value in attributes.items()):
        return "SQS carries no attribute whose name or value is empty"
    return ""


def attribute_bytes(attributes: Mapping[str, str]) -> int:
    """Bytes that attributes add to a message: name, type and value."""
    return sum(len(name.encode()) + len("String") + len(value.encode()) for name, value in attributes.items())


def split(members: Sequence[int], sizes: Sequence[int]) -> list[Sequence[int]]:
    """Cut messages (indices into ``sizes``), in order, into requests of at most ten entries and 1 MiB."""
    if min(len(members), MAX_ENTRIES) * max((sizes[at] for at in members), default=0) <= MAX_REQUEST_BYTES:
        return [members[at : at + MAX_ENTRIES] for at in range(0, len(members), MAX_ENTRIES)]
    requests: list[Sequence[int]] = []
    begin = total = 0
    for end, at in enumerate(members):
        total += sizes[at]
        if end - begin == MAX_ENTRIES or total > MAX_REQUEST_BYTES:
            requests.append(members[begin:end])
            begin, total = end, sizes[at]
    requests.append(members[begin:])
    return requests


def lanes(groups: Sequence[str], concurrency: int) -> list[list[int]]:
    """Share messages out to lanes that can be sent side by side, so that each group keeps its order.

    A group is on one lane. Lanes are cut to whole requests of ten; the remainders of all lanes form one more lane,
    which comes last.
    """
    wanted = min(concurrency, math.ceil(len(groups) / MAX_ENTRIES))
    found: list[list[int]] = [[] for _ in range(wanted)]
    lane_of: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        lane = lane_of.get(group)
        if lane is None:
            lane = lane_of[group] = found[len(lane_of) % wanted]
        lane.append(at)
    whole = [lane[: len(lane) // MAX_ENTRIES * MAX_ENTRIES] for lane in found]
    rest = [at for lane, kept in zip(found, whole, strict=True) for at in lane[len(kept) :]]
    return [lane for lane in [*whole, rest] if lane]
