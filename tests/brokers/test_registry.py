"""Profiles are found by name, lazily; a broken plug-in harms no other."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from brokerbench.brokers import registry
from brokerbench.brokers.errors import AdapterUnavailable, UnknownProfile
from brokerbench.brokers.types import Endpoint

FOREIGN = registry.Adapter("foreign", "brokerbench.brokers.memory.broker:Memory", None, "pip install foreign")
IMPOSTOR = registry.Adapter("kafka", "brokerbench.brokers.memory.broker:Memory", None, "pip install impostor")
HOSTILE = registry.Adapter("../../x", FOREIGN.path, None, "")
NOT_AN_ADAPTER = "text"


class _Quitting:
    @property
    def ADAPTER(self) -> object:  # noqa: N802
        sys.exit(3)


quitting = _Quitting()


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.ENTRY_POINTS)


def test_built_in_profiles_come_in_their_order() -> None:
    assert registry.profiles()[:7] == (
        "sqs-standard",
        "sqs-fifo",
        "redis-streams",
        "kafka",
        "kafka-share",
        "memory",
        "noop",
    )
    assert registry.adapter("kafka-share").broker == "kafka"
    assert registry.adapter("memory").broker is None


def test_an_unknown_profile_names_the_near_miss() -> None:
    with pytest.raises(UnknownProfile, match="did you mean 'redis-streams'"):
        registry.adapter("redis-stream")


def test_a_broken_plugin_is_named_and_the_others_go_on() -> None:
    catalogue = registry.assemble(
        [
            entry("broken", "no_such_module_anywhere:ADAPTER"),
            entry("quitting", f"{__name__}:quitting.ADAPTER"),
            entry("text", f"{__name__}:NOT_AN_ADAPTER"),
            entry("impostor", f"{__name__}:IMPOSTOR"),
            entry("hostile", f"{__name__}:HOSTILE"),
            entry("foreign", f"{__name__}:FOREIGN"),
        ]
    )
    assert catalogue.adapters["foreign"] == FOREIGN
    assert catalogue.adapters["kafka"].path == "brokerbench.brokers.kafka.consumer_group:Kafka"
    reasons = {label.partition(" ")[0]: reason for label, reason in catalogue.broken.items()}
    assert set(reasons) == {"broken", "quitting", "text", "impostor", "hostile"}
    assert "ModuleNotFoundError" in reasons["broken"]
    assert "SystemExit: 3" in reasons["quitting"]
    assert "is not a brokerbench.brokers.registry.Adapter" in reasons["text"]
    assert "'kafka' is taken" in reasons["impostor"]
    assert "'../../x' is no name" in reasons["hostile"]


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = registry.Adapter("lacking", "brokers.no_such_adapter:Broker", None, "pip install lacking")
    monkeypatch.setattr(registry, "catalogue", lambda: registry.Catalogue({"lacking": lacking}, {}, {}))
    with pytest.raises(AdapterUnavailable, match="pip install lacking"):
        registry.load("lacking")


def test_listing_imports_no_client() -> None:
    code = (
        "import sys; from brokers import registry; registry.profiles(); "
        "sys.exit(any(name in sys.modules for name in ('redis', 'boto3', 'aiobotocore', 'confluent_kafka')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_in_process_profiles_connect() -> None:
    for profile in ("memory", "noop"):
        broker = registry.connect(profile, Endpoint(profile, f"{profile}://registry"))
        assert broker.declaration().profile == profile
        broker.close()


def test_options_are_the_built_in_profiles_of_brokers() -> None:
    in_process = {adapter.profile for adapter in registry.BUILT_IN if adapter.broker is None}
    assert in_process == {"memory", "noop"}
    assert set(registry.options()) == {adapter.profile for adapter in registry.BUILT_IN} - in_process
