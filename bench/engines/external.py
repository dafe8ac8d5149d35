"""Endpoints of brokers that run elsewhere, from the environment.

=======================================  ===============================================================
``BROKERBENCH_SQS_ENDPOINT``             URL; ``aws`` or empty: the real service. Keys and region the usual AWS way
``BROKERBENCH_REDIS_URL``                ``redis[s]://[user:password@]host[:port][/db]``
``BROKERBENCH_KAFKA_BOOTSTRAP``          ``host:port[,host:port]``
``BROKERBENCH_KAFKA_SECURITY_PROTOCOL``  PLAINTEXT, SSL, SASL_SSL, SASL_PLAINTEXT
``BROKERBENCH_KAFKA_SASL_MECHANISM``     with ``BROKERBENCH_KAFKA_SASL_USERNAME`` and ``..._SASL_PASSWORD``
``BROKERBENCH_KAFKA_SSL_CA``             file with the certificates of authorities to trust
``BROKERBENCH_KAFKA_REPLICAS``           replication factor of the topics that are created
=======================================  ===============================================================

Passwords go into ``Endpoint.secrets`` and nowhere else; no message repeats a value that may hold one. A run touches
only the channels that it creates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from brokerbench.bench.engines.base import EngineKind, EngineSpec
from brokerbench.bench.errors import BadInput, EngineUnavailable
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.verdicts import Grade

_SQS, _REDIS, _KAFKA = "BROKERBENCH_SQS_ENDPOINT", "BROKERBENCH_REDIS_URL", "BROKERBENCH_KAFKA_BOOTSTRAP"
_CA, _REPLICAS = "BROKERBENCH_KAFKA_SSL_CA", "BROKERBENCH_KAFKA_REPLICAS"
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
VARIABLES: Mapping[str, str] = {"sqs": _SQS, "redis": _REDIS, "kafka": _KAFKA}


@dataclass(frozen=True, slots=True)
class ExternalEngine:
    """A broker that runs before and after the run."""

    spec: EngineSpec
    endpoint: Endpoint
    kind = EngineKind.EXTERNAL

    @property
    def settings(self) -> Mapping[str, str]:
        return {"address": self.endpoint.address, **self.endpoint.options}

    def alive(self) -> bool:
        return True  # not watched: a cell that cannot reach it says so

    def log_tail(self) -> str:
        return "(the log of an external engine is not ours to read)"

    def stop(self) -> None: ...


def connect(spec: EngineSpec) -> ExternalEngine:
    """Raises EngineUnavailable when the variable is not set, BadInput when its value cannot be used."""
    variable = VARIABLES[spec.name]
    value = os.environ.get(variable)
    if value is None:
        raise EngineUnavailable(f"--engine external needs {variable} for {spec.name}; it is not set")
    product, endpoint, grade = _PARSERS[spec.name](value.strip())
    return ExternalEngine(replace(spec, product=product, version="", grade=grade, settings={}), endpoint)


def _sqs(value: str) -> tuple[str, Endpoint, Grade]:
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = {"region": named} if named else {}
    if value in ("", "aws"):
        if not region:
            raise BadInput(f"{_SQS}={value} means AWS and needs AWS_REGION")
        return "Amazon SQS", Endpoint("sqs", "", region), Grade.SERVICE
    parts = _url(_SQS, value, ("http", "https"), "'aws' or a URL such as http://127.0.0.1:4566")
    if parts.username or parts.password:
        raise BadInput(f"{_SQS}: no credentials in the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if str(parts.hostname).endswith(_AWS):
        return "Amazon SQS", Endpoint("sqs", value, region), Grade.SERVICE
    # An emulator takes any keys, but needs some.
    keys = {
        "access_key_id": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
        "secret_access_key": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
    }
    return "SQS-compatible", Endpoint("sqs", value, {"region": "us-east-1", **region}, keys), Grade.EMULATOR


def _redis(value: str) -> tuple[str, Endpoint, Grade]:
    wanted = "a URL such as redis://127.0.0.1:6379/0"
    parts = _url(_REDIS, value, ("redis", "rediss"), wanted)
    if not re.fullmatch(r"(/\d*)?", parts.path) or parts.query:
        raise BadInput(f"{_REDIS}: must be {wanted}, without more")
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    address = f"{parts.scheme}://{host}:{parts.port or 6379}/{parts.path.strip('/') or 0}"
    given = {"user": parts.username, "password": parts.password}
    secrets = {key: unquote(text) for key, text in given.items() if text}
    return "Redis", Endpoint("redis", address, {}, secrets), Grade.SOFTWARE


def _url(variable: str, value: str, schemes: Sequence[str], wanted: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port, unclosed brackets
        usable = False
    if not usable:
        raise BadInput(f"{variable}: must be {wanted}")
    return parts


def _kafka(value: str) -> tuple[str, Endpoint, Grade]:
    for server in value.split(","):
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:/@]+):\d{1,5}", server.strip()):
            raise BadInput(f"{_KAFKA}: must be host:port, or several with commas between them")
    options = _named(
        {
            "security_protocol": "BROKERBENCH_KAFKA_SECURITY_PROTOCOL",
            "sasl_mechanism": "BROKERBENCH_KAFKA_SASL_MECHANISM",
            "ssl_ca_location": _CA,
            "replication_factor": _REPLICAS,
        }
    )
    if options.get("security_protocol", _PROTOCOLS[0]) not in _PROTOCOLS:
        raise BadInput(f"BROKERBENCH_KAFKA_SECURITY_PROTOCOL: must be one of {', '.join(_PROTOCOLS)}")
    if "ssl_ca_location" in options and not Path(options["ssl_ca_location"]).is_file():
        raise BadInput(f"{_CA}: no such file: {options['ssl_ca_location']}")
    if not re.fullmatch(r"[1-9]\d*", options.get("replication_factor", "1")):
        raise BadInput(f"{_REPLICAS}: must be a whole number, 1 or more")
    secrets = _named({"user": "BROKERBENCH_KAFKA_SASL_USERNAME", "password": "BROKERBENCH_KAFKA_SASL_PASSWORD"})
    return "Apache Kafka", Endpoint("kafka", value, options, secrets), Grade.SOFTWARE


def _named(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}


_PARSERS: Mapping[str, Callable[[str], tuple[str, Endpoint, Grade]]] = {"sqs": _sqs, "redis": _redis, "kafka": _kafka}
