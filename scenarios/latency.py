"""How long under a given rate: an open loop, latency against rate, the highest rate that lasts, and catching up.

First a closed loop finds what the clients can push through at most. Then, on a fresh channel, producers follow
a schedule while consumers take what comes: a *curve* of rates; a *search* between the highest rate that lasted and the
lowest that did not, *confirmed* by further windows; and a *backlog*, for which consumers stay away at first.

A rate lasts when what is not yet received at the end of its window could be received within the latency limit. That is
only how the search goes on: what the record says is judged from the history (``latency_metrics``), where
also the 99th percentile must keep the limit.
"""

from __future__ import annotations

from types import MappingProxyType

from scenarios import latency_metrics, workload
from scenarios.base import Context, Examination, Parameters
from scenarios.checkers import delivery
from scenarios.fleet import Fleet
from scenarios.history import History
from scenarios.schedule import Schedule

NAME = "latency"
SUMMARY = "open loop: latency against rate, the highest rate that lasts, catching up with a backlog"
DEFAULTS: Parameters = MappingProxyType(
    {
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
        "rate_warmup_s": 0.0,
        "warmup_s": 0.5,
        "ceiling_s": 0.3,
        "drain_s": 30.0,
    }
)
OFF_AT_ZERO = frozenset({"search_steps", "confirm", "away_s", "saturate_s"})
PROPERTIES = delivery.PROPERTIES

_JOIN_S = 20.0
_CATCH_UP = 4
"""The backlog's window is so many times as long as consumers stay away."""


def alone(parameters: Parameters) -> bool:
    return True


def run(context: Context) -> None:
    """Raises ValueError for parameters that leave no rate to ask for."""
    if not context.parameters["saturate_s"] and not context.parameters["rates"]:
        raise ValueError("saturate_s: 0 needs rates: shares are of what a closed loop passes")
    with context.writer("latency") as writer:
        writer.mark(
            "latency",
            parameters=dict(context.parameters),
            settle_resolution=context.declaration.limits.settle_resolution.value,
            drain_proof=context.declaration.limits.drain_proof,
        )
        with Fleet(context, writer) as fleet:
            _Experiment(context, fleet).run()


def examine(history: History) -> Examination:
    return Examination(delivery.findings(history), latency_metrics.metrics(history))


class _Experiment:
    """The windows of one cell, one after the other; the search depends on what the last one showed."""

    def __init__(self, context: Context, fleet: Fleet) -> None:
        self._context, self._parameters, self._fleet = context, context.parameters, fleet
        self._batch = int(self._parameters["batch"])
        self._window_s = float(self._parameters["window_s"])
        self._limit_s = float(self._parameters["latency_limit_ms"]) / 1e3
        asked = [float(rate) for rate in self._parameters["rates"]]
        self._asked = asked
        curve = len(asked or self._parameters["shares"])
        self._done, self._steps = (
            0,
            curve + int(self._parameters["search_steps"]) + int(self._parameters["confirm"]) + 2,
        )

    def run(self) -> None:
        self._fleet.price([self._batch], float(self._parameters["ceiling_s"]))
        # With given rates nobody needs to know the most: a time of 0 leaves that out.
        most = self._saturate() if float(self._parameters["saturate_s"]) else max(self._asked)
        self._open("paced", int(self._parameters["open_in_flight"]))
        if float(self._parameters["rate_warmup_s"]):
            self._warm_up_at(min(self._asked or [float(self._parameters["shares"][0]) * most]))
        lasts, too_much = 0.0, 1.2 * most
        for rate in sorted(self._asked or [float(share) * most for share in self._parameters["shares"]]):
            if self._lasts("curve", rate):
                lasts = rate
            else:
                too_much = min(too_much, rate)
        for _ in range(int(self._parameters["search_steps"])):
            middle = (lasts + too_much) / 2
            if self._lasts("search", middle):
                lasts = middle
            else:
                too_much = middle
        # A rate that lasted once may have been lucky: the confirmed one is a little lower when it does not last again.
        for _ in range(int(self._parameters["confirm"])):
            if lasts and not self._lasts("confirm", lasts):
                lasts *= 0.9
        if lasts and float(self._parameters["away_s"]):
            self._catch_up(float(self._parameters["backlog_share"]) * lasts)
        self._fleet.close()

    def _open(self, name: str, in_flight: int) -> None:
        """A channel on which everybody has said something: groups are joined, code paths warm."""
        self._context.progress(self._done / self._steps, f"{name}: warming up")
        self._fleet.open(name, [(self._batch, in_flight)])
        self._fleet.window("publish", self._batch, float(self._parameters["warmup_s"]) / 2, warmup=True)
        self._fleet.window("consume", self._batch, float(self._parameters["warmup_s"]), warmup=True)
        self._fleet.drain(_JOIN_S)

    def _saturate(self) -> float:
        """Messages a second that came through a closed loop."""
        saturate_s = float(self._parameters["saturate_s"])
        self._open("saturated", self._batch * int(self._parameters["batches_in_flight"]))
        self._step("as fast as they can")
        rate = self._fleet.window("both", self._batch, saturate_s) / saturate_s
        self._fleet.close()
        return max(rate, 1.0)

    def _lasts(self, purpose: str, rate: float) -> bool:
        self._step(f"{purpose}: {rate:,.0f} messages a second")
        backlog = self._fleet.paced(purpose, self._batch, self._schedule(rate, self._window_s))
        self._fleet.drain()
        return backlog <= max(rate * self._limit_s, self._batch)

    def _warm_up_at(self, rate: float) -> None:
        """For programs that grow fast with use, such as a broker in a virtual machine: the same load, not counted."""
        warmup_s = float(self._parameters["rate_warmup_s"])
        self._context.progress(0.0, f"warming up at {rate:,.0f} messages a second")
        self._fleet.paced("warm-up", self._batch, self._schedule(rate, warmup_s), warmup=True)
        self._fleet.drain()

    def _catch_up(self, rate: float) -> None:
        away_s = float(self._parameters["away_s"])
        self._step(f"a backlog of {rate * away_s:,.0f} messages")
        self._fleet.paced("backlog", self._batch, self._schedule(rate, _CATCH_UP * away_s), consumers_away_s=away_s)

    def _schedule(self, rate: float, duration_s: float) -> Schedule:
        return Schedule(rate, duration_s, str(self._parameters["shape"]), str(self._parameters["arrivals"]))

    def _step(self, doing: str) -> None:
        self._context.progress(min(1.0, self._done / self._steps), doing)
        self._done += 1
