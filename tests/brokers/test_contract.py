"""Closing a connection closes what was opened over it, whatever one of these does."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from brokerbench.brokers.contract import Opened
from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.types import Batch, ChannelSpec, ConsumerSettings, ProducerSettings


class Thing:
    def __init__(self, *failures: Exception) -> None:
        self.asked, self._failures = 0, list(failures)

    def close(self) -> None:
        self.asked += 1
        if self._failures:
            raise self._failures.pop(0)


@pytest.mark.parametrize("turned", [False, True])
def test_what_fails_keeps_no_other_open_and_what_is_busy_is_found_again(turned: bool) -> None:
    first, busy, broken, last = Thing(), Thing(Misuse("busy")), Thing(RuntimeError("broken")), Thing()
    ended: list[str] = []
    opened = Opened(lambda: ended.append("client"), lambda: ended.append("loop"))
    for thing in [first, broken, busy, last] if turned else [first, busy, broken, last]:
        assert opened.add(thing) is thing
    with pytest.raises(RuntimeError, match="broken") as raised:
        opened.close()
    assert raised.value.__notes__ == ["closing also failed with: Misuse('busy')"]
    assert opened.things == [busy]
    assert not ended, "who is busy needs them"
    opened.close()
    opened.close()
    assert not opened.things
    assert ended == ["client", "loop"]
    assert [thing.asked for thing in (first, busy, broken, last)] == [1, 2, 1, 1]


def test_what_all_need_is_closed_though_some_of_it_fails() -> None:
    thing, second = Thing(RuntimeError("thing")), Thing()
    opened = Opened(Thing(RuntimeError("client")).close, second.close)
    opened.add(thing)
    with pytest.raises(RuntimeError, match="thing") as raised:
        opened.close()
    assert raised.value.__notes__ == ["closing also failed with: RuntimeError('client')"]
    assert second.asked == 1
    opened.close()


def test_a_thread_inside_one_object_keeps_no_other_open() -> None:
    broker = Memory(Space())
    broker.create_channel(ChannelSpec("closing"))
    producer = broker.producer("closing", ProducerSettings())
    consumer = broker.consumer("closing", ConsumerSettings())

    def wait() -> None:
        while True:
            with suppress(Misuse):  # the other thread was inside
                consumer.receive(1, 30.0)
                return

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    deadline = time.monotonic() + 10
    with pytest.raises(Misuse, match="two threads"):
        while time.monotonic() < deadline:  # until it is inside
            consumer.acknowledge(consumer.receive(1, 0.0))
    with pytest.raises(Misuse, match="two threads"):
        broker.close()
    with pytest.raises(Misuse, match="closed"):
        producer.send(Batch([b"late"]))
    again = Memory(broker.space)
    again.producer("closing", ProducerSettings()).send(Batch([b"for who waits"]))
    waiting.join(30)
    assert not waiting.is_alive()
    broker.close()
    with pytest.raises(Misuse, match="closed"):
        consumer.receive(1, 0.0)
    again.close()
