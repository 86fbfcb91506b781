"""One real broker for all tests under this directory; each test keeps to topics of its own prefix."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from service.stream.kafka_jars import LocalBrokerError
from service.stream.local_broker import LocalBroker

HOW_TO_GET_ONE = (
    "These tests need a real Apache Kafka, and none could be started: {error}\n"
    "Either install what starts one (pip install 'anomalyd[local]') or name a running one in "
    "ANOMALYD_TEST_BOOTSTRAP."
)


class RunningBroker(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...


@dataclass(frozen=True, slots=True)
class NamedBroker:
    """The broker that ANOMALYD_TEST_BOOTSTRAP names."""

    bootstrap_servers: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def broker() -> Iterator[RunningBroker]:
    if named := os.environ.get("ANOMALYD_TEST_BOOTSTRAP"):
        yield NamedBroker(named)
        return
    started = LocalBroker()
    try:
        started.start()
    except LocalBrokerError as error:
        pytest.fail(HOW_TO_GET_ONE.format(error=error), pytrace=False)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def topic_prefix() -> str:
    return f"t{uuid.uuid4().hex[:12]}-"
