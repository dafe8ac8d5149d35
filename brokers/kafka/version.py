"""The version of the Kafka that answers, from its own ApiVersions response.

The client library shows no broker version, and the protocol carries no product version either: the
nearest thing is the highest ``metadata.version`` that the software supports, which each release
raises (KIP-584). ApiVersions is answered before authentication, so that this needs no secrets.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping

from brokerbench.brokers.errors import Unreachable
from brokerbench.brokers.types import Endpoint

# The highest metadata.version of each release (org.apache.kafka.server.common.MetadataVersion).
_RELEASES = {19: "3.7", 20: "3.8", 21: "3.9", 25: "4.0", 27: "4.1", 29: "4.2", 30: "4.3", 33: "4.4"}
_TIMEOUT_S = 5.0
_API_VERSIONS, _VERSION = 18, 3
_SUPPORTED_FEATURES_TAG = 0


def kafka_version(endpoint: Endpoint) -> str:
    """E.g. ``"Kafka 4.4 (metadata.version 33)"``; the patch level is not on the wire."""
    level = _supported_features(_ask(endpoint)).get("metadata.version")
    if level is None:
        return "Kafka before 3.7 (it names no metadata.version)"
    newest = max(_RELEASES)
    release = next((name for top, name in sorted(_RELEASES.items()) if level <= top), f"after {_RELEASES[newest]}")
    return f"Kafka {release} (metadata.version {level})"


def _ask(endpoint: Endpoint) -> bytes:
    """The answer of the first of the servers that answers. Raises Unreachable when none does."""
    failures = []
    for server in endpoint.address.split(","):
        try:
            return _ask_one(server.strip(), endpoint.options)
        except (OSError, ValueError) as failure:
            failures.append(f"{server.strip()}: {failure}")
    raise Unreachable(f"ask {endpoint.address} for its version: {'; '.join(failures)}")


def _ask_one(server: str, options: Mapping[str, str]) -> bytes:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    body = struct.pack(">hhi", _API_VERSIONS, _VERSION, 1) + b"\xff\xff" + b"\x00"
    body += _compact(b"brokerbench") + _compact(b"1") + b"\x00"
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as plain:
        if "SSL" not in options.get("security_protocol", "").upper():
            return _exchange(plain, body)
        context = ssl.create_default_context(cafile=options.get("ssl_ca_location"))
        with context.wrap_socket(plain, server_hostname=host) as secured:
            return _exchange(secured, body)


def _exchange(stream: socket.socket, body: bytes) -> bytes:
    stream.sendall(struct.pack(">i", len(body)) + body)
    (size,) = struct.unpack(">i", _exactly(stream, 4))
    return _exactly(stream, size)


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection was closed")
        data += part
    return bytes(data)


def _supported_features(answer: bytes) -> Mapping[str, int]:
    """{feature: highest supported level} of an ApiVersions v3 response."""
    at = 4 + 2  # correlation id, error code
    count, at = _varint(answer, at)
    for _ in range(count - 1):
        at += 6
        _, at = _tagged(answer, at)
    at += 4  # throttle time
    sections, _ = _tagged(answer, at)
    features: dict[str, int] = {}
    section = sections.get(_SUPPORTED_FEATURES_TAG, b"\x01")
    count, at = _varint(section, 0)
    for _ in range(count - 1):
        size, at = _varint(section, at)
        name = section[at : at + size - 1].decode()
        _, highest = struct.unpack_from(">hh", section, at + size - 1)
        features[name] = highest
        _, at = _tagged(section, at + size - 1 + 4)
    return features


def _tagged(data: bytes, at: int) -> tuple[dict[int, bytes], int]:
    count, at = _varint(data, at)
    sections = {}
    for _ in range(count):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)
        sections[tag] = data[at : at + size]
        at += size
    return sections, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _compact(text: bytes) -> bytes:
    return bytes([len(text) + 1]) + text
