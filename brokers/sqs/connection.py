"""Connections to SQS: addresses and credentials, boto3 for control, one event loop with aiobotocore for data."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from brokerbench.brokers.errors import BrokerError, ChannelMissing, Misuse, Refused, Unreachable
from brokerbench.brokers.loop import Loop
from brokerbench.brokers.types import Endpoint

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

ANSWER_S = 10.0
"""Longest wait for an answer, beyond the time for which the request itself may block."""
_BACKSTOP_S = 120
_KEEP_ALIVE_S = 4
"""Shorter than any server's own: a connection that it closes under a request leaves that request's fate unknown."""
_ONE_PIECE_BYTES = 1 << 20
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MISSING = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Keyword arguments of both libraries' ``create_client``; credentials stay out of ``repr``."""

    region: str
    url: str | None
    aws: bool
    loopback: bool
    secrets: Mapping[str, str] = field(repr=False)

    def client(self) -> dict[str, Any]:
        return {"region_name": self.region, "endpoint_url": self.url, **self.secrets}

    def config(self) -> dict[str, Any]:
        """No retries: a repeated send may be a duplicate, and a refusal is for the caller to see."""
        config: dict[str, Any] = {"retries": {"total_max_attempts": 1, "mode": "standard"}}
        if self.loopback:
            # No proxy for an address on this host.
            config["proxies"] = {}
        return config


def settings_of(endpoint: Endpoint) -> Settings:
    """``address``: a URL, or empty for AWS in ``options["region"]``; ``secrets``: ``access_key_id``,
    ``secret_access_key``, ``session_token``. Without secrets AWS is asked with the usual chain of credentials.

    Raises Misuse for credentials in the address, or for none at an address that is not AWS.
    """
    parts = urlsplit(endpoint.address)
    host = parts.hostname or ""
    if parts.username or parts.password:
        raise Misuse("credentials belong into the endpoint's secrets, not into its address")
    if endpoint.address and not (parts.scheme in {"http", "https"} and host):
        raise Misuse("the address of SQS is a URL, or empty for AWS")
    aws = not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
    if not aws and not {"access_key_id", "secret_access_key"} <= endpoint.secrets.keys():
        raise Misuse("an SQS endpoint that is not AWS needs the secrets access_key_id and secret_access_key")
    names = ("access_key_id", "secret_access_key", "session_token")
    secrets = {f"aws_{name}": endpoint.secrets[name] for name in names if endpoint.secrets.get(name)}
    region = endpoint.options.get("region") or (host.split(".")[1] if aws and host else "us-east-1")
    return Settings(region, endpoint.address or None, aws, host in _LOOPBACK, secrets)


def control_client(settings: Settings) -> SQSClient:
    """boto3, for everything that is not a hot path."""
    config = Config(connect_timeout=ANSWER_S, read_timeout=ANSWER_S, **settings.config())
    client: SQSClient = boto3.session.Session().client("sqs", config=config, **settings.client())
    return client


def explained(error: BaseException) -> str:
    """The error in one line, fit for a report."""
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        return f"{answer.get('Code', 'error')}: {str(answer.get('Message', ''))[:200]}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {str(error)[:200]}"


def refused(error: BaseException) -> bool:
    """True when the broker surely said no; otherwise the fate of the request is unknown."""
    return isinstance(error, ClientError) and error.response["ResponseMetadata"].get("HTTPStatusCode", 500) < 500


def translated_error(what: str, error: BaseException) -> BrokerError:
    """A library's error as one of ours."""
    if isinstance(error, ClientError):
        if error.response.get("Error", {}).get("Code") in _MISSING:
            return ChannelMissing(what)
        return Refused(f"{what}: {explained(error)}")
    if isinstance(error, BotoCoreError) and not isinstance(error, HTTPClientError | NotConnected):
        return Refused(f"{what}: {explained(error)}")
    return Unreachable(f"{what}: {explained(error)}")


@contextmanager
def translated(what: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise translated_error(what, error) from None


class Clients:
    """Makes aiobotocore's clients, all in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = get_session()
        self.loop = Loop("sqs")

    async def client(self, concurrency: int) -> Any:
        """An aiobotocore client with as many connections; end it with ``end``."""
        config = AioConfig(
            max_pool_connections=concurrency,
            connect_timeout=ANSWER_S,
            read_timeout=_BACKSTOP_S,
            # Requests are well-formed by construction: checking them would cost CPU time each time.
            parameter_validation=False,
            connector_args={"keepalive_timeout": _KEEP_ALIVE_S},
            **self._settings.config(),
        )
        client = await self._session.create_client("sqs", config=config, **self._settings.client()).__aenter__()
        client.meta.events.register("before-send.sqs", _before_send)
        return client


def _before_send(request: Any, **_: Any) -> None:
    # The default of HTTP/1.1, but LocalStack under hypercorn closes the connection after each answer without it.
    request.headers["Connection"] = "keep-alive"
    if len(request.body) > _ONE_PIECE_BYTES:
        # aiohttp warns of larger bodies in one piece.
        request.body = io.BytesIO(request.body)


async def end(client: Any) -> None:
    """Close an aiobotocore client."""
    await client.__aexit__(None, None, None)
