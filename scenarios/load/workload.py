"""Parameters of a load, shared by ``throughput`` and ``latency``, and the labels that state them beside a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brokerbench.brokers.declarations import Limits
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Durability, ProducerSettings
from brokerbench.scenarios.base import Parameters
from brokerbench.scenarios.clients.recording import RecordingProducer
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load import payloads, replay_log, sizes
from brokerbench.scenarios.load.payloads import Choice, KeySpec, Kind, PayloadSpec

PARAMETERS: Parameters = {
    "size": 1024,
    "sizes": "",
    "payload": Kind.RANDOM,
    "random_share": 0.5,
    "payload_path": "",
    "payload_column": "",
    "payload_pool": 1024,
    "keys": 1000,
    "keyed": True,
    "key_choice": Choice.RANDOM,
    "key_skew": 0.0,
    "groups": 1,
    "durability": Durability.DEFAULT,
    "linger_ms": 5.0,
    "batch_bytes": 1_000_000,
}
_BESIDE = ("sizes", "payload", "random_share", "keyed", "key_choice", "key_skew", "groups", "linger_ms", "batch_bytes")
"""Stated beside a figure where they differ from their defaults."""


def check(parameters: Parameters) -> None:
    """Raises ValueError for a load that cannot be sent. Does not read a log: load processes do, on their hosts."""
    payload_spec(parameters)
    key_spec(parameters)
    if parameters["sizes"]:
        sizes.draw(str(parameters["sizes"]), 1, np.random.default_rng(0))


def check_fits(parameters: Parameters, limits: Limits | None) -> None:
    """Raises ValueError for messages above the limit, and for a log that cannot be read here."""
    payloads.check_fits(payload_spec(parameters), limits)


def payload_spec(parameters: Parameters) -> PayloadSpec:
    """Raises ValueError for parameters that contradict each other."""
    return PayloadSpec(
        size=int(parameters["size"]),
        sizes=str(parameters["sizes"]),
        kind=Kind(parameters["payload"]),
        random_share=float(parameters["random_share"]),
        path=str(parameters["payload_path"]),
        column=str(parameters["payload_column"]),
        pool=int(parameters["payload_pool"]),
    )


def key_spec(parameters: Parameters) -> KeySpec:
    """Raises ValueError as ``KeySpec`` does."""
    return KeySpec(
        int(parameters["keys"]),
        float(parameters["key_skew"]),
        Choice(parameters["key_choice"]),
        bool(parameters["keyed"]),
    )


def producer_settings(parameters: Parameters) -> ProducerSettings:
    return ProducerSettings(
        linger_ms=float(parameters["linger_ms"]),
        batch_bytes=int(parameters["batch_bytes"]),
        durability=Durability(parameters["durability"]),
    )


def arguments(parameters: Parameters, history: Path, name: str, *, run: int, seed: int) -> dict[str, Any]:
    """Arguments of a body of ``bodies``, which writes the part ``name`` of the history in the directory ``history``."""
    return {
        "history": str(history),
        "name": name,
        "run": run,
        "seed": seed,
        "payloads": payload_spec(parameters),
        "keys": key_spec(parameters),
        "settings": producer_settings(parameters),
    }


def producer(
    broker: Broker, channel: str, writer: Writer, number: int, arguments: Mapping[str, Any], settings: ProducerSettings
) -> RecordingProducer:
    """A producer of the load that these ``arguments`` of a body describe."""
    run, seed, spec = arguments["run"], arguments["seed"], arguments["payloads"]
    records = payloads.records(spec, seed=seed, producer=number)
    if spec.kind is Kind.REPLAY and (hidden := replay_log.hidden(Path(spec.path))):
        writer.mark("left_out", what="hidden files of payload_path", why=f"{hidden:,} in {spec.path}")
    return RecordingProducer(
        broker,
        channel,
        writer,
        number=number,
        run=run,
        seed=seed,
        size=spec.size,
        records=records,
        settings=settings,
        records_ahead=len(records),
        bytes_ahead=sum(map(len, records)),
    )


def as_honoured(parameters: Parameters, limits: Limits) -> Parameters:
    """The parameters as the profile honours them: ``acknowledge_every`` is at most its unsettled batches."""
    most, wanted = limits.max_unsettled_batches, int(parameters["acknowledge_every"])
    return parameters if most is None else {**parameters, "acknowledge_every": min(wanted, most)}


def varied(parameters: Mapping[str, Any]) -> bool:
    """Whether messages differ in size."""
    return bool(parameters.get("sizes")) or parameters.get("payload") == Kind.REPLAY


def labels(parameters: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The labels of every figure: these parameters, and those of ``_BESIDE`` that differ from their defaults.

    An older history lacks parameters that did not exist yet.
    """
    found = {name: parameters[name] for name in names if name in parameters}
    found |= {name: parameters[name] for name in _BESIDE if parameters.get(name, PARAMETERS[name]) != PARAMETERS[name]}
    if varied(parameters):
        found.pop("size", None)
    if "keyed" in found:
        found["keyed"] = "no"
        found.pop("keys", None)
    return found
