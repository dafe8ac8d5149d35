"""How often a comparison calls equal things different: recorded repeats of one build, compared with themselves.

``python -m brokerbench.bench.lab.false_positives RUN`` takes every rate of a run with enough repeats, and deals
them to two sides (``brokerbench.scenarios.compare.difference.deals``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from brokerbench.bench import store
from brokerbench.bench.errors import BadInput
from brokerbench.scenarios.compare.difference import compare, deals


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """``low`` to ``high`` is the 95 % interval of the share (Clopper-Pearson)."""

    trials: int
    different: int
    low: float
    high: float


def false_alarms(samples: Sequence[float], repeats: int, trials: int, seed: int) -> FalseAlarms:
    """Compare ``repeats`` windows with as many others, ``trials`` times. Raises ValueError for too few samples."""
    if repeats < 3 or trials < 1:
        raise ValueError(f"{repeats} repeats and {trials} trials: 3 and 1 are the least")
    different = sum(
        compare(one, other).judgement == "different" for one, other in deals(samples, repeats, trials, seed)
    )
    bounds = stats.binomtest(different, trials).proportion_ci(0.95, "exact")
    return FalseAlarms(trials, different, float(bounds.low), float(bounds.high))


def recorded_rates(run: Path, repeats: int) -> dict[str, tuple[float, ...]]:
    """Rates by cell, name and mode that have samples for two sides. Raises BadInput where there is none."""
    found = {
        f"{cell.id} {metric.name} {metric.labels.get('mode', '')} {metric.labels.get('batch', '')}": tuple(
            metric.samples
        )
        for cell in store.load(run).cells
        for metric in cell.metrics
        if metric.name.endswith("_rate") and len(metric.samples) >= 2 * repeats and min(metric.samples) > 0
    }
    if not found:
        raise BadInput(f"{run}: no rate has {2 * repeats} repeats")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m brokerbench.bench.lab.false_positives", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    try:
        for name, samples in recorded_rates(given.run, given.repeats).items():
            found = false_alarms(samples, given.repeats, given.trials, given.seed)
            share = found.different / found.trials
            print(f"{name}: different {share:.1%} of {found.trials}, 95 % interval {found.low:.1%} to {found.high:.1%}")
    except (BadInput, ValueError) as error:
        print(f"brokerbench.bench.lab.false_positives: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
