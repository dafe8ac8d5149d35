"""All engines by name: those of the catalogue, and those of other distributions.

An engine from elsewhere is announced by an entry point of the group ``brokerbench.engines`` whose value names a
``brokerbench.bench.engines.base.Engine`` (``"their_package.engine:ENGINE"``). Its spec's name is what their adapter
gives as ``Adapter.broker``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from brokerbench.bench.engines.base import Engine, EngineSpec
from brokerbench.bench.engines.catalogue import ENGINES, SECOND_OPINIONS
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.brokers import plugins
from brokerbench.brokers.plugins import Plugins

ENTRY_POINTS = "brokerbench.engines"


def assemble(announced: Iterable[EntryPoint]) -> Plugins[Engine]:
    """The announced engines. A name of a built-in one is refused."""
    return plugins.load(announced, Engine, "name", [*ENGINES, *(spec.name for spec in SECOND_OPINIONS.values())])


@cache
def elsewhere() -> Plugins[Engine]:
    """Installed engines of other distributions, read once per process."""
    return assemble(entry_points(group=ENTRY_POINTS))


def specs() -> list[EngineSpec]:
    """Every engine: the default ones, the second opinions, those from elsewhere."""
    others = (found.value.spec for found in elsewhere().found.values())
    return [*ENGINES.values(), *SECOND_OPINIONS.values(), *others]


def spec(name: str) -> EngineSpec:
    """The engine of an ``Endpoint.broker``. Raises EngineUnavailable."""
    return ENGINES[name] if name in ENGINES else engine(name).spec


def engine(name: str) -> Engine:
    """One from elsewhere. Raises EngineUnavailable, which names the plug-ins that do not load."""
    found = elsewhere()
    if name in found.found:
        return found.found[name].value
    broken = "".join(f"; {label} is broken: {reason}" for label, reason in found.broken.items())
    raise EngineUnavailable(f"no engine {name!r} is installed (entry point group {ENTRY_POINTS}){broken}")
