"""One attempt to send one alert, with every way in which it can end; for the library and the worker alike."""

from __future__ import annotations

import traceback
from pathlib import Path

from service.alerting.alert import Alert
from service.alerting.channels.base import AlertChannel, ChannelError, RetryableError


def attempt(channel: AlertChannel, alert: Alert) -> ChannelError | None:
    """Send once; `None` if the channel took it.

    A fault in a channel (or in what it uses) must neither lose the alert nor stop the others, so it counts
    as retryable. Only its kind and place are told: its text may carry what was being sent, and to where.
    """
    try:
        channel.send(alert)
    except ChannelError as error:
        return error
    except Exception as error:  # noqa: BLE001  one record's outermost line
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return RetryableError("unexpected", f"{type(error).__name__} at {where}")
    return None
