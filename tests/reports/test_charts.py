"""Specifications are valid, complete and the same for the same result."""

from __future__ import annotations

import altair as alt
import pytest
import vl_convert

from brokerbench.brokers import registry
from brokerbench.brokers.declarations import PROPERTIES
from brokerbench.reports import facts
from brokerbench.reports.charts import panels, run_charts, speeds
from brokerbench.scenarios.results import Cell, Metric
from tests.reports import change, sample


def test_pictures_are_valid_vega_lite_and_deterministic() -> None:
    drawn = run_charts.of_run(sample.result())
    assert tuple(drawn) == tuple(name for name in run_charts.NAMES if name not in ("latency", "scaling", "lag"))
    for spec in drawn.values():
        alt.Chart.from_dict(dict(spec), validate=True)
    assert {name: panels.data_hash(spec) for name, spec in drawn.items()} == {
        name: panels.data_hash(spec) for name, spec in run_charts.of_run(sample.result()).items()
    }


def test_the_matrix_has_a_field_for_every_property_and_profile() -> None:
    data = run_charts.of_run(sample.result())["verdicts"]["datasets"]
    rows = [row for rows in data.values() for row in rows]
    assert len(rows) == len(PROPERTIES) * len(registry.options())
    assert {row["emulated"] for row in rows if row["profile"] == "sqs-fifo"} == {True}


def test_a_failed_cell_is_in_the_picture() -> None:
    result = sample.with_cells("r", [sample.broken("kafka", "replay"), sample.cell("redis-streams", "replay")])
    data = run_charts.of_run(result)["verdicts"]["datasets"]
    assert {row["text"] for rows in data.values() for row in rows if row["profile"] == "kafka"} == {"failed"}


def test_latency_is_drawn_from_open_loops_only() -> None:
    plain = sample.cell("kafka", "throughput")
    metrics = [
        Metric(
            name="end_to_end_latency",
            unit="ms",
            samples=[rate / 1000, rate / 500],
            labels={"rate": rate, "quantile": quantile, "from": start},
            limited_by="generator" if rate == 3000 else "",
            grade=plain.grade,
        )
        for rate in (1000, 2000, 3000)
        for quantile in ("p50", "p99", "max")
        for start in ("due", "sent")
    ]
    lasting = Metric(name="sustainable_rate", unit="msg/s", samples=[1990.0, 2000.0], grade=plain.grade)
    result = sample.with_cells("r", [plain.model_copy(update={"metrics": [*plain.metrics, *metrics, lasting]})])
    spec = run_charts.of_run(result)["latency"]
    alt.Chart.from_dict(dict(spec), validate=True)
    panels = list(spec["datasets"].values())
    assert [{row["quantile"] for row in rows} for rows in panels] == [{"p50"}, {"p99"}]
    assert [(row["rate"], row["median"], row["limited"]) for row in panels[0]] == [
        (1000, 1.5, False),
        (2000, 3.0, False),
        (3000, 4.5, True),
    ]
    assert panels[0][0]["lasting"] == 1995.0


def test_cells_of_one_profile_have_lines_of_their_own_which_say_how_they_differ() -> None:
    plain = sample.cell("kafka", "throughput")
    metrics = [
        Metric(
            name="end_to_end_latency",
            unit="ms",
            samples=[1.0],
            labels={"rate": rate, "quantile": "p50", "from": "due"},
            grade=plain.grade,
        )
        for rate in (1000, 2000)
    ]
    cells = [
        plain.model_copy(
            update={
                "id": f"kafka.latency.{every}",
                "parameters": {"size": 1024, "acknowledge_every": every},
                "metrics": metrics,
            }
        )
        for every in (1, 10)
    ]
    (rows,) = run_charts.of_run(sample.with_cells("r", cells))["latency"]["datasets"].values()
    assert [(row["cell"], row["rate"], row["end"]) for row in rows] == [
        ("kafka.latency.1", 1000, ""),
        ("kafka.latency.1", 2000, "acknowledge every 1"),
        ("kafka.latency.10", 1000, ""),
        ("kafka.latency.10", 2000, "acknowledge every 10"),
    ]
    (alone,) = run_charts.of_run(sample.with_cells("r", cells[:1]))["latency"]["datasets"].values()
    assert {row["end"] for row in alone} == {""}
    # Neither is there a difference where a profile did not honour what was asked for.
    honoured = [metric.model_copy(update={"labels": {**metric.labels, "acknowledge_every": 1}}) for metric in metrics]
    alike = [cell.model_copy(update={"metrics": honoured}) for cell in cells]
    (rows,) = run_charts.of_run(sample.with_cells("r", alike))["latency"]["datasets"].values()
    assert {row["end"] for row in rows} == {""}


