"""Plug-ins that other distributions announce by entry points, loaded one by one: a broken one harms no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Generic, TypeVar

from brokerbench.brokers.names import check

_Kind = TypeVar("_Kind")
UNKNOWN_ORIGIN = "unknown distribution"


@dataclass(frozen=True, slots=True)
class Found(Generic[_Kind]):
    """The value of a plug-in, and its distribution with the version."""

    value: _Kind
    origin: str


@dataclass(frozen=True, slots=True)
class Plugins(Generic[_Kind]):
    """By name, and apart those that do not load: ``"entry point (distribution version)"`` -> reason."""

    found: Mapping[str, Found[_Kind]]
    broken: Mapping[str, str]


def load(plugins: Iterable[EntryPoint], kind: type[_Kind], name_of: str, taken: Iterable[str]) -> Plugins[_Kind]:
    """Plug-ins whose value is a ``kind``. Its name, the attribute ``name_of``, must be fit for a path, new, and not
    one of ``taken``.
    """
    names = set(taken)
    found: dict[str, Found[_Kind]] = {}
    broken: dict[str, str] = {}
    for plugin in plugins:
        origin = _origin(plugin)
        label = f"{plugin.name} ({origin})"
        try:
            value = plugin.load()
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            broken[label] = f"{plugin.value}: {type(error).__name__}: {error}"
            continue
        if not isinstance(value, kind):
            broken[label] = f"{plugin.value} is not a {kind.__module__}.{kind.__name__}"
            continue
        name = str(getattr(value, name_of))
        try:
            check(name)
        except ValueError as error:
            broken[label] = f"{plugin.value}: {error}"
            continue
        if name in names:
            broken[label] = f"{plugin.value}: the name {name!r} is taken"
        else:
            names.add(name)
            found[name] = Found(value, origin)
    return Plugins(found, broken)


def _origin(plugin: EntryPoint) -> str:
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist is not None else UNKNOWN_ORIGIN
