"""Envelopes, sizes and message groups of SQS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.brokers.errors import Refused
from brokerbench.brokers.sqs import codec

KEYS = st.none() | st.binary(max_size=200)


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=20))))
def test_bytes_survive_the_envelope(messages: list[tuple[bytes, bytes]]) -> None:
    payloads, keys = [payload for payload, _ in messages], [key for _, key in messages]
    assert codec.decode(codec.encode(payloads, keys)) == (payloads, keys)
    assert codec.decode(codec.encode(payloads, None)) == (payloads, [None] * len(payloads))


@pytest.mark.parametrize("body", ["", "plain text", "-:not base64!", "-:YQ=", "é:YQ==", '{"a": 1}'])
def test_what_others_sent_is_not_guessed_at(body: str) -> None:
    with pytest.raises(Refused, match="did not send"):
        codec.decode([body])


def test_the_largest_payload_fills_a_request() -> None:
    assert len(codec.encode([bytes(codec.MAX_PAYLOAD_BYTES)], None)[0]) <= codec.MAX_REQUEST_BYTES
    assert len(codec.encode([bytes(codec.MAX_PAYLOAD_BYTES + 1)], None)[0]) > codec.MAX_REQUEST_BYTES


@given(KEYS, KEYS)
def test_groups_are_allowed_names_and_keep_keys_apart(one: bytes | None, other: bytes | None) -> None:
    group = codec.group_of(one)
    assert 1 <= len(group) <= 128
    assert group.isascii() and group.isprintable() and " " not in group
    if one != other and {one, other} != {None, b"-"}:
        assert group != codec.group_of(other)


def test_a_readable_key_is_its_group() -> None:
    assert codec.group_of(b"owner/repo") == "owner/repo"
    assert codec.group_of(b"two words").startswith("sha256:")
    assert codec.group_of(b"").startswith("sha256:")


@given(st.lists(st.integers(0, codec.MAX_REQUEST_BYTES), max_size=60))
def test_requests_keep_the_limits_and_the_order(sizes: list[int]) -> None:
    members = list(range(0, len(sizes), 2))
    requests = codec.split(members, sizes)
    assert [at for request in requests for at in request] == members
    for request in requests:
        assert 1 <= len(request) <= codec.MAX_ENTRIES
        assert sum(sizes[at] for at in request) <= codec.MAX_REQUEST_BYTES


@given(st.lists(st.sampled_from("abcdefghij")), st.integers(1, 8))
def test_a_group_is_on_one_lane_in_order_and_its_rest_comes_last(groups: list[str], concurrency: int) -> None:
    lanes = codec.lanes(groups, concurrency)
    assert sorted(at for lane in lanes for at in lane) == list(range(len(groups)))
    assert sum(len(codec.split(lane, [1] * len(groups))) for lane in lanes) == -(-len(groups) // codec.MAX_ENTRIES)
    homes = [{groups[at] for at in lane} for lane in lanes[:-1]]
    assert sum(len(home) for home in homes) == len(set[str]().union(*homes))
    for group in set(groups):
        order = [at for lane in lanes for at in lane if groups[at] == group]
        assert order == sorted(order)


def test_attributes_are_counted_and_checked() -> None:
    assert codec.attribute_bytes({"event": "push", "é": "ü"}) == len("event") + 6 + 4 + 2 + 6 + 2
    assert not codec.attribute_problem({"event": "push"})
    assert "empty" in codec.attribute_problem({"event": ""})
    assert "at most 10" in codec.attribute_problem({str(n): "x" for n in range(11)})
