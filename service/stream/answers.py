"""What the cluster answers to an admin client, or an error for a person that names what was asked."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaException

from service.errors import AnomalydError

T = TypeVar("T")


def answer(future: Future[T], timeout_s: float, refusal: str) -> T:
    """The answer.

    Raises:
        AnomalydError: the `refusal`, and why: the cluster's own error, which is the cause, or its silence.
    """
    try:
        return future.result(timeout_s)
    except KafkaException as error:
        raise AnomalydError(f"{refusal}: {error.args[0].str()}") from error
    except TimeoutError as error:
        raise AnomalydError(f"{refusal}: no answer in {timeout_s:g} s") from error