def test_lag_is_drawn_over_the_time_of_a_cell() -> None:
    cells = [sample.cell(profile, "throughput") for profile in ("kafka", "redis-streams")]
    waited = [
        Metric(name=name, unit=unit, samples=[0.0, 40.0, 5.0], labels={"every_s": 0.5}, grade=cells[0].grade)
        for name, unit in (("consumer_lag_over_time", "messages"), ("backlog_age_over_time", "ms"))
    ]
    cells = [cell.model_copy(update={"metrics": [*cell.metrics, *waited]}) for cell in cells]
    again = cells[0].model_copy(update={"id": "kafka.throughput.2"})
    spec = run_charts.of_run(sample.with_cells("r", [*cells, again]))["lag"]
    alt.Chart.from_dict(dict(spec), validate=True)
    lag, age = spec["datasets"].values()
    assert [(row["profile"], row["second"], row["value"]) for row in lag if row["profile"] == "kafka"] == [
        ("kafka", 0.0, 0.0),
        ("kafka", 0.5, 40.0),
        ("kafka", 1.0, 5.0),
    ]
    assert len(lag) == len(age) == 2 * 3, "a profile's first cell stands for it"
    assert "throughput: waiting messages" in spec["vconcat"][0]["title"]["text"]


def test_scaling_is_drawn_with_the_law_that_was_fitted() -> None:
    def measured(producers: int, rate: float) -> Metric:
        labels = {"mode": "publish", "batch": 100, "producers": producers}
        return Metric(name="publish_rate", unit="msg/s", samples=[rate] * 3, labels=labels, grade=plain.grade)

    plain = sample.cell("kafka", "throughput")
    # 10,000 of one, contention 0.2, coherency 0.05: the most at 4 clients.
    levels = (1, 2, 4, 8)
    rates = {n: 10_000 * n / (1 + 0.2 * (n - 1) + 0.05 * n * (n - 1)) for n in levels}
    cells = [
        plain.model_copy(update={"id": f"kafka.throughput.{n}", "metrics": [measured(n, rates[n])]}) for n in levels
    ]
    spec = run_charts.of_run(sample.with_cells("r", cells))["scaling"]
    alt.Chart.from_dict(dict(spec), validate=True)
    points, curve = spec["datasets"].values()
    assert [(row["level"], row["median"]) for row in points] == [(float(n), rates[n]) for n in levels]
    assert max(curve, key=lambda row: row["rate"])["level"] == pytest.approx(4.0, abs=0.1)
    (panel,) = spec["vconcat"]
    assert "contention 0.20 (0.20 to 0.20), coherency 0.050" in panel["title"]["subtitle"][0]
    assert "most at 4.0" in panel["title"]["subtitle"][0]
    assert "scaling" not in run_charts.of_run(sample.with_cells("r", cells[:2]))


def test_what_several_cells_measured_alike_is_one_point() -> None:
    plain = sample.cell("kafka", "throughput")

    def cell(number: int, partitions: int, samples: list[float], limited_by: str = "") -> Cell:
        labels = {"mode": "both", "batch": 100, "partitions": partitions}
        metric = Metric(
            name="consume_rate", unit="msg/s", samples=samples, labels=labels, limited_by=limited_by, grade=plain.grade
        )
        return plain.model_copy(update={"id": f"kafka.throughput.{number}", "metrics": [metric]})

    cells = [cell(1, 1, [10.0]), cell(2, 6, [30.0, 40.0]), cell(3, 3, [20.0]), cell(4, 6, [50.0], "generator")]
    (points,) = run_charts.of_run(sample.with_cells("r", cells))["scaling"]["datasets"].values()
    assert [(row["level"], row["median"], row["repeats"]) for row in points] == [
        (1, 10.0, 1),
        (3, 20.0, 1),
        (6, 40.0, 3),
    ]
    assert [row["limited"] for row in points] == [False, False, True]


def test_every_outcome_has_a_sign_of_its_own() -> None:
    signs = [look.path or look.sign for look in panels.LOOKS.values()]
    assert set(panels.LOOKS) == set(facts.PropertyOutcome)
    assert len(set(signs)) == len(signs) and all(signs)


def test_the_drawing_says_which_data_it_shows() -> None:
    spec = run_charts.of_run(sample.with_cells("r", [sample.cell("kafka", "replay")]))["verdicts"]
    drawing = panels.draw(spec)
    assert panels.data_hash(spec) in drawing.splitlines()[0]
    assert vl_convert.vegalite_to_png(dict(spec), scale=0.5).startswith(b"\x89PNG")


def test_a_stalled_repeat_is_named_under_the_picture() -> None:
    def stalled(metric: Metric) -> Metric:
        zero = metric.name == "publish_rate"
        return metric.model_copy(update={"samples": [0.0, *metric.samples[1:]]}) if zero else metric

    result = change.metrics(sample.result(), "kafka", stalled)
    drawn = speeds.speeds(result, facts.profiles(result))
    whole = speeds.speeds(sample.result(), facts.profiles(result))
    assert drawn is not None
    assert whole is not None
    notes = drawn["title"]["subtitle"]
    assert any(note.startswith("Not on the axis: 1 of ") and "kafka, publish" in note for note in notes)
    assert not any(note.startswith("Not on the axis") for note in whole["title"]["subtitle"])
    rows = [sum(map(len, spec["datasets"].values())) for spec in (drawn, whole)]
    assert rows[0] == rows[1], "the speed is still drawn"
