"""Whether the cluster answers: heard from client callbacks, each change said once."""

from __future__ import annotations

from confluent_kafka import KafkaError

from service.logs import Logger
from service.metrics import Metrics


class ClusterState:
    """Up or away; `losses` counts every report of the cluster being away, also repeated ones."""

    def __init__(self, metrics: Metrics, log: Logger) -> None:
        self._metrics, self._log = metrics, log
        self.up = True
        self.losses = 0
        metrics.broker_up.set(1)

    def on_error(self, error: KafkaError) -> None:
        """The error callback of a client."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's own name for it
            self.lost(error.str())
        else:
            self._log.debug("client error", error=error.str())

    def lost(self, why: str) -> None:
        self.losses += 1
        if self.up:
            self.up = False
            self._metrics.broker_up.set(0)
            self._log.warning("Kafka does not answer; trying until it does", error=why)

    def back(self) -> None:
        if not self.up:
            self.up = True
            self._metrics.broker_up.set(1)
            self._log.info("Kafka answers again")
