"""The harness alone, without a broker: messages in a second of CPU time, against a bar.

The bar is a number of messages, set on one machine together with the time that zlib needed there for the CRC-32 of
1 KiB. The time that it needs here, measured in turns with the harness, estimates the bar of this machine. It is only
an estimate: the harness computes its sums in another way, and does much else.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

from brokerbench.bench.calibration import own_client
from brokerbench.bench.calibration.fixture import CalibrationWorkload, Contender
from brokerbench.bench.calibration.own_client import ClientLoad, Sample, Verified
from brokerbench.bench.calibration.peers.plain_loop import payloads

BAR = 1_000_000.0
"""Messages of 1 KiB per CPU second that one process should stamp, record and verify."""
SUMS = "zlib.crc32, each way"
_CRC_S = 437e-9
_BAR_IN_SUMS = BAR * 2 * _CRC_S


def workload(
    load: ClientLoad, directory: Path, warmup_s: float, seconds: float, check: Callable[[Verified], None]
) -> CalibrationWorkload:
    """``check`` is given the counts of each window's history."""
    numbers = count()

    def own() -> Sample:
        sample, found = own_client.noop(directory / str(next(numbers)), load, warmup_s, seconds)
        check(found)
        return sample

    size = load.size
    return CalibrationWorkload(
        "stamp, record, verify",
        {"rates": "per CPU second", "bar": f"{BAR:,.0f} where a CRC-32 of 1 KiB takes {_CRC_S * 1e9:g} ns"},
        Contender(
            "brokerbench",
            f"brokerbench.bench.calibration.own_client:noop size={size} batch={load.batch}, one process",
            own,
        ),
        [
            Contender(
                SUMS,
                f"brokerbench.bench.calibration.workloads_noop:sums size={size}, one process",
                lambda: sums(size, seconds),
            )
        ],
        {SUMS: _BAR_IN_SUMS},
    )


def sums(size: int, seconds: float) -> Sample:
    """Messages per CPU second whose payload is summed twice, once by a producer and once by a consumer."""
    bodies = payloads(size)
    messages = 0
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    while not messages or time.perf_counter() - begin_s < seconds:
        for _ in range(2):
            for _ in map(zlib.crc32, bodies):
                pass
        messages += len(bodies)
    return Sample(messages / (time.process_time() - begin_cpu_s))
