"""What a cluster's own settings make of the promises of the Kafka profiles: from settings to a declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from brokerbench.brokers.declarations import (
    NOT_TOLD,
    Declaration,
    Limits,
    ProfileDeclaration,
    measured_only,
    possible,
)
from brokerbench.brokers.kafka.declarations import BATCH_BYTES, MAX_REQUEST_BYTES, overshoot, removal_lag_s

_CHECK = "log.retention.check.interval.ms"
_AGE = (("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000))
"""The first that is set counts; each with its unit in ms."""
_SIZE = "log.retention.bytes"
_LARGEST = "message.max.bytes"
_UNCLEAN = "unclean.leader.election.enable"
_LEAST_LOCK, _LONGEST_LOCK = "group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"
NAMES = (_CHECK, *(name for name, _ in _AGE), _SIZE, _LARGEST, _UNCLEAN, _LEAST_LOCK, _LONGEST_LOCK)
"""Settings of a broker on which the declarations depend."""

NOT_SET = "not set"

_LOCK_BOUNDS_S = (15.0, 60.0)
"""Kafka's default bounds of a lock, in seconds."""
_LONG_ENOUGH_MS = 86_400_000
"""A day: no experiment takes as long."""


def told(brokers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The settings of a cluster: ``NOT_TOLD`` where its brokers differ, and where one of them does not tell."""
    found = {name: {broker.get(name, NOT_TOLD) for broker in brokers} for name in NAMES}
    return {name: values.pop() if len(values) == 1 else NOT_TOLD for name, values in found.items()}


def declared(base: ProfileDeclaration, settings: Mapping[str, str]) -> ProfileDeclaration:
    """``base`` for a cluster with these settings. A setting that is missing, or no number, bounds nothing."""
    numbers = {name: int(value) for name, value in settings.items() if value.removeprefix("-").isdecimal()}
    return replace(
        base,
        limits=_limits(base.limits, numbers),
        properties={**base.properties, **_removal(numbers), **_loss(settings, numbers)},
    )


def _limits(base: Limits, numbers: Mapping[str, int]) -> Limits:
    largest = min(numbers.get(_LARGEST, MAX_REQUEST_BYTES), MAX_REQUEST_BYTES)  # the client has a limit, too
    check_ms = numbers.get(_CHECK)
    limits = replace(
        base,
        max_message_bytes=largest - BATCH_BYTES,
        max_request_bytes=largest,
        retention_lag_s=None if check_ms is None else removal_lag_s(check_ms / 1000),
    )
    if base.lease_min_s is None:
        return limits
    locks_s = (
        numbers[name] / 1000 if name in numbers else usual_s
        for name, usual_s in zip((_LEAST_LOCK, _LONGEST_LOCK), _LOCK_BOUNDS_S, strict=True)
    )
    least_s, longest_s = locks_s
    return replace(limits, lease_min_s=least_s, lease_max_s=longest_s)


def _removal(numbers: Mapping[str, int]) -> dict[str, Declaration]:
    check_ms = numbers.get(_CHECK)
    if check_ms is None:
        unknown = measured_only(f"the broker does not tell {_CHECK}")
        return {"retention.overshoot": unknown, "retention.size_excess": unknown}
    return {"retention.overshoot": overshoot(check_ms / 1000)}


def _loss(settings: Mapping[str, str], numbers: Mapping[str, int]) -> dict[str, Declaration]:
    """Losses that the settings permit. A channel without a retention of its own has the broker's."""
    reasons = []
    age_ms = next((numbers[name] * unit for name, unit in _AGE if name in numbers), None)
    if age_ms is not None and 0 <= age_ms < _LONG_ENOUGH_MS:
        reasons.append(f"messages older than {age_ms / 1000:g} s are removed (log.retention)")
    if numbers.get(_SIZE, -1) >= 0:
        reasons.append(f"messages beyond {numbers[_SIZE]:,} bytes a partition are removed ({_SIZE})")
    if settings.get(_UNCLEAN) == "true":
        reasons.append(f"a replica that lags may become the leader ({_UNCLEAN})")
    if not reasons:
        return {}
    return dict.fromkeys(
        ("delivery.no_loss", "replay.complete"), possible("the broker's own settings", "; ".join(reasons))
    )
