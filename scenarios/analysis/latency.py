"""The metrics of ``latency``, from its history alone.

A message belongs to the window in which it was due. *Corrected* latencies begin when a message was due: time that it
waited because its producer was late counts. *Uncorrected* ones begin when it was sent, as a closed loop sees them: too
low when something stalls. A message that never arrived has no latency: it is counted apart, and makes a window fail.
One that was due and never sent, as the overload had to end, has a corrected latency of at least the time until it was
given up: left out, it would make a percentile too good.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from brokerbench.brokers.types import Resolution
from brokerbench.scenarios.analysis import steadiness
from brokerbench.scenarios.base import Measured, Sends
from brokerbench.scenarios.history import History
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.metrics import clock_sync, doubts, lag, message_times, own_time, send_fates, window_rates
from brokerbench.scenarios.metrics.message_times import NEVER, MessageTimes, Times

QUANTILES: Mapping[str, float] = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "p99.99": 99.99, "max": 100.0}
_FEWEST_BEYOND = 5
"""Samples beyond a percentile that it needs to be stated; the maximum is always stated."""
_LABELS = (
    "size",
    "batch",
    "producers",
    "consumers",
    "partitions",
    "keys",
    "acknowledge_every",
    "shape",
    "arrivals",
    "durability",
)
_GRID_NS = lag.LOOK_NS
_WARM_STRETCHES = 5


@dataclass(frozen=True, slots=True)
class Paced:
    """One window of an open loop, and the messages that were due in it."""

    number: int
    purpose: str
    rate: float
    start_ns: int
    end_ns: int
    away_ns: int
    of: MessageTimes
    doubts: tuple[str, ...] = ()
    """Why its figures need not be the broker's."""
    clock_error_ns: int = 0
    """Largest difference of the clocks of producers and consumers, in ns: 0 on one host."""
    sends: Sends = field(default_factory=lambda: Sends(0))
    """The fates of the messages that were due in it."""

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def unsent(self) -> int:
        return int(np.count_nonzero(self.of.as_sent().sent_ns == NEVER))

    def received_rate(self) -> float:
        """Messages a second that were due and received within the window: by all groups together."""
        return float(np.count_nonzero(self.of.received_ns < self.end_ns)) / self.duration_s

    def lasts(self, limit_ns: float) -> bool:
        """All were taken and received; 99 of 100 within the limit; at the end no message older than it was waiting."""
        if not len(self.of) or (self.of.received_ns == NEVER).any() or (self.of.settled_ns == NEVER).any():
            return False
        behind_ns = int(self.of.backlog_age_ns(np.array([self.end_ns]))[0])
        longest_ns = max(behind_ns, float(np.percentile(_end_to_end(self.of), 99)))
        return longest_ns + self.clock_error_ns <= limit_ns

    def tells_end_to_end(self) -> bool:
        """Whether its clocks are exact enough for latencies from producer to consumer."""
        values = _end_to_end(self.of)
        return not len(values) or not clock_sync.too_coarse(float(np.median(values)), self.clock_error_ns)


def paced_windows(history: History, *, warmup: bool = False) -> list[Paced]:
    """The open-loop windows of a history, in order; none where it holds no such experiment."""
    marks = list(history.events("paced", warmup=warmup))
    if not marks:
        return []
    everything, clock_error_ns = message_times.of_history(history), clock_sync.error_ns(history)
    fates = send_fates.within(history, [(mark["start_ns"], mark["end_ns"]) for mark in marks], "intended_ns")
    return [
        Paced(
            number=mark["window"],
            purpose=mark["purpose"],
            rate=mark["rate"],
            start_ns=mark["start_ns"],
            end_ns=mark["end_ns"],
            away_ns=int(mark["consumers_away_s"] * 1e9),
            of=_with_unsent(history, mark, everything.due_within(mark["start_ns"], mark["end_ns"])),
            doubts=doubts.of_mark(mark),
            clock_error_ns=clock_error_ns,
            sends=sends,
        )
        for mark, sends in zip(marks, fates, strict=True)
    ]


