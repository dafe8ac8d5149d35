"""How long under a given rate: an open loop, latency against rate, the highest rate that lasts, and catching up.

Producers follow a schedule while consumers receive. The search for the highest rate that lasts comes first: a closed
loop sets the scale; the rate *climbs* by doubling until it does not last, or halves until it does (a closed loop with
few messages under way may find a small part of the rate that passes); a *search* goes on between the last two, and at
its end tries the lowest rate that failed once more; further windows *confirm* the result. Then follow the *curve*, at
shares of that rate, and a *backlog*, for which consumers stay away at first. Given rates come before all that.

A rate lasts when the messages not yet received at the end of its window could be received within the latency limit,
and 99 of 100 were. That decides only how the search goes on, and sees only the mean backlog of a bursty schedule:
verdicts of the record come from the history (``analysis.latency``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from brokerbench.brokers.declarations import Limits
from brokerbench.scenarios.analysis import delivery, key_order, latency, steadiness
from brokerbench.scenarios.base import Context, Examination, Parameters, Scenario
from brokerbench.scenarios.history import History
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.load.controller import LoadController, load_controller
from brokerbench.scenarios.load.load_commands import OnProgress
from brokerbench.scenarios.load.repeats import Repeats
from brokerbench.scenarios.load.schedule import Schedule

DEFAULTS: Parameters = {
    **workload.PARAMETERS,
    "batch": 100,
    "producers": 1,
    "consumers": 1,
    "partitions": 3,
    "acknowledge_every": 1,
    "batches_in_flight": 10,
    "open_in_flight": 50_000,
    "shape": "constant",
    "arrivals": "poisson",
    "shares": [0.1, 0.25, 0.5, 0.75, 0.9],
    "rates": [],
    "latency_limit_ms": 100.0,
    "search_steps": 4,
    "confirm": 3,
    "away_s": 2.0,
    "backlog_share": 0.5,
    "saturate_s": 2.0,
    "window_s": 4.0,
    "rate_warmup_s": 5.0,
    "overrun_s": 1.0,
    "most_backlog_bytes": 0,
    "warmup_s": 0.5,
    "ceiling_s": 0.3,
    "drain_s": 30.0,
}
PROPERTIES = delivery.PROPERTIES

_JOIN_S = 20.0
_CATCH_UP = 4
"""Length of the backlog's window, in times that consumers stay away."""
_CLIMBS = 10
_SEARCH_SHARE, _LIMITS = 0.5, 10
"""A window of the search is this share of a full window, and at least this many latency limits long: in a window no
longer than the limit no rate could fail. It is shorter than those that confirm, as twice the rate that passes fills a
broker."""
_WARM_UPS, _MORE_WARM_UP_S = 6, 30.0
"""Most warm-ups at a rate, and the most that those after the first take: one follows while latency still falls."""
_STRETCHED = 1.0
"""Windows in doubt are measured again for at most as long as all planned windows take."""
_LATE_SHARE = 0.01
_FEW = 10
"""Messages that may be under way at any rate."""
_LOOKS, _NARROW = 3, 1.05
_LOWERINGS, _LOWER, _MUCH_LOWER = 4, 0.95, 0.85
_STRETCHED = 2.0
"""Extra windows may take as long as those of the curve and of the confirmation, each with what it leaves to drain."""
_MOST_KEPT_BYTES = 2 << 30
"""A channel that would hold more gives way to a new one: some brokers keep acknowledged messages in memory."""


def check(parameters: Parameters) -> None:
    workload.check(parameters)
    Schedule(1.0, 1.0, str(parameters["shape"]), str(parameters["arrivals"]))  # any rate: it refuses unknown names
    if not parameters["saturate_s"] and not parameters["rates"]:
        raise ValueError("saturate_s: 0 needs rates: shares are of what a closed loop passes")


def run(context: Context) -> None:
    with load_controller(context, "latency") as controller:
        _Experiment(controller).run()


def examine(history: History) -> Examination:
    found = delivery.findings(history, key_order.property_of(history, "latency"))
    metrics = latency.metrics(history)
    return Examination(found, metrics, latency.left_out(metrics))


def expected_s(parameters: Parameters, limits: Limits | None) -> float:
    """A window takes a fifth longer than its length: messages left at its end are received outside."""
    window_s, searches = float(parameters["window_s"]), int(parameters["search_steps"])
    windows = len(parameters["rates"] or parameters["shares"]) + int(parameters["confirm"])
    once_s = sum(float(parameters[name]) for name in ("rate_warmup_s", "saturate_s"))
    search_s = 2 * (searches + 1) * _search_s(parameters) if searches else 0.0
    return 10.0 + 1.2 * (windows * window_s + search_s + once_s + _CATCH_UP * float(parameters["away_s"]))


