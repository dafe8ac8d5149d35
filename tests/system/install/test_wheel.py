"""What a release installs: one package, complete without the checkout."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from brokerbench.bench.engines import prepare
from tests.system.install.conftest import ROOT, done

pytestmark = pytest.mark.slow
REPLAY = "{name: replay, cells: [{scenario: replay, parameters: {messages: 100}}]}"


def test_the_wheel_holds_one_package_without_the_laboratory(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"brokerbench"}
    assert not [name for name in names if name.startswith("brokerbench/bench/lab")]
    packaged = {name for name in names if ".dist-info/" not in name}
    product = {
        f"brokerbench/{path.relative_to(ROOT).as_posix()}"
        for room in ("brokers", "scenarios", "reports", "bench")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "lab" not in path.parts
    }
    assert packaged == product | {"brokerbench/__init__.py", "brokerbench/__main__.py"}


def test_listing_and_a_run_work_from_it(installed: Path, tmp_path: Path) -> None:
    for command in ([installed / "brokerbench"], [installed / "python", "-m", "brokerbench"]):
        listed = done([*command, "list", "--json"], tmp_path)
        assert listed.returncode == 0, listed.stderr
        assert {"kafka", "redis-streams", "sqs-fifo", "memory"} <= {
            row["name"] for row in json.loads(listed.stdout)["profiles"]
        }
    ran = done(
        [installed / "brokerbench", "run", "--profile", "memory", "--scenario", "replay", "--out", "out"], tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    revision = json.loads((tmp_path / "out" / "result.json").read_text())["environment"]["code_revision"]
    assert revision == "release 0.1.0", "the checkout around the environment is another project's"


def test_doctor_examines_every_engine(installed: Path, tmp_path: Path) -> None:
    said = done([installed / "brokerbench", "doctor"], tmp_path).stdout
    assert "Kafka's jars" in said
    assert "LocalStack's environment" in said


def test_engines_are_kept_in_the_user_s_cache(installed: Path, tmp_path: Path) -> None:
    code = "from brokerbench.bench.engines import prepare; print(prepare.cache_directory())"
    settings = {"BROKERBENCH_CACHE": "", "XDG_CACHE_HOME": str(tmp_path)}
    assert (
        done([installed / "python", "-c", code], tmp_path, settings).stdout.strip() == f"{tmp_path}/brokerbench/engines"
    )


@pytest.mark.engine
@pytest.mark.parametrize("profile", ["redis-streams", "kafka", "sqs-standard"])
def test_its_engines_start(installed: Path, tmp_path: Path, profile: str) -> None:
    (tmp_path / "plan.yaml").write_text(REPLAY, encoding="utf-8")
    words = ["run", "plan.yaml", "--profile", profile, "--engine", "native", "--quiet", "--out", "out"]
    ran = done([installed / "brokerbench", *words], tmp_path, {"BROKERBENCH_CACHE": str(prepare.cache_directory())})
    assert ran.returncode == 0, ran.stdout + ran.stderr
