"""Docker tests need a daemon and nothing else; without one they say so and fail as a whole."""

from __future__ import annotations

import docker
import pytest

from brokerbench.bench.engines import docker as engines
from brokerbench.bench.errors import EngineUnavailable


@pytest.fixture(scope="session")
def daemon() -> docker.DockerClient:
    try:
        return engines.client()
    except EngineUnavailable as missing:
        pytest.exit(str(missing), returncode=missing.exit_code)
