"""Findings about removal that a broker's settings leave no time for.

A broker that looks for old messages every five minutes keeps them for as long, and breaks no promise. Where the
experiment ended before, a message that is still there is an open case, and a size that was measured says nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brokerbench.scenarios.history import History
from brokerbench.scenarios.verdicts import Finding

_REMOVED = ("retention.by_age", "retention.by_size")
_KEPT = ("retention.unread_survives", "retention.unacknowledged_survives")


def in_time(history: History, role: str, finding: Finding, *, all_gone: bool = False) -> Finding:
    """``finding`` without claims that came too soon; ``all_gone``: of what its quantity is about nothing was left."""
    why = "" if all_gone else _too_soon(history, role)
    return _withheld(finding, why) if why else finding


def _too_soon(history: History, role: str) -> str:
    """The reason why the end of this role says nothing about what is left; "" where it does."""
    limit = next(history.events("limit", role=role), None)
    lag_s = 0.0 if limit is None else limit.get("lag_s", 0.0)
    if limit is None or lag_s == 0:
        return ""
    if lag_s is None:
        return "the broker does not tell how often it removes messages"
    sent_ns = history.sends["sent_ns"][np.isin(history.sends["producer"], history.producers(role=role))]
    ends_ns = [int(look["answered_ns"]) for look in history.events("look", role=role)]
    ends_ns = ends_ns or [int(look["at_ns"]) for look in history.events("looked", role=role)]
    if not len(sent_ns) or not ends_ns:
        return ""
    waited_s = (max(ends_ns) - int(sent_ns.max())) / 1e9 - (limit["age_s"] or 0.0)
    if waited_s >= lag_s:
        return ""
    return (
        f"by its settings the broker may take {lag_s:g} s to remove messages, and the experiment waited "
        f"{waited_s:.1f} s: a longer grace_s would tell"
    )


def _withheld(finding: Finding, why: str) -> Finding:
    told = replace(finding, remarks=(*finding.remarks, why))
    if finding.samples:
        return replace(told, samples=(), sample_lows=())
    if finding.property in _REMOVED and finding.violations:
        left = finding.violations
        return replace(
            told, observations=finding.observations - left, violations=0, open=finding.open + left, offenders=()
        )
    if finding.property in _KEPT and finding.observations > finding.violations:
        left = finding.observations - finding.violations
        return replace(told, observations=finding.violations, open=finding.open + left)
    return finding