def _with_unsent(history: History, mark: Mapping[str, Any], of: MessageTimes) -> MessageTimes:
    """Unsent messages are known by slice of the window: each counts as due at its end, so that none seems too late."""
    given_up = list(history.events("unsent", window=mark["window"]))
    if not given_up:
        return of
    ends = [(np.array(one["slices"], np.int64) + 1) * one["slice_ns"] for one in given_up]
    parts = [np.repeat(end, one["counts"]) for end, one in zip(ends, given_up, strict=True)]
    due_ns = np.minimum(mark["start_ns"] + np.concatenate(parts), mark["end_ns"] - 1)
    return of.with_unsent(due_ns, mark["start_ns"] + max(one["until_ns"] for one in given_up))


def metrics(history: History) -> list[Measured]:
    """Empty where the history holds no experiment of this sort."""
    about = next(iter(history.events("latency")), None)
    if about is None:
        return []
    # Before all windows are in memory.
    over_time = list(lag.over_time(lag.looks(history)))
    windows = paced_windows(history)
    if not windows:
        return []
    parameters = about["parameters"]
    common = {**workload.labels(parameters, _LABELS), **clock_sync.labels(history)}
    limit_ns = float(parameters["latency_limit_ms"]) * 1e6
    by_flush = about["settle_resolution"] == Resolution.FLUSH.value
    found: list[Measured] = []
    # Windows of the climb serve the search alone: they are short, and the last ones are far beyond any rate that lasts.
    steady = [window for window in windows if window.purpose not in ("backlog", "climb")]
    medians = _medians(window for window in steady if window.purpose in ("curve", "confirm") and not window.doubts)
    apart, warming = steadiness.apart(medians), steadiness.warming(medians)
    found += _warm_up(paced_windows(history, warmup=True), parameters, common)
    for rate in dict.fromkeys(window.rate for window in steady):
        every = [window for window in steady if window.rate == rate]
        ours, doubt, left_out = doubts.trusted(every, 1)
        doubt = "; ".join(filter(None, [doubt, warming.get(rate, "")]))
        notes = "; ".join(filter(None, [left_out, apart.get(rate, "")]))
        at_rate = _at_rate(history, ours, {**common, "rate": round(rate)}, limit_ns, by_flush=by_flush)
        found += [doubts.stated(metric, doubt, notes) for metric in at_rate]
        found += doubts.metrics(_marks(history, every), {**common, "rate": round(rate)})
    climbed = [window for window in windows if window.purpose == "climb"]
    searched = not parameters["rates"] or any(window.purpose in ("climb", "search") for window in windows)
    found += _lasting(history, steady, climbed, common, limit_ns, searched=searched)
    for window in windows:
        if window.purpose == "backlog":
            found += [doubts.stated(metric, doubts.why([window]), "") for metric in _backlog(window, common, limit_ns)]
    found += over_time
    return [metric for metric in found if metric.samples]


def _marks(history: History, windows: Sequence[Paced]) -> Iterable[Mapping[str, Any]]:
    numbers = {window.number for window in windows}
    return (mark for mark in history.events("paced", warmup=False) if mark["window"] in numbers)


def left_out(metrics: Sequence[Measured]) -> dict[str, str]:
    """Messages that were never sent, a warm-up that was too short, percentiles with too few messages beyond them."""
    unsent = sum(sum(metric.samples) for metric in metrics if metric.name == "unsent")
    found = {"messages": f"{unsent:,.0f} were due and never sent"} if unsent else {}
    for metric in metrics:
        if metric.name == "warm_up" and metric.labels.get("steady") == "no":
            found["steady load"] = f"latency still fell after warming up for {sum(metric.samples):g} s"
    told = dict.fromkeys(
        (metric.labels.get("rate"), metric.labels.get("quantile")) for metric in metrics if _is_latency(metric)
    )
    rates = [rate for rate, quantile in told if quantile == "max"]  # others have no such latency at all
    missing = {quantile: [f"{rate:,}" for rate in rates if (rate, quantile) not in told] for quantile in QUANTILES}
    return found | {
        f"{quantile} of end_to_end_latency": f"a window has fewer than {_FEWEST_BEYOND} messages beyond it at "
        f"{', '.join(at)} messages a second"
        for quantile, at in missing.items()
        if at
    }


def _is_latency(metric: Measured) -> bool:
    return metric.name == "end_to_end_latency" and metric.labels.get("from") == "due"


def _is_told(percent: float, samples: int) -> bool:
    """Whether the samples are enough to state this percentile."""
    return samples > 0 and (percent == 100.0 or samples * (1 - percent / 100) >= _FEWEST_BEYOND)


