"""How late is the paced producer, against a bare pacing loop under the same load?

``python -m brokerbench.bench.lab.schedule_lag``

Both publish the same rate to Kafka while a consumer takes everything, in turns, on one engine. The bare loop stamps
nothing and writes nothing down. Ours is the schedule lag of the ``latency`` scenario's own histories.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brokerbench.bench import children
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.errors import BenchError, CheckFailed
from brokerbench.bench.load.processes import Processes
from brokerbench.bench.run.session import open_session
from brokerbench.brokers import registry
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, Endpoint
from brokerbench.scenarios import latency
from brokerbench.scenarios.analysis import latency as latency_metrics
from brokerbench.scenarios.base import Context, Parameters
from brokerbench.scenarios.compare.difference import compare
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.load.controller import LoadController
from brokerbench.scenarios.load.schedule import Schedule

PROFILE = "kafka"
_QUANTILES = (50.0, 99.0, 99.9)
_WARMUP_SHARE = 0.1
_BROKER_WARMUP_S = 30.0
"""Seconds of warm-up at a given rate; without one, the search for the highest rate warms up the broker."""

RoundLags = tuple[dict[str, float], dict[str, float]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m brokerbench.bench.lab.schedule_lag", description=__doc__)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="messages a second; default: half of the highest that lasts"
    )
    parser.add_argument("--batch", type=int, default=100, help="most messages handed over at once")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    try:
        rate, rows = _measure(given)
    except BenchError as problem:
        print(f"brokerbench.bench.lab.schedule_lag: {problem}", file=sys.stderr)
        return problem.exit_code
    _print(rate, given.batch, rows)
    return 0


def _measure(given: argparse.Namespace) -> tuple[float, Sequence[RoundLags]]:
    """The rate, and the percentiles of both sides in each round."""
    with open_session(EngineChoice.NATIVE) as session:
        endpoint = session.ready(PROFILE).endpoint
        bench = _Bench(endpoint, session.guard.directory("schedule-lag"), session.prefix, given.batch)
        rate = given.rate or bench.half()
        if given.rate:
            bench.bare(rate, _BROKER_WARMUP_S)
        rows = [(bench.own(rate, given.seconds), bench.bare(rate, given.seconds)) for _ in range(given.repeats + 1)]
    return rate, rows[1:]  # the first round warms up


def _print(rate: float, batch: int, rows: Sequence[RoundLags]) -> None:
    print(
        f"{rate:,.0f} messages a second of 1 KiB, at most {batch} at once; schedule lag in ms, {len(rows)} windows each"
    )
    for quantile in _QUANTILES:
        name = f"p{quantile:g}"
        own, bare = [row[0][name] for row in rows], [row[1][name] for row in rows]
        ratio = compare(bare, own)
        print(
            f"{name:6} brokerbench {np.median(own):.3f} ({min(own):.3f} to {max(own):.3f})   "
            f"bare loop {np.median(bare):.3f} ({min(bare):.3f} to {max(bare):.3f})   "
            f"ratio {ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        )


class _Bench:
    def __init__(self, endpoint: Endpoint, directory: Path, prefix: str, batch: int) -> None:
        self._endpoint, self._directory, self._prefix, self._batch = endpoint, directory, prefix, batch
        self._broker: Broker = registry.connect(PROFILE, endpoint)
        self._turns = 0

    def half(self) -> float:
        """Half of the highest rate that lasts, as ``latency`` finds it."""
        wanted = {**latency.DEFAULTS, "batch": self._batch, "shares": [0.5], "away_s": 0.0}
        with Processes() as load:
            context = self._context(load, wanted)
            latency.run(context)
        found = latency_metrics.metrics(saved_history.load(context.history_directory))
        rates = [metric.samples for metric in found if metric.name == "sustainable_rate"]
        if not rates:
            raise CheckFailed("no rate lasted: name one with --rate")
        return float(np.median(rates[0])) / 2

    def own(self, rate: float, seconds: float) -> dict[str, float]:
        with Processes() as load:
            context = self._context(load)
            with context.writer("pacing") as writer, LoadController(context, writer) as controller:
                controller.open("own", [(self._batch, int(latency.DEFAULTS["open_in_flight"]))])
                controller.paced("warm-up", self._batch, Schedule(rate, _WARMUP_SHARE * seconds), warmup=True)
                controller.drain()
                controller.paced("curve", self._batch, Schedule(rate, seconds))
                controller.close()
        (window,) = latency_metrics.paced_windows(saved_history.load(context.history_directory))
        late_ns = latency_metrics.latencies_ns(window.of, "sent_ns", corrected=True)
        return {f"p{at:g}": float(np.percentile(late_ns, at)) / 1e6 for at in _QUANTILES}

    def bare(self, rate: float, seconds: float) -> dict[str, float]:
        self._turns += 1
        channel = f"{self._prefix}bare{self._turns}"
        self._broker.create_channel(ChannelSpec(channel, partitions=int(latency.DEFAULTS["partitions"])))
        command = children.command("bench.lab.bare_pacing", "--address", self._endpoint.address, "--channel", channel)
        options = {"rate": rate, "batch": self._batch, "seconds": seconds * (1 + _WARMUP_SHARE)}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        stop = threading.Event()
        reader = threading.Thread(target=self._take_all, args=(channel, stop))
        reader.start()
        try:
            printed = subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout
        finally:
            stop.set()
            reader.join()
            self._broker.delete_channel(channel)
        found: dict[str, float] = json.loads(printed)
        return found

    def _take_all(self, channel: str, stop: threading.Event) -> None:
        broker = registry.connect(PROFILE, self._endpoint)
        consumer = broker.consumer(channel, ConsumerSettings())
        while not stop.is_set():
            consumer.acknowledge(consumer.receive(self._batch, 0.2))
        consumer.close()
        broker.close()

    def _context(self, load: Processes, parameters: Parameters = latency.DEFAULTS) -> Context:
        self._turns += 1
        return Context(
            profile=PROFILE,
            parameters=parameters,
            seed=1,
            run=1,
            broker=self._broker,
            declaration=self._broker.declaration(),
            endpoint=self._endpoint,
            connect=lambda: registry.connect(PROFILE, self._endpoint),
            channel_prefix=f"{self._prefix}t{self._turns}-",
            history_directory=self._directory / f"history-{self._turns}",
            load=load,
            progress=lambda share, doing: None,
        )


if __name__ == "__main__":
    sys.exit(main())
