"""One connection to Redis for data: whole requests out, replies in through hiredis, nothing in between.

redis-py makes the connection (TLS, login, time-outs); its own reply path costs several microseconds of Python
per reply, so the data path feeds hiredis itself. Control commands go through ``redis.Redis`` as usual.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.retry import Retry

from brokerbench.brokers.errors import Misuse, Refused, Unreachable
from brokerbench.brokers.types import Endpoint

ANSWER_TIMEOUT_S = 10.0
"""Longest wait for an answer, beyond the time for which the command itself blocks."""
_RECEIVE_BYTES = 256 << 10
_NOTHING = object()


def connection_settings(endpoint: Endpoint) -> dict[str, Any]:
    """Keyword arguments for a redis-py connection. ``ssl`` is present (and true) where TLS is asked for.

    ``address``: ``host:port`` or ``redis[s]://host:port[/db]``; ``options``: ``tls`` ("true"), ``tls_ca``
    (path), ``db``; ``secrets``: ``user``, ``password``. Raises Misuse for credentials in the address.
    """
    address = endpoint.address if "://" in endpoint.address else f"redis://{endpoint.address}"
    parsed: Mapping[str, Any] = parse_url(address)  # type: ignore[no-untyped-call]
    if "password" in parsed or "username" in parsed:
        raise Misuse("credentials belong into the endpoint's secrets, not into its address")
    settings: dict[str, Any] = {
        "host": parsed.get("host", "127.0.0.1"),
        "port": parsed.get("port", 6379),
        "db": int(endpoint.options.get("db", parsed.get("db", 0))),
        "username": endpoint.secrets.get("user"),
        "password": endpoint.secrets.get("password"),
        "socket_timeout": ANSWER_TIMEOUT_S,
        "socket_connect_timeout": ANSWER_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if address.startswith("rediss://") or endpoint.options.get("tls", "").lower() == "true":
        settings["ssl"] = True
        if "tls_ca" in endpoint.options:
            settings["ssl_ca_certs"] = endpoint.options["tls_ca"]
    return settings


@contextmanager
def translated(what: str) -> Iterator[None]:
    """redis-py's errors as ours. Text from the server never holds a password; ours adds none."""
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise Refused(f"{what}: {error}") from None
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise Unreachable(f"{what}: {error}") from None
    except exceptions.ResponseError as error:
        raise Refused(f"{what}: {error}") from None


def pack(*words: bytes | str | int) -> bytes:
    """One command, ready to be written."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # the stub wants exactly one word
    return packed


def good(reply: Any) -> Any:
    """A reply that is no error. Raises Refused."""
    if isinstance(reply, hiredis.ReplyError):
        raise Refused(str(reply))
    return reply


class RedisConnection:
    """A connected socket with a reply parser. Any error closes it: the fate of open requests is then unknown."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        arguments = dict(settings)
        kind = SSLConnection if arguments.pop("ssl", False) else Connection
        self._connection = kind(**arguments)
        with translated("connecting to Redis"):
            self._connection.connect()  # type: ignore[no-untyped-call]
        # A private name: redis-py has no public way to its connected socket.
        sock: socket.socket | None = self._connection._sock
        if sock is None:
            raise Unreachable("connecting to Redis: no socket")
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self.closed = False

    def write(self, data: bytes) -> None:
        """Raises Unreachable when the socket takes no more within the time-out."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            self.close()
            raise Unreachable(f"writing to Redis: {error}") from None

    def fill(self, wait_s: float) -> bool:
        """Take in bytes that arrive within ``wait_s``; False when none do."""
        pending = getattr(self._sock, "pending", None)
        if not (pending and pending()) and not self._poll.poll(max(0.0, wait_s) * 1e3):
            return False
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except OSError as error:
            self.close()
            raise Unreachable(f"reading from Redis: {error}") from None
        if not data:
            self.close()
            raise Unreachable("Redis closed the connection")
        self._reader.feed(data)
        return True

    def replies(self) -> list[Any]:
        """Every complete reply that is at hand. Errors are ``hiredis.ReplyError`` values."""
        found: list[Any] = []
        gets, append = self._reader.gets, found.append
        while (reply := gets()) is not _NOTHING:
            append(reply)
        return found

    def ask(self, commands: Sequence[bytes], blocks_s: float = 0.0) -> list[Any]:
        """Write commands in one go and wait for all replies. Raises Unreachable when some do not come in time."""
        self.write(b"".join(commands))
        give_up = time.monotonic() + blocks_s + ANSWER_TIMEOUT_S
        found = self.replies()
        while len(found) < len(commands):
            if not self.fill(give_up - time.monotonic()):
                self.close()
                raise Unreachable(f"Redis did not answer within {blocks_s + ANSWER_TIMEOUT_S:g} s")
            found += self.replies()
        return found

    def close(self) -> None:
        self.closed = True
        self._connection.disconnect()  # type: ignore[no-untyped-call]
