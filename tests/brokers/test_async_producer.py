"""A producer over futures: every ticket settles once, whatever the client does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from brokerbench.brokers.async_producer import AsyncProducer
from brokerbench.brokers.errors import Misuse, TooLarge
from brokerbench.brokers.loop import Loop
from brokerbench.brokers.types import NO_PLACE, Batch, Outcome, ProducerSettings, Settlements

ACKNOWLEDGED, REJECTED, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN


class Client:
    """Answers by payload: ``ok`` soon, ``no`` with a refusal, ``silent`` never; ``large`` is not sent at all."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, bytes | None, str | None, Mapping[str, str] | None]] = []
        self.most_open = 0
        self._open = 0

    async def publish(
        self, payload: bytes, key: bytes | None, dedup: str | None, about: Mapping[str, str] | None
    ) -> asyncio.Future[int]:
        if payload == b"large":
            raise TooLarge("5 bytes are too many")
        self.taken.append((payload, key, dedup, about))
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        answer.add_done_callback(self._done)
        if payload == b"ok":
            loop.call_later(0.001, _unless_done, answer, len(self.taken))
        elif payload == b"no":
            loop.call_soon(answer.set_exception, RuntimeError("the stream is full"))
        return answer

    def _done(self, _: asyncio.Future[int]) -> None:
        self._open -= 1


def _unless_done(answer: asyncio.Future[int], place: int) -> None:
    if not answer.done():
        answer.set_result(place)


@pytest.fixture
def loop() -> Iterator[Loop]:
    running = Loop("test")
    yield running
    running.close()


def producer(loop: Loop, client: Client, **settings: float) -> AsyncProducer:
    chosen = ProducerSettings(**{"timeout_s": 5.0, **settings})  # type: ignore[arg-type]
    return AsyncProducer(loop, client.publish, lambda place: (0, place), chosen)


def fates(settled: Settlements) -> dict[int, Outcome]:
    assert len(set(settled.tickets.tolist())) == len(settled)
    return {int(ticket): Outcome(fate) for ticket, fate in zip(settled.tickets, settled.outcomes, strict=True)}


def test_fates_of_every_kind(loop: Loop) -> None:
    made = producer(loop, client := Client(), timeout_s=0.05)
    receipt = made.send(Batch([b"ok", b"no", b"large", b"silent", b"ok"]))
    assert (receipt.first_ticket, receipt.count, receipt.rejected) == (0, 5, (2,))
    settled = made.flush(5.0)
    assert fates(settled) == {0: ACKNOWLEDGED, 1: REJECTED, 2: REJECTED, 3: UNKNOWN, 4: ACKNOWLEDGED}
    assert dict(settled.errors) == {1: "the stream is full", 2: "5 bytes are too many", 3: "no answer in time"}
    places = dict(zip(settled.tickets.tolist(), settled.places.tolist(), strict=True))
    assert places == {0: 1, 1: NO_PLACE, 2: NO_PLACE, 3: NO_PLACE, 4: 4}
    assert made.send(Batch([b"ok"])).first_ticket == 5
    assert fates(made.flush(5.0)) == {5: ACKNOWLEDGED}
    assert [payload for payload, *_ in client.taken] == [b"ok", b"no", b"silent", b"ok", b"ok"]


def test_columns_reach_the_client(loop: Loop) -> None:
    made = producer(loop, client := Client())
    made.send(Batch([b"ok", b"ok"], [b"k", b""], ["a", "b"], [{"x": "1"}, {}]))
    made.send(Batch([]))
    assert fates(made.flush(5.0)) == {0: ACKNOWLEDGED, 1: ACKNOWLEDGED}
    assert client.taken == [(b"ok", b"k", "a", {"x": "1"}), (b"ok", b"", "b", {})]


def test_sending_waits_for_room(loop: Loop) -> None:
    made = producer(loop, client := Client(), max_in_flight=10)
    made.send(Batch([b"ok"] * 100))
    assert len(fates(made.flush(5.0))) == 100
    assert client.most_open == 10


def test_a_silent_broker_does_not_hold_a_large_batch_for_ever(loop: Loop) -> None:
    made = producer(loop, Client(), max_in_flight=4, timeout_s=0.05)
    begin = time.monotonic()
    made.send(Batch([b"silent"] * 12))
    assert fates(made.flush(5.0)) == dict.fromkeys(range(12), UNKNOWN)
    assert time.monotonic() - begin < 3.0


def test_flush_leaves_open_what_is_not_settled_and_close_gives_it_up(loop: Loop) -> None:
    made = producer(loop, Client())
    made.send(Batch([b"ok", b"silent"]))
    assert fates(made.flush(0.1)) == {0: ACKNOWLEDGED}
    assert len(made.poll()) == 0
    assert fates(made.close()) == {1: UNKNOWN}
    assert len(made.close()) == 0
    with pytest.raises(Misuse, match="closed"):
        made.send(Batch([b"ok"]))


def test_a_second_thread_is_turned_away(loop: Loop) -> None:
    made = producer(loop, Client())
    made.send(Batch([b"silent"]))
    waiting = threading.Thread(target=made.flush, args=(1.0,))
    waiting.start()
    while not made._guard._lock.locked():
        time.sleep(0.001)
    with pytest.raises(Misuse, match="two threads"):
        made.poll()
    waiting.join()
    made.close()


def test_a_malformed_batch_is_refused(loop: Loop) -> None:
    with pytest.raises(Misuse):
        producer(loop, Client()).send(Batch([b"ok"], []))