def _at_rate(
    history: History, windows: Sequence[Paced], labels: Mapping[str, Any], limit_ns: float, *, by_flush: bool
) -> Iterable[Measured]:
    """All metrics of one rate; one sample a window."""
    limited = "generator" if any(limited_by_generator(history, window, limit_ns) for window in windows) else ""
    lasted = [window.lasts(limit_ns) for window in windows]
    note = f"lasted in {sum(lasted)} of {len(windows)} windows{_of_all(windows)}"
    received = tuple(window.received_rate() for window in windows)
    groups = window_rates.several(history)
    in_total = {**labels, "group": window_rates.ALL} if groups else labels
    sends = send_fates.added(window.sends for window in windows)
    yield Measured("goodput", "msg/s", received, in_total, limited_by=limited, note=note, sends=sends)
    unsent = tuple(float(window.unsent) for window in windows)
    if any(unsent):
        note = "due and never sent: the window had passed, or the backlog its bound"
        yield Measured("unsent", "messages", unsent, labels, better="lower", note=note, comparable=False)
    for at, group in enumerate(groups):
        alone = tuple(replace(window, of=window.of.of_group(at)).received_rate() for window in windows)
        yield Measured("goodput", "msg/s", alone, {**labels, "group": group}, limited_by=limited)
    for corrected in (True, False):
        of = {**labels, "from": "due" if corrected else "sent"}
        latencies = _quantiles("end_to_end_latency", windows, of, limited, _Ends.RECEIVED)
        yield from clock_sync.stated(latencies, windows[0].clock_error_ns)
        if not by_flush:
            yield from _quantiles("publish_latency", windows, of, limited, _Ends.SETTLED)
    yield from _quantiles("schedule_lag", windows, {**labels, "from": "due"}, "", _Ends.SENT)
    grids = [np.arange(window.start_ns, window.end_ns, _GRID_NS) for window in windows]
    pairs = list(zip(windows, grids, strict=True))
    most = tuple(float(window.of.underway(grid).max()) for window, grid in pairs)
    oldest_ms = tuple(float(window.of.backlog_age_ns(grid).max()) / 1e6 for window, grid in pairs)
    yield from lag.in_windows(most, oldest_ms, labels, windows[0].of.groups)
    usages = [window_rates.usage(history, "producer", window.number) for window in windows]
    cores = tuple(spent.cores for spent in usages if spent is not None)
    note = "all threads of the load processes, client library included"
    yield Measured("client_cpu", "cores", cores, {**labels, "role": "producer"}, note=note)
    marks = {mark["window"]: mark for mark in history.events("paced", warmup=False)}
    passed = [(marks[window.number], int(np.count_nonzero(window.of.received_ns != NEVER))) for window in windows]
    yield from window_rates.metrics(passed, labels)
    pauses = [sum(mark["gc_ns"] for mark in history.events("usage", window=window.number)) / 1e6 for window in windows]
    note = "garbage collection of all load processes together"
    yield Measured("gc_pauses", "ms", tuple(pauses), labels, better="lower", note=note)


def _of_all(windows: Sequence[Paced]) -> str:
    groups = windows[0].of.groups
    return f"; of all {groups} groups together" if groups > 1 else ""


class _Ends:
    """Columns in which a latency may end."""

    SENT, SETTLED, RECEIVED = "sent_ns", "settled_ns", "received_ns"


def _quantiles(
    name: str, windows: Sequence[Paced], labels: Mapping[str, Any], limited: str, end: str
) -> Iterable[Measured]:
    """One metric for each percentile that has enough samples beyond it, in every window."""
    corrected = labels["from"] == "due"
    parts = [latencies_ns(window.of, end, corrected=corrected) for window in windows]
    fewest = min(len(part) for part in parts)
    unsent = sum(int(np.count_nonzero(_ending(window.of, end).sent_ns == NEVER)) for window in windows)
    samples = sum(len(part) for part in parts)
    missing = sum(len(_ending(window.of, end)) for window in windows) - samples - (0 if corrected else unsent)
    note = f"{samples:,} samples; {missing:,} never came; {'cut off' if unsent else steadiness.within(parts)}"
    if unsent:
        counted = (
            "at least: they count with the time until they were given up" if corrected else "not among the samples"
        )
        note += f"; {unsent:,} were due and never sent ({counted})"
    told = [(quantile, percent) for quantile, percent in QUANTILES.items() if _is_told(percent, fewest)]
    if told:
        found = [np.percentile(part, [percent for _, percent in told]) / 1e6 for part in parts]
        for at, (quantile, _) in enumerate(told):
            values = tuple(float(of_window[at]) for of_window in found)
            of = {**labels, "quantile": quantile}
            yield Measured(name, "ms", values, of, better="lower", limited_by=limited, note=note, comparable=not unsent)


