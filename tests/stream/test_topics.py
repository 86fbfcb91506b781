"""A cluster that does not answer is said so, in an error for a person, whatever was asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException

from service.errors import AnomalydError, UnansweredError
from service.stream import topics
from service.stream.answers import answer
from service.stream.config import KafkaConfig

_ASK_S = 0.5


@pytest.fixture
def deaf() -> Iterator[KafkaConfig]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield KafkaConfig(bootstrap_servers=f"127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize("ask", [topics.identity, topics.largest_message_bytes, topics.is_compacted])
def test_silence_names_the_topic(deaf: KafkaConfig, ask: Callable[[KafkaConfig, str, float], object]) -> None:
    with pytest.raises(UnansweredError, match="topic 'points' cannot be described: "):
        ask(deaf, "points", _ASK_S)


def test_a_refusal_is_no_silence_that_one_could_wait_for() -> None:
    future: Future[None] = Future()
    future.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    with pytest.raises(AnomalydError, match="not described: ") as refused:
        answer(future, _ASK_S, "not described")
    assert not isinstance(refused.value, UnansweredError)
