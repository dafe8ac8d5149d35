"""TCP connections between a cell and its load processes on other hosts.

The cell listens on the one address that faces the host, for as long as it runs; each connection must first send the
cell's token, which dask carried to the host. Nothing is encrypted: like dask without TLS, for a
network of one's own. A host that vanishes without a word is noticed within ``LOST_S``.
"""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

LOST_S = 12
_TOKEN_S = 5.0
_LOOK_S = 0.2
_PURPOSE_BYTES = 4

Address = tuple[str, int]


def facing(host: str) -> str:
    """The address of this host on the route to ``host``. Raises OSError where there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # this sends nothing on a datagram socket
        return str(probe.getsockname()[0])


def listen(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, 0), family=family)


def connect(address: Address, token: bytes, purpose: int) -> socket.socket:
    """``purpose``: a number that tells the cell which of its requests this connection answers."""
    wire = socket.create_connection(address, timeout=_TOKEN_S)
    _watch_over(wire)
    wire.sendall(token + purpose.to_bytes(_PURPOSE_BYTES, "big"))
    wire.settimeout(None)
    return wire


def accept(
    listener: socket.socket, token: bytes, purpose: int, timeout_s: float, fail: Callable[[], None]
) -> Connection:
    """The connection for that purpose; strangers are turned away. Raises TimeoutError.

    ``fail`` is called repeatedly: it raises to end the wait.
    """
    wanted = token + purpose.to_bytes(_PURPOSE_BYTES, "big")
    deadline = time.monotonic() + timeout_s
    listener.settimeout(_LOOK_S)
    while time.monotonic() < deadline:
        fail()
        try:
            wire, _ = listener.accept()
        except TimeoutError:
            continue
        wire.settimeout(_TOKEN_S)
        try:
            said = wire.recv(len(wanted), socket.MSG_WAITALL)
        except OSError:
            said = b""
        if hmac.compare_digest(said, wanted):
            wire.settimeout(None)
            _watch_over(wire)
            return Connection(wire.detach())
        wire.close()
    raise TimeoutError


def _watch_over(wire: socket.socket) -> None:
    """Send at once, and detect a peer that is gone."""
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Names of Linux; other systems use their own, longer times.
    for name, value in (
        ("TCP_KEEPIDLE", LOST_S // 2),
        ("TCP_KEEPINTVL", LOST_S // 6),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", LOST_S * 1000),
    ):
        if hasattr(socket, name):
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
