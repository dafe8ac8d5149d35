"""Docker tests need a daemon and nothing else: without one they are skipped, or refused where they were asked for."""

from __future__ import annotations

import docker
import pytest

from bench.engines import docker as engines
from bench.errors import EngineUnavailable

NO_DAEMON = 3  # the exit code for an engine that is not available


@pytest.fixture(scope="session")
def daemon(request: pytest.FixtureRequest) -> docker.DockerClient:
    try:
        return engines.client()
    except EngineUnavailable as missing:
        if request.config.getoption("markexpr") == "docker":
            pytest.exit(str(missing), returncode=NO_DAEMON)
        pytest.skip(str(missing))
