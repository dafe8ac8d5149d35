"""A synthetic result that is valid and rich: used by tests only, never shown as a measurement."""

from __future__ import annotations

from brokerbench.brokers.declarations import (
    PROPERTIES,
    Declaration,
    Kind,
    ProfileDeclaration,
    Provider,
    Support,
)
from brokerbench.brokers.memory.declaration import DECLARATION as REFERENCE
from brokerbench.scenarios import results
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.results import Cell, Engine, Environment, RunResult
from brokerbench.scenarios.verdicts import Finding, Grade

_S, _P, _N = Support.GUARANTEED, Support.POSSIBLE, Support.IMPOSSIBLE
SCENARIOS = ("replay", "ordering", "retention", "throughput")
GRADES = {
    "sqs-standard": Grade.EMULATOR,
    "sqs-fifo": Grade.EMULATOR,
    "redis-streams": Grade.SOFTWARE,
    "kafka": Grade.SOFTWARE,
    "kafka-share": Grade.SOFTWARE,
}
_ENGINE = {
    "sqs-standard": "sqs",
    "sqs-fifo": "sqs",
    "redis-streams": "redis",
    "kafka": "kafka",
    "kafka-share": "kafka",
}
_ORDER = [name for name in PROPERTIES if name.startswith("ordering.per_key")]
_REPLAY = [name for name in PROPERTIES if name.startswith("replay.")]
_NOT_PROMISED = {
    "sqs-standard": {"ordering.channel", "delivery.no_duplicate", *_ORDER},
    "sqs-fifo": {"ordering.channel", "delivery.no_duplicate"},
    "redis-streams": {
        "ordering.channel",
        "ordering.per_key.three_consumers",
        "ordering.per_key.after_redelivery",
    },
    "kafka": {"ordering.channel"},
    "kafka-share": {"ordering.channel", "replay.order", *_ORDER},
}
_IMPOSSIBLE = {
    "sqs-standard": {*_REPLAY, "retention.acknowledged_kept", "retention.by_size"},
    "sqs-fifo": {*_REPLAY, "retention.acknowledged_kept", "retention.by_size"},
    "redis-streams": set(),
    "kafka": set(),
    "kafka-share": set(),
}
_NEVER = {"retention.unread_survives", "retention.unacknowledged_survives"}
_OVERSHOOT = {
    "sqs-standard": (0.2, 0.4, 0.7, 0.9, 1.0),
    "sqs-fifo": (0.3, 0.4, 0.6, 0.9),
    "redis-streams": (0.05, 0.1, 0.12, 0.2),
    "kafka": (0.3, 0.6, 0.9, 1.2, 1.5),
    "kafka-share": (0.4, 0.7, 0.9, 1.1, 1.4),
}
_RATE = {
    "sqs-standard": 1150.0,
    "sqs-fifo": 840.0,
    "redis-streams": 61000.0,
    "kafka": 182000.0,
    "kafka-share": 178000.0,
}


def declaration(profile: str) -> ProfileDeclaration:
    return ProfileDeclaration(
        profile,
        profile,
        profile,
        REFERENCE.limits,
        {name: _declared(profile, name) for name in PROPERTIES},
    )


def _declared(profile: str, name: str) -> Declaration:
    support = _S
    if name in _NOT_PROMISED[profile]:
        support = _P
    if name in _IMPOSSIBLE[profile] or name in _NEVER:
        support = _N
    provider = Provider.NOBODY if support is _N else Provider.BROKER
    if name == "redelivery.after_release" and profile == "kafka":
        provider = Provider.ADAPTER
    high = 2.0 if name == "retention.overshoot" else None
    low = 0.0 if PROPERTIES[name].kind is Kind.QUANTITY else None
    return Declaration(
        support,
        provider,
        f"manual of {profile} | page 12",
        f"a note on {name}",
        low=low,
        high=high,
    )


def _finding(profile: str, name: str) -> Finding:
    support, kind = _declared(profile, name).support, PROPERTIES[name].kind
    if kind is Kind.QUANTITY:
        large = tuple(value * 8 for value in _OVERSHOOT[profile])
        samples = large if "large" in name else _OVERSHOOT[profile]
        reason = "the broker has no segments" if "large" in name and profile not in ("kafka", "kafka-share") else ""
        return Finding(name, samples=() if reason else samples, not_testable=reason)
    if name == "replay.complete" and support is _N:
        return Finding(name, not_testable="nothing can be replayed, so nothing can be missing")
    if kind is Kind.CAN:
        return Finding(name, observations=3, violations=3 if support is _N else 0)
    if support is _P and GRADES[profile] is not Grade.EMULATOR:
        offender = {"key": 3, "seq": 17, "after": 21, "reader": 2}
        return Finding(name, observations=6000, violations=41, offenders=(offender,) * 3)
    return Finding(name, observations=6000, remarks=("6000 pairs of neighbours",))


