"""Files to open to follow one cell: those with a function that is called from the command line to the record.

``python -m brokerbench.bench.lab.files_called --profile redis-streams --scenario throughput``. A profile function is
set when an interpreter of the run starts, so the guard, the cell and the load processes count too. Bodies of modules
and classes are no calls, nor is a call while a module is imported (``--at-import`` adds those). ``--tree`` counts
another checkout, with the environment in its ``.venv``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

_TREE = Path(__file__).resolve().parents[2]
_PARAMETERS = {"throughput": "{batches: [100], repeats: 2, window_s: 500 ms, warmup_s: 100 ms, ceiling_s: 100 ms}"}
_STARTUP = """
import os, sys, threading

out = os.open({out!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
seen = set()

def called_while_importing(frame):
    while frame.f_back:
        if frame.f_code.co_name == "<module>" and "importlib" in frame.f_back.f_code.co_filename:
            return True
        frame = frame.f_back
    return False

def note(frame, event, argument):
    code = frame.f_code
    if event != "call" or code in seen:
        return
    name = code.co_filename
    # 1: a function, not a body.
    if not name.startswith({tree!r}) or "/.venv/" in name or not code.co_flags & 1:
        seen.add(code)
        return
    importing = called_while_importing(frame)
    if not importing:
        seen.add(code)
    os.write(out, f"{{'import' if importing else 'run'}}\\t{{name}}\\t{{code.co_qualname}}\\n".encode())

threading.setprofile(note)
sys.setprofile(note)
"""


def called(tree: Path, commands: Sequence[Sequence[str]], at_import: bool) -> Mapping[str, set[str]]:
    """Functions by file, relative to the tree, of all processes of these brokerbench commands."""
    found: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory(prefix="brokerbench-called-") as scratch:
        out = Path(scratch) / "calls"
        startup = _STARTUP.format(out=str(out), tree=f"{tree}{os.sep}")
        (Path(scratch) / "sitecustomize.py").write_text(startup, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": scratch}
        for command in commands:
            program = str(tree / ".venv" / "bin" / "brokerbench")
            subprocess.run([program, *command], cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
        for line in out.read_text(encoding="utf-8").splitlines():
            when, name, function = line.split("\t")
            file = Path(name).resolve()
            if file.suffix == ".py" and (at_import or when == "run"):
                found[str(file.relative_to(tree))].add(function)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=_TREE)
    parser.add_argument("--profile", default="redis-streams")
    parser.add_argument("--scenario", default="throughput")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--run-only", action="store_true", help="without the decision record")
    parser.add_argument("--at-import", action="store_true", help="with what is called while modules are imported")
    asked = parser.parse_args()
    tree = asked.tree.resolve()
    with tempfile.TemporaryDirectory(prefix="brokerbench-cell-") as scratch:
        plan, run, docs = (str(Path(scratch) / name) for name in ("plan.yaml", "run", "docs"))
        cell = f"scenario: {asked.scenario}, parameters: {_PARAMETERS.get(asked.scenario, '{}')}"
        Path(plan).write_text(f"{{name: one, cells: [{{{cell}}}]}}\n", encoding="utf-8")
        commands = [["run", plan, "--profile", asked.profile, "--engine", asked.engine, "--out", run, "--quiet"]]
        if not asked.run_only:
            commands.append(["decide", "--run", run, "--docs", docs, "--quiet"])
        found = called(tree, commands, asked.at_import)
    for file, functions in sorted(found.items()):
        lines = len((tree / file).read_text(encoding="utf-8").splitlines())
        print(json.dumps({"file": file, "lines": lines, "functions": sorted(functions)}))
    print(f"{len(found)} files", file=sys.stderr)


if __name__ == "__main__":
    main()