def _search_s(parameters: Parameters) -> float:
    """Length of a window of the search."""
    limit_s = float(parameters["latency_limit_ms"]) / 1e3
    return max(_SEARCH_SHARE * float(parameters["window_s"]), _LIMITS * limit_s)


SCENARIO = Scenario(
    name="latency",
    summary="open loop: latency against rate, the highest rate that lasts, catching up with a backlog",
    defaults=DEFAULTS,
    off_at_zero=frozenset({"search_steps", "confirm", "away_s", "saturate_s", "rate_warmup_s", "overrun_s"}),
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
    """The windows of one cell, one after the other; the search depends on what the last one showed."""

    def __init__(self, controller: LoadController) -> None:
        self._controller, self._context = controller, controller.context
        self._parameters = self._context.parameters
        self._batch = int(self._parameters["batch"])
        self._window_s = float(self._parameters["window_s"])
        self._limit_s = float(self._parameters["latency_limit_ms"]) / 1e3
        self._asked = sorted(float(rate) for rate in self._parameters["rates"])
        self._searches = int(self._parameters["search_steps"])
        self._search_s = _search_s(self._parameters)
        curve = len(self._asked or self._parameters["shares"])
        self._lasted: list[float] = []
        self._failed: list[float] = []
        self._channels, self._warm = count(), 0
        # Climbing mostly takes a few steps; progress need not be exact.
        self._done, self._steps = 0, curve + 2 * self._searches + int(self._parameters["confirm"]) + 2
        again = curve + int(self._parameters["confirm"])
        self._repeats = Repeats(again, _STRETCHED * again * self._window_s)

    def run(self) -> None:
        self._controller.measure_ceilings([self._batch], float(self._parameters["ceiling_s"]))
        # Given rates do not need the maximum: a saturate_s of 0 leaves it out.
        most = self._saturate() if float(self._parameters["saturate_s"]) else max(self._asked)
        self._open()
        if float(self._parameters["rate_warmup_s"]):
            self._warm_up_at(max(self._asked, default=most))
        if self._asked or not self._searches:
            self._curve(self._asked or self._shares_of(most))
        if self._searches:
            self._climb(most)
            self._search()
            self._look_again()
        lasting = self._confirmed()
        if self._searches and not self._asked:
            self._curve(self._shares_of(lasting or most))
        if lasting and float(self._parameters["away_s"]):
            self._catch_up(float(self._parameters["backlog_share"]) * lasting)
        elif float(self._parameters["away_s"]):
            self._controller.left_out("backlog", "no rate lasted, so consumers would never have caught up with one")
        self._controller.close()

    @property
    def _lasting(self) -> float:
        """The highest rate that lasted; 0 before any did."""
        return max(self._lasted, default=0.0)

    @property
    def _too_much(self) -> float:
        """The lowest above it that did not."""
        return min((rate for rate in self._failed if rate > self._lasting), default=math.inf)

    def _shares_of(self, most: float) -> list[float]:
        return sorted(float(share) * most for share in self._parameters["shares"])

    def _curve(self, rates: Sequence[float]) -> None:
        for rate in rates:
            self._learn(rate, self._lasts("curve", rate, self._window_s))

    def _climb(self, first: float) -> None:
        """Double the rate until it does not last, or halve it until it does."""
        for _ in range(_CLIMBS):
            if self._lasted and self._too_much < math.inf:
                return
            rate = 2 * self._lasting or min(first, self._too_much / 2)
            self._learn(rate, self._lasts_at_last("climb", rate))

    def _search(self) -> None:
        """Try half-way between a rate that lasted and one that did not, until they are close."""
        for _ in range(self._searches):
            if not _NARROW * self._lasting < self._too_much < math.inf:
                return
            rate = (self._lasting + self._too_much) / 2
            self._learn(rate, self._lasts_at_last("search", rate))

    def _look_again(self) -> None:
        """A rate that failed while the broker's code was cold may last by now; then the search goes on from there."""
        for _ in range(_LOOKS):
            before = self._lasting
            while (rate := self._too_much) < math.inf and self._lasts_at_last("search", rate):
                self._learn(rate, True)
            if self._lasting == before:
                return
            self._climb(before)
            self._search()

    def _confirmed(self) -> float:
        """A rate that lasted once, in a shorter window, may have been lucky: lower it while most windows fail.

        By a little; by more when all windows fail twice running.
        """
        rate, times, none = self._lasting, int(self._parameters["confirm"]), False
        for _ in range(_LOWERINGS if times and rate else 0):
            lasted = [self._lasts("confirm", rate, self._window_s) for _ in range(times)]
            if 2 * sum(lasted) > times:
                break
            rate *= _MUCH_LOWER if none and not any(lasted) else _LOWER
            none = not any(lasted)
        return rate

    def _learn(self, rate: float, lasts: bool) -> None:
        (self._lasted if lasts else self._failed).append(rate)

    def _open(self) -> None:
        self._warm_channel(f"paced-{next(self._channels)}", int(self._parameters["open_in_flight"]))
        self._warm = self._controller.published

    def _warm_channel(self, name: str, in_flight: int) -> None:
        """Open a channel and pass messages through every client: groups are joined, code paths warm."""
        self._context.progress(min(1.0, self._done / self._steps), f"{name}: warming up")
        self._controller.open(name, [(self._batch, in_flight)])
        self._controller.window("publish", self._batch, float(self._parameters["warmup_s"]) / 2, warmup=True)
        self._controller.window("consume", self._batch, float(self._parameters["warmup_s"]), warmup=True)
        self._controller.warmed_up(_JOIN_S)

    def _saturate(self) -> float:
        """Messages a second received in a closed loop."""
        saturate_s = float(self._parameters["saturate_s"])
        self._warm_channel("saturated", self._batch * int(self._parameters["batches_in_flight"]))
        passed = self._step("as fast as they can")
        rate = self._controller.window("both", self._batch, saturate_s, on_progress=passed) / saturate_s
        self._controller.close()
        return max(rate, 1.0)

    def _lasts_at_last(self, purpose: str, rate: float) -> bool:
        """With a second chance: one stall of a broker must not end a search."""
        return any(self._lasts(purpose, rate, self._search_s) for _ in range(2))

    def _lasts(self, purpose: str, rate: float, window_s: float) -> bool:
        """In a window that is not in doubt, where there is one."""
        return self._repeats.until_sound(
            lambda: self._lasts_once(purpose, rate, window_s), lambda: self._controller.doubts
        )

    def _lasts_once(self, purpose: str, rate: float, window_s: float) -> bool:
        self._make_room(rate * window_s)
        passed = self._step(f"{purpose}: {rate:,.0f} messages a second")
        before = self._controller.published
        schedule = self._schedule(rate, window_s)
        backlog = self._controller.paced(purpose, self._batch, schedule, late_after_s=self._limit_s, on_progress=passed)
        self._controller.drain()
        expected = (self._controller.published - before) * int(self._parameters["groups"])
        return backlog <= max(rate * self._limit_s, _FEW) and self._controller.late <= _LATE_SHARE * expected

    def _make_room(self, messages: float) -> None:
        """Change to a new channel when this one would hold too much. Given rates stay on one channel."""
        published = self._controller.published
        full = (published + messages) * float(self._parameters["size"]) > _MOST_KEPT_BYTES
        if self._searches and full and published > self._warm:
            self._controller.close()
            self._open()

    def _warm_up_at(self, rate: float) -> None:
        """The highest load, not counted, for programs that get faster with use, such as a broker on the JVM.

        Again while latency still falls: at a low rate such a broker may take half a minute.
        """
        warmup_s = float(self._parameters["rate_warmup_s"])
        for each_s in (warmup_s, *[min(warmup_s, _MORE_WARM_UP_S / (_WARM_UPS - 1))] * (_WARM_UPS - 1)):
            self._context.progress(0.0, f"warming up at {rate:,.0f} messages a second")
            self._controller.paced("warm-up", self._batch, self._schedule(rate, each_s), warmup=True)
            self._controller.drain()
            if not steadiness.falls(self._controller.middle_ms):
                return

    def _catch_up(self, rate: float) -> None:
        away_s = float(self._parameters["away_s"])
        self._make_room(rate * _CATCH_UP * away_s)
        passed = self._step(f"a backlog of {rate * away_s:,.0f} messages")
        schedule = self._schedule(rate, _CATCH_UP * away_s)
        self._controller.paced("backlog", self._batch, schedule, consumers_away_s=away_s, on_progress=passed)

    def _schedule(self, rate: float, duration_s: float) -> Schedule:
        return Schedule(rate, duration_s, str(self._parameters["shape"]), str(self._parameters["arrivals"]))

    def _step(self, doing: str) -> OnProgress:
        """Begin the next step; returns its progress callback."""
        begun = self._done
        self._done += 1

        def passed(share: float) -> None:
            self._context.progress(min(1.0, (begun + share) / self._steps), doing)

        passed(0.0)
        return passed
