"""The house stays in order: the contracts in pyproject.toml hold, no folder grows too large, a name means one thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
ROOMS = ("brokers", "scenarios", "reports", "bench")
LARGEST = 20
MEANINGS = {
    "base": "the interface that every member of the folder implements",
    "broker": "an adapter's Broker",
    "broker_usage": "what the broker's process spends: read, and judged",
    "catalogue": "the built-in members by name",
    "clients": "producers, consumers and readers of a broker: made, and recorded",
    "codec": "messages to and from the form on the wire",
    "compare": "two runs or builds against each other: figures, page, command",
    "connection": "an adapter's connection to its broker",
    "consumer": "an adapter's Consumer",
    "consumer_group": "consumers that share a channel",
    "declaration": "what one profile promises",
    "declarations": "what several profiles promise",
    "deduplication": "messages that are sent again and dropped: caused, and judged",
    "errors": "the exceptions of a layer",
    "first_deliveries": "the first delivery of each message: of a channel, and of shards",
    "history": "what clients did and saw, written down",
    "kafka": "Kafka: its adapter, and its peer in the calibration",
    "lag": "messages that are published and not consumed: figures, and chart",
    "latency": "the experiment: run, analysis, chart",
    "load": "load processes: what they do, and where they run",
    "messages": "Kafka's messages as columns: through librdkafka, and through confluent-kafka",
    "omb": "the OpenMessaging Benchmark's files: read, and commands",
    "ordering": "the experiment: run, analysis",
    "producer": "an adapter's Producer",
    "reader": "an adapter's Reader",
    "registry": "built-in and plugged-in members by name",
    "regression": "a figure that became worse: judged, and the suite that measures it",
    "replay": "the experiment: run, analysis",
    "retention": "the experiment: run, analysis",
    "run": "one run, from start to end",
    "settings": "what a broker's own settings make of a profile's promises",
    "settling": "what becomes of deliveries: acknowledged, given back, rejected",
    "share_consumer": "the consumer of a share group: through librdkafka, and through confluent-kafka",
    "speeds": "rates of a run: table, and chart",
    "sqs": "SQS: its adapter, and its peer in the calibration",
    "throughput": "the experiment: run, analysis",
}
"""Names that modules or packages share, with the one thing that each means everywhere."""


def _packages() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted(path.parent for path in (ROOT / room).rglob("__init__.py"))


def _modules(package: Path) -> list[Path]:
    return [path for path in package.glob("*.py") if path.stem != "__init__"]


def test_imports_go_one_way(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert broken == 0, capsys.readouterr().out


def test_no_folder_has_more_modules_than_a_person_overlooks() -> None:
    sizes = {str(package.relative_to(ROOT)): len(_modules(package)) for package in _packages()}
    assert not {package: size for package, size in sizes.items() if size > LARGEST}


def test_a_name_that_occurs_twice_means_the_same_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for package in _packages():
        for path in [package, *_modules(package)]:
            places[path.stem].append(str(path.relative_to(ROOT)))
    unknown = {name: found for name, found in places.items() if len(found) > 1 and name not in MEANINGS}
    assert not unknown, "rename one, or say in MEANINGS what the name means in all places"
