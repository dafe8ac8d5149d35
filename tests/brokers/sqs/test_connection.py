"""Addresses and credentials of SQS, and its declarations."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from brokerbench.brokers.declarations import PROPERTIES, Kind, ProfileDeclaration, Support
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unreachable
from brokerbench.brokers.sqs.connection import explained, refused, settings_of, translated_error
from brokerbench.brokers.sqs.consumer import lease_seconds
from brokerbench.brokers.sqs.declarations import FIFO, STANDARD
from brokerbench.brokers.types import Endpoint

SECRETS = {"access_key_id": "someone", "secret_access_key": "hunter2"}


def test_an_emulator_is_asked_on_its_address() -> None:
    settings = settings_of(Endpoint("sqs", "http://127.0.0.1:4566", {"region": "eu-west-1"}, SECRETS))
    assert settings.client() == {
        "region_name": "eu-west-1",
        "endpoint_url": "http://127.0.0.1:4566",
        "aws_access_key_id": "someone",
        "aws_secret_access_key": "hunter2",
    }
    assert not settings.aws
    assert settings.config()["proxies"] == {}
    assert "hunter2" not in repr(settings)


def test_aws_needs_no_address_and_no_secrets() -> None:
    settings = settings_of(Endpoint("sqs", "", {"region": "eu-west-1"}))
    assert settings.aws
    assert settings.client() == {"region_name": "eu-west-1", "endpoint_url": None}
    assert "proxies" not in settings.config()
    settings = settings_of(Endpoint("sqs", "https://sqs.eu-north-1.amazonaws.com"))
    assert settings.aws
    assert settings.region == "eu-north-1"


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("http://someone:hunter2@127.0.0.1:4566", SECRETS),
        ("127.0.0.1:4566", SECRETS),
        ("ftp://127.0.0.1", SECRETS),
        ("http://127.0.0.1:4566", {}),
        ("http://amazonaws.com.example.org", {}),
    ],
)
def test_bad_endpoints_are_misuse_without_secrets_in_the_message(address: str, secrets: dict[str, str]) -> None:
    with pytest.raises(Misuse) as caught:
        settings_of(Endpoint("sqs", address, secrets=secrets))
    assert "hunter2" not in str(caught.value)


def answer(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "X")  # type: ignore[typeddict-item]


def test_errors_are_ours() -> None:
    lost = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    assert isinstance(translated_error("x", answer(400, "QueueDoesNotExist")), ChannelMissing)
    assert isinstance(translated_error("x", answer(403, "AccessDenied")), Refused)
    assert isinstance(translated_error("x", lost), Unreachable)
    assert isinstance(translated_error("x", ReadTimeoutError(endpoint_url="http://127.0.0.1:1")), Unreachable)
    assert isinstance(translated_error("x", TimeoutError()), Unreachable)
    assert refused(answer(400, "InvalidMessageContents"))
    assert not refused(answer(503, "ServiceUnavailable"))
    assert not refused(lost)
    assert explained(answer(400, "Bad")) == "Bad: why"
    assert explained(TimeoutError()) == "no answer in time"


def test_leases_are_whole_seconds_rounded_up() -> None:
    assert [lease_seconds(lease_s) for lease_s in (0, 0.2, 1, 1.5, 43_200)] == [0, 1, 1, 2, 43_200]
    for lease_s in (-1, 43_200.5):
        with pytest.raises(Misuse):
            lease_seconds(lease_s)


@pytest.mark.parametrize("declaration", [STANDARD, FIFO], ids=lambda declaration: declaration.profile)
def test_every_property_is_declared_with_a_source(declaration: ProfileDeclaration) -> None:
    assert declaration.properties.keys() == PROPERTIES.keys()
    for name, entry in declaration.properties.items():
        assert entry.source
        assert entry.support is not Support.UNDECLARED
        bounded = entry.low is not None or entry.high is not None
        assert bounded is (PROPERTIES[name].kind is Kind.QUANTITY), name
