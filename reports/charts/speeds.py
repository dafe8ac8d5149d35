"""Pictures of quantities: speeds with their spread and the harness' ceiling, replay rates, retention overshoot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from brokerbench.reports import facts, words
from brokerbench.reports import speeds as speed_rows
from brokerbench.reports.charts import panels
from brokerbench.reports.charts.panels import (
    SI,
    Data,
    Panel,
    Rows,
    Spec,
    colour,
    dots,
    panel_title,
    present,
    stack,
    whole_numbers,
)
from brokerbench.reports.speeds import Speed
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Grade

_WIDTH = 520
_OVERSHOOTS: Mapping[str, str] = {
    "retention.overshoot": "small segments, or none",
    "retention.overshoot_large_segment": "default-like large segments",
}


def speeds(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """Publish, consume and both: median, range of the repeats, and the ceiling of the harness alone."""
    found = [
        speed
        for speed in speed_rows.of_run(result, profiles)
        if "batch" in speed.metric.labels and not speed_rows.of_one_group(speed.metric)
    ]
    rows = [_speed_row(speed) for speed in found if max(speed.metric.samples) > 0]
    if not rows:
        return None
    batches = sorted({row["batch"] for row in rows}, key=lambda text: (len(text), text))
    data, panels = Data(), []
    for emulated, suffix in ((False, ""), (True, " (emulators: rank nothing)")):
        part = [row for row in rows if row["emulated"] == emulated]
        axis = _log_axis(part)
        names = list(dict.fromkeys(row["what"] for row in part))
        for what in names:
            chosen = [row for row in part if row["what"] == what]
            panels.append(_panel(data, chosen, f"{what}{suffix}", profiles, batches, axis, last=what == names[-1]))
    notes = (
        "Dot: median; line: range of the repeats; black tick: ceiling of the harness alone (noop). Logarithmic.",
        "Hollow: an emulator, or limited by the generator; such a figure ranks nothing.",
        *_stalled(found),
    )
    return stack(panels, data, "Speed on verified messages", *notes)


def _stalled(found: Sequence[Speed]) -> list[str]:
    """A note for each speed with repeats in which nothing passed: a logarithmic axis has no place for 0."""
    zeros = [(speed, sum(value == 0 for value in speed.metric.samples)) for speed in found]
    return [
        f"Not on the axis: {count} of {len(speed.metric.samples)} repeats of {speed.profile}, {speed.what} (stalled)."
        for speed, count in zeros
        if count
    ]


def _speed_row(speed: Speed) -> dict[str, Any]:
    metric = speed.metric
    lowest = min(value for value in metric.samples if value > 0)
    return {
        "profile": speed.profile,
        "what": speed.what.partition(", batch")[0],
        "batch": f"batch {metric.labels['batch']}",
        **words.middle_and_range([max(value, lowest) for value in metric.samples]),
        "repeats": len(metric.samples),
        "unit": metric.unit,
        "ceiling": words.median(speed.ceiling.samples) if speed.ceiling else None,
        "cpu": words.spread(speed.cpu.samples, speed.cpu.unit) if speed.cpu else "not measured",
        "ranks": f"nothing: {speed.no_rank}" if speed.no_rank else "yes",
        "hollow": bool(speed.no_rank),
        "emulated": metric.grade in (Grade.EMULATOR, Grade.MODEL),
    }


def _log_axis(rows: Rows) -> tuple[list[float], list[float]]:
    """Domain with a little room, and ticks at 1, 2 and 5 times the powers of ten inside it."""
    if not rows:
        return [], []
    low = min((row["low"] for row in rows if row["low"] > 0), default=1.0) / 1.3
    high = max(max(row["high"], row["ceiling"] or 0.0) for row in rows) * 1.3
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in decades for factor in (1, 2, 5)]
    return [low, high], [tick for tick in ticks if low <= tick <= high]


def _panel(
    data: Data,
    rows: Rows,
    title: str,
    profiles: Sequence[str],
    batches: Sequence[str],
    axis: tuple[list[float], list[float]],
    *,
    last: bool,
) -> Panel:
    domain, ticks = axis
    base = alt.Chart(data.add(rows)).encode(
        y=_profile_axis(rows, profiles),
        yOffset=alt.YOffset("batch:N", sort=list(batches)),
        color=colour("batch:N", batches),
        tooltip=[
            "profile:N",
            "batch:N",
            *whole_numbers("median", "low", "high"),
            "repeats:Q",
            alt.Tooltip("ceiling:Q", format=",.0f", title="noop ceiling"),
            alt.Tooltip("cpu:N", title="client CPU"),
            "ranks:N",
        ],
    )
    scale = alt.Scale(type="log", domain=domain, nice=False)
    marks = alt.Axis(labelExpr=SI, values=ticks, title=str(rows[0]["unit"]) if last else None, labels=last, ticks=False)
    line = base.mark_rule(strokeWidth=2.5, opacity=0.6).encode(x=alt.X("low:Q", scale=scale, axis=marks), x2="high:Q")
    tick = (
        base.transform_filter("datum.ceiling != null")
        .mark_tick(thickness=2, size=11)
        .encode(x=alt.X("ceiling:Q", scale=scale), color=alt.value(panels.INK))
    )
    medians = dots(base, "hollow", 50, x=alt.X("median:Q", scale=scale))
    return alt.layer(line, tick, *medians).properties(width=_WIDTH, height=alt.Step(14), title=panel_title(title))


def _profile_axis(rows: Rows, profiles: Sequence[str]) -> alt.Y:
    axis = alt.Axis(domain=False, ticks=False, minExtent=100, labelPadding=8)
    return alt.Y("profile:N", sort=present(profiles, rows), title=None, axis=axis)


def replay(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """Rates of replaying acknowledged messages."""
    rows = [
        {
            "profile": speed.profile,
            "how": speed.what,
            **words.middle_and_range(speed.metric.samples),
            "unit": speed.metric.unit,
            "ranks": f"nothing: {speed.no_rank}" if speed.no_rank else "yes",
        }
        for speed in speed_rows.of_run(result, profiles)
        if speed.metric.name == "replay_rate"
    ]
    if not rows:
        return None
    several = len({row["how"] for row in rows}) > 1
    legend = alt.Legend(title=None, orient="bottom", columns=3) if several else None
    data = Data()
    base = alt.Chart(data.add(rows)).encode(
        y=_profile_axis(rows, profiles),
        yOffset="how:N",
        color=alt.Color("how:N", scale=alt.Scale(range=list(panels.SERIES)), legend=legend),
        tooltip=["profile:N", "how:N", alt.Tooltip("median:Q", format=",.0f"), "ranks:N"],
    )
    axis = alt.Axis(labelExpr=SI, title=str(rows[0]["unit"]), tickCount=6)
    line = base.mark_rule(strokeWidth=3, opacity=0.55).encode(x=alt.X("low:Q", axis=axis), x2="high:Q")
    dot = base.mark_point(filled=True, size=70, opacity=1).encode(x="median:Q")
    note = "Dot: median; line: range. Timed while other cells ran: a rough figure, which ranks nothing."
    panel = alt.layer(line, dot).properties(width=_WIDTH, height=alt.Step(16))
    return stack([panel], data, "Replay of acknowledged messages", note)


def overshoot(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """Time from the age limit to the removal of a message: every sample, the median, and the declared bound."""
    data = Data()
    drawn = [_overshoot_panel(data, result, profiles, name, title) for name, title in _OVERSHOOTS.items()]
    panels = [panel for panel in drawn if panel is not None]
    if not panels:
        return None
    notes = "Tick: one message; dot: median; grey: as declared. Too long by at most the interval between two looks."
    return stack(panels, data, "Time from the age limit to removal", notes)


def _overshoot_panel(data: Data, result: RunResult, profiles: Sequence[str], name: str, title: str) -> Panel | None:
    samples: list[dict[str, Any]] = []
    bounds: list[dict[str, Any]] = []
    for profile in profiles:
        seen = facts.seen(result, profile, name)
        samples += [{"profile": profile, "seconds": value} for value in seen.samples]
        if seen.samples and (declared := seen.weightiest.declared).high is not None:
            bounds.append({"profile": profile, "low": declared.low or 0.0, "high": declared.high})
    if not samples:
        return None
    y = _profile_axis(samples, profiles)
    axis = alt.Axis(title="seconds after the limit", tickCount=8)
    base = alt.Chart(data.add(samples)).encode(y=y)
    strip = base.mark_tick(thickness=1.5, size=16, opacity=0.5, color=panels.SERIES[0])
    middle = base.mark_point(filled=True, size=80, opacity=1, color=panels.SERIES[1]).encode(
        x=alt.X("median(seconds):Q"), tooltip=["profile:N", alt.Tooltip("median(seconds):Q", format=".3~s")]
    )
    layers: list[Any] = [strip.encode(x=alt.X("seconds:Q", axis=axis, scale=alt.Scale(zero=True))), middle]
    if bounds:
        band = alt.Chart(data.add(bounds)).mark_bar(color=panels.GRID, height=22, cornerRadius=3)
        layers.insert(0, band.encode(y=y, x=alt.X("low:Q", axis=axis), x2="high:Q"))
    return alt.layer(*layers).properties(width=_WIDTH, height=alt.Step(28), title=panel_title(title))
