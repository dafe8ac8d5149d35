"""All findings of the ordering scenario on histories typed by hand: which phase answers for which property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from brokerbench.scenarios.analysis import delivery, ordering
from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import Action, History
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import counted, got, producer, reader, settle, table

RELEASE = Action.RELEASE
PHASES = ("one", "three", "shared", "producers", "release")
MISSED = "the experiment ended before this phase"


def phases(
    deliveries: Mapping[str, Sequence[dict[str, int]]],
    settles: Sequence[dict[str, int]] = (),
    marks: Sequence[dict[str, Any]] = (),
    keys: Sequence[int] = (1, 1),
    others: int = 1,
) -> History:
    """A channel a phase, producer and readers numbered by 10; ``main`` sends these keys, another ``others``."""
    sent, settled, rows, seen = [], [], [], []
    for phase, its_rows in deliveries.items():
        base = 10 * PHASES.index(phase)
        channel = f"c-{phase}"
        seen.append({"event": "phase", "phase": phase, "channel": channel, "consumers": 2, "lease_s": 2.0 + base})
        seen += [producer(base, channel, stage="main"), producer(base + 1, channel, stage="other")]
        seen += [reader(base, channel), reader(base + 1, channel)]
        for number, count in ((base, len(keys)), (base + 1, others)):
            for seq in range(count):
                message = {"producer": number, "seq": seq}
                sent.append({**message, "key": keys[seq], "checksum": 1000 + seq, "sent_ns": 1})
                settled.append({**message, "place": seq})
        for row in its_rows:
            shifted = {"producer": base + row.get("producer", 0), "reader": base + row["reader"]}
            rows.append({**row, **shifted})
    return History(
        table("sends", sent), table("send_outcomes", settled), table("deliveries", rows),
        table("acknowledgements", settles), [*seen, *marks],
    )  # fmt: skip


def findings(whole: History) -> dict[str, Finding]:
    return {finding.property: finding for finding in ordering.examine(whole).findings}


GOOD = [got(0, 10), got(1, 11), got(0, 12, producer=1)]
SWAPPED = [got(1, 10), got(0, 11), got(0, 12, producer=1)]
NO_PAIR = "0 delivered before an earlier one, 0 delivered to another consumer while an earlier one was in process"
ONE_PAIR = NO_PAIR.replace("0", "1", 1)


def test_nothing_ran() -> None:
    shown = ordering.examine(History({}, {}, {}, {}, []))
    assert list(shown.findings) == [
        Finding("ordering.channel", remarks=(MISSED,)),
        Finding("ordering.per_key.one_consumer", remarks=(MISSED,)),
        Finding("ordering.per_key.three_consumers", remarks=(MISSED,)),
        Finding("ordering.per_key.several_producers", remarks=(MISSED,)),
        Finding("ordering.per_key.after_redelivery", remarks=(MISSED,)),
        Finding("redelivery.after_release"),
        *(Finding(name, not_testable="nothing was observed") for name in (*delivery.PROPERTIES, "delivery.progress")),
    ]
    assert shown.metrics == []


@pytest.mark.parametrize(
    ("phase", "properties"),
    [
        ("one", ["ordering.channel", "ordering.per_key.one_consumer"]),
        ("three", ["ordering.per_key.three_consumers"]),
        ("shared", ["ordering.per_key.three_consumers"]),
        ("producers", ["ordering.per_key.several_producers"]),
        ("release", []),
    ],
)
def test_each_phase_answers_for_its_own(phase: str, properties: list[str]) -> None:
    found = findings(phases({name: SWAPPED if name == phase else GOOD for name in PHASES}))
    broken = [name for name, finding in found.items() if finding.violations and name.startswith("ordering.")]
    assert broken == properties
    pairs = {name: finding.observations for name, finding in found.items() if name.startswith("ordering.")}
    assert pairs == {
        "ordering.channel": 1,
        "ordering.per_key.one_consumer": 1,
        "ordering.per_key.three_consumers": 2,
        "ordering.per_key.several_producers": 1,
        "ordering.per_key.after_redelivery": 0,
    }


def test_only_the_main_producer_is_judged() -> None:
    """The second one sent two of its own, delivered the wrong way round."""
    rows = [*GOOD[:2], got(1, 20, producer=1), got(0, 21, producer=1)]
    found = findings(phases({"one": rows}, others=2))
    assert (found["ordering.channel"].observations, found["ordering.channel"].violations) == (1, 0)
    assert found["delivery.no_phantom"].violations == 0


def test_order_of_the_channel_is_not_order_of_keys() -> None:
    found = findings(phases({"one": SWAPPED}, keys=(1, 2)))
    assert (found["ordering.channel"].observations, found["ordering.channel"].violations) == (1, 1)
    assert found["ordering.channel"].note == ONE_PAIR
    assert found["ordering.per_key.one_consumer"] == Finding(
        "ordering.per_key.one_consumer", remarks=(counted(overtaken=0, overlapping=0),)
    )


def test_both_layouts_of_three_consumers_say_who_worked() -> None:
    """The second producer's deliveries are no work on the keys that are judged."""
    shared = [got(0, 10), got(1, 30), got(0, 11, reader=1, producer=1)]
    three = [got(0, 10), got(1, 30, reader=1), got(9, 31, reader=1)]
    found = findings(phases({"three": three, "shared": shared}, [settle(three[0] | {"reader": 10}, RELEASE, 12)]))
    assert found["ordering.per_key.three_consumers"] == Finding(
        "ordering.per_key.three_consumers",
        observations=2,
        remarks=(
            counted("all partitions, 2 consumers got something", overtaken=0, overlapping=0),
            counted("one partition, 1 consumers got something", overtaken=0, overlapping=0),
        ),
    )
    alone = findings(phases({"shared": SWAPPED}))["ordering.per_key.three_consumers"]
    assert (alone.observations, alone.violations) == (1, 1)
    assert alone.note == f"one partition, 1 consumers got something: {ONE_PAIR}"


