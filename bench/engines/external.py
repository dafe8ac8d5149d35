"""Endpoints of brokers that somebody else runs, from the environment.

=================================  ===========================================================================
``BROKERBENCH_SQS_ENDPOINT``       URL; ``aws`` means the real service (region and credentials the usual AWS way)
``BROKERBENCH_REDIS_URL``          ``redis[s]://[user:password@]host:port/db``
``BROKERBENCH_KAFKA_BOOTSTRAP``    ``host:port[,host:port]``
``BROKERBENCH_KAFKA_SECURITY``     security.protocol (PLAINTEXT, SSL, SASL_SSL, SASL_PLAINTEXT)
``BROKERBENCH_KAFKA_MECHANISM``    sasl.mechanism; with ``BROKERBENCH_KAFKA_USERNAME`` and ``..._PASSWORD``
``BROKERBENCH_KAFKA_CA``           ssl.ca.location
``BROKERBENCH_KAFKA_REPLICAS``     replication factor of channels that are created
=================================  ===========================================================================

Passwords go into ``Endpoint.secrets`` and nowhere else. Only channels that the run itself creates are touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit, urlunsplit

from bench.engines.base import EngineKind, EngineSpec
from bench.errors import BadInput, EngineUnavailable
from brokers.types import Endpoint
from scenarios.verdicts import Grade

_SQS, _REDIS, _KAFKA = "BROKERBENCH_SQS_ENDPOINT", "BROKERBENCH_REDIS_URL", "BROKERBENCH_KAFKA_BOOTSTRAP"
VARIABLES: Mapping[str, str] = {"sqs": _SQS, "redis": _REDIS, "kafka": _KAFKA}


@dataclass(frozen=True, slots=True)
class ExternalEngine:
    """A broker that was there before the run and stays afterwards."""

    spec: EngineSpec
    endpoint: Endpoint
    grade: Grade
    kind = EngineKind.EXTERNAL

    @property
    def settings(self) -> Mapping[str, str]:
        return {"address": self.endpoint.address, **self.endpoint.options}

    def alive(self) -> bool:
        return True  # not ours to watch: a cell that cannot reach it says so

    def log_tail(self) -> str:
        return "(the log of an external engine is not ours to read)"

    def stop(self) -> None: ...


def connect(spec: EngineSpec) -> ExternalEngine:
    """Raises EngineUnavailable when the variable is not set, BadInput when its value cannot be used."""
    variable = VARIABLES[spec.name]
    value = os.environ.get(variable, "")
    if not value:
        raise EngineUnavailable(f"--engine external needs {variable} for {spec.product}; it is not set")
    endpoint, grade = _PARSERS[spec.name](value)
    named = replace(spec, product=spec.product if grade is not Grade.SERVICE else "Amazon SQS", settings={})
    return ExternalEngine(named, endpoint, grade)


def _sqs(value: str) -> tuple[Endpoint, Grade]:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    if value == "aws":
        if not region:
            raise BadInput(f"{_SQS}=aws needs AWS_REGION")
        return Endpoint("sqs", "", {"region": region}), Grade.SERVICE
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{_SQS}: must be 'aws' or a URL such as http://127.0.0.1:4566")
    if parts.username or parts.password:
        raise BadInput(f"{_SQS}: no credentials in the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    real = parts.hostname.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    endpoint = Endpoint("sqs", value, {"region": region or "us-east-1"}, {} if real else _keys())
    return endpoint, Grade.SERVICE if real else Grade.EMULATOR


def _keys() -> dict[str, str]:
    """An emulator is given the usual variables' keys, or any: it checks none. The service asks the usual chain itself."""
    return {
        "access_key_id": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
        "secret_access_key": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
    }


def _redis(value: str) -> tuple[Endpoint, Grade]:
    parts = urlsplit(value)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        # The value may hold a password: it is not repeated.
        raise BadInput(f"{_REDIS}: must be a URL such as redis://127.0.0.1:6379/0")
    try:
        port = parts.port or 6379
    except ValueError:
        raise BadInput(f"{_REDIS}: the port is not a number") from None
    address = urlunsplit((parts.scheme, f"{parts.hostname}:{port}", parts.path or "/0", "", ""))
    given = {"user": parts.username, "password": parts.password}
    return Endpoint("redis", address, {}, {key: unquote(text) for key, text in given.items() if text}), Grade.SOFTWARE


def _kafka(value: str) -> tuple[Endpoint, Grade]:
    for server in value.split(","):
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}", server.strip()):
            raise BadInput(f"{_KAFKA}: {server!r} is not host:port")
    options = _named(
        {
            "security_protocol": "BROKERBENCH_KAFKA_SECURITY",
            "sasl_mechanism": "BROKERBENCH_KAFKA_MECHANISM",
            "ssl_ca_location": "BROKERBENCH_KAFKA_CA",
            "replication_factor": "BROKERBENCH_KAFKA_REPLICAS",
        }
    )
    known = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
    if options.get("security_protocol", known[0]) not in known:
        raise BadInput(f"BROKERBENCH_KAFKA_SECURITY: must be one of {', '.join(known)}")
    if not options.get("replication_factor", "1").isdigit():
        raise BadInput("BROKERBENCH_KAFKA_REPLICAS: must be a whole number")
    secrets = _named({"user": "BROKERBENCH_KAFKA_USERNAME", "password": "BROKERBENCH_KAFKA_PASSWORD"})
    return Endpoint("kafka", value, options, secrets), Grade.SOFTWARE


def _named(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}


_PARSERS: Mapping[str, Callable[[str], tuple[Endpoint, Grade]]] = {"sqs": _sqs, "redis": _redis, "kafka": _kafka}
