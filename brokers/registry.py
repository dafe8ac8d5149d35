"""The profiles that exist, and the paths of their adapters. An adapter is imported only when it is loaded.

Another distribution announces an adapter by an entry point of the group ``brokerbench.brokers`` that names an
``Adapter`` constant (``"their_package.profile:ADAPTER"``); keep that module free of client libraries, so that listing
profiles stays cheap. ``Catalogue.broken`` names plug-ins that do not load; the others work.
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
    """All adapters by profile, their origins, and the plug-ins that do not load: name -> reason."""

    adapters: Mapping[str, Adapter]
    origins: Mapping[str, str]
    """``"distribution version"`` of each profile that is not built in."""
    broken: Mapping[str, str]


_HERE = "pip install --force-reinstall brokerbench"
_KAFKA = "kafka", "pip install confluent-kafka"
_REDIS = "redis", "pip install 'redis[hiredis]'"
_SQS = "sqs", "pip install boto3 aiobotocore"


def _own(profile: str, path: str, declaration: str, broker: str | None = None, install: str = _HERE) -> Adapter:
    """An adapter of this package, within which both paths lie."""
    return Adapter(profile, f"brokerbench.brokers.{path}", broker, install, f"brokerbench.brokers.{declaration}")


BUILT_IN = (
    _own("sqs-standard", "sqs.broker:SqsStandard", "sqs.declarations:STANDARD", *_SQS),
    _own("sqs-fifo", "sqs.broker:SqsFifo", "sqs.declarations:FIFO", *_SQS),
    _own("redis-streams", "redis_streams.broker:RedisStreams", "redis_streams.declaration:DECLARATION", *_REDIS),
    _own("kafka", "kafka.consumer_group:Kafka", "kafka.declarations:KAFKA", *_KAFKA),
    _own("kafka-share", "kafka.share_group:KafkaShare", "kafka.declarations:KAFKA_SHARE", *_KAFKA),
    _own("memory", "memory.broker:Memory", "memory.declaration:DECLARATION"),
    _own("noop", "noop:Noop", "noop:DECLARATION"),
)


def assemble(announced: Iterable[EntryPoint]) -> Catalogue:
    """The built-in adapters and the ``announced`` ones. A plug-in may not reuse a name."""
    built_in = {adapter.profile: adapter for adapter in BUILT_IN}
    others = plugins.load(announced, Adapter, "profile", built_in)
    return Catalogue(
        built_in | {profile: found.value for profile, found in others.found.items()},
        {profile: found.origin for profile, found in others.found.items()},
        others.broken,
    )


@cache
def catalogue() -> Catalogue:
    """All installed adapters, read once per process."""
    return assemble(entry_points(group=ENTRY_POINTS))


def profiles() -> tuple[str, ...]:
    """Names of all profiles: the built-in ones in their usual order, then those from elsewhere."""
    return tuple(catalogue().adapters)


def options() -> tuple[str, ...]:
    """Built-in profiles of brokers, in their usual order: the options of the decision.

    In-process profiles are no brokers to choose: ``memory`` is the reference, ``noop`` prices the harness.
    """
    return tuple(adapter.profile for adapter in BUILT_IN if adapter.broker is not None)


def adapter(profile: str) -> Adapter:
    """Raises UnknownProfile, which suggests the nearest name."""
    try:
        return catalogue().adapters[profile]
    except KeyError:
        raise UnknownProfile(profile, profiles()) from None


def load(profile: str) -> type[Broker]:
    """Import the adapter's class. Raises UnknownProfile, or AdapterUnavailable with the command to install it."""
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
    """The profile's declaration, without its client library; None where its adapter does not name one."""
    path = adapter(profile).declaration
    if not path:
        return None
    module_name, _, name = path.partition(":")
    found: ProfileDeclaration = getattr(import_module(module_name), name)
    return found


def connect(profile: str, endpoint: Endpoint) -> Broker:
    """Connect to a running broker under ``profile``. Raises as ``load``, and Unreachable."""
    return load(profile).connect(endpoint)