def test_waits_that_ran_out_stand_in_the_note_of_their_phase() -> None:
    marks = [{"event": "timeout", "channel": "c-one", "what": "no drain", "waited_s": 3}]
    found = findings(phases({"one": GOOD, "producers": GOOD}, marks=marks))
    assert found["ordering.channel"].note == f"{NO_PAIR}; no drain after 3 s"
    assert found["ordering.per_key.several_producers"].note == NO_PAIR


def test_delivery_is_judged_over_all_phases() -> None:
    """Lost in a drained phase; not claimed in one that was not. Phantom, duplicate and damage in one phase each."""
    first, again = got(0, 10, batch=1), got(0, 40, batch=2)
    rows = {
        "one": [got(1, 11), got(0, 12, producer=1)],
        "three": [got(1, 11), got(0, 12, producer=1)],
        "shared": [*GOOD, got(7, 50)],
        "producers": [first, again, got(1, 11), got(0, 12, producer=1)],
        "release": [got(0, 10), got(1, 11, size=3), got(0, 12, producer=1)],
    }
    marks = [{"event": "drained", "channel": "c-one", "at_ns": 100}]
    acknowledged = settle({**first, "reader": 30}, Action.ACKNOWLEDGE, 20)
    found = findings(phases(rows, [acknowledged], marks))
    counts = {
        name: (found[name].observations, found[name].violations, found[name].unknown)
        for name in found
        if name in delivery.ARRIVALS
    }
    assert found["delivery.no_loss"].open == 1
    assert counts == {
        "delivery.no_loss": (14, 1, 0),
        "delivery.no_phantom": (15, 1, 0),
        "delivery.no_duplicate": (1, 1, 0),
        "delivery.intact": (14, 1, 0),
    }


def released(again_ns: int | None = None, drained: bool = False) -> History:
    first = got(0, 10)
    back = [] if again_ns is None else [got(0, again_ns)]
    marks = [{"event": "drained", "channel": "c-release", "at_ns": 10**12}] if drained else []
    release = settle({**first, "reader": 40}, RELEASE, 20)
    return phases({"release": [first, *back, got(1, 11), got(0, 12, producer=1)]}, [release], marks)


def test_redelivery_and_its_delay() -> None:
    """The lease of that phase is 42 s."""
    shown = ordering.examine(released(21 + 5_000_000))
    found = {finding.property: finding for finding in shown.findings}
    note = "in time means before the lease of 42 s"
    assert found["redelivery.after_release"] == Finding("redelivery.after_release", 1, remarks=(note,))
    assert list(shown.metrics) == [
        Measured(
            "redelivery_delay",
            "ms",
            (5.0,),
            note="from the answer to a release until the message was received again; not a benchmark figure: cells "
            "run side by side",
            comparable=False,
        )
    ]
    late = findings(released(10 + 42_000_000_000))["redelivery.after_release"]
    assert (late.observations, late.violations) == (1, 1)


def test_redelivery_that_never_came() -> None:
    assert ordering.examine(released()).metrics == []
    never = findings(released())["redelivery.after_release"]
    assert (never.observations, never.violations, never.open) == (0, 0, 1)
    failed = findings(released(drained=True))["redelivery.after_release"]
    assert (failed.observations, failed.violations, failed.unknown) == (1, 1, 0)


def test_a_delay_is_never_negative() -> None:
    """The next delivery was stamped before the answer to the release was."""
    (measured,) = ordering.examine(released(15)).metrics
    assert measured.samples == (0.0,)
    assert np.isfinite(measured.samples).all()
    (measured,) = ordering.examine(released(21 + 500_000)).metrics
    assert measured.samples == (0.5,)


def test_order_after_a_release() -> None:
    first, again, later = got(0, 10), got(0, 40), got(1, 30)
    settles = [settle({**first, "reader": 40}, RELEASE, 20)]
    settles += [settle({**row, "reader": 40}, Action.ACKNOWLEDGE, row["received_ns"] + 1) for row in (again, later)]
    found = findings(phases({"release": [first, later, again]}, settles))["ordering.per_key.after_redelivery"]
    assert (found.observations, found.violations) == (1, 1)
    assert found.note == "an observation is a message that was released at least once"
