"""What the cluster answers to an admin client, or an error for a person that names what was asked."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from service.errors import AnomalydError, UnansweredError

T = TypeVar("T")

_SILENCE = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - the library's own names
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
    }
)


def answer(future: Future[T], timeout_s: float, refusal: str) -> T:
    """The answer.

    Raises:
        UnansweredError: the `refusal`, for the cluster was silent.
        AnomalydError: the `refusal`, and the cluster's own error, which is the cause.
    """
    try:
        return future.result(timeout_s)
    except KafkaException as error:
        kind = UnansweredError if error.args[0].code() in _SILENCE else AnomalydError
        raise kind(f"{refusal}: {error.args[0].str()}") from error
    except TimeoutError as error:
        raise UnansweredError(f"{refusal}: no answer in {timeout_s:g} s") from error
