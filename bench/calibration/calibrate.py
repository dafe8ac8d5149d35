"""Is this harness as fast as the tools a user would otherwise take? Both run in turns, on one engine.

A round gives each contender one window; contenders take turns at being first. The first round warms up broker and
machine and is not counted. A ratio is own over peer, with the interval of ``scenarios/compare/difference.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from brokerbench.bench.calibration import own_client, workloads, workloads_noop
from brokerbench.bench.calibration.fixture import CalibrationWorkload, Contender, Fixture
from brokerbench.bench.calibration.own_client import ClientLoad, OwnClient, Sample, Verified
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.errors import BadInput, CheckFailed
from brokerbench.bench.load.processes import Processes
from brokerbench.bench.run.session import open_session, require_adapter
from brokerbench.brokers import registry
from brokerbench.scenarios.compare.difference import compare, interval

NOOP = "noop"
_FEWEST = 3
"""Number of repeats that an interval needs."""
_LOADS = {
    "sqs-standard": ClientLoad(1024, 400, 800),
    "kafka": ClientLoad(1024, 1000, 100_000, acknowledge_every=10),
    # A poll gives up to 1,900 messages; a batch received in two parts takes two commits.
    "kafka-share": ClientLoad(1024, 2000, 100_000),
}
_USUAL = ClientLoad(1024, 1000, 100_000)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """``repeats``: counted windows of each contender; at least 3."""

    profile: str
    engine: EngineChoice
    repeats: int
    seconds: float
    warmup_s: float


@dataclass(frozen=True, slots=True)
class ContenderResult:
    """Samples of one contender, and the interval of their geometric mean (None with fewer than three samples).

    ``failures``: why windows have no sample.
    """

    name: str
    command: str
    rates: Sequence[float]
    low: float | None
    high: float | None
    cpu_us: float | None
    failures: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ratio:
    """Own over peer. ``met``: ratio and CPU reach their bars; None without a bar."""

    peer: str
    ratio: float
    low: float
    high: float
    bar: float | None
    met: bool | None
    cpu_ratio: float | None
    most_cpu: float | None


@dataclass(frozen=True, slots=True)
class WorkloadResult:
    """``ratios`` compare the first of ``sides``, this harness, with each other that has enough samples."""

    work: str
    settings: Mapping[str, str]
    sides: Sequence[ContenderResult]
    ratios: Sequence[Ratio]


@dataclass(frozen=True, slots=True)
class Calibration:
    profile: str
    engine: str
    version: str
    cores: int
    works: Sequence[WorkloadResult]
    verified: Verified

    @property
    def failures(self) -> list[str]:
        """Failures of all peers, in words."""
        sides = ((work.work, result) for work in self.works for result in work.sides)
        return [f"{work}: {result.name}: {why}" for work, result in sides for why in result.failures]


def calibrate(request: CalibrationRequest, tell: Tell) -> Calibration:
    """Measure all workloads of a profile. A peer that fails is noted in ``failures``; the others' results stay.

    Raises BadInput, EngineUnavailable, and CheckFailed when this harness fails or its messages do not verify.
    """
    if request.profile not in workloads.PROFILES and request.profile != NOOP:
        raise BadInput(
            f"no peer is known for {request.profile}; there are some for {', '.join(workloads.PROFILES)}, {NOOP}"
        )
    if request.repeats < _FEWEST or request.seconds <= 0 or request.warmup_s <= 0:
        raise BadInput(f"{_FEWEST} repeats and windows above 0 s are the least")
    load = _LOADS.get(request.profile, _USUAL)
    with open_session(request.engine) as session:
        directory = session.guard.directory("calibrate")
        if request.profile == NOOP:
            return _noop(request, load, directory, tell)
        require_adapter(request.profile)
        site = session.ready(request.profile)
        with closing(registry.connect(site.profile, site.endpoint)) as broker, Processes() as processes:
            own = OwnClient(processes, site.profile, site.endpoint, directory / "history", load)
            guard, windows_s = session.guard, (request.warmup_s, request.seconds)
            fixture = Fixture(site.endpoint, broker, guard, own, load, directory, session.prefix, *windows_s)
            works = [
                _compare_in_turns(workload, request, tell)
                for opened in workloads.PROFILES[request.profile]
                for workload in opened(fixture)
            ]
            own.close()
        checked = own_client.verified(directory / "history")
    _require_verified(checked)
    engine = f"{site.engine.product} ({site.engine.kind})"
    return Calibration(request.profile, engine, site.engine.version, os.cpu_count() or 1, works, checked)


def _compare_in_turns(workload: CalibrationWorkload, request: CalibrationRequest, tell: Tell) -> WorkloadResult:
    contenders = [workload.own, *workload.peers]
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    failures: dict[str, list[str]] = {contender.name: [] for contender in contenders}
    for at in range(request.repeats + 1):
        for contender in contenders[at % len(contenders) :] + contenders[: at % len(contenders)]:
            doing = f"{workload.work}, {'warm-up' if not at else f'round {at}'}: {contender.name}"
            try:
                sample = contender.measure()
            except CheckFailed as problem:
                if contender is workload.own:
                    raise
                failures[contender.name].append(str(problem))
                tell(f"{doing} failed: {problem}")
                continue
            tell(f"{doing} {sample.rate:,.0f} messages/s")
            if at:
                samples[contender.name].append(sample)
    measured = [_measured(contender, samples[contender.name], failures[contender.name]) for contender in contenders]
    ratios = [_ratio(workload, measured[0], peer) for peer in measured[1:] if len(peer.rates) >= _FEWEST]
    return WorkloadResult(workload.work, workload.settings, measured, ratios)


def _mean(rates: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(rates))))


def _measured(contender: Contender, samples: Sequence[Sample], failures: Sequence[str] = ()) -> ContenderResult:
    rates = [sample.rate for sample in samples]
    cpu = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    low, high = interval(rates) if len(rates) >= _FEWEST else (None, None)
    cpu_us = sum(cpu) / len(cpu) if cpu else None
    return ContenderResult(contender.name, contender.command, rates, low, high, cpu_us, failures)


def _ratio(workload: CalibrationWorkload, own: ContenderResult, peer: ContenderResult) -> Ratio:
    found = compare(peer.rates, own.rates)
    bar, most_cpu = workload.bars.get(peer.name), workload.most_cpu
    cpu = own.cpu_us / peer.cpu_us if own.cpu_us is not None and peer.cpu_us else None
    met = None
    if bar is not None:
        met = found.ratio >= bar and (most_cpu is None or (cpu is not None and cpu <= most_cpu))
    return Ratio(peer.name, found.ratio, found.low, found.high, bar, met, cpu, most_cpu)


def _noop(request: CalibrationRequest, load: ClientLoad, directory: Path, tell: Tell) -> Calibration:
    """No broker: against a bar in messages a second, both fixed and scaled to this machine."""
    checks: list[Verified] = []

    def check(found: Verified) -> None:
        _require_verified(found)
        checks.append(found)

    work = _compare_in_turns(
        workloads_noop.workload(load, directory, request.warmup_s, request.seconds, check), request, tell
    )
    own = work.sides[0]
    assert own.low is not None and own.high is not None, "there are repeats enough"
    bar = workloads_noop.BAR
    mean = _mean(own.rates) / bar
    as_it_stands = Ratio(f"{bar:,.0f} a second", mean, own.low / bar, own.high / bar, 1.0, mean >= 1.0, None, None)
    work = replace(work, ratios=[as_it_stands, *work.ratios])
    total = Verified(*(sum(column) for column in zip(*map(astuple, checks), strict=True)))
    return Calibration(NOOP, "none", "noop", os.cpu_count() or 1, [work], total)


def _require_verified(found: Verified) -> None:
    wrong = {
        "sends that were not acknowledged": found.sent - found.acknowledged,
        "deliveries that were not intact": found.received - found.intact,
        "deliveries that came again": found.again,
    }
    if any(wrong.values()) or not found.sent:
        raise CheckFailed(f"nothing is compared: of {found.sent} messages sent and {found.received} received, {wrong}")


def as_json(found: Calibration) -> dict[str, Any]:
    return asdict(found)


def text(found: Calibration) -> str:
    """A table for each workload, then the commands behind it."""
    lines = [f"{found.profile} on {found.engine} {found.version}, {found.cores} cores for broker and clients"]
    for work in found.works:
        settings = ", ".join(f"{name}: {value}" for name, value in work.settings.items())
        lines += ["", f"{work.work} ({settings})"]
        lines += [_result_line(result) for result in work.sides]
        lines += [_ratio_line(ratio) for ratio in work.ratios]
        lines += [f"    {result.name}: {result.command}" for result in work.sides]
    checked = found.verified
    lines += ["", f"verified: {checked.acknowledged:,} acknowledged, {checked.received:,} received, all of them intact"]
    return "\n".join(lines)


def _result_line(found: ContenderResult) -> str:
    if found.low is None or found.high is None:
        return f"  {found.name:<26} {len(found.rates)} of its windows worked; {found.failures[-1]}"
    cpu = f", {found.cpu_us:.2f} us of client CPU a message" if found.cpu_us is not None else ""
    return f"  {found.name:<26} {_mean(found.rates):>11,.0f} messages/s ({found.low:,.0f} to {found.high:,.0f}){cpu}"


def _ratio_line(ratio: Ratio) -> str:
    line = f"  against {ratio.peer}: {ratio.ratio:.2f} x ({ratio.low:.2f} to {ratio.high:.2f})"
    if ratio.cpu_ratio is not None:
        line += f", CPU {ratio.cpu_ratio:.2f} x"
    if ratio.bar is None:
        return line
    bar = f"{ratio.bar:g} x" + (f", CPU at most {ratio.most_cpu:g} x" if ratio.most_cpu is not None else "")
    return f"{line}; bar {bar}: {'met' if ratio.met else 'MISSED'}"
