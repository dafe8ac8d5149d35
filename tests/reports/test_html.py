"""One file, no network, every verdict reachable."""

from __future__ import annotations

import re

from brokerbench.reports import html
from tests.reports import sample


def test_it_fetches_nothing() -> None:
    page = html.render(sample.result())
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"(?!#)", markup)
    assert "@import" not in markup and "url(" not in markup
    assert len(re.findall(r"<script>", page)) == 3 and "<script src" not in page


def test_the_same_result_gives_the_same_bytes() -> None:
    assert html.render(sample.result()) == html.render(sample.result())


def test_every_field_leads_to_a_verdict_that_exists() -> None:
    page = html.render(sample.result())
    anchors = set(re.findall(r'<details id="([^"]+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert len(anchors) == sum(len(cell.verdicts) for cell in sample.result().cells)
    assert links and links <= anchors


def test_failed_cells_come_first_and_text_from_outside_is_escaped() -> None:
    error = "boom </script><script>alert(1)</script>"
    page = html.render(sample.with_cells("r", [sample.broken("kafka", "replay", error), *sample.result().cells[:4]]))
    assert "alert(1)</script>" not in page.replace("alert(1)&lt;/script&gt;", "")
    assert page.index("kafka.replay failed.") < page.index("Which profile fits which need")


def test_a_run_without_options_or_figures_is_a_page_too() -> None:
    assert "Semantics" in html.render(sample.with_cells("r", []))


def test_the_self_test_is_linked_where_its_page_is() -> None:
    assert '<a href="../../docs/selftest.md">' in html.render(sample.result(), "../../docs/selftest.md")
    assert "self-test" not in html.render(sample.result())
