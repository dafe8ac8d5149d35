"""Native engines: they come up, listen on loopback only, survive a restart, and say why they died."""

from __future__ import annotations

import base64
import ipaddress
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from brokerbench.bench.engines import catalogue, container_recipes, native
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.errors import BadInput, EngineUnavailable
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import session
from brokerbench.bench.run.session import start_engines
from brokerbench.brokers import registry
from brokerbench.brokers.types import ChannelSpec

pytestmark = pytest.mark.engine

PROFILE = {"kafka": "kafka", "redis": "redis-streams", "sqs": "sqs-standard"}


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard.start("engines-test") as guard:
        yield guard


@pytest.fixture(scope="module")
def engines(guard: Guard) -> dict[str, native.NativeEngine]:
    """All three, started side by side."""
    running = start_engines(sorted(catalogue.ENGINES), EngineChoice.NATIVE, guard.directory("logs"), guard)
    return {name: engine for name, engine in running.items() if isinstance(engine, native.NativeEngine)}


@pytest.mark.parametrize("name", sorted(catalogue.ENGINES))
def test_a_message_comes_through_and_the_version_is_what_the_engine_answers(
    engines: dict[str, native.NativeEngine], name: str
) -> None:
    version = session.prove(PROFILE[name], engines[name].endpoint, f"ready-{name}")
    assert ".".join(catalogue.ENGINES[name].version.split(".")[:2]) in version


def test_every_socket_is_on_loopback(engines: dict[str, native.NativeEngine]) -> None:
    seen = 0
    for engine in engines.values():
        leader = psutil.Process(engine.pid())
        for process in (leader, *leader.children(recursive=True)):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    address = ipaddress.ip_address(connection.laddr.ip)
                    mapped = getattr(address, "ipv4_mapped", None)
                    assert (mapped or address).is_loopback, (engine.spec.name, connection.laddr)
                    seen += 1
                elif connection.type.name == "SOCK_DGRAM":
                    assert ipaddress.ip_address(connection.laddr.ip).is_loopback, (engine.spec.name, connection.laddr)
    assert seen >= len(engines)


def test_restart_keeps_port_and_data(engines: dict[str, native.NativeEngine]) -> None:
    engine = engines["redis"]
    broker = registry.connect("redis-streams", engine.endpoint)
    broker.create_channel(ChannelSpec("kept"))
    broker.close()
    address = engine.endpoint.address
    engine.restart()
    assert engine.endpoint.address == address
    broker = registry.connect("redis-streams", engine.endpoint)
    assert broker.list_channels("kept") == ["kept"]
    broker.delete_channel("kept")
    broker.close()


def test_an_engine_that_ends_while_it_starts_says_why(guard: Guard, tmp_path: Path) -> None:
    directory = guard.directory("bad")
    command = native.redis(catalogue.REDIS, directory, tmp_path / "redis.log", guard)
    broken = native.Command([*command.argv, "--no-such-setting", "1"], command.ports, command.endpoint)
    engine = native.NativeEngine(catalogue.REDIS, broken, directory, tmp_path / "redis.log", guard)
    with pytest.raises(EngineUnavailable, match="no-such-setting"):
        engine.start()
    assert not engine.alive()


def soon(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    """A signal is taken when the process next runs."""
    deadline = time.monotonic() + within_s
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def states(pid: int) -> set[str]:
    """Of all threads, as the kernel writes them after the program's name in brackets."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return {task.read_text().rpartition(")")[2].split()[0] for task in tasks}


@pytest.mark.parametrize("name", sorted(catalogue.ENGINES))
def test_what_may_be_done_to_an_engine(engines: dict[str, native.NativeEngine], guard: Guard, name: str) -> None:
    """Paused it answers nothing, resumed it goes on; killed it is gone, restarted it is back on its port."""
    engine = engines[name]
    for _ in range(2):  # a resumed engine can be paused again
        engine.pause()
        assert states(engine.pid()) == {"T"}, "every thread stands still, at once"
    assert engine.alive()
    engine.resume()
    assert soon(lambda: psutil.Process(engine.pid()).status() != psutil.STATUS_STOPPED)
    engine.kill()
    assert not engine.alive()
    engine.restart()
    assert engine.alive()
    session.prove(PROFILE[name], engine.endpoint, f"again-{name}")


def test_when_one_does_not_start_the_others_are_stopped(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKERBENCH_JAVA", "false")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(EngineUnavailable, match="Kafka"):
        start_engines(["redis", "kafka"], EngineChoice.NATIVE, tmp_path, guard)
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before


def test_a_second_opinion_on_sqs(guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_SQS_ENGINE", "elasticmq")
    engine = start_engines(["sqs"], EngineChoice.NATIVE, tmp_path, guard)["sqs"]
    assert engine.spec is catalogue.ELASTICMQ
    for profile in ("sqs-standard", "sqs-fifo"):
        session.prove(profile, engine.endpoint, f"second-{profile}")
    engine.stop()


def test_an_opinion_that_nobody_has_is_refused(guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_SQS_ENGINE", "rabbitmq")
    with pytest.raises(BadInput, match="localstack or elasticmq"):
        start_engines(["sqs"], EngineChoice.NATIVE, tmp_path, guard)


def test_a_cluster_id_is_never_taken_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """62 is "-" in URL-safe base64; both ways to start Kafka draw their ids from one function."""
    begins_with_a_dash = uuid.UUID(int=62 << 122)
    assert base64.urlsafe_b64encode(begins_with_a_dash.bytes).startswith(b"-")
    monkeypatch.setattr("uuid.uuid4", lambda: begins_with_a_dash)
    command = container_recipes.COOKS["kafka"].published(catalogue.KAFKA, 9092).command
    for options in (catalogue.kafka_format_options("a.properties"), shlex.split(command[-1])):
        cluster_id = options[options.index("--cluster-id") + 1]
        assert len(cluster_id) == 22
        assert not cluster_id.startswith("-")
