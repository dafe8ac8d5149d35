"""How fast: publish, consume, and both at once, with every message verified and every repeat shown.

Load processes start once and run their windows one after the other. A repeat has a channel of its own, so that the
messages that a broker keeps do not grow with the run. In it, for each batch size: both at once for a window; then
publish for a window without consumers; then consume that backlog, for at most a window. The rest is consumed outside
of the windows, and the channel ends with a proof that it is empty. Batch sizes alternate in an order that follows from
the seed.

All rates are closed-loop: the maximum of these clients, one request after the other. Latencies of such a loop are no
latencies under a given rate (messages held back while the loop waited are not timed), and say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brokerbench.brokers.declarations import Limits
from brokerbench.scenarios.analysis import delivery, key_order, throughput
from brokerbench.scenarios.base import Context, Examination, Parameters, Scenario
from brokerbench.scenarios.history import History
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.load.controller import LoadController, load_controller
from brokerbench.scenarios.load.repeats import Repeats

DEFAULTS: Parameters = {
    **workload.PARAMETERS,
    "batches": [100, 1000],
    "repeats": 3,
    "window_s": 3.0,
    "warmup_s": 0.5,
    "producers": 1,
    "consumers": 1,
    "partitions": 3,
    "modes": ["publish", "consume", "both"],
    "acknowledge_every": 1,
    "batches_in_flight": 10,
    "ceiling_s": 0.3,
    "drain_s": 20.0,
}
PROPERTIES = delivery.PROPERTIES
MODES = ("both", "publish", "consume")
"""In this order: messages left by the first are part of the backlog that the last consumes."""

_STRETCHED = 2.0
"""Extra windows may take as long as all planned ones, each with what it leaves to drain."""
_JOIN_S = 20.0
"""Longest wait for a consumer's first message, in seconds."""


def check(parameters: Parameters) -> None:
    workload.check(parameters)
    unknown = set(parameters["modes"]) - set(MODES)
    if unknown:
        raise ValueError(f"unknown mode {min(unknown)!r}; known: {', '.join(MODES)}")


def run(context: Context) -> None:
    with load_controller(context, "throughput") as controller:
        _Experiment(controller).run()


def examine(history: History) -> Examination:
    found = delivery.findings(history, key_order.property_of(history, "throughput"))
    return Examination(found, throughput.metrics(history))


def expected_s(parameters: Parameters, limits: Limits | None) -> float:
    windows = len(parameters["batches"]) * int(parameters["repeats"])
    return 8.0 + 2.5 * float(parameters["window_s"]) * windows


SCENARIO = Scenario(
    name="throughput",
    summary="publish, consume and both at once: rates of verified messages, "
    "with client CPU and the noop ceiling beside",
    defaults=DEFAULTS,
    properties=PROPERTIES,
    also=key_order.PROPERTIES,
    alone=True,
    expected_s=expected_s,
    check=check,
    fits=workload.check_fits,
    run=run,
    examine=examine,
)


class _Experiment:
    """The windows of one cell, one after the other."""

    def __init__(self, controller: LoadController) -> None:
        self._controller, self._context = controller, controller.context
        self._parameters = self._context.parameters
        self._batches = [int(batch) for batch in self._parameters["batches"]]
        repeats, window_s = int(self._parameters["repeats"]), float(self._parameters["window_s"])
        self._done, self._steps = 0, repeats * len(self._batches) * len(MODES)
        self._repeats = Repeats(self._steps, _STRETCHED * self._steps * window_s)

    def run(self) -> None:
        self._controller.measure_ceilings(self._batches, float(self._parameters["ceiling_s"]))
        rng = np.random.default_rng(self._context.seed)
        for repeat in range(int(self._parameters["repeats"])):
            self._repeat(repeat, [int(batch) for batch in rng.permutation(self._batches)])

    def _repeat(self, repeat: int, batches: Sequence[int]) -> None:
        self._context.progress(self._done / self._steps, f"repeat {repeat + 1}: warming up")
        waiting = int(self._parameters["batches_in_flight"])
        self._controller.open(f"r{repeat}", [(batch, batch * waiting) for batch in batches])
        self._warm_up(batches)
        for batch in batches:
            for mode in MODES:
                self._step(repeat, batch, mode)
            self._controller.drain()
        self._controller.close()

    def _step(self, repeat: int, batch: int, mode: str) -> None:
        modes = self._parameters["modes"]
        begun = self._done
        self._done += 1

        def passed(share: float) -> None:
            self._context.progress((begun + share) / self._steps, f"repeat {repeat + 1}: {mode}, batches of {batch}")

        passed(0.0)
        window_s = float(self._parameters["window_s"])
        again = False

        def measure() -> None:
            nonlocal again
            if again and mode == "consume":
                # The window in doubt took the backlog.
                self._controller.window("publish", batch, window_s, warmup=True)
            self._controller.window(mode, batch, window_s, on_progress=passed)
            again = True

        # A backlog must be published before it can be consumed.
        if mode in modes or (mode == "publish" and "consume" in modes):
            self._repeats.until_sound(measure, lambda: self._controller.doubts)

    def _warm_up(self, batches: Sequence[int]) -> None:
        """Real messages through every producer and consumer: connect, join groups, warm code paths."""
        warmup_s = float(self._parameters["warmup_s"])
        for batch in batches:
            self._controller.window("publish", batch, warmup_s / len(batches), warmup=True)
        self._controller.window("consume", batches[0], warmup_s, warmup=True)
        self._controller.warmed_up(_JOIN_S)
