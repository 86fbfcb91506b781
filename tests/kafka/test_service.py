import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from service.stream.local_broker import LocalBroker
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import (
    Setup,
    headers,
    input_offsets,
    make_topics,
    noisy_points,
    produce,
    published,
    running,
    wait_for,
)
from tests.wire.bad_records import BAD_RECORDS

pytestmark = pytest.mark.kafka


def _good(source_id: str, n: int, start: int = 0) -> bytes:
    return json.dumps(
        {"sourceId": source_id, "timestamp": 1_767_225_600_000 + (start + n) * 1000, "values": {"x": n % 7}}
    ).encode()


def _key(message: Message) -> bytes:
    key = message.key()
    return key if isinstance(key, bytes) else b""


def _results(setup: Setup) -> list[dict[str, object]]:
    return [json.loads(message.value() or b"") for message in published(setup.settings, "detection_results")]


def test_every_kind_of_bad_record_is_a_dead_letter_and_every_good_one_has_a_result(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    topic = setup.settings.topics.name("data_points")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for i, bad in enumerate(BAD_RECORDS):
        producer.produce(topic, _good("pump-1", i), b"pump-1")
        producer.produce(topic, bad.value, bad.key, headers=list(bad.headers))
    producer.produce(topic, _good("pump-1", len(BAD_RECORDS)), b"pump-1")
    assert producer.flush(30) == 0
    total = 2 * len(BAD_RECORDS) + 1
    with running(setup) as service:
        service.wait_until_done(total)
        by_metric = {
            bad.reason: service.metric("anomalyd_dead_letters_total", reason=bad.reason)
            for bad in BAD_RECORDS
        }
    letters = published(setup.settings, "dead_letters")
    assert [headers(letter)["x-reason"] for letter in letters] == [bad.reason for bad in BAD_RECORDS]
    assert [letter.value() for letter in letters] == [bad.value for bad in BAD_RECORDS]
    assert [letter.key() for letter in letters] == [bad.key for bad in BAD_RECORDS]
    assert all(headers(letter)["x-detail"] for letter in letters)
    assert by_metric == Counter(bad.reason for bad in BAD_RECORDS)
    results = published(setup.settings, "detection_results")
    assert len(results) == len(BAD_RECORDS) + 1
    assert sorted(input_offsets(results) + input_offsets(letters)) == [(0, i) for i in range(total)]
    statuses = Counter(result["status"] for result in _results(setup))
    assert statuses["scored"] == len(results) - statuses["skipped"] > 0


@pytest.mark.parametrize("partitions", [1, 4])
def test_the_score_command_gives_the_bytes_of_the_stream(
    broker: RunningBroker, topic_prefix: str, partitions: int
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, partitions=partitions)
    make_topics(setup.settings)
    points = noisy_points(sources=6)
    produce(setup.settings, points)
    with running(setup) as service:
        service.wait_until_done(len(points))
    streamed: dict[bytes, list[bytes]] = {}
    for message in published(setup.settings, "detection_results"):
        streamed.setdefault(_key(message), []).append(message.value() or b"")
    scored = subprocess.run(
        [sys.executable, "-m", "service", "score", *setup.flags],
        input=b"".join(body + b"\n" for _, body in points),
        capture_output=True,
        check=True,
    )
    by_source: dict[bytes, list[bytes]] = {}
    for (key, _), line in zip(points, scored.stdout.splitlines(), strict=True):
        by_source.setdefault(key.encode(), []).append(line)
    assert by_source == streamed
    assert any(b'"isAnomaly":true' in line for line in scored.stdout.splitlines())


def test_sigterm_commits_the_batch_and_exits_0_and_the_next_start_goes_on(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    first = [("pump-1", _good("pump-1", i)) for i in range(3000)]
    second = [("pump-1", _good("pump-1", i, 3000)) for i in range(100)]
    produce(setup.settings, first)
    with running(setup) as service:
        wait_for(lambda: service.records_done() > 0, "the first batch is done")
        assert service.terminate() == 0
    produce(setup.settings, second)
    with running(setup) as service:
        wait_for(
            lambda: len(published(setup.settings, "detection_results")) >= 3100, "every record has a result"
        )
        assert service.terminate() == 0
    results = published(setup.settings, "detection_results")
    assert input_offsets(results) == [(0, i) for i in range(3100)]


def test_missing_topics_end_the_service_with_the_command_that_makes_them(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    run = subprocess.run(
        [sys.executable, "-m", "service", "run", *setup.flags], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "anomalyd topics create" in run.stderr
    assert f"{topic_prefix}data-points" in run.stderr


def test_topics_create_makes_them_once_and_verify_finds_them(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, partitions=3)
    command = [sys.executable, "-m", "service", "topics"]
    first = subprocess.run([*command, "create", *setup.flags], capture_output=True, text=True, check=True)
    again = subprocess.run([*command, "create", *setup.flags], capture_output=True, text=True, check=True)
    found = subprocess.run([*command, "verify", *setup.flags], capture_output=True, text=True, check=True)
    assert first.stdout.count("3 partitions, made") == 5
    assert again.stdout.count("was there") == 6
    assert f"{topic_prefix}anomalies: 3 partitions" in found.stdout


def test_a_broker_that_goes_away_is_said_once_and_work_resumes_when_it_is_back(topic_prefix: str) -> None:
    with LocalBroker() as broker:
        setup = Setup.of(broker.bootstrap_servers, topic_prefix)
        make_topics(setup.settings)
        produce(setup.settings, [("pump-1", _good("pump-1", i)) for i in range(50)])
        with running(setup) as service:
            service.wait_until_done(50)
            wait_for(service.is_ready, "the service is ready")
            broker.kill_node(0)
            wait_for(lambda: not service.is_ready(), "the service is not ready")
            broker.start_node(0)
            produce(setup.settings, [("pump-1", _good("pump-1", i, 50)) for i in range(50)])
            service.wait_until_done(100)
            wait_for(service.is_ready, "the service is ready again")
            assert service.terminate() == 0
            assert len(service.events("Kafka does not answer")) == 1
            assert len(service.events("Kafka answers again")) == 1
        results = published(setup.settings, "detection_results")
        assert input_offsets(results) == [(0, i) for i in range(100)]


def test_a_start_without_a_broker_waits_for_one_and_a_stop_ends_that(topic_prefix: str) -> None:
    with running(Setup.of("127.0.0.1:9", topic_prefix)) as service:
        wait_for(lambda: bool(service.events("Kafka does not answer")) or service.exited, "it is said")
        assert not service.is_ready()
        assert service.terminate() == 0, service.log


def test_sigterm_while_the_broker_is_dead_still_exits_0_in_time(topic_prefix: str) -> None:
    with LocalBroker() as broker:
        setup = Setup.of(broker.bootstrap_servers, topic_prefix)
        make_topics(setup.settings)
        produce(setup.settings, [("pump-1", _good("pump-1", i)) for i in range(30_000)])
        with running(setup) as service:
            wait_for(lambda: service.records_done() > 0, "a batch is done")
            broker.kill_node(0)
            began = time.monotonic()
            assert service.terminate() == 0, service.log
            assert time.monotonic() - began < setup.settings.shutdown.drain + 8.0


def test_publish_anomalies_leaves_the_other_results_out(broker: RunningBroker, topic_prefix: str) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, "publish=anomalies")
    make_topics(setup.settings)
    points = noisy_points()
    produce(setup.settings, points)
    with running(setup) as service:
        service.wait_until_done(len(points))
    results = _results(setup)
    assert 0 < len(results) < len(points) / 10
    assert all(result["isAnomaly"] for result in results)


def test_trace_context_and_provenance_travel_with_the_result(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    topic = setup.settings.topics.name("data_points")
    producer.produce(topic, _good("pump-1", 0), b"pump-1", headers=[("traceparent", trace), ("other", b"x")])
    assert producer.flush(30) == 0
    with running(setup) as service:
        service.wait_until_done(1)
    (result,) = published(setup.settings, "detection_results")
    assert result.key() == b"pump-1"
    assert headers(result) == {
        "x-in-topic": topic,
        "x-in-partition": "0",
        "x-in-offset": "0",
        "x-model": setup.settings.detection.model_version(),
        "traceparent": trace.decode(),
    }


def test_a_record_larger_than_the_dead_letters_may_be_is_cut_and_stops_nobody(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    names = setup.settings.topics
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    large = NewTopic(names.name("data_points"), 1, config={"max.message.bytes": "3000000"})
    small = NewTopic(names.name("dead_letters"), 1, config={"max.message.bytes": "200000"})
    for future in admin.create_topics([large, small]).values():
        future.result(30)
    make_topics(setup.settings)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.max.bytes": 3_000_000})
    producer.produce(names.name("data_points"), b"x" * 2_000_000, b"pump-1")
    producer.produce(names.name("data_points"), _good("pump-1", 1), b"pump-1")
    assert producer.flush(30) == 0
    with running(setup) as service:
        service.wait_until_done(2)
    (letter,) = published(setup.settings, "dead_letters")
    assert headers(letter)["x-reason"] == "too_large"
    assert headers(letter)["x-cut-from-bytes"] == "2000000"
    assert 190_000 < len(letter.value() or b"") < 200_000
    assert input_offsets(published(setup.settings, "detection_results")) == [(0, 1)]


def _more_results_than(setup: Setup, count: float) -> Callable[[], bool]:
    return lambda: len(published(setup.settings, "detection_results")) > count


def test_kill_9_loses_no_result_and_gives_none_twice(broker: RunningBroker, topic_prefix: str) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, "stream.max_batch_records=200", partitions=2)
    make_topics(setup.settings)
    sources = [f"pump-{i}" for i in range(8)]
    produce(setup.settings, [(source, _good(source, i)) for i in range(1500) for source in sources])
    for share in (0.2, 0.6):
        with running(setup) as service:
            wait_for(_more_results_than(setup, share * 12_000), "a part of the records has results")
            service.process.kill()
    with running(setup) as service:
        wait_for(lambda: len(published(setup.settings, "detection_results")) >= 12_000, "all have results")
        assert service.terminate() == 0
    offsets = input_offsets(published(setup.settings, "detection_results"))
    assert len(offsets) == len(set(offsets)) == 12_000
    for number in range(2):
        mine = [offset for partition, offset in offsets if partition == number]
        assert mine == list(range(len(mine)))
