"""``.hlog`` files: a histogram a second of each latency of a cell, as HdrHistogram's own tools read them.

Histograms are counted in columns: to record values one by one costs a microsecond each. Values are nanoseconds, with
three significant digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from brokerbench.scenarios.analysis import latency
from brokerbench.scenarios.analysis.latency import Paced
from brokerbench.scenarios.history import History

Values = npt.NDArray[np.int64]

FILE = "latency.hlog"
_END_TO_END = "end-to-end"
_ENDS = {_END_TO_END: "received_ns", "publish": "settled_ns", "schedule-lag": "sent_ns"}
_SECOND_NS = 1_000_000_000
LOWEST_NS = 1_000
HIGHEST_NS = 3_600 * 1_000_000_000
DIGITS = 3
"""A microsecond to an hour; what is longer is counted as an hour."""


def write(directory: Path, history: History) -> Path | None:
    """Write the file beside the cell's history; None where the history has no open loop.

    Tags name the latency, its window and where it begins: ``end-to-end.3.due``. A message is in the second in which
    it was due. Times are seconds since the first window began. End to end is left out where the clocks of hosts
    do not allow it.
    """
    windows = latency.paced_windows(history)
    if not windows:
        return None
    path = directory / FILE
    with path.open("w", encoding="utf-8") as file:
        log = HistogramLogWriter(file)
        log.output_log_format_version()
        log.output_comment("values in ns; tag: latency.window.beginning (due: corrected, sent: uncorrected)")
        log.output_legend()
        for window in windows:
            for line in _lines(window, windows[0].start_ns):
                file.write(line)
    return path


def _lines(window: Paced, origin_ns: int) -> Iterator[str]:
    """Lines as ``HistogramLogWriter`` writes them for an interval, with the tag that it leaves out."""
    names = _ENDS if window.tells_end_to_end() else {name: end for name, end in _ENDS.items() if name != _END_TO_END}
    for start_ns in range(window.start_ns, window.end_ns, _SECOND_NS):
        end_ns = min(start_ns + _SECOND_NS, window.end_ns)
        part = window.of.due_within(start_ns, end_ns)
        for name, end in names.items():
            for beginning in ("due",) if name == "schedule-lag" else ("due", "sent"):
                values = latency.latencies_ns(part, end, corrected=beginning == "due")
                counted = histogram(values)
                begin_s, length_s = (start_ns - origin_ns) / 1e9, (end_ns - start_ns) / 1e9
                longest_ms = float(np.max(values, initial=0)) / 1e6
                text = counted.encode().decode("ascii")
                yield f"Tag={name}.{window.number}.{beginning},{begin_s:.3f},{length_s:.3f},{longest_ms:.3f},{text}\n"


def histogram(values_ns: Values) -> HdrHistogram:
    """All values counted. Values beyond HIGHEST_NS are counted there, negative ones as 0."""
    counted = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    if not len(values_ns):
        return counted
    kept = np.clip(values_ns, 0, HIGHEST_NS)
    found = np.bincount(_indices(counted, kept), minlength=counted.counts_len)
    np.ctypeslib.as_array(counted.counts)[:] = found
    counted.min_value, counted.max_value, counted.total_count = int(kept.min()), int(kept.max()), len(kept)
    return counted


def _indices(layout: HdrHistogram, values: Values) -> Values:
    """The index of the bucket of each value."""
    unit, half = layout.unit_magnitude, layout.sub_bucket_half_count_magnitude
    # frexp's exponent is the number of significant bits; exact, as values stay far below 2**53.
    bits = np.frexp((values | layout.sub_bucket_mask).astype(np.float64))[1].astype(np.int64)
    buckets = bits - unit - (half + 1)
    inside = values >> (buckets + unit)
    found: Values = ((buckets + 1) << half) + (inside - layout.sub_bucket_half_count)
    return found
