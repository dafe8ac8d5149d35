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

from brokerbench.brokers import plugins
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import AdapterUnavailable, UnknownProfile
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Endpoint

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
        "brokerbench.brokers.sqs.broker:SqsStandard",
        "sqs",
        "pip install boto3 aiobotocore",
        "brokerbench.brokers.sqs.declarations:STANDARD",
    ),
    Adapter(
        "sqs-fifo",
        "brokerbench.brokers.sqs.broker:SqsFifo",
        "sqs",
        "pip install boto3 aiobotocore",
        "brokerbench.brokers.sqs.declarations:FIFO",
    ),
    Adapter(
        "redis-streams",
        "brokerbench.brokers.redis_streams.broker:RedisStreams",
        "redis",
        "pip install 'redis[hiredis]'",
        "brokerbench.brokers.redis_streams.declaration:DECLARATION",
    ),
    Adapter(
        "kafka",
        "brokerbench.brokers.kafka.consumer_group:Kafka",
        "kafka",
        "pip install confluent-kafka",
        "brokerbench.brokers.kafka.declarations:KAFKA",
    ),
    Adapter(
        "kafka-share",
        "brokerbench.brokers.kafka.share_group:KafkaShare",
        "kafka",
        "pip install confluent-kafka",
        "brokerbench.brokers.kafka.declarations:KAFKA_SHARE",
    ),
    Adapter(
        "memory",
        "brokerbench.brokers.memory.broker:Memory",
        None,
        _HERE,
        "brokerbench.brokers.memory.declaration:DECLARATION",
    ),
    Adapter("noop", "brokerbench.brokers.noop:Noop", None, _HERE, "brokerbench.brokers.noop:DECLARATION"),
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


def options() -> tuple[str, ...]:
    """Built-in profiles of brokers, in their usual order: the decision is between these.

    Those that run in process are no brokers to choose: the reference, and what the harness itself costs.
    """
    return tuple(adapter.profile for adapter in BUILT_IN if adapter.broker is not None)


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
