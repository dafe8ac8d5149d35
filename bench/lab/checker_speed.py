"""Costs of judging: CPU time and peak memory of all checkers on histories of several lengths, and of plain code.

``python -m brokerbench.bench.lab.checker_speed --deliveries 400000,10000000 --keys 1000`` writes each history to a
temporary directory, judges it in a process of its own on one core, and removes it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from brokerbench.bench.lab import sharded_checks, synthetic_history
from brokerbench.scenarios import history
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.history import saved_history

_BYTES_PER_DELIVERY = 350
"""Bytes of disk for history and shards, generously."""


def judge(directory: Path) -> str:
    found = reduction.reduced(directory, sharded_checks.reductions(saved_history.marks(directory)))
    return f"{len(found)} checkers: " + ", ".join(f"{name} {of.violations}" for name, of in found.items())


def _consumed(directory: Path) -> history.History:
    """The history in memory, with deliveries to the channel's consumers only."""
    whole = saved_history.load(directory)
    group = np.isin(whole.deliveries["reader"], whole.readers(channel=synthetic_history.CHANNEL, kind="consumer"))
    return replace(whole, deliveries=history.select(whole.deliveries, group))


def plain_pandas(directory: Path) -> str:
    """Loss, duplicates and order per key alone, as one would write them with group-by."""
    import pandas as pd

    whole = _consumed(directory)
    sent = pd.DataFrame({name: whole.sends[name] for name in ("producer", "seq", "key")})
    got = pd.DataFrame({name: whole.deliveries[name] for name in ("producer", "seq", "received_ns", "slot")})
    got = got.sort_values(["received_ns", "slot"], kind="stable").reset_index(drop=True)
    got["rank"] = got.index
    first = got.groupby(["producer", "seq"])["rank"].agg(["min", "size"]).reset_index()
    joined = sent.merge(first, on=["producer", "seq"], how="left").dropna().sort_values(["producer", "key", "seq"])
    inverted = joined.groupby(["producer", "key"])["min"].diff() < 0
    return (
        f"{len(sent) - len(joined)} missing, {int((joined['size'] > 1).sum())} repeated, {int(inverted.sum())} inverted"
    )


def plain_dict(directory: Path) -> str:
    """The same three with a dictionary and a loop."""
    whole = _consumed(directory)
    got = sorted(
        zip(*(whole.deliveries[name].tolist() for name in ("received_ns", "slot", "producer", "seq")), strict=True)
    )
    first: dict[tuple[int, int], int] = {}
    repeated = 0
    for rank, (_, _, producer, seq) in enumerate(got):
        if (producer, seq) in first:
            repeated += 1
        else:
            first[producer, seq] = rank
    missing = inverted = 0
    last: dict[tuple[int, int], int] = {}
    for producer, seq, key in sorted(
        zip(*(whole.sends[name].tolist() for name in ("producer", "seq", "key")), strict=True)
    ):
        if (producer, seq) not in first:
            missing += 1
            continue
        inverted += first[producer, seq] < last.get((producer, key), -1)
        last[producer, key] = first[producer, seq]
    return f"{missing} missing, {repeated} repeated, {inverted} inverted"


_WAYS: dict[str, Callable[[Path], str]] = {"checkers": judge, "pandas": plain_pandas, "dict": plain_dict}


def _measure(way: str, directory: Path) -> tuple[float, float, str]:
    """CPU seconds, peak resident MB and findings, in this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    began_s = time.process_time()
    found = _WAYS[way](directory)
    spent_s = time.process_time() - began_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return spent_s, peak / (1e6 if sys.platform == "darwin" else 1e3), found


def main() -> int:
    parser = argparse.ArgumentParser(prog="brokerbench.bench.lab.checker_speed", description=__doc__)
    parser.add_argument(
        "--deliveries", default="400000", help=f"lengths, comma-separated multiples of {synthetic_history.STRETCH}"
    )
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--ways", default="checkers", help=f"comma-separated, of {', '.join(_WAYS)}")
    parser.add_argument("--directory", type=Path, help="where histories are written (default: the system's own)")
    options = parser.parse_args()
    ways = options.ways.split(",")
    if not set(ways) <= set(_WAYS):
        parser.error(f"--ways knows {', '.join(_WAYS)}, not {options.ways!r}")
    if not all(
        text.isdigit() and int(text) % synthetic_history.STRETCH == 0 < int(text)
        for text in options.deliveries.split(",")
    ):
        parser.error(f"--deliveries takes multiples of {synthetic_history.STRETCH}, not {options.deliveries!r}")
    if options.keys < 1:
        parser.error("--keys is at least 1")
    for deliveries in map(int, options.deliveries.split(",")):
        with tempfile.TemporaryDirectory(prefix="checker-speed-", dir=options.directory) as where:
            free = shutil.disk_usage(where).free
            if free < deliveries * _BYTES_PER_DELIVERY:
                parser.error(
                    f"{deliveries} deliveries need {deliveries * _BYTES_PER_DELIVERY / 1e9:.0f} GB of disk in {where}"
                )
            synthetic_history.write(Path(where), deliveries, options.keys, _progress)
            total = saved_history.rows(Path(where), "deliveries")
            for way in ways:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    cpu_s, peak_mb, found = pool.apply(_measure, (way, Path(where)))
                print(
                    f"{total:>11,} deliveries {options.keys:>9,} keys {way:>8}: {cpu_s:8.2f} s CPU "
                    f"{cpu_s / total * 1e6:6.2f} us each {peak_mb:7.0f} MB peak; {found}",
                    flush=True,
                )
    return 0


def _progress(share: float) -> None:
    print(f"\rwriting the history: {share:4.0%}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
