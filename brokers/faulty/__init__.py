"""A broker that breaks its promises on purpose, so that every checker can be seen to fail."""

from brokerbench.brokers.faulty.broker import Faulty, parse_faults
from brokerbench.brokers.faulty.faults import Fault, FaultName, Offender

__all__ = ["Fault", "FaultName", "Faulty", "Offender", "parse_faults"]
