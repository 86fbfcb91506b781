"""The whole job on files: feed, detect, publish, alert; then every count held against every other.

    python -m tests.whole_job FILE...

Starts a local Kafka (or takes the one that ANOMALYD_TEST_BOOTSTRAP names), a scripted Slack server and
`anomalyd run`; plays the files in with `anomalyd feed` at full speed; exits 0 only if all agrees.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.commands.feed_files import count_points
from service.stream.local_broker import LocalBroker
from service.wire.anomaly import Anomaly
from tests.alerting.channels.servers import HttpServer
from tests.kafka.running import (
    Setup,
    input_offsets,
    make_topics,
    published,
    running,
    wait_for,
)


@dataclass(frozen=True)
class Counts:
    """What each witness counted."""

    fed: int
    results: int
    distinct_inputs: int
    dead_letters: int
    lag: int
    anomalies: int
    anomalies_by_metric: int
    anomalies_with_readable_record: int
    alerts_sent_by_metric: int
    alerts_at_slack: int
    alerts_suppressed_by_metric: int
    deliveries: int
    seconds: float

    def disagreements(self) -> list[str]:
        wrong = []
        for what, right in {
            "one result per input": self.results == self.fed,
            "no input twice": self.distinct_inputs == self.results,
            "no dead letters": self.dead_letters == 0,
            "lag 0": self.lag == 0,
            "anomalies topic = metric": self.anomalies == self.anomalies_by_metric,
            "every anomaly record can be read": self.anomalies == self.anomalies_with_readable_record,
            "alerts at Slack = metric": self.alerts_at_slack == self.alerts_sent_by_metric,
            "sent + suppressed = anomalies": self.alerts_sent_by_metric + self.alerts_suppressed_by_metric
            == self.anomalies,
            "each anomaly has its delivery": self.deliveries == self.anomalies,
        }.items():
            if not right:
                wrong.append(what)
        return wrong


def whole_job(bootstrap: str, files: list[Path], partitions: int = 4) -> Counts:
    """Run the job in topics of its own and count."""
    with HttpServer() as slack:
        channel = f"{{type: slack, webhook_url: '{slack.url}/services/T0/B0/secret'}}"
        setup = Setup.of(
            bootstrap,
            f"whole-{uuid.uuid4().hex[:8]}-",
            f"alerting={{channels: {{ops-slack: {channel}}}}}",
            partitions=partitions,
        )
        settings = setup.settings
        make_topics(settings)
        with running(setup) as service:
            wait_for(service.is_ready, "the service is ready")
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "service", "feed", *setup.flags, *map(str, files)], check=True
            )
            fed = count_points(files)
            wait_for(lambda: service.records_done() >= fed, f"{fed} records are done", 900.0)
            seconds = time.monotonic() - began
            wait_for(lambda: service.metric("anomalyd_consumer_lag_records") == 0, "lag is 0")
            anomalies = published(settings, "anomalies")

            def told() -> int:
                sent = service.metric("anomalyd_alerts_sent_total")
                return int(sent + service.metric("anomalyd_alerts_suppressed_total"))

            wait_for(lambda: told() >= len(anomalies), "every anomaly is sent or suppressed", 900.0)
            results = published(settings, "detection_results")
            keys = Counter(message.key() for message in published(settings, "deliveries"))
            return Counts(
                fed=fed,
                results=len(results),
                distinct_inputs=len(set(input_offsets(results))),
                dead_letters=len(published(settings, "dead_letters")),
                lag=int(service.metric("anomalyd_consumer_lag_records")),
                anomalies=len(anomalies),
                anomalies_by_metric=int(service.metric("anomalyd_anomalies_total")),
                anomalies_with_readable_record=sum(
                    Anomaly.parse(message.value() or b"").model_version != "" for message in anomalies
                ),
                alerts_sent_by_metric=int(service.metric("anomalyd_alerts_sent_total")),
                alerts_at_slack=len(slack.requests),
                alerts_suppressed_by_metric=int(service.metric("anomalyd_alerts_suppressed_total")),
                deliveries=len(keys),
                seconds=seconds,
            )


@contextmanager
def some_broker() -> Iterator[str]:
    if named := os.environ.get("ANOMALYD_TEST_BOOTSTRAP"):
        yield named
        return
    with LocalBroker(progress=lambda line: print(line, file=sys.stderr)) as broker:  # noqa: T201
        yield broker.bootstrap_servers


def main(files: list[Path]) -> int:
    with some_broker() as bootstrap:
        counts = whole_job(bootstrap, files)
    for name in counts.__dataclass_fields__:
        print(f"{name:<34}{getattr(counts, name):>12,.0f}")  # noqa: T201
    for what in counts.disagreements():
        print(f"WRONG: {what}")  # noqa: T201
    return 1 if counts.disagreements() else 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
