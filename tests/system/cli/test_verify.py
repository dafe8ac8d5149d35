"""``brokerbench verify``: a table or JSON, and the exit code that says how it ended."""

from __future__ import annotations

import json

import pytest

from brokerbench.bench import conformance
from brokerbench.bench.conformance import Check, Context
from brokerbench.bench.conformance.model import Violated
from tests.system.cli.conftest import Call


def test_a_profile_that_passes(call: Call) -> None:
    ended = call("verify", "memory", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["profile"] == "memory"
    assert told["counts"]["failed"] == 0
    assert [check["name"] for check in told["checks"]] == [check.name for check in conformance.CHECKS]
    assert all(check["detail"] for check in told["checks"] if check["status"] == "skipped")


def test_a_check_that_fails(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(context: Context) -> None:
        raise Violated(f"{context.declaration.profile} does not")

    monkeypatch.setattr(conformance, "CHECKS", (Check("some.check", "it does", fails),))
    ended = call("verify", "memory", "--quiet")
    assert ended.code == 1
    assert "failed  some.check: it does\n        memory does not" in ended.out
    assert ended.err == "brokerbench: 1 of 1 checks failed: some.check\n"


def test_an_unknown_profile(call: Call) -> None:
    ended = call("verify", "kfka")
    assert ended.code == 2
    assert "did you mean 'kafka'?" in ended.err


def test_an_engine_that_cannot_be_had(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROKERBENCH_REDIS_URL", raising=False)
    ended = call("verify", "redis-streams", "--engine", "external")
    assert ended.code == 3
    assert "BROKERBENCH_REDIS_URL" in ended.err
