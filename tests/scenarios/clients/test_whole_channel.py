"""A whole read goes on to a fresh message, and says whether it got there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from brokerbench.brokers import registry
from brokerbench.brokers.faulty import Fault, FaultName
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import ChannelSpec, Endpoint
from brokerbench.scenarios.clients.recording import RecordingProducer
from brokerbench.scenarios.clients.whole_channel import WholeChannel, send_fresh
from brokerbench.scenarios.history import History, Writer, saved_history
from tests.scenarios import harness

RUN, PROBE = 77, 20


def read(connect: Callable[[], Broker], directory: Path, patience_s: float = 5.0) -> History:
    broker = connect()
    broker.create_channel(ChannelSpec("c"))
    with Writer(directory, "w", RUN) as writer:
        own = RecordingProducer(broker, "c", writer, number=0, run=RUN, seed=1, size=64)
        own.send(range(2500))
        probe = RecordingProducer(broker, "c", writer, number=PROBE, run=RUN, seed=1, size=64)
        whole = WholeChannel(broker, "c", writer, probe, PROBE, role="r")
        for number in (1, 2):
            whole.read(number, patience_s, stage="s")
        own.close()
        probe.close()
    return saved_history.load(directory)


def test_each_read_gets_everything_and_the_fresh_message_last(tmp_path: Path) -> None:
    history = read(harness.memory(), tmp_path)
    for fresh, mark in enumerate(history.events("read", role="r", stage="s", channel="c")):
        rows = history.deliveries["reader"] == mark["reader"]
        assert mark["proven"]
        assert (mark["first"], mark["first_after"]) == ({"0": 0}, {"0": 0})
        assert int(rows.sum()) == 2500 + fresh + 1
        last = [int(history.deliveries[name][rows][-1]) for name in ("producer", "seq")]
        assert last == [PROBE, fresh]
        assert mark["began_ns"] <= int(history.deliveries["received_ns"][rows].min())
    assert len(list(history.events("read"))) == 2


def test_a_fresh_message_that_never_comes_proves_nothing(tmp_path: Path) -> None:
    places = frozenset({(0, 2500), (0, 2501)})
    history = read(harness.faulty(Fault(FaultName.LOSE, 0.0, 1, places)), tmp_path, patience_s=0.2)
    assert [mark["proven"] for mark in history.events("read")] == [False, False]


@pytest.mark.parametrize(("fault", "sends"), [(FaultName.LOSE, 1), (FaultName.UNKNOWN_OUTCOME, 5)])
def test_a_fresh_message_is_sent_until_one_is_acknowledged(fault: FaultName, sends: int, tmp_path: Path) -> None:
    broker = harness.faulty(Fault(fault, 1.0))()
    broker.create_channel(ChannelSpec("c"))
    with Writer(tmp_path, "w", RUN) as writer:
        probe = RecordingProducer(broker, "c", writer, number=PROBE, run=RUN, seed=1, size=64)
        assert send_fresh(probe) == sends - 1
        probe.close()


def test_a_profile_without_readers_is_refused(tmp_path: Path) -> None:
    broker = registry.connect("noop", Endpoint("noop", "noop://whole"))
    broker.create_channel(ChannelSpec("c"))
    with Writer(tmp_path, "w", RUN) as writer:
        probe = RecordingProducer(broker, "c", writer, number=PROBE, run=RUN, seed=1, size=64)
        with pytest.raises(TypeError, match="no readers"):
            WholeChannel(broker, "c", writer, probe, PROBE).read(1, 1.0)
        probe.close()