def latencies_ns(of: MessageTimes, end: str, *, corrected: bool) -> Times:
    """From due (``corrected``) or sent until ``end`` (a column of MessageTimes), without messages that never came.

    A message is sent and settled once, and received by each group. Corrected, one that was never sent has the time
    until it was given up.
    """
    of = _ending(of, end)
    ends: Times = getattr(of, end)
    if corrected and of.given_up_ns != NEVER:
        ends = np.where(of.sent_ns == NEVER, of.given_up_ns, ends)
    came = ends != NEVER
    begins = of.due_ns if corrected else of.sent_ns
    values: Times = np.maximum(ends[came] - begins[came], 0)
    return values


def _ending(of: MessageTimes, end: str) -> MessageTimes:
    return of if end == _Ends.RECEIVED else of.as_sent()


def _end_to_end(of: MessageTimes) -> Times:
    return latencies_ns(of, _Ends.RECEIVED, corrected=True)


def limited_by_generator(history: History, window: Paced, limit_ns: float) -> bool:
    """The producers sent one in a hundred later than the limit by their own doing.

    Histories of before do not tell what held a producer up: there it must have had no core left.
    """
    marks = list(history.events("usage", role="producer", window=window.number))
    if any("late" in mark for mark in marks):
        return any(mark["late"] > own_time.LATE_SHARE * mark["due"] for mark in marks)
    spent = window_rates.usage(history, "producer", window.number)
    saturated = spent is not None and spent.busiest >= window_rates.SATURATED
    lag_ns = latencies_ns(window.of, _Ends.SENT, corrected=True)
    late = bool(len(lag_ns)) and float(np.percentile(lag_ns, 99)) > limit_ns
    return saturated and late


def _lasting(
    history: History,
    windows: Sequence[Paced],
    climbed: Sequence[Paced],
    labels: Mapping[str, Any],
    limit_ns: float,
    *,
    searched: bool,
) -> Iterable[Measured]:
    """The highest rate of which most windows lasted; of those that were tried more than once, if any of them did.

    It is ``sustainable_rate`` where it was searched for, or where a higher one failed; else the highest of the rates
    that were asked for, which says nothing about those above. Windows in doubt are no evidence where there are others.
    """
    windows, climbed = _evidence(windows), _evidence(climbed)
    # A rate was chosen because it lasted in the search: where it was confirmed, only the confirmation is evidence.
    confirmed = {window.rate for window in windows if window.purpose == "confirm"}
    windows = [window for window in windows if window.purpose == "confirm" or window.rate not in confirmed]
    tried = _tried(windows, limit_ns)
    lasting = [rate for rate, lasted in tried.items() if 2 * sum(lasted) > len(lasted)]
    if not lasting:
        return
    best = max([rate for rate in lasting if len(tried[rate]) > 1] or lasting)
    higher = _tried([window for window in (*windows, *climbed) if window.rate > best], limit_ns)
    above = sorted(rate for rate, lasted in higher.items() if not any(lasted))
    first = [window for window in (*windows, *climbed) if above and window.rate == above[0]]
    limited = any(window.doubts or limited_by_generator(history, window, limit_ns) for window in first)
    beyond = (
        f"{above[0]:,.0f} did not last"
        if above
        else "no higher rate failed in all its windows: the true one may be higher"
        if searched
        else "lasted at the asked rate; no higher rate was tried"
    )
    ours = [window for window in windows if window.rate == best]
    doubt = doubts.trusted(ours, 1)[1]
    is_highest = searched or bool(above)
    yield Measured(
        "sustainable_rate" if is_highest else "asked_rate",
        "msg/s",
        # A rate of messages, as it was asked for: all groups together received a multiple of it.
        tuple(window.received_rate() / window.of.groups for window in ours),
        {**labels, "limit_ms": limit_ns / 1e6},
        better="higher" if is_highest else "",
        limited_by="generator" if limited else "",
        comparable=is_highest and not doubt,
        doubt=doubt,
        note=f"{best:,.0f} asked for; lasted in {sum(tried[best])} of {len(ours)} windows of {ours[0].duration_s:g} s "
        f"(99th percentile and backlog within {limit_ns / 1e6:g} ms), so with 95 % confidence in "
        f"{_at_least(sum(tried[best]), len(ours)):.0%} of such windows or more; {beyond}",
        sends=send_fates.added(window.sends for window in ours),
    )


