"""Settings and errors that every Kafka client of this package shares.

librdkafka's log lines go to the logger ``brokerbench.brokers.kafka`` and never to stderr; that logger stays silent
until the application gives it a handler.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.errors import BrokerError, ChannelMissing, Refused, Unreachable
from brokerbench.brokers.types import Endpoint, Outcome

LOGGER = logging.getLogger("brokerbench.brokers.kafka")
LOGGER.addHandler(logging.NullHandler())

REQUEST_TIMEOUT_S = 10.0
"""How long one request may go unanswered: the broker counts as unreachable then."""
CLOSE_TIMEOUT_S = 1.0
INTERRUPTIBLE_S = 0.1
"""How long the library may wait at a time: Python sees Ctrl-C between two calls."""

_OPTIONS = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "ssl_ca_location": "ssl.ca.location",
    "ssl_certificate_location": "ssl.certificate.location",
    "ssl_endpoint_identification_algorithm": "ssl.endpoint.identification.algorithm",
    "client_rack": "client.rack",
}
_SECRETS = {
    "user": "sasl.username",
    "password": "sasl.password",
    "ssl_key_location": "ssl.key.location",
    "ssl_key_password": "ssl.key.password",
}

_UNANSWERED = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        # A broker answered, but not the leader of the partition.
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
_MISSING = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)
# The broker answered, and yet the message may be in its log.
_ANSWERED_BUT_UNSURE = frozenset(
    {
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.KAFKA_STORAGE_ERROR,
    }
)
# The client itself refused: nothing was sent.
_NEVER_SENT = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._INVALID_ARG,
        KafkaError._QUEUE_FULL,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._STATE,
        KafkaError._AUTHENTICATION,
    }
)
# Errors that librdkafka reports and mends by itself.
_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._PARTITION_EOF,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)


def client_config(endpoint: Endpoint, **settings: Any) -> dict[str, Any]:
    """librdkafka's settings for one client; keyword ``a_b`` means ``a.b``.

    Understood in ``Endpoint.options``: the keys of ``_OPTIONS``, ``replication_factor`` (see
    ``admin``) and ``group_protocol``; in ``Endpoint.secrets``: the keys of ``_SECRETS``.
    """
    return {
        "bootstrap.servers": endpoint.address,
        "client.id": "brokerbench",
        "socket.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
        "reconnect.backoff.max.ms": 1000,
        "socket.nagle.disable": True,
        **_translate(endpoint.options, _OPTIONS),
        **_translate(endpoint.secrets, _SECRETS),
        **{name.replace("_", "."): value for name, value in settings.items()},
    }


def _translate(given: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {names[name]: value for name, value in given.items() if name in names}


def kafka_error(failure: BaseException) -> KafkaError | None:
    """The KafkaError inside an exception of the client, if there is one."""
    inner = failure.args[0] if isinstance(failure, KafkaException) and failure.args else None
    return inner if isinstance(inner, KafkaError) else None


def translated(failure: BaseException, what: str) -> BrokerError:
    """The exception of this package for one of the client, which failed to do ``what``."""
    error = kafka_error(failure)
    return Refused(f"{what}: {failure}") if error is None else error_of(error, what)


def error_of(error: KafkaError, what: str) -> BrokerError:
    text = f"{what}: {reason(error)}"
    if error.code() in _UNANSWERED:
        return Unreachable(text)
    if error.code() in _MISSING:
        return ChannelMissing(text)
    return Refused(text)


def reason(error: KafkaError) -> str:
    return f"{error.name()}: {error.str()}"


def require_passing(errors: Iterable[KafkaError]) -> None:
    """Raises for the first error that librdkafka does not mend by itself."""
    for error in errors:
        if error.fatal() or error.code() not in _PASSING:
            raise error_of(error, "receive")


def outcome_of(error: KafkaError) -> Outcome:
    """The outcome of a request that got this error.

    Positive codes are a broker's answer: it refused, with the exceptions above. Negative codes are the
    client's own: a request that it had sent may have arrived, unless the code says that it sent nothing.
    """
    code = error.code()
    if code > 0:
        return Outcome.UNKNOWN if code in _ANSWERED_BUT_UNSURE else Outcome.REJECTED
    return Outcome.REJECTED if code in _NEVER_SENT else Outcome.UNKNOWN


def answer_of(error: KafkaError | None) -> tuple[Outcome, str]:
    """The outcome, and the reason of one that is no success: no error is one."""
    return (Outcome.ACKNOWLEDGED, "") if error is None else (outcome_of(error), reason(error))


Result = TypeVar("Result")


class Call(Generic[Result]):
    """A call of the client that knows no time-out and retries for ever (commit, close), in its own thread.

    It cannot be taken back, and it blocks the client until it ends: a commit to a broker that hangs
    never does. Costs about 0.1 ms.
    """

    def __init__(self, call: Callable[[], Result]) -> None:
        self._answers: list[Result] = []
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(call,), name="kafka call", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Result]) -> None:
        try:
            self._answers.append(call())
        except BaseException as failure:
            self._failures.append(failure)

    def ended(self, wait_s: float) -> bool:
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """Returns or raises as the call did, once it has ended."""
        if self._failures:
            raise self._failures[0]
        return self._answers[0]


class _Closeable(Protocol):
    def close(self) -> None: ...


def close_quietly(client: _Closeable) -> None:
    """Leave the group; where the broker does not answer, leave without its answer."""
    call = Call(client.close)
    if not call.ended(CLOSE_TIMEOUT_S):
        LOGGER.warning("the broker did not confirm within %g s that a consumer left", CLOSE_TIMEOUT_S)
        return
    try:
        call.result()
    except KafkaException as failure:
        LOGGER.warning("closing a consumer: %s", failure)
