"""What one channel has sent or given up: written to the deliveries topic, and read back from it."""

from __future__ import annotations

from collections import OrderedDict

from service.alerting.deliveries import Delivery, key_of
from service.alerting.policy import ChannelPolicy
from service.alerting.ports import DeliveryLog
from service.logs import logger

_CAPACITY = 200_000
_READ_BACK_RECORDS = 20_000

_log = logger("alerting.journal")


class Journal:
    """The channel's memory across restarts.

    One journal lives as long as the process, through every connection to Kafka: what was sent while the
    log could not be written to is not sent again, but written once it can be.
    """

    def __init__(self, channel: str, capacity: int = _CAPACITY) -> None:
        self._prefix = key_of(channel, "")
        self._capacity = capacity
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._unflushed: dict[str, Delivery] = {}
        self._log: DeliveryLog | None = None

    def open(self, log: DeliveryLog, policy: ChannelPolicy) -> None:
        """Use a new connection; `policy` learns what an earlier one could not be told."""
        self._log = log
        for delivery in self._unflushed.values():
            policy.restore(delivery)
            log.append(delivery.key, delivery.encode())

    def knows(self, alert_id: str) -> bool:
        """True for an alert that was sent or given up, here or in an earlier life."""
        return alert_id in self._finished

    def write(self, delivery: Delivery) -> None:
        """Record `delivery`; it stands after `flush`."""
        assert self._log is not None
        self._unflushed[delivery.key] = delivery
        self._remember(delivery)
        self._log.append(delivery.key, delivery.encode())

    def flush(self) -> None:
        assert self._log is not None
        if self._unflushed:
            self._log.flush()
            self._unflushed.clear()

    def read_back(self, policy: ChannelPolicy, timeout_s: float) -> bool:
        """Tell `policy` the next part of what was recorded; false once there is no more."""
        assert self._log is not None
        records = self._log.read_back(_READ_BACK_RECORDS, timeout_s)
        for key, value in records or ():
            if key.startswith(self._prefix):
                self._restore(policy, key, value)
        return records is not None

    def _restore(self, policy: ChannelPolicy, key: str, value: bytes) -> None:
        try:
            delivery = Delivery.decode(value)
            policy.restore(delivery)
        except ValueError as error:
            _log.warning("delivery record skipped", key=key, error=str(error))
            return
        self._remember(delivery)

    def _remember(self, delivery: Delivery) -> None:
        # What was only suppressed can be decided again at no cost to anyone.
        if delivery.outcome == "suppressed":
            return
        self._finished[delivery.alert_id] = None
        if len(self._finished) > self._capacity:
            self._finished.popitem(last=False)
