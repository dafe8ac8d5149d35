"""Common ground of the contenders: a running broker, channels of their own, peers started under the guard."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from brokerbench.bench import children
from brokerbench.bench.calibration.own_client import ClientLoad, OwnClient, Sample
from brokerbench.bench.errors import CheckFailed
from brokerbench.bench.guard import Guard
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import ChannelSpec, Endpoint

_TOOL_S = 300.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of doing the work. ``command`` is as it was run, with channel and address."""

    name: str
    command: str
    measure: Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class CalibrationWorkload:
    """The same work by several contenders. ``bars``: peer's name -> least ratio of own over peer (absent: no bar)."""

    work: str
    settings: Mapping[str, str]
    own: Contender
    peers: Sequence[Contender]
    bars: Mapping[str, float]
    most_cpu: float | None = None
    """Highest allowed ratio of own over peer in CPU time a message."""


@dataclass(slots=True)
class Fixture:
    """A running broker, and all that contenders need on it."""

    endpoint: Endpoint
    broker: Broker
    guard: Guard
    own: OwnClient
    load: ClientLoad
    logs: Path
    prefix: str
    warmup_s: float
    seconds: float
    _numbers: Iterator[int] = field(default_factory=count)
    _commands: dict[str, str] = field(default_factory=dict)
    _rates: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def channel(self, partitions: int) -> Iterator[str]:
        name = f"{self.prefix}c{next(self._numbers)}"
        self.broker.create_channel(ChannelSpec(name, partitions=partitions))
        try:
            yield name
        finally:
            self.broker.delete_channel(name)

    def number(self) -> int:
        return next(self._numbers)

    def module(self, program: str, work: str, channel: str, **options: object) -> list[str]:
        given = {"address": self.endpoint.address, "channel": channel, "size": self.load.size, **options}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return children.command(f"bench.calibration.peers.{program}", work, *words)

    def start(self, argv: Sequence[str]) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.logs / f"peer-{next(self._numbers)}.log"
        # Some peers write logs of their own into the working directory.
        return self.guard.spawn(argv, log_path=log, cwd=self.logs), log

    def printed(self, running: tuple[subprocess.Popen[bytes], Path]) -> str:
        """Its output, once it has ended well. Raises CheckFailed with the end of its output."""
        process, log = running
        try:
            code = process.wait(_TOOL_S)
        except subprocess.TimeoutExpired:
            self.guard.kill(process)
            raise CheckFailed(f"a peer was still at work after {_TOOL_S:g} s: {shlex.join(process.args)}") from None  # type: ignore[arg-type]
        text = log.read_text(encoding="utf-8", errors="replace")
        if code:
            raise CheckFailed(f"a peer failed with code {code}: {text[-500:]}")
        return text

    def loop(self, argv: Sequence[str]) -> Sample:
        """Run one of the plain loops."""
        return figure(self.printed(self.start(argv)))

    def loop_on_a_channel(self, partitions: int, command: Callable[[str], list[str]]) -> Sample:
        """The same on a channel of its own, whose name ``command`` is given."""
        with self.channel(partitions) as channel:
            return self.loop(command(channel))

    def expected(self, name: str, guess: float) -> int:
        """Messages of one window for a tool that counts messages instead of seconds."""
        return max(1000, int(self._rates.get(name, guess) * self.seconds))

    def remembered(self, name: str, sample: Sample) -> Sample:
        self._rates[name] = sample.rate
        return sample


def figure(text: str) -> Sample:
    row = json.loads(text.strip().splitlines()[-1])
    return Sample(row["messages"] / row["seconds"], row["cpu_s"] / max(1, row["messages"]) * 1e6)


def own_publish(fixture: Fixture, partitions: int) -> Contender:
    def measure() -> Sample:
        with fixture.channel(partitions) as channel:
            return fixture.own.publish(channel, fixture.warmup_s, fixture.seconds)

    return Contender("brokerbench", fixture.own.describe("produce"), measure)
