"""A workload of the OpenMessaging Benchmark on the command line: files in, files out, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brokerbench.bench.commands import omb
from tests.system.cli.conftest import Call

WORKLOAD = """\
name: 1 topic / 1 partition / 1Kb

topics: 1
partitionsPerTopic: 1
keyDistributor: "NO_KEY"
messageSize: 1024
payloadFile: "payload/payload-1Kb.data"
subscriptionsPerTopic: 2
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: 2000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
"""


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "workload.yaml"
    path.write_text(WORKLOAD)
    return path


def test_a_workload_runs_and_its_result_is_written(call: Call, workload: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "run", tmp_path / "omb.json"
    words = ("run", "--omb", workload, "--omb-duration", "500 ms", "--profile", "memory")
    ended = call(*words, "--out", out, "--omb-json", results, "--quiet")
    assert ended.code == 0, ended.err
    assert "not honoured: payloadFile: " in ended.err
    assert "shortened: 0.5 s instead of 900 s" in ended.err
    (cell,) = json.loads((out / "result.json").read_text())["cells"]
    assert (cell["id"], cell["status"]) == ("memory.latency", "completed")
    assert list(cell["parameters"]["omb"]["not_honoured"]) == ["payloadFile", "warmupDurationMinutes"]
    assert cell["parameters"]["groups"] == 2, "subscriptionsPerTopic"
    found = json.loads(results.read_text())
    assert (found["workload"], found["driver"]) == ("1 topic / 1 partition / 1Kb", "memory")
    assert found["publishRate"][0] > 0
    assert found["consumeRate"][0] == pytest.approx(2 * found["publishRate"][0], rel=0.2)
    again = tmp_path / "again.json"
    assert call("report", out, "--omb-json", again).code == 0
    assert again.read_text() == results.read_text()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("topics: 1", "topicz: 1", "line 3: unknown key 'topicz'"),
        ("messageSize: 1024", "messageSize: 40", "line 6: messageSize must be at least 48"),
        ("NO_KEY", "BY_MOOD", "line 5: keyDistributor"),
        ("payload/payload-1Kb.data", "workload.yaml", "line 7: "),
    ],
)
def test_a_wrong_workload_is_named_with_file_and_line(
    call: Call, workload: Path, before: str, after: str, message: str
) -> None:
    workload.write_text(WORKLOAD.replace(before, after))
    ended = call("run", "--omb", workload, "--profile", "memory")
    assert ended.code == 2
    assert message in ended.err


def test_wrong_words(call: Call, workload: Path) -> None:
    for words, message in (
        (("run", "quick", "--omb", workload), "a plan cannot be given beside it"),
        (("run", "--omb", workload, "--scenario", "replay"), "--scenario cannot be given beside it"),
        (("run", "--omb-duration", "2 s"), "--omb-duration belongs to --omb"),
        (("run", "--omb", workload, "--omb-duration", "2 parsecs"), "unknown unit 'parsecs' for --omb-duration"),
        (("run", "--omb", workload, "--profile", "kfka"), "did you mean 'kafka'?"),
    ):
        ended = call(*words)
        assert ended.code == 2
        assert message in ended.err


def test_only_commits_are_put_together(workload: Path) -> None:
    """A FIFO queue delivers no more messages of a group before the earlier ones are acknowledged."""
    profiles = ["kafka", "kafka-share", "redis-streams", "sqs-fifo"]
    cells = omb.omb_plan(omb.Files(workload, None, "1 s"), profiles, (), 1).cells
    assert {cell.profile: cell.parameters["acknowledge_every"] for cell in cells} == {
        "kafka": 10,
        "kafka-share": 1,
        "redis-streams": 1,
        "sqs-fifo": 1,
    }


def test_a_backlog_that_was_not_built_is_named_wherever_the_result_is(
    call: Call, workload: Path, tmp_path: Path
) -> None:
    # More than any client sends: the rate does not last.
    text = WORKLOAD.replace("producerRate: 2000", "producerRate: 9000000")
    workload.write_text(text.replace("consumerBacklogSizeGB: 0", "consumerBacklogSizeGB: 1"))
    out, results = tmp_path / "run", tmp_path / "omb.json"
    words = ("run", "--omb", workload, "--omb-duration", "200 ms", "--profile", "memory")
    ended = call(*words, "--out", out, "--omb-json", results)
    assert ended.code == 0, ended.err
    (cell,) = json.loads((out / "result.json").read_text())["cells"]
    why = "no rate lasted, so consumers would never have caught up with one"
    assert cell["left_out"]["backlog"] == why
    assert f"backlog: {why}" in ended.err
    assert f"backlog: {why}" in ended.out
    assert f"backlog: {why}" in (out / "report.html").read_text().replace("\n", " ")
    told = json.loads(results.read_text())["notHonoured"]
    assert told["backlog"] == why
    assert "payloadFile" in told
