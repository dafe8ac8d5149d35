"""Draw docs/charts/architecture.svg: the rooms of the project and the way of the data through them.

``python docs/charts/architecture.py`` writes the picture again after a change. ``tests/test_documentation.py``
compares the committed picture with this script, and checks that every room in it exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_suffix(".svg")
INK, MUTED, LINE, PAPER, FLOW = "#1f2933", "#5d6976", "#9aa5b1", "#ffffff", "#b3541e"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
WIDTH, HEIGHT = 1200, 700


@dataclass(frozen=True)
class Box:
    """``path`` is a directory or module of the project; empty for a file or a process outside of it."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    path: str = ""


LAYERS = {
    Box(10, 50, 1180, 150, "bench/", ("mounts everything: engines, processes, runs, commands",)): "#eef1f4",
    Box(10, 215, 890, 190, "scenarios/", ("knows the interface, never an adapter",)): "#e6f1f4",
    Box(10, 420, 890, 150, "brokers/", ("a plain client library: knows no scenario and no engine",)): "#fdf1e0",
    Box(915, 215, 275, 355, "reports/", ("starts nothing",)): "#efe9f3",
}
TITLES = {"bench/": 165, "scenarios/": 245, "brokers/": 430, "reports/": 930}
"""Where the title of a layer begins: beside the arrows."""
BOXES = (
    Box(25, 100, 115, 84, "commands/", ("run, decide,", "analyse, compare,", "verify, doctor"), "bench/commands"),
    Box(165, 100, 150, 84, "run/", ("runner, session,", "turns, readiness,", "a process a cell"), "bench/run"),
    Box(340, 100, 130, 84, "engines/", ("native, docker,", "external"), "bench/engines"),
    Box(495, 100, 130, 84, "load/", ("load processes, here", "or on other hosts"), "bench/load"),
    Box(
        650,
        100,
        250,
        84,
        "the bench proves itself",
        ("conformance/  selftest/", "calibration/  regression/  lab/"),
        "bench",
    ),
    Box(930, 100, 245, 84, "store.py", ("the directory of a run,", "result.json"), "bench/store.py"),
    Box(25, 265, 96, 122, "experiments", ("replay,", "ordering,", "retention,", "throughput,", "latency"), "scenarios"),
    Box(
        135,
        265,
        96,
        122,
        "load/",
        ("workload,", "pacing,", "controller", "and bodies of", "processes"),
        "scenarios/load",
    ),
    Box(245, 265, 96, 122, "clients/", ("producers,", "consumers and", "readers that", "record"), "scenarios/clients"),
    Box(
        355,
        265,
        96,
        122,
        "history/",
        ("columns in", "Parquet: what", "happened to", "each message"),
        "scenarios/history",
    ),
    Box(465, 265, 96, 122, "checkers/", ("one question", "a file; index/,", "sharding/"), "scenarios/checkers"),
    Box(575, 265, 96, 122, "metrics/", ("rates, delays,", "lag, usage"), "scenarios/metrics"),
    Box(685, 265, 96, 122, "analysis/", ("findings and", "metrics of one", "experiment"), "scenarios/analysis"),
    Box(
        795,
        265,
        96,
        122,
        "verdicts.py",
        ("declared", "against", "measured;", "results.py"),
        "scenarios/verdicts.py",
    ),
    Box(
        190,
        470,
        220,
        84,
        "the interface",
        ("types, protocols, declarations,", "errors, registry"),
        "brokers/protocols.py",
    ),
    Box(430, 470, 75, 84, "kafka/", ("two profiles",), "brokers/kafka"),
    Box(513, 470, 115, 84, "redis_streams/", ("one profile",), "brokers/redis_streams"),
    Box(636, 470, 75, 84, "sqs/", ("two profiles",), "brokers/sqs"),
    Box(719, 470, 82, 84, "memory/", ("reference", "in process"), "brokers/memory"),
    Box(809, 470, 78, 84, "faulty/", ("faults for", "the self-test"), "brokers/faulty"),
    Box(930, 265, 245, 76, "facts.py, speeds.py, tables.py", ("a result arranged for reading",), "reports/facts.py"),
    Box(930, 365, 245, 76, "decision.py", ("needs, ranks, what would flip them",), "reports/decision.py"),
    Box(
        930,
        465,
        245,
        90,
        "record.py, html.py, charts/",
        ("what people read, each sentence", "with a link to its evidence"),
        "reports/record.py",
    ),
)
OUTSIDE = (
    Box(25, 10, 115, 26, "plan (YAML)"),
    Box(430, 612, 281, 60, "a running broker", ("process, container, or somewhere else",)),
    Box(930, 612, 245, 60, "decision-record.md", ("report.html, charts",)),
)
STEPS = (
    (1, (82, 36), (82, 98)),
    (2, (140, 150), (163, 150)),
    (3, (315, 150), (338, 150)),
    (4, (190, 184), (190, 208), (73, 208), (73, 263)),
    (5, (217, 263), (217, 208), (560, 208), (560, 186)),
    (6, (293, 387), (293, 468)),
    (6, (468, 554), (468, 610)),
    (7, (341, 376), (353, 376)),
    (8, (451, 376), (463, 376)),
    (8, (561, 376), (573, 376)),
    (8, (671, 376), (683, 376)),
    (9, (781, 376), (793, 376)),
    (10, (843, 263), (843, 208), (960, 208), (960, 186)),
    (11, (1172, 184), (1172, 263)),
    (11, (1052, 341), (1052, 363)),
    (11, (1052, 441), (1052, 463)),
    (11, (1052, 555), (1052, 610)),
)
"""The numbers of docs/architecture.md, each with the corners of its arrow."""


