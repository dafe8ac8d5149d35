"""Which profiles exist, and where their adapters are. Nothing is imported until it is asked for.

An adapter from elsewhere is announced by an entry point of the group ``brokerbench.brokers`` whose value
names an ``Adapter`` constant (``"their_package.profile:ADAPTER"``); keep that module free of client
libraries, so that listing profiles stays cheap. A plug-in that does not load is named in
``Catalogue.broken``, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from brokers import plugins
from brokers.declarations import ProfileDeclaration
from brokers.errors import AdapterUnavailable, UnknownProfile
from brokers.protocols import Broker
from brokers.types import Endpoint

ENTRY_POINTS = "brokerbench.brokers"


@dataclass(frozen=True, slots=True)
class Adapter:
    """One profile: ``path`` is ``"module:Class"``, the class being a ``Broker``.

    ``declaration`` is ``"module:NAME"`` of its ``ProfileDeclaration``, in a module that imports no client library.

    ``broker`` names the kind of engine it needs (``Endpoint.broker``); ``None`` = runs in process.
    ``install`` is the command that mends a missing client library.
    """

    profile: str
    path: str
    broker: str | None
    install: str
    declaration: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All adapters by profile, where they come from, and the plug-ins that do not load: name -> reason."""

    adapters: Mapping[str, Adapter]
    origins: Mapping[str, str]
    """``"distribution version"`` of each profile that is not built in."""
    broken: Mapping[str, str]


_HERE = "pip install --force-reinstall brokerbench"
BUILT_IN = (
    Adapter(
        "sqs-standard",
        "brokers.sqs:SqsStandard",
        "sqs",
        "pip install boto3 aiobotocore",
        "brokers.sqs_declarations:STANDARD",
    ),
    Adapter(
        "sqs-fifo",
        "brokers.sqs:SqsFifo",
        "sqs",
        "pip install boto3 aiobotocore",
        "brokers.sqs_declarations:FIFO",
    ),
    Adapter(
        "redis-streams",
        "brokers.redis_streams:RedisStreams",
        "redis",
        "pip install 'redis[hiredis]'",
        "brokers.redis_declaration:DECLARATION",
    ),
    Adapter(
        "kafka",
        "brokers.kafka:Kafka",
        "kafka",
        "pip install confluent-kafka",
        "brokers.kafka_declarations:KAFKA",
    ),
    Adapter(
        "kafka-share",
        "brokers.kafka_share:KafkaShare",
        "kafka",
        "pip install confluent-kafka",
        "brokers.kafka_declarations:KAFKA_SHARE",
    ),
    Adapter("memory", "brokers.memory:Memory", None, _HERE, "brokers.memory_declaration:DECLARATION"),
    Adapter("noop", "brokers.noop:Noop", None, _HERE, "brokers.noop:DECLARATION"),
)


def assemble(announced: Iterable[EntryPoint]) -> Catalogue:
    """The built-in adapters and those that are ``announced``. A plug-in may not take a name that is taken."""
    built_in = {adapter.profile: adapter for adapter in BUILT_IN}
    others = plugins.load(announced, Adapter, "profile", built_in)
    return Catalogue(
        built_in | {profile: found.value for profile, found in others.found.items()},
        {profile: found.origin for profile, found in others.found.items()},
        others.broken,
    )


@cache
def catalogue() -> Catalogue:
    """What is installed here, read once per process."""
    return assemble(entry_points(group=ENTRY_POINTS))


def profiles() -> tuple[str, ...]:
    """Names of all profiles: the built-in ones in their usual order, then those from elsewhere."""
    return tuple(catalogue().adapters)


def adapter(profile: str) -> Adapter:
    """Raises UnknownProfile, which names what comes near."""
    try:
        return catalogue().adapters[profile]
    except KeyError:
        raise UnknownProfile(profile, profiles()) from None


def load(profile: str) -> type[Broker]:
    """Import the adapter's class. Raises UnknownProfile, or AdapterUnavailable with what to install."""
    entry = adapter(profile)
    module_name, _, class_name = entry.path.partition(":")
    try:
        loaded: type[Broker] = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise AdapterUnavailable(
            f"the adapter of {profile!r} ({entry.path}) does not import: {error}; try: {entry.install}"
        ) from error
    return loaded


def declared(profile: str) -> ProfileDeclaration | None:
    """What the profile declares, without its client library; None where its adapter does not say how to find that."""
    path = adapter(profile).declaration
    if not path:
        return None
    module_name, _, name = path.partition(":")
    found: ProfileDeclaration = getattr(import_module(module_name), name)
    return found


def connect(profile: str, endpoint: Endpoint) -> Broker:
    """Connect to a running broker under ``profile``. Raises as ``load``, and Unreachable."""
    return load(profile).connect(endpoint)
