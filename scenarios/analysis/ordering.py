"""All findings of the ordering scenario, from its phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.checkers import arrival_delay, order, redelivery
from brokerbench.scenarios.checkers.findings import combined, spread, with_waits
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import History
from brokerbench.scenarios.verdicts import Counts, Finding

_NS_PER_MS = 1e6
_LAYOUTS = {"three": "all partitions", "shared": "one partition"}


def examine(history: History) -> Examination:
    phases = {
        str(mark["phase"]): channel_index.of_channel(history, str(mark["channel"])) for mark in history.events("phase")
    }
    lease_s = {str(mark["phase"]): float(mark["lease_s"]) for mark in history.events("phase")}
    release = phases.get("release")
    findings = [
        _of("ordering.channel", phases.get("one"), order.whole_channel),
        _of("ordering.per_key.one_consumer", phases.get("one"), order.per_key),
        _across_consumers({name: phases[name] for name in ("three", "shared") if name in phases}),
        _of("ordering.per_key.several_producers", phases.get("producers"), order.per_key),
        _of("ordering.per_key.after_redelivery", release, order.after_release),
        Finding("redelivery.after_release")
        if release is None
        else redelivery.comes_back(release, release.delivered, lease_s["release"], drained=release.drained()),
        *delivery.over(phases.values()),
        arrival_delay.over([arrival_delay.progress(phase, phase.delivered) for phase in phases.values()]),
    ]
    metrics = [] if release is None else _redelivery_delay(release, lease_s["release"])
    return Examination(findings, metrics)


_Check = Callable[[str, ChannelIndex, channel_index.Delivered, list[int]], Finding]


def _of(name: str, phase: ChannelIndex | None, check: _Check) -> Finding:
    if phase is None:
        return Finding(name, remarks=("the experiment ended before this phase",))
    main = phase.history.producers(channel=phase.channel, stage="main")
    return with_waits(check(name, phase, phase.delivered, main), phase)


def _across_consumers(parts: Mapping[str, ChannelIndex]) -> Finding:
    name = "ordering.per_key.three_consumers"
    if not parts:
        return _of(name, None, order.per_key)
    found = []
    for phase, part in parts.items():
        main = part.sent.by(part.history.producers(channel=part.channel, stage="main"))
        known = part.delivered.known()
        working = len(np.unique(known.only(main[known.message]).column("reader")))
        finding = _of(name, part, order.per_key)
        about = f"{_LAYOUTS[phase]}, {working} consumers got something"
        remarks = (replace(entry, about=about) if isinstance(entry, Counts) else entry for entry in finding.remarks)
        found.append(replace(finding, remarks=tuple(remarks)))
    return combined(name, found)


def _redelivery_delay(release: ChannelIndex, lease_s: float) -> list[Measured]:
    back = redelivery.returned(release, release.delivered, lease_s)
    delays = back.delay_ns[back.again >= 0] / _NS_PER_MS
    if not len(delays):
        return []
    return [
        Measured(
            "redelivery_delay",
            "ms",
            spread(np.maximum(delays, 0.0).tolist()),
            note="from the answer to a release until the message was received again; not a benchmark figure: cells "
            "run side by side",
            comparable=False,
        )
    ]
