"""Numbers as people read them, and the tables at the end of a run."""

from __future__ import annotations

import pytest

from brokerbench.reports import tables, words
from tests.reports import sample


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.7, "0.7"),
        (12.44, "12.4"),
        (999.6, "1,000"),
        (83421.0, "83,400"),
        (0.0327, "0.0327"),
        (-2.0, "-2"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert words.number(value) == text


def test_spread_names_median_and_range() -> None:
    assert words.spread([3.0, 1.0, 2.0], "s") == "2 s (1 to 3)"
    assert words.spread([2.0], "s") == "2 s"
    assert words.spread([0.1, 0.3], "ratio") == "20 % (10 to 30)"
    assert words.spread([], "s") == words.NOTHING


def test_a_bound_keeps_two_digits() -> None:
    assert words.rate(0.000249) == "0.025 %"


def test_lists_read_as_sentences() -> None:
    assert [words.listed(list(text)) for text in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_the_summary_has_a_line_for_each_cell_and_says_what_failed() -> None:
    result = sample.with_cells("r", [sample.broken("kafka", "replay"), sample.cell("kafka", "throughput")])
    text = tables.text(result.model_copy(update={"complete": False}))
    assert "kafka.replay      FAILED" in text
    assert "Failed:\n  kafka.replay: the engine is gone" in text
    assert "publish while consuming, batch 1000" in text
    assert "ranks nothing: limited by the generator" in text
    assert "cut short" in text


def test_speeds_name_the_settings_in_which_they_differ() -> None:
    one = sample.cell("kafka", "throughput")
    more = [metric.model_copy(update={"labels": {**metric.labels, "producers": 2}}) for metric in one.metrics]
    two = one.model_copy(update={"id": "kafka.throughput.2", "metrics": more})
    assert "producers" not in tables.text(sample.with_cells("r", [one]))
    text = tables.text(sample.with_cells("r", [one, two]))
    assert "publish while consuming, batch 1000, producers 1 " in text
    assert "publish while consuming, batch 1000, producers 2 " in text


def test_what_is_not_as_declared_is_named() -> None:
    assert "Not as declared:\n  sqs-standard.replay: replay.intact" in tables.text(sample.result())


def test_a_run_without_cells_has_a_summary() -> None:
    assert tables.text(sample.with_cells("r", [])) == "no cell was run"
