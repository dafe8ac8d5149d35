"""The end of a wait for a channel to be drained, as a history tells it.

``ChannelIndex.drained`` and ``ChannelIndex.withheld`` read the marks.
"""

from __future__ import annotations

from brokerbench.scenarios.history import Writer

BEYOND_LEASE_S = 1.0
"""Time to look beyond a lease, in seconds: brokers look for leases that ended once a second or so."""


def mark_failed(
    writer: Writer,
    channel: str,
    group: str,
    *,
    waited_s: float,
    left: int | None,
    unsettled: int,
    quiet_s: float,
    lease_s: float,
) -> None:
    """No drain was proven. ``left``: messages that the broker keeps for the group; None where it does not tell.

    ``unsettled``: deliveries in hand; ``quiet_s``: time since the last one came, in which the group asked.
    """
    writer.mark(
        "timeout",
        channel=channel,
        group=group,
        what=f"drain of group {group}" + ("" if left is None else f", for which the broker keeps {left}"),
        waited_s=round(waited_s, 3),
        left=left,
        unsettled=unsettled,
        quiet_s=round(quiet_s, 3),
        lease_s=lease_s,
    )