def svg() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="{FONT}" fill="{INK}">',
        "<title>The rooms of brokerbench and the way of the data through them</title>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{FLOW}"/></marker>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
        _text(
            160,
            28,
            "Imports go one way: brokers/ ← scenarios/ ← reports/ ← bench/. Numbers follow one cell.",
            13,
            MUTED,
        ),
        *(_layer(box, fill) for box, fill in LAYERS.items()),
        *(_box(box, PAPER) for box in BOXES),
        *(_box(box, "#fffbe8", dashed=True) for box in OUTSIDE),
        *(_arrow(*step) for step in STEPS),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _layer(box: Box, fill: str) -> str:
    frame = f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="8" fill="{fill}"/>'
    x = TITLES[box.title]
    title = _text(x, box.y + 25, box.title, 17, INK, bold=True)
    return frame + title + _text(x + 12 + 9.2 * len(box.title), box.y + 25, box.lines[0], 12.5, MUTED)


def _box(box: Box, fill: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    frame = (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="5" fill="{fill}" '
        f'stroke="{LINE}"{dash}/>'
    )
    texts = [_text(box.x + 9, box.y + 18, box.title, 13, INK, bold=True)]
    texts += [_text(box.x + 9, box.y + 36 + 16 * row, line, 12, MUTED) for row, line in enumerate(box.lines)]
    return frame + "".join(texts)


def _text(x: float, y: float, text: str, size: float, colour: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'


def _arrow(number: int, *corners: tuple[int, int]) -> str:
    line = " ".join(f"{x},{y}" for x, y in corners)
    (x0, y0), (x1, y1) = corners[0], corners[1]
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    if abs(x1 - x0) + abs(y1 - y0) < 30:  # no room on a short arrow
        x, y = (x, y - 14) if y0 == y1 else (x - 14, y)
    return (
        f'<polyline points="{line}" fill="none" stroke="{FLOW}" stroke-width="1.8" marker-end="url(#tip)"/>'
        f'<circle cx="{x}" cy="{y}" r="9" fill="{FLOW}"/>'
        f'<text x="{x}" y="{y + 4}" font-size="11" font-weight="bold" fill="{PAPER}" text-anchor="middle">'
        f"{number}</text>"
    )


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