def _properties(scenario: str) -> tuple[str, ...]:
    prefixes = {
        "replay": ("replay.", "delivery.", "send."),
        "ordering": ("ordering.", "redelivery.", "delivery.no_loss"),
        "retention": ("retention.",),
        "throughput": ("delivery.no_loss", "delivery.intact"),
    }[scenario]
    return tuple(name for name in PROPERTIES if name.startswith(prefixes))


def _metrics(profile: str, scenario: str) -> list[Measured]:
    base = _RATE[profile]
    if scenario == "replay" and GRADES[profile] is Grade.SOFTWARE:
        note = "not a benchmark figure: cells run side by side"
        return [
            Measured(
                "replay_rate",
                "msg/s",
                (base * k, base * k * 1.1),
                {"mode": mode},
                better="higher",
                note=note,
                comparable=False,
            )
            for mode, k in (("from_beginning", 1.4), ("from_position", 1.3), ("from_time", 1.2))
        ]
    if scenario != "throughput":
        return []
    found: list[Measured] = []
    for mode, name, factor in (
        ("publish", "publish_rate", 1.0),
        ("consume", "consume_rate", 1.2),
        ("both", "publish_rate", 0.6),
        ("both", "consume_rate", 0.55),
    ):
        for batch in (100, 1000) if GRADES[profile] is Grade.SOFTWARE else (100,):
            middle = base * factor * (1.0 if batch == 100 else 1.3)
            samples = (middle * 0.93, middle, middle * 1.04)
            labels: dict[str, str | int | float] = {"mode": mode, "batch": batch, "size": 1024, "producers": 1}
            limited = "generator" if profile == "kafka" and batch == 1000 and mode == "publish" else ""
            found.append(
                Measured(
                    name,
                    "msg/s",
                    samples,
                    labels,
                    (middle * 0.5,),
                    "higher",
                    limited,
                )
            )
            role = "producer" if name == "publish_rate" else "consumer"
            found.append(Measured("client_cpu", "cores", (0.9, 0.95, 0.97), {**labels, "role": role}))
            found.append(Measured("noop_ceiling", "msg/s", (middle * 2.5,), {**labels, "of": name}))
            found.append(Measured("publish_bytes", "B/s", (middle * 1024,), labels, better="higher"))
    return found


def cell(profile: str, scenario: str) -> Cell:
    name, grade = f"{profile}.{scenario}", GRADES[profile]
    names = _properties(scenario)
    examination = Examination([_finding(profile, entry) for entry in names], _metrics(profile, scenario))
    return Cell(
        id=name,
        profile=profile,
        scenario=scenario,
        parameters={"messages": 5000},
        seed=7,
        engine=_ENGINE[profile],
        grade=grade,
        status="completed",
        started="2026-01-02T03:04:05+00:00",
        duration_s=12.5,
        history=f"cells/{name}/history",
        verdicts=results.verdict_rows(declaration(profile), examination, names, grade, f"cells/{name}/history"),
        metrics=results.metric_rows(examination.metrics, grade),
    )


def broken(
    profile: str,
    scenario: str,
    error: str = "the engine is gone | <last> line\nof its log",
) -> Cell:
    return cell(profile, scenario).model_copy(
        update={"status": "failed", "error": error, "verdicts": [], "metrics": []}
    )


def result(run_id: str = "20260102-030405-abcd") -> RunResult:
    cells = [cell(profile, scenario) for profile in GRADES for scenario in SCENARIOS]
    return with_cells(run_id, cells)


def with_cells(run_id: str, cells: list[Cell]) -> RunResult:
    products = {"sqs": "LocalStack", "redis": "Redis", "kafka": "Apache Kafka"}
    return RunResult(
        run_id=run_id,
        created="2026-01-02T03:04:05+00:00",
        plan="quick",
        seed=42,
        complete=True,
        environment=Environment(
            system="Linux 6.1",
            machine="x86_64",
            cpu_model="Test CPU",
            cpu_count=2,
            memory_bytes=24 * 2**30,
            python="CPython 3.11.9",
            packages={"numpy": "2.1.0", "redis": "6.4.0"},
            code_revision="0123456789ab",
        ),
        engines=[
            Engine(
                name=name,
                product=product,
                version=f"{product} 1.2.3",
                kind="native",
                grade=Grade.EMULATOR if name == "sqs" else Grade.SOFTWARE,
                settings={"segment.ms": "1000", "appendonly": "no"},
            )
            for name, product in products.items()
        ],
        cells=cells,
    )
