"""Plans: what is right is expanded, what is wrong is named with its line and what would be right."""

from pathlib import Path

import pytest

from brokerbench.brokers import registry
from brokerbench.scenarios import experiments
from brokerbench.scenarios.plans import plan
from brokerbench.scenarios.plans.yaml_document import DocumentError

SHIPPED = sorted((Path(plan.__file__).parents[2] / "bench" / "plans").glob("*.yaml"))


def read(tmp_path: Path, text: str) -> plan.Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return plan.read(path, registry.profiles()).value


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_plans_are_right(path: Path) -> None:
    document = plan.read(path, registry.profiles())
    assert document.value.name == path.stem
    assert plan.expand(document.value, registry.profiles()[:5], seed=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("name: a\ncells: [", "line 2: not YAML"),
        ("name: a\ncells: []\n", "line 2: cells"),
        ("name: A b\ncells: [{scenario: replay}]\n", "line 1: name"),
        ("name: a\ncels:\n  - scenario: replay\n", "line 2: unknown key 'cels'; did you mean 'cells'?"),
        ("name: a\ncells:\n  - scenario: replai\n", "line 3: unknown scenario 'replai'; did you mean 'replay'?"),
        (
            "name: a\ncells:\n  - scenario: replay\n    profile: [kafka]\n",
            "line 4: unknown key 'profile'; did you mean",
        ),
        ("name: a\ncells:\n  - scenario: replay\n    profiles:\n      - kafca\n", "line 5: unknown profile 'kafca'"),
        ("name: a\ncells:\n  - scenario: replay\n    without: [kafca]\n", "line 4: unknown profile 'kafca'"),
        (
            "name: a\ncells:\n  - scenario: replay\n    profiles: [kafka]\n    without: [memory]\n",
            "line 5: an entry has profiles, or is without some; not both",
        ),
        (
            "name: a\ncells:\n  - scenario: throughput\n    vary: {producers: [1, x]}\n",
            "line 4: producers must be a number",
        ),
        (
            "name: a\ncells:\n  - scenario: throughput\n    vary: {producers: [1]}\n    parameters: {producers: 2}\n",
            "line 4: producers needs values, and must not stand in parameters, too",
        ),
        ("name: a\ncells:\n  - scenario: throughput\n    vary: {size: []}\n", "line 4: size needs values"),
        (
            "name: a\ncells:\n  - scenario: retention\n    parameters:\n      age_s: 3 parsecs\n",
            "line 5: unknown unit 'parsecs' for age_s; known: ns, us, ms, s",
        ),
        ("name: a\ncells:\n  - scenario: retention\n    parameters: {age: 3}\n", "line 4: unknown parameter 'age'"),
        (
            "name: a\ncells:\n  - scenario: retention\n    parameters: {burst: 1.5}\n",
            "line 4: burst must be a whole number",
        ),
        ("name: a\ncells:\n  - scenario: retention\n    parameters: {burst: -1}\n", "burst must be greater than 0"),
        (
            "name: a\ncells:\n  - scenario: retention\n    parameters: {burst: yes}\n",
            "burst must be a number, not True",
        ),
        ("name: a\nname: b\ncells: [{scenario: replay}]\n", "line 2: key 'name' stands twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "plan.yaml") in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml: cannot be read: No such file"):
        plan.read(tmp_path / "nowhere.yaml", ())


def test_an_entry_may_be_for_all_but_some(tmp_path: Path) -> None:
    text = "name: a\ncells:\n  - {scenario: replay, without: [kafka]}\n"
    every = ("kafka", "memory", "noop")
    assert [cell.profile for cell in plan.expand(read(tmp_path, text), every, seed=1)] == ["memory", "noop"]
    named = plan.expand(read(tmp_path, text), every, seed=1, only_profiles=["kafka", "noop"])
    assert [cell.profile for cell in named] == ["noop"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_plans_run_a_profile_that_they_do_not_know(path: Path) -> None:
    read = plan.read(path, registry.profiles()).value
    cells = plan.expand(read, ["from-elsewhere"], seed=1)
    assert {cell.scenario for cell in cells} == {entry.scenario for entry in read.cells} <= set(experiments.NAMES)


def test_expansion(tmp_path: Path) -> None:
    text = "name: a\nprofiles: [kafka, memory]\ncells:\n  - scenario: retention\n    parameters: {age_s: 1500 ms}\n"
    cells = plan.expand(read(tmp_path, text + "  - scenario: retention\n"), ("noop",), seed=3)
    assert [cell.id for cell in cells] == [
        "kafka.retention",
        "memory.retention",
        "kafka.retention.2",
        "memory.retention.2",
    ]
    assert cells[0].parameters["age_s"] == 1.5
    assert cells[2].parameters["age_s"] == 6.0
    only = plan.expand(read(tmp_path, text), (), seed=3, only_profiles=["memory"])
    assert [cell.id for cell in only] == ["memory.retention"]
    assert only[0].seed == cells[1].seed, "a cell's seed does not depend on what else is run"


@pytest.mark.parametrize(
    ("name", "value", "becomes"),
    [
        ("rates", [], []),
        ("rates", [100, 2500.5], [100.0, 2500.5]),
        ("search_steps", 0, 0),
        ("confirm", 0, 0),
        ("away_s", 0, 0.0),
        ("saturate_s", 0, 0.0),
        ("rate_warmup_s", 0, 0.0),
    ],
)
def test_lists_that_are_empty_by_default_and_what_zero_switches_off(name: str, value: object, becomes: object) -> None:
    found = plan.parameter("latency", name, value)
    assert (found, type(found)) == (becomes, type(becomes))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rates", 5, r"rates must be a list such as \[1.0, 2.0\], not 5"),
        ("rates", [0], "rates must be greater than 0, not 0"),
        ("rates", ["fast"], "rates"),
        ("shares", [], "shares must be a list such as"),
        ("search_steps", False, "search_steps must be a number, not False"),
        ("window_s", 0, "window_s must be greater than 0, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan.parameter("latency", name, value)


@pytest.mark.parametrize(
    ("scenario", "given", "message"),
    [
        ("throughput", "parameters: {modes: [sideways]}", "unknown mode 'sideways'; known: both, publish, consume"),
        ("throughput", "parameters: {payload: replay}", "payload: replay needs payload_path"),
        ("throughput", "parameters: {sizes: big}", "sizes must be like 'lognormal"),
        ("throughput", "vary: {size: [1 KiB, 8 B]}", "which the measuring stamp needs, not 8 (with size: 8)"),
        ("latency", "parameters: {saturate_s: 0}", "saturate_s: 0 needs rates"),
        ("latency", "parameters: {shape: zigzag}", "unknown shape 'zigzag'; known: constant, stepped, bursty"),
        ("latency", "parameters: {arrivals: never}", "unknown arrivals 'never'; known: regular, poisson"),
        (
            "latency",
            "vary: {key_skew: [1.0], key_choice: [random, in_turn]}",
            "key_skew needs key_choice: random (with key_skew: 1.0, key_choice: in_turn)",
        ),
        ("replay", "parameters: {size: 8}", "which the measuring stamp needs, not 8"),
        ("ordering", "parameters: {size: 8}", "which the measuring stamp needs, not 8"),
        ("retention", "parameters: {size: 8}", "which the measuring stamp needs, not 8"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_starts(
    tmp_path: Path, scenario: str, given: str, message: str
) -> None:
    with pytest.raises(DocumentError) as refused:
        read(tmp_path, f"name: a\ncells:\n  - scenario: {scenario}\n    {given}\n")
    assert "line 3: " in str(refused.value)
    assert message in str(refused.value)


def test_what_is_varied_becomes_a_cell_for_each_combination(tmp_path: Path) -> None:
    text = "name: a\ncells:\n  - scenario: throughput\n    vary: {producers: [1, 2], size: [1 KiB, 128]}\n"
    cells = plan.expand(read(tmp_path, text), ["kafka", "noop"], seed=1)
    assert [(cell.profile, cell.parameters["producers"], cell.parameters["size"]) for cell in cells] == [
        (profile, producers, size) for profile in ("kafka", "noop") for producers in (1, 2) for size in (1024, 128)
    ]
    assert len({cell.id for cell in cells}) == len(cells)
