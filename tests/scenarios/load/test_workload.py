"""What a load consists of reaches the broker: channels, producers, messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.brokers import registry
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import ChannelSpec, Durability, Endpoint
from brokerbench.scenarios import latency, throughput
from brokerbench.scenarios.base import Context, LoadProcess
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.load.controller import LoadController
from brokerbench.scenarios.load.load_commands import OpenConsumer
from brokerbench.scenarios.plans import plan


class Process:
    """Obeys everything."""

    def command(self, command: Any) -> None: ...
    def report(self, timeout_s: float) -> Any:
        return True

    def wait(self, timeout_s: float) -> None: ...
    def kill(self) -> None: ...


class Load:
    def __init__(self) -> None:
        self.arguments: list[Mapping[str, Any]] = []

    def start(self, body: str, profile: str, endpoint: Endpoint, arguments: Mapping[str, Any]) -> LoadProcess:
        self.arguments.append(arguments)
        return Process()


class Recording:
    """A broker that remembers what it was asked to create."""

    def __init__(self, broker: Broker) -> None:
        self.specs: list[ChannelSpec] = []
        self.declaration, self.delete_channel = broker.declaration, broker.delete_channel

    def create_channel(self, spec: ChannelSpec) -> None:
        self.specs.append(spec)


def context(directory: Path, scenario: Any, **parameters: Any) -> tuple[Context, Load, Recording]:
    endpoint = Endpoint("memory", f"memory://workload-{directory.name}")
    broker = Recording(registry.connect("memory", endpoint))
    load = Load()
    given = Context(
        profile="memory",
        parameters={**scenario.DEFAULTS, **parameters},
        seed=11,
        run=77,
        broker=broker,  # type: ignore[arg-type]
        declaration=broker.declaration(),
        endpoint=endpoint,
        connect=lambda: registry.connect("memory", endpoint),
        channel_prefix="wl-",
        history_directory=directory / "history",
        load=load,
        progress=lambda share, doing: None,
    )
    return given, load, broker


@pytest.mark.parametrize("scenario", [throughput, latency])
@pytest.mark.parametrize("durability", list(Durability))
def test_the_class_of_durability_reaches_channels_and_producers(
    tmp_path: Path, scenario: Any, durability: Durability
) -> None:
    asked = plan.parameter(scenario.SCENARIO.name, "durability", durability.value)
    given, load, broker = context(tmp_path, scenario, durability=asked, linger_ms=7.0, batch_bytes=4096)
    with given.writer("x") as writer, LoadController(given, writer) as controller:
        controller.open("one", [(10, 100)])
    (spec,) = broker.specs
    assert spec.durability is durability
    settings = load.arguments[0]["settings"]
    assert (settings.durability, settings.linger_ms, settings.batch_bytes) == (durability, 7.0, 4096)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="durability must be one of relaxed, default, strict, not 'safe'"):
        plan.parameter("throughput", "durability", "safe")


@pytest.mark.parametrize("profile", registry.profiles())
def test_every_profile_says_what_a_class_means(profile: str) -> None:
    declared = registry.declared(profile)
    if declared is None:
        pytest.skip(f"{profile} comes from elsewhere and declares nothing without its client library")
    assert declared.durability.keys() == set(Durability)
    assert declared.profile == profile


def test_what_an_adapter_declares_is_what_is_listed() -> None:
    for profile in ("memory", "noop"):
        declared = registry.connect(profile, Endpoint(profile, f"{profile}://workload")).declaration()
        assert registry.declared(profile) == declared
        assert declared != replace(declared, durability={})


@pytest.mark.parametrize(
    "parameters",
    [
        {"sizes": "lognormal(200 B, 1.0, 4 KiB)", "key_skew": 0.99},
        {"payload": "compressible", "random_share": 0.1, "keyed": False},
        {"payload": "replay", "payload_path": "log.jsonl", "key_choice": "in_turn"},
    ],
)
@pytest.mark.usefixtures("sound_windows")
def test_every_message_of_such_a_load_is_verified(tmp_path: Path, parameters: dict[str, Any]) -> None:
    if "payload_path" in parameters:
        path = tmp_path / "log.jsonl"
        path.write_text("".join(f'{{"number": {at}, "text": "{"x" * (40 + at)}"}}\n' for at in range(20)))
        parameters = {**parameters, "payload_path": str(path)}
    endpoint = Endpoint("memory", f"memory://whole-{tmp_path.name}")
    quick = {"window_s": 0.2, "warmup_s": 0.05, "repeats": 1, "batches": [50], "ceiling_s": 0.05, "modes": ["both"]}
    with Processes() as load:
        given, _, _ = context(tmp_path, throughput, **quick, **parameters)
        broker = registry.connect("memory", endpoint)
        throughput.run(replace(given, broker=broker, endpoint=endpoint, load=load))
    seen = saved_history.load(tmp_path / "history")
    examination = throughput.examine(seen)
    in_order = 1 if parameters.get("keyed", True) else 0
    assert [finding.violations for finding in examination.findings] == [0] * (len(throughput.PROPERTIES) + in_order)
    assert examination.findings[0].observations > 200
    assert (seen.deliveries["status"] == INTACT).all()
    rate, in_bytes = (
        next(metric for metric in examination.metrics if metric.name == name)
        for name in ("publish_rate", "publish_bytes")
    )
    # Of the messages of the window: the warm-up's are others.
    assert in_bytes.samples[0] == pytest.approx(rate.samples[0] * seen.sends["size"].mean(), rel=0.3)
    (window,) = (mark for mark in seen.events("window", warmup=False))
    answered = seen.send_outcomes["settled_ns"]
    inside = (answered >= window["start_ns"]) & (answered < window["end_ns"])
    size = {
        (producer, seq): size
        for producer, seq, size in zip(
            *(seen.sends[name].tolist() for name in ("producer", "seq", "size")), strict=True
        )
    }
    rows = zip(*(seen.send_outcomes[name][inside].tolist() for name in ("producer", "seq")), strict=True)
    seconds = (window["end_ns"] - window["start_ns"]) / 1e9
    assert in_bytes.samples[0] == pytest.approx(sum(size[row] for row in rows) / seconds)
    sizes = set(seen.sends["size"].tolist())
    assert (len(sizes) == 1) == (parameters.get("payload") == "compressible")
    if parameters.get("keyed", True):
        assert (seen.sends["key"] >= 0).all()
    else:
        assert (seen.sends["key"] == -1).all()
        assert rate.labels["keyed"] == "no"


@pytest.mark.parametrize("scenario", [throughput, latency])
def test_figures_say_how_many_batches_an_acknowledgement_covers_in_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Any
) -> None:
    opened: list[int] = []
    made = OpenConsumer.__init__

    def recording(order: OpenConsumer, channel: str, number: int, group: str, acknowledge_every: int) -> None:
        opened.append(acknowledge_every)
        made(order, channel, number, group, acknowledge_every)

    monkeypatch.setattr(OpenConsumer, "__init__", recording)
    quick = {"window_s": 0.1, "warmup_s": 0.1, "ceiling_s": 0.05, "keys": 50, "acknowledge_every": 10}
    rates = {"rates": [200.0], "saturate_s": 0.0, "search_steps": 0, "confirm": 0, "away_s": 0.0, "rate_warmup_s": 0.0}
    about, _, _ = context(
        tmp_path, scenario, **quick, **(rates if scenario is latency else {"repeats": 1, "batches": [10]})
    )
    broker, limits = registry.connect("memory", about.endpoint), about.declaration.limits
    one = replace(about.declaration, limits=replace(limits, max_unsettled_batches=1))
    with Processes() as load:
        scenario.run(replace(about, load=load, broker=broker, declaration=one))
    labelled = [metric.labels for metric in scenario.examine(saved_history.load(tmp_path / "history")).metrics]
    assert {labels["acknowledge_every"] for labels in labelled if "acknowledge_every" in labels} == {1}
    assert set(opened) == {1}


def test_what_a_profile_can_honour_stays_as_it_was_asked_for() -> None:
    limits = registry.connect("memory", Endpoint("memory", "memory://limits")).declaration().limits
    asked = {**throughput.DEFAULTS, "acknowledge_every": 10}
    for most, becomes in ((None, 10), (20, 10), (1, 1)):
        found = workload.as_honoured(asked, replace(limits, max_unsettled_batches=most))
        assert found == {**asked, "acknowledge_every": becomes}
