"""Publish, consume, both at once, replay; small, usual and large payloads; on each profile that ``--profile`` names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brokerbench.bench import environment
from brokerbench.bench.regression import work
from brokerbench.bench.regression.work import WORKS, RoundLoad, TimedRound
from brokerbench.bench.run.session import Site
from brokerbench.brokers.protocols import Broker, Replayable
from brokerbench.scenarios.compare.rounds import CLIENT, CONDITIONS, MESSAGES

SIZES = {128: 50_000, 1024: 50_000, 65536: 1_000}
"""Messages a round, for each payload size in bytes."""
_SLOW = 100
"""Factor by which an emulator of SQS is slower."""
_BATCH_BYTES = 1 << 20
_BATCH = 500


def load(profile_broker: str, size: int, messages: int | None) -> RoundLoad:
    usual = SIZES[size] // (_SLOW if profile_broker == "sqs" else 1)
    return RoundLoad(messages or usual, size, min(_BATCH, _BATCH_BYTES // size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WORKS)
def test_speed(
    benchmark: Any,
    brokerbench_site: Site,
    broker: Broker,
    new_channel: Callable[..., str],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    name: str,
    size: int,
) -> None:
    """Every round on a new channel; each of its messages is verified after the timing."""
    if name == "replay" and not isinstance(broker, Replayable):
        pytest.skip("the profile cannot read again what was acknowledged")
    wanted, doing = load(brokerbench_site.engine.name, size, pytestconfig.getoption("--messages")), WORKS[name]

    def begin() -> tuple[tuple[TimedRound], dict[str, Any]]:
        found = work.begin(broker, new_channel(), wanted, tmp_path / "history")
        doing.prepare(found)
        return (found,), {}

    def verify(found: TimedRound) -> None:
        doing.finish(found)
        found.close()
        found.verify()
        shutil.rmtree(tmp_path / "history")

    benchmark.group = f"{name}, {size} B"
    benchmark.extra_info[MESSAGES] = wanted.messages
    benchmark.extra_info[CONDITIONS] = conditions(brokerbench_site, wanted)
    rounds = pytestconfig.getoption("--rounds")
    benchmark.pedantic(doing.do, setup=begin, teardown=verify, rounds=rounds, iterations=1, warmup_rounds=1)


def conditions(site: Site, wanted: RoundLoad) -> dict[str, str]:
    """Conditions that must be equal for two timings to be compared."""
    engine, client = site.engine, environment.clients([site.profile]).get(site.profile)
    return {
        **({} if client is None else {CLIENT: client.name}),
        "engine": engine.product,
        "engine version": engine.version,
        "engine kind": engine.kind,
        "grade": engine.grade.value,
        "batch": str(wanted.batch),
        **{f"engine setting {name}": value for name, value in engine.settings.items()},
    }
