"""Latencies as HdrHistograms, counted in columns: recording values one by one costs a microsecond each.

The layout is that of HdrHistogram (buckets of doubling width, each cut into equal sub-buckets), so that files made of
these are read by its own tools. Values are nanoseconds, with three significant digits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

Values = npt.NDArray[np.int64]

LOWEST_NS = 1_000
HIGHEST_NS = 3_600 * 1_000_000_000
DIGITS = 3
"""A microsecond to an hour; what is longer is counted as an hour."""


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
