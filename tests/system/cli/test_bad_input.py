"""Wrong input: one message with the remedy, and the documented exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cli.conftest import Call


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--profile", "kfka"], "--profile kfka: no such name; did you mean 'kafka'?"),
        (["run", "--scenario", "rplay"], "--scenario rplay: no such name; did you mean 'replay'?"),
        (["run", "quik"], "no plan 'quik': neither a file nor one that ships ("),
        (["run", "../quick"], "no plan '../quick'"),
        (["run", "--plan", "quik"], "no plan 'quik': neither a file nor one that ships ("),
        (["run", "quick", "--plan", "scaling"], "two plans, quick and --plan scaling"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--seed", str(2**31)], "--seed"),
        (["run", "--seed", "x"], "--seed"),
        (["run", "--engine", "podman"], "'docker'"),
        (["run", "--profil", "kafka"], "--profil"),
        (["rnu"], "rnu"),
        (["report"], "RUN"),
        (["report", "/nowhere"], "/nowhere: no such"),
        (["analyse", "/nowhere"], "/nowhere: no such"),
        (["decide", "--run", "/nowhere"], "/nowhere: no such"),
        (["selftest", "--messages", "1"], "--messages"),
        (["selftest", "--page", "/nowhere/x.md"], "--page /nowhere/x.md"),
    ],
)
def test_wrong_words_are_named(call: Call, words: list[str], message: str) -> None:
    ended = call(*words)
    assert ended.code == 2
    assert message in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: x\ncells:\n  - scenario: replay\n    profile: [kafka]\n",
            "line 4: unknown key 'profile'; did you mean",
        ),
        ("name: x\ncells:\n  - scenario: rplay\n", "line 3: unknown scenario 'rplay'; did you mean 'replay'?"),
        ("name: x\nprofiles: [kafak]\ncells:\n  - scenario: replay\n", "line 2: unknown profile 'kafak'; did you mean"),
        (
            "name: x\ncells:\n  - scenario: throughput\n    parameters: {window_s: 3 parsecs}\n",
            "line 4: unknown unit 'parsecs' for window_s; known: ns",
        ),
        (
            "name: x\ncells:\n  - scenario: throughput\n    parameters:\n      window: 3\n",
            "line 5: unknown parameter 'window' of throughput; did you mean 'window_s'?",
        ),
        ("name: x\ncells: [\n", "not YAML"),
        ("", "the file is empty"),
        ("name: x\nname: y\ncells:\n  - scenario: replay\n", "line 2: key 'name' stands twice"),
    ],
)
def test_a_wrong_plan_is_named_with_file_and_line(call: Call, tmp_path: Path, text: str, message: str) -> None:
    plan = write(tmp_path / "plan.yaml", text)
    ended = call("run", plan)
    assert ended.code == 2
    assert f"{plan}" in ended.err
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_plan_that_holds_nothing_for_the_wish_is_refused(call: Call, plan: Path) -> None:
    ended = call("run", plan, "--profile", "memory", "--scenario", "retention")
    assert (ended.code, "nothing to run" in ended.err) == (2, True)


def test_out_must_be_new_or_empty_and_a_directory(call: Call, plan: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    kept = write(tmp_path / "full" / "mine", "x")
    for out, message in ((kept.parent, "is not empty; name a new one"), (kept, "is a file; name a new directory")):
        ended = call("run", plan, "--out", out)
        assert (ended.code, f"--out {out}: " in ended.err, message in ended.err) == (2, True, True), ended.err
    assert kept.read_text() == "x"


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="root may write everywhere")
def test_out_that_cannot_be_written(call: Call, plan: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        out = Path("/proc/brokerbench")
    else:
        out = tmp_path / "closed" / "run"
        out.parent.mkdir(mode=0o500)
    ended = call("run", plan, "--out", out)
    assert (ended.code, f"--out {out}: cannot be used" in ended.err) == (2, True)


def test_docs_that_cannot_be_written_are_refused_before_anything_is_measured(call: Call, tmp_path: Path) -> None:
    file = write(tmp_path / "file", "")
    ended = call("decide", "--docs", file)
    assert (ended.code, f"--docs {file}: cannot be used" in ended.err) == (2, True)


def test_a_missing_record_does_not_hold(call: Call, tmp_path: Path) -> None:
    ended = call("decide", "--check", "--docs", tmp_path)
    assert (ended.code, "decision-record.md is missing" in ended.err) == (1, True)


@pytest.mark.parametrize("variable", ["BROKERBENCH_JAVA", "BROKERBENCH_REDIS_SERVER"])
def test_a_program_that_is_not_there(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/nowhere/program")
    profile = "kafka" if variable.endswith("JAVA") else "redis-streams"
    ended = call("run", "--profile", profile, "--scenario", "replay", "--engine", "native", "--out", tmp_path / "run")
    assert (ended.code, f"{variable}=/nowhere/program: no such program" in ended.err) == (3, True)
    assert not (tmp_path / "run").exists(), "the next try must not find the directory taken"


@pytest.mark.parametrize("profile", ["kafka", "redis-streams", "sqs-fifo"])
def test_external_without_an_endpoint(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    for variable in ("BROKERBENCH_SQS_ENDPOINT", "BROKERBENCH_REDIS_URL", "BROKERBENCH_KAFKA_BOOTSTRAP"):
        monkeypatch.delenv(variable, raising=False)
    ended = call("run", "--profile", profile, "--scenario", "replay", "--engine", "external", "--out", tmp_path / "r")
    assert (ended.code, "--engine external needs BROKERBENCH_" in ended.err) == (3, True)


def test_docker_without_a_daemon(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    ended = call("run", "--profile", "kafka", "--scenario", "replay", "--engine", "docker", "--out", tmp_path / "run")
    assert (ended.code, "no Docker daemon answers" in ended.err) == (3, True)


LIGHT = """
import sys
from brokerbench.bench import cli
sys.argv = ["brokerbench", *{words!r}]
try:
    cli.main()
