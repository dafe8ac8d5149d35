"""What a broker's processes use is seen, and shared out over the messages that passed."""

import os
import subprocess
import sys
import time

import pytest

from brokerbench.bench.run.meters import BrokerMeter
from brokerbench.scenarios.metrics import window_rates

_BUSY = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "sum(i * i for i in range(6_000_000))"])
print("done", flush=True)
sys.stdin.read()
"""


def test_the_time_of_children_that_ended_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        meter = BrokerMeter(process.pid)
        before = meter()
        assert process.stdout is not None and process.stdout.readline() == "done\n"
        after = meter()
        assert before is not None and after is not None
        assert after.cpu_ns - before.cpu_ns > 50_000_000
        assert after.resident_bytes > 1_000_000
    assert meter() is None, "it is gone"


def test_network_and_disk_only_grow() -> None:
    meter = BrokerMeter(os.getpid())
    first = meter()
    time.sleep(0.01)
    second = meter()
    assert first is not None and second is not None
    assert second.network_bytes >= first.network_bytes
    assert second.disk_bytes >= first.disk_bytes


def test_costs_are_shared_out_over_messages() -> None:
    used = {"seconds": 2.0, "cpu_ns": 1_000_000_000, "resident_bytes": 5, "disk_bytes": 4000, "network_bytes": 8000}
    found = {
        metric.name: metric.samples
        for metric in window_rates.metrics([({"engine": used}, 1000), ({}, 7), ({"engine": used}, 0)], {"batch": 1})
    }
    assert found["broker_cpu"] == (0.5, 0.5)
    assert found["broker_resident"] == (5.0, 5.0)
    assert found["broker_cpu_per_message"] == pytest.approx((1000.0,))
    assert found["broker_disk_per_message"] == (4.0,)
    assert found["network_per_message"] == (8.0,)


def test_a_broker_that_cannot_be_looked_at_has_no_costs() -> None:
    assert list(window_rates.metrics([({}, 10)], {})) == []
