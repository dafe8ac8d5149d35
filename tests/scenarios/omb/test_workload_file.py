"""Workload files of the OpenMessaging Benchmark: what each field becomes, and results in its shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios import latency, throughput
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.omb import driver_file, test_result, workload_file
from brokerbench.scenarios.omb.test_result import About
from brokerbench.scenarios.plans import yaml_document

MS, S = 1_000_000, 1_000_000_000
FIELDS: dict[str, Any] = {
    "name": "1 topic / 1 partition / 1Kb",
    "topics": 1,
    "partitionsPerTopic": 16,
    "messageSize": 1024,
    "useRandomizedPayloads": True,
    "randomBytesRatio": 1.0,
    "randomizedPayloadPoolSize": 100,
    "subscriptionsPerTopic": 1,
    "consumerPerSubscription": 3,
    "producersPerTopic": 2,
    "producerRate": 50000,
    "consumerBacklogSizeGB": 0,
    "testDurationMinutes": 15,
}
SOURCE = Path("workload.yaml")


def mapped(duration_s: float | None = None, **fields: Any) -> workload_file.Mapped:
    return workload_file.mapped(workload_file.Workload(**{**FIELDS, **fields}), SOURCE, None, duration_s)


def test_a_rate_becomes_one_window_of_an_open_loop() -> None:
    found = mapped()
    parameters = found.parameters
    assert found.scenario == "latency"
    assert latency.DEFAULTS.keys() | {"omb"} == parameters.keys()
    assert parameters["rates"] == [50000.0]
    assert (parameters["window_s"], parameters["rate_warmup_s"]) == (900.0, 60.0)
    assert (parameters["size"], parameters["partitions"]) == (1024, 16)
    assert (parameters["producers"], parameters["consumers"]) == (2, 3)
    assert (parameters["search_steps"], parameters["confirm"], parameters["away_s"]) == (0, 0, 0.0)
    assert parameters["omb"]["workload"]["name"] == FIELDS["name"]


@pytest.mark.parametrize("rate", [0, 10_000_000])
def test_no_rate_means_as_fast_as_they_can(rate: int) -> None:
    found = mapped(producerRate=rate, warmupDurationMinutes=2)
    assert found.scenario == "throughput"
    assert throughput.DEFAULTS.keys() | {"omb"} == found.parameters.keys()
    assert (found.parameters["window_s"], found.parameters["warmup_s"]) == (900.0, 120.0)
    assert any("closed loop" in note for note in found.notes)


def test_subscriptions_become_groups_that_each_wait_for_every_message() -> None:
    found = mapped(subscriptionsPerTopic=3, consumerBacklogSizeGB=1)
    assert found.parameters["groups"] == 3
    assert found.not_honoured == {}
    assert found.parameters["away_s"] == pytest.approx(mapped(consumerBacklogSizeGB=1).parameters["away_s"] / 3)


def test_a_shorter_test_is_shorter_in_proportion() -> None:
    found = mapped(9.0, consumerBacklogSizeGB=1, messageSize=1000)
    assert found.parameters["window_s"] == 9.0
    assert found.parameters["away_s"] == pytest.approx(2**30 / 1000 / 50000 / 100)
    assert "shortened: 9 s instead of 900 s" in found.notes[0]


@pytest.mark.parametrize(
    ("duration_s", "minutes", "warmup_s"), [(9.0, 1, 5.0), (225.0, 1, 15.0), (900.0, 1, 60.0), (9.0, 0, 0.0)]
)
@pytest.mark.parametrize(("rate", "name"), [(50_000, "rate_warmup_s"), (0, "warmup_s")])
def test_a_warm_up_that_is_cut_short_is_named(
    duration_s: float, minutes: int, warmup_s: float, rate: int, name: str
) -> None:
    found = mapped(duration_s, warmupDurationMinutes=minutes, producerRate=rate)
    assert found.parameters[name] == pytest.approx(warmup_s)
    told = found.parameters["omb"]["not_honoured"].get("warmupDurationMinutes", "")
    assert told == (f"a warm-up cut short: {warmup_s:g} s instead of 60 s" if warmup_s < 60 * minutes else "")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("topics", {"topics": 100}),
        ("payloadFile", {"useRandomizedPayloads": False, "payloadFile": "payload/nowhere.data"}),
        ("randomizedPayloadPoolSize", {"randomizedPayloadPoolSize": 0}),
        ("backlogDrainRatio", {"consumerBacklogSizeGB": 1, "backlogDrainRatio": 0.5}),
        ("consumerBacklogSizeGB", {"consumerBacklogSizeGB": 1, "producerRate": 0}),
    ],
)
def test_what_is_not_honoured_is_named(name: str, fields: dict[str, Any]) -> None:
    assert name not in mapped().not_honoured
    found = mapped(**fields)
    assert name in found.not_honoured
    assert found.parameters["omb"]["not_honoured"] == found.not_honoured


@pytest.mark.parametrize(
    ("distributor", "expected"),
    [
        ("NO_KEY", {"keyed": False}),
        ("KEY_ROUND_ROBIN", {"keyed": True, "keys": 10_000, "key_choice": "in_turn"}),
        ("RANDOM_NANO", {"keyed": True, "keys": 10_000, "key_choice": "random"}),
    ],
)
def test_keys(distributor: str, expected: dict[str, Any]) -> None:
    parameters = mapped(keyDistributor=distributor).parameters
    assert expected.items() <= parameters.items()
    assert workload.key_spec(parameters).keyed is expected["keyed"]


def test_payloads_are_those_that_were_asked_for(tmp_path: Path) -> None:
    found = mapped(randomBytesRatio=0.25)
    spec = workload.payload_spec(found.parameters)
    assert (spec.kind, spec.random_share, spec.pool) == ("compressible", 0.25, 100)
    assert found.not_honoured == {}
    source = tmp_path / "workloads" / "x.yaml"
    (tmp_path / "payload").mkdir()
    data = tmp_path / "payload" / "1k.data"
    data.write_bytes(bytes(1024))
    asked = workload_file.Workload(**{**FIELDS, "useRandomizedPayloads": False, "payloadFile": "payload/1k.data"})
    parameters = workload_file.mapped(asked, source).parameters
    assert workload.payload_spec(parameters).path == str(data)
    data.write_bytes(bytes(1000))
    with pytest.raises(workload_file.IncompatibleField, match="has 1000 bytes, and messageSize says 1024"):
        workload_file.mapped(asked, source)


def test_a_driver_names_its_profile_and_what_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "driver.yaml"
    path.write_text(
        "name: Kafka\ndriverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver\n"
        "replicationFactor: 3\ncommonConfig: |\n  bootstrap.servers=localhost:9092\n"
        "producerConfig: |\n  compression.type=lz4\n"
    )
    driver = driver_file.read(path)
    assert (driver.name, driver.profile) == ("Kafka", "kafka")
    assert driver.not_honoured.keys() == {
        "replicationFactor",
        "commonConfig.bootstrap.servers",
        "producerConfig.compression.type",
    }
    assert driver.settings == {}
    path.write_text("name: Pulsar\ndriverClass: io.openmessaging.benchmark.driver.pulsar.PulsarBenchmarkDriver\n")
    other = driver_file.read(path)
    assert other.profile is None
    assert "driverClass" in other.not_honoured


@pytest.mark.parametrize(
    ("acks", "flush", "durability"),
    [("all", "1", "strict"), ("all", "1000", "default"), ("1", "1", "relaxed"), ("0", "1", None)],
)
def test_settings_of_a_driver_that_are_done(tmp_path: Path, acks: str, flush: str, durability: str | None) -> None:
    path = tmp_path / "driver.yaml"
    path.write_text(
        f"name: K\ndriverClass: KafkaBenchmarkDriver\ntopicConfig: |\n  flush.messages={flush}\n  flush.ms=0\n"
        f"producerConfig: |\n  acks={acks}\n  linger.ms=0\n  batch.size=131072\n"
        "consumerConfig: |\n  enable.auto.commit=false\n  auto.offset.reset=latest\n"
    )
    driver = driver_file.read(path)
    expected = {"linger_ms": 0.0, "batch_bytes": 131072} | ({"durability": durability} if durability else {})
    assert driver.settings == expected
    done = {"topicConfig.flush.messages"} if durability == "strict" else set()
    done |= {"producerConfig.acks"} if durability else set()
    settings = {"topicConfig.flush.messages", "topicConfig.flush.ms", "producerConfig.acks"}
    assert driver.not_honoured.keys() == settings - done | {"consumerConfig.auto.offset.reset"}
    found = workload_file.mapped(workload_file.Workload(**FIELDS), SOURCE, driver).parameters
    assert (found["linger_ms"], found["durability"]) == (0.0, durability or "default")


def test_unknown_and_missing_fields_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    lines = [f"{name}: {value}" for name, value in FIELDS.items()]
    path.write_text("\n".join([*lines, "topicz: 1"]))
    with pytest.raises(yaml_document.DocumentError, match="line 14: unknown key 'topicz'; did you mean 'topics'"):
        yaml_document.read(path, workload_file.Workload)
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(yaml_document.DocumentError, match="testDurationMinutes is missing"):
        yaml_document.read(path, workload_file.Workload)


ABOUT = About("w", "d", 1024, 1, 16, 2, 3)


def paced(seconds: int, rate: int = 100) -> History:
    """Regular messages, sent 2 ms late, settled 3 ms and received 5 ms after that; the last one never settles."""
    count = seconds * rate
    due = np.arange(count, dtype=np.int64) * (S // rate)
    number, nobody = np.arange(count), np.zeros(count, np.int64)
    return History(
        sends={"producer": nobody, "seq": number, "intended_ns": due, "sent_ns": due + 2 * MS},
        send_outcomes={
            "producer": nobody,
            "seq": number,
            "settled_ns": due + 5 * MS,
            "outcome": np.array([Outcome.ACKNOWLEDGED] * (count - 1) + [Outcome.UNKNOWN]),
        },
        deliveries={
            "reader": nobody,
            "producer": nobody,
            "seq": number,
            "received_ns": due + 7 * MS,
            "status": np.full(count, INTACT),
        },
        acknowledgements={},
        marks=[
            {
                "event": "paced",
                "warmup": False,
                "window": 0,
                "purpose": "curve",
                "rate": float(rate),
                "start_ns": 0,
                "end_ns": seconds * S,
                "consumers_away_s": 0.0,
            }
        ],
    )


def test_a_result_in_its_shape() -> None:
    found = test_result.as_test_result(paced(35), ABOUT)
    assert found["publishRate"] == [pytest.approx(100, abs=1)] * 3, "the last period has what is left over"
    assert found["publishErrorRate"] == [0.0, 0.0, pytest.approx(1 / 15)]
    assert found["publishLatencyAvg"] == [3.0] * 3
    assert found["endToEndLatency99pct"] == [5.0] * 3
    assert found["publishDelayLatencyMax"] == [2000] * 3
    assert found["aggregatedPublishLatency9999pct"] == 3.0
    assert found["aggregatedEndToEndLatencyQuantiles"]["50.0"] == 5.0
    assert list(found["aggregatedPublishDelayLatencyQuantiles"])[-1] == "100.0"
    assert found["backlog"] == [0, 0, 0]


def test_a_short_window_is_one_period_and_others_are_refused() -> None:
    assert len(test_result.as_test_result(paced(2), ABOUT)["consumeRate"]) == 1
    with pytest.raises(ValueError, match="no window"):
        test_result.as_test_result(History({}, {}, {}, {}, []), ABOUT)


def test_every_field_of_its_class_is_there() -> None:
    ends = ("Avg", "50pct", "75pct", "95pct", "99pct", "999pct", "9999pct", "Max")
    series = [f"{name}{end}" for name in ("publishLatency", "publishDelayLatency", "endToEndLatency") for end in ends]
    aggregates = [f"aggregated{name[0].upper()}{name[1:]}" for name in series]
    quantiles = [f"aggregated{name}Quantiles" for name in ("PublishLatency", "PublishDelayLatency", "EndToEndLatency")]
    counts = ["publishRate", "publishErrorRate", "consumeRate", "backlog"]
    found = test_result.as_test_result(paced(2), ABOUT)
    assert set(found) == {*ABOUT.fields(), *counts, *series, *aggregates, *quantiles}
