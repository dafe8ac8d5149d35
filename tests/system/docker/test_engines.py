"""Every broker in a container: a cell's worth of messages through each profile, loopback only, nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator

import docker
import psutil
import pytest

from brokerbench.bench.engines import docker as engines
from brokerbench.bench.engines.catalogue import ENGINES
from brokerbench.bench.engines.docker import DockerEngine
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import session
from brokerbench.brokers import registry
from brokerbench.brokers.types import ChannelSpec

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

PROFILES = {
    "redis": ("redis-streams",),
    "kafka": ("kafka", "kafka-share"),
    "sqs": ("sqs-standard", "sqs-fifo"),
}


@pytest.fixture(scope="module", params=sorted(PROFILES))
def engine(
    request: pytest.FixtureRequest, daemon: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerEngine]:
    with Guard.start(f"docker-{request.param}") as guard:
        running = engines.start(ENGINES[request.param], tmp_path_factory.mktemp("logs"), guard)
        yield running
        running.stop()
        assert not left(daemon, guard.run_id)


def left(daemon: docker.DockerClient, run_id: str) -> list[str]:
    label = f"{engines.RUN_LABEL}={run_id}"
    return [
        str(found.name) for found in daemon.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    ]


def test_a_message_passes_through_every_profile_and_the_broker_names_its_version(engine: DockerEngine) -> None:
    for profile in PROFILES[engine.spec.name]:
        version = session.prove(profile, engine.endpoint, f"bb-docker-{profile}")
        # A published image may be newer than the native engine; a local one is made of it.
        if engine.image.startswith("brokerbench.local/"):
            assert engine.spec.version.rsplit(".", 1)[0] in version
            assert engine.image.startswith(f"brokerbench.local/{engine.spec.name}:{engine.spec.version}-")


def test_it_listens_on_loopback_only(engine: DockerEngine) -> None:
    port = int(engine.endpoint.address.rsplit(":", 1)[1].split("/")[0])
    listening = [found.laddr for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    addresses = {address.ip for address in listening if address and address.port == port}
    assert addresses == {"127.0.0.1"}


def test_a_paused_broker_answers_again_when_it_is_resumed(engine: DockerEngine) -> None:
    engine.pause()
    assert engine.alive()
    engine.resume()
    session.prove(PROFILES[engine.spec.name][0], engine.endpoint, "bb-docker-resumed")


def test_a_killed_broker_starts_again_on_its_port_and_keeps_what_it_keeps(engine: DockerEngine) -> None:
    profile = PROFILES[engine.spec.name][0]
    with_channel = registry.connect(profile, engine.endpoint)
    with_channel.create_channel(ChannelSpec("bb-docker-kept"))
    with_channel.close()
    time.sleep(1.5)  # Redis writes to disk every second

    engine.kill()
    assert not engine.alive()
    engine.restart()

    session.prove(profile, engine.endpoint, "bb-docker-restarted")
    again = registry.connect(profile, engine.endpoint)
    kept = again.list_channels("bb-docker-kept")
    again.close()
    # LocalStack keeps nothing over a restart; the others keep all.
    assert kept == ([] if engine.spec.name == "sqs" else ["bb-docker-kept"])
