"""A source that falls silent, from its last point to the alert and back, on a real Kafka."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import numpy as np
import pytest
from confluent_kafka import Producer

from service.commands.audit import recomputing
from service.settings import Settings
from service.stream.auditing.audit import Scope, audit
from service.wire.anomaly import Anomaly
from tests.alerting.channels.servers import HttpServer
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, headers, make_topics, published, running, wait_for

pytestmark = pytest.mark.kafka

GAP_S = 10
SOURCES = 4
SILENT = 2


def _produce(settings: Settings, began_s: float, rounds: Iterable[int], away: frozenset[int]) -> int:
    """One point of each source in each round, with the Kafka timestamp that it would have had; how many."""
    producer = Producer({**settings.kafka.connection(), "partitioner": "murmur2_random", "linger.ms": 20})
    sent = 0
    for i in rounds:
        rng = np.random.default_rng(i)
        for source in range(SOURCES):
            if source in away:
                continue
            time_ms = int(1000 * (began_s + GAP_S * i)) + 700 * source
            body = {"sourceId": f"pump-{source}", "timestamp": time_ms, "values": rng.normal()}
            producer.produce(
                settings.topics.name("data_points"),
                json.dumps(body).encode(),
                f"pump-{source}".encode(),
                timestamp=time_ms + 100,
            )
            sent += 1
    assert producer.flush(30) == 0
    return sent


def test_a_silent_source_is_alerted_of_and_resolved_when_it_is_back(
    broker: RunningBroker, topic_prefix: str
) -> None:
    with HttpServer() as hook:
        channel = f"{{type: webhook, url: '{hook.url}', allow_private: true, send_resolved: true}}"
        rule = "{kind: absence, channels: [hook]}"
        setup = Setup.of(
            broker.bootstrap_servers,
            topic_prefix,
            f"alerting={{channels: {{hook: {channel}}}, rules: [{rule}]}}",
        )
        settings = setup.settings
        make_topics(settings)
        began_s = time.time() - 3 * 3600
        with running(setup) as service:
            sent = _produce(settings, began_s, range(200), frozenset())
            sent += _produce(settings, began_s, range(200, 300), frozenset({SILENT}))
            wait_for(lambda: len(hook.requests) == 1, "the silence is alerted of")
            wait_for(lambda: service.metric("anomalyd_silent_sources") == 1, "the metric counts it")
            sent += _produce(settings, began_s, range(300, 330), frozenset())
            wait_for(lambda: len(hook.requests) == 2, "the end of the silence is alerted of")
            service.wait_until_done(sent)
            wait_for(lambda: service.metric("anomalyd_silent_sources") == 0, "the metric counts it no more")
            anomalies = [
                (message, Anomaly.parse(message.value() or b""))
                for message in published(settings, "anomalies")
            ]
            assert service.metric("anomalyd_anomalies_total") == len(anomalies)
        told = [(message, anomaly) for message, anomaly in anomalies if anomaly.is_absence]
        assert [anomaly.incident for _, anomaly in told] == ["opened", "resolved"]
        assert [message.key() for message, _ in told] == [b"pump-2", b"pump-2"]
        assert len({anomaly.incident_id for _, anomaly in told}) == 1
        back = 4 * 200 + 3 * 100 + SILENT
        assert headers(told[1][0])["x-in-offset"] == str(back)
        alerts = [request.json for request in hook.requests]
        assert [(alert["kind"], alert["incident"]) for alert in alerts] == [
            ("absence", "opened"),
            ("absence", "resolved"),
        ]
        assert alerts[0]["explanation"].startswith("Silent for 1")
        report = audit(settings.kafka, settings.topics, "all", Scope(), recomputing(settings))
        assert report.clean, report.as_json()
        assert report.total("anomalies") == len(anomalies)
