"""An adapter from elsewhere goes all the way: listed with its origin, run, judged, and decided about.

``make example`` installs it; the conformance kit runs on it in ``tests/conformance``.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import threading
import tokenize
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from brokerbench.bench.engines import catalogue, native
from brokerbench.bench.engines.base import free_port
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import session
from brokerbench.brokers import registry as profiles
from brokerbench.brokers.errors import Unreachable
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios import experiments, results
from brokerbench.scenarios.verdicts import Grade, Verdict

EXAMPLE = Path(__file__).parents[3] / "examples" / "nats-jetstream" / "brokerbench_nats"
PROFILE = "nats-jetstream"
LIMIT = 150
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def brokerbench(*words: str | Path) -> str:
    command = [str(Path(sys.executable).with_name("brokerbench")), *map(str, words)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines_of_code(source: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines.difference_update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "example"
    plan = Path(__file__).with_name("small.yaml")
    brokerbench("run", plan, "--profile", PROFILE, "--engine", "native", "--seed", "7", "--out", directory)
    return directory


def test_lines_of_code_are_counted_as_said() -> None:
    source = '"""About."""\n\n# why\nimport os\n\ndef f():\n    """What."""\n    return """a\n\nb""" + (\n    os.sep)\n'
    assert lines_of_code(source) == 6


def test_the_adapter_is_short() -> None:
    assert lines_of_code((EXAMPLE / "broker.py").read_text(encoding="utf-8")) <= LIMIT
    others = {path.name for path in EXAMPLE.glob("*.py")} - {"broker.py"}
    assert others == {"__init__.py", "declaration.py", "engine.py", "profile.py"}, "all of the adapter is counted"


def test_the_project_knows_nothing_of_it() -> None:
    root = EXAMPLE.parents[2]
    files = [path for layer in ("brokers", "scenarios", "reports", "bench") for path in (root / layer).rglob("*")]
    texts = [path for path in files if path.suffix in (".py", ".yaml", ".j2")]
    assert len(texts) > 100
    assert not [path for path in texts if "nats" in path.read_text(encoding="utf-8").lower()]


def test_it_is_listed_with_its_origin() -> None:
    content = json.loads(brokerbench("list", "--json"))
    origins = {row["name"]: row["origin"] for row in (*content["profiles"], *content["engines"])}
    assert origins[PROFILE] == origins["nats"] == "brokerbench-nats 0.1.0"
    assert content["broken_plugins"] == {}


@pytest.mark.engine
def test_it_runs_the_four_scenarios(run: Path) -> None:
    result = results.read(run / "result.json")
    assert result.complete
    assert [(cell.profile, cell.scenario) for cell in result.cells] == [
        (PROFILE, scenario) for scenario in ("retention", "ordering", "replay", "throughput")
    ]
    assert {cell.scenario for cell in result.cells} == set(experiments.NAMES) - {"latency"}
    for cell in result.cells:
        assert cell.status == "completed", (cell.id, cell.error)
        assert cell.grade is Grade.SOFTWARE
        assert not [row.property for row in cell.verdicts if row.verdict is Verdict.REFUTED], cell.id
        assert [row for row in cell.verdicts if row.verdict is Verdict.CONFIRMED], cell.id
    (engine,) = result.engines
    assert (engine.name, engine.kind) == ("nats", "native")
    assert engine.version.startswith("NATS 2.")
    packages = result.environment.packages
    assert packages["brokerbench-nats"] == "0.1.0"
    assert packages["nats-py"] == version("nats-py"), "the client library is part of what measured"


@pytest.mark.engine
def test_its_engine_listens_on_loopback_only_and_leaves_nothing(tmp_path: Path) -> None:
    with Guard.start("nats-test") as guard:
        engine = native.start(catalogue.spec("nats"), tmp_path, guard)
        server = psutil.Process(engine.pid())
        listening = {one.laddr.ip for one in server.net_connections("inet") if one.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        directory = Path(server.cwd())
        assert list(directory.rglob("jetstream")), "its files are in the guard's directory"
        session.prove(PROFILE, engine.endpoint, "bb-nats-test-ready")
    assert not engine.alive()
    assert not directory.exists()


@pytest.mark.engine
def test_nothing_that_answers_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        profiles.connect(PROFILE, Endpoint("nats", f"127.0.0.1:{free_port()}"))
    assert not [thread for thread in threading.enumerate() if thread.name == "nats"]


@pytest.mark.engine
def test_it_appears_in_a_decision_record(run: Path, tmp_path: Path) -> None:
    brokerbench("decide", "--run", run, "--docs", tmp_path)
    record = (tmp_path / "decision-record.md").read_text(encoding="utf-8")
    rows = [line for line in record.splitlines() if line.startswith("|") and PROFILE in line]
    assert len(rows) >= 2, "it stands in the tables"
    brokerbench("decide", "--check", "--docs", tmp_path)