def _evidence(windows: Sequence[Paced]) -> list[Paced]:
    """Without windows in doubt, except where a rate has no others."""
    by_rate: dict[float, list[Paced]] = {}
    for window in windows:
        by_rate.setdefault(window.rate, []).append(window)
    return [window for ours in by_rate.values() for window in doubts.trusted(ours, 1)[0]]


def _medians(windows: Iterable[Paced]) -> list[steadiness.RatedMedian]:
    values = ((window.rate, _end_to_end(window.of)) for window in windows)
    return [(rate, float(np.median(part)) / 1e6) for rate, part in values if len(part)]


def _warm_up(windows: Sequence[Paced], parameters: Mapping[str, Any], labels: Mapping[str, Any]) -> Iterable[Measured]:
    """How long messages were paced before they counted, and whether the broker was warm by then."""
    warm = [window for window in windows if window.purpose == "warm-up"]
    asked_s = float(parameters.get("rate_warmup_s", 0.0))
    about = {**labels, "asked_s": asked_s}
    if not warm:
        note = "no warm-up at a rate: the broker may have been cold"
        yield Measured("warm_up", "s", (0.0,), {**about, "steady": "unknown"}, note=note, comparable=False)
        return
    values = [_end_to_end(part) for part in _stretches(warm[-1])]
    medians = [float(np.median(part)) / 1e6 for part in values if len(part)]
    # Of an overload that was cut off, the last messages were given up soonest.
    falling = not warm[-1].unsent and steadiness.falls(medians)
    note = f"at {warm[-1].rate:,.0f} messages a second, {len(warm)} times; medians of the last in stretches: "
    note += f"{', '.join(f'{median:.3g}' for median in medians)} ms{': still falling' if falling else ''}"
    seconds = (sum(window.duration_s for window in warm),)
    about |= {"steady": "no" if falling else "yes"}
    yield Measured("warm_up", "s", seconds, about, note=note, comparable=False)


def _stretches(window: Paced) -> Iterable[MessageTimes]:
    ends = np.linspace(window.start_ns, window.end_ns, _WARM_STRETCHES + 1).astype(np.int64).tolist()
    return [window.of.due_within(start_ns, end_ns) for start_ns, end_ns in itertools.pairwise(ends)]


def _tried(windows: Sequence[Paced], limit_ns: float) -> Mapping[float, Sequence[bool]]:
    """{rate: of each of its windows whether it lasted}."""
    tried: dict[float, list[bool]] = {}
    for window in windows:
        tried.setdefault(window.rate, []).append(window.lasts(limit_ns))
    return tried


def _at_least(lasted: int, of: int) -> float:
    """The lower limit of Clopper and Pearson, one-sided."""
    from scipy import stats

    return float(stats.beta.ppf(0.05, lasted, of - lasted + 1))


def _backlog(window: Paced, labels: Mapping[str, Any], limit_ns: float) -> Iterable[Measured]:
    """How long returning consumers need until no message older than the limit waits, while producers go on."""
    begin_ns = window.start_ns + window.away_ns
    grid = np.arange(begin_ns, window.end_ns, _GRID_NS)
    of = {**labels, "rate": round(window.rate)}
    waiting = int(window.of.backlog(np.array([begin_ns]))[0])
    caught_up = np.flatnonzero(window.of.backlog_age_ns(grid) <= limit_ns)
    note = f"{waiting:,} messages waited; {window.rate:,.0f} more a second came meanwhile{_of_all([window])}"
    yield Measured("backlog_taken", "messages", (float(waiting),), of, note="what consumers found when they came")
    if len(caught_up):
        seconds = max(float(caught_up[0]) * _GRID_NS, float(_GRID_NS)) / 1e9
        taken = float(np.count_nonzero(window.of.received_ns < begin_ns + seconds * 1e9))
        yield Measured("catch_up_time", "s", (seconds,), of, better="lower", note=note)
        yield Measured("catch_up_rate", "msg/s", (taken / seconds,), of, better="higher", note=note)