except SystemExit as end:
    slow = {{"altair", "pandas", "pyarrow", "scipy", "vl_convert", "boto3", "aiobotocore", "confluent_kafka", "docker"}}
    print(end.code, sorted(slow & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["run", "--help"], 0), (["run", "--profile", "x"], 2), (["run", "x"], 2)]
)
def test_help_and_refusals_load_nothing_slow(words: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT.format(words=words)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{code} []", done.stderr


@pytest.mark.parametrize(
    ("profile", "parameters", "message"),
    [
        (
            "kafka",
            "size: 2 MiB",
            "kafka.throughput: size: a message has 2,097,152 bytes, and the profile takes 1,048,500",
        ),
        ("sqs-standard", "size: 1 MiB", "takes 786,429 at most (it encodes them: base64"),
        ("kafka", "sizes: '1 KiB: 99, 3 MiB: 1'", "the largest message has 3,145,728 bytes"),
        (
            "kafka",
            "payload: replay, payload_path: LOG",
            "record 2 (deep/big.json) has 1,100,000 bytes, and the profile",
        ),
        ("memory", "payload: replay, payload_path: LOG/nowhere", "nowhere: cannot be read: No such file"),
    ],
)
def test_a_message_above_a_limit_ends_the_run_before_it_begins(
    call: Call, tmp_path: Path, profile: str, parameters: str, message: str
) -> None:
    log = tmp_path / "log"
    (log / "deep").mkdir(parents=True)
    (log / "a.json").write_bytes(b"a" * 100)
    (log / "deep" / "big.json").write_bytes(b"b" * 1_100_000)
    given = parameters.replace("LOG", str(log))
    cells = f"  - {{scenario: throughput, profiles: [{profile}], parameters: {{{given}}}}}\n"
    plan = write(tmp_path / "plan.yaml", f"name: large\ncells:\n{cells}")
    ended = call("run", plan, "--out", tmp_path / "run")
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "run").exists()
