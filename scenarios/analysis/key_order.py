"""Which property says what a load shows of the order per key: that depends on its producers and consumers."""

from __future__ import annotations

from brokerbench.brokers.types import Durability
from brokerbench.scenarios.history import History

ONE_CONSUMER = "ordering.per_key.one_consumer"
SEVERAL_PRODUCERS = "ordering.per_key.several_producers"
SEVERAL_CONSUMERS = "ordering.per_key.three_consumers"
PROPERTIES = (ONE_CONSUMER, SEVERAL_PRODUCERS, SEVERAL_CONSUMERS)
_THREE = 3


def property_of(history: History, event: str) -> str:
    """The property for the load that the ``event`` mark of the history describes; empty where none fits.

    None fits without keys, and for two consumers of a group. A client that may give order up for a weaker durability
    (as without idempotence) is not held to what is promised for the usual one.
    """
    about = next(iter(history.events(event)), None)
    if about is None:
        return ""
    parameters = about["parameters"]
    if not parameters.get("keyed", True) or parameters.get("durability") == Durability.RELAXED:
        return ""
    consumers = int(parameters["consumers"])
    if consumers >= _THREE:
        return SEVERAL_CONSUMERS
    if consumers > 1:
        return ""
    return ONE_CONSUMER if int(parameters["producers"]) == 1 else SEVERAL_PRODUCERS
