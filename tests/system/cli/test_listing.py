"""``brokerbench list``, as text and as JSON."""

from __future__ import annotations

import json

from brokerbench.bench import cli
from brokerbench.brokers import registry
from brokerbench.scenarios import experiments
from tests.system.cli.conftest import Call


def test_the_list_fits_a_hundred_columns_and_names_everything(call: Call) -> None:
    ended = call("list")
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= 100
    for name in (*registry.profiles(), *experiments.NAMES, "quick", "log.retention.check.interval.ms"):
        assert name in ended.out


def test_the_list_as_json(call: Call) -> None:
    content = json.loads(call("list", "--json").out)
    assert [profile["name"] for profile in content["profiles"]] == list(registry.profiles())
    assert {"profiles", "scenarios", "engines", "plans", "properties"} <= set(content)


def test_the_doctor_as_json(call: Call) -> None:
    ended = call("doctor", "--json")
    checks = json.loads(ended.out)
    missing = [check["what"] for check in checks if check["required"] and not check["ok"]]
    assert ended.code == (3 if missing else 0)
    assert all(check["mend"] for check in checks if not check["ok"])


def test_the_options_of_the_decision_are_the_first_profiles() -> None:
    options = ("sqs-standard", "sqs-fifo", "redis-streams", "kafka", "kafka-share")
    assert registry.options() == registry.profiles()[: len(options)] == options


def test_help_names_every_command(call: Call) -> None:
    ended = call("--help")
    assert ended.code == 0
    for command in cli.app.registered_commands:
        assert command.callback is not None
        assert (command.name or command.callback.__name__) in ended.out
