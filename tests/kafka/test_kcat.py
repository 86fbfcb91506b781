"""The topics through a client that nobody here wrote: Debian's kcat."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, make_topics, noisy_points, running

pytestmark = pytest.mark.kafka


def _kcat() -> str:
    beside = Path(sys.executable).parent / "kcat" / "bin"
    found = shutil.which("kcat", path=os.pathsep.join([os.environ["PATH"], str(beside)]))
    if found is None:
        pytest.fail("kcat is not installed: `make test` fetches it, or `apt-get install kcat`", pytrace=False)
    return found


def _consume(bootstrap: str, topic: str, layout: str) -> list[str]:
    command = [_kcat(), "-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", layout]
    command += ["-X", "isolation.level=read_committed"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_kcat_produces_points_and_reads_anomalies_and_dead_letters(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    points = noisy_points()
    lines = [f"{key}\t{body.decode()}" for key, body in points]
    lines.insert(1, "pump-9\tthis is no data point")
    topics = setup.settings.topics
    subprocess.run(
        [_kcat(), "-b", broker.bootstrap_servers, "-P", "-t", topics.name("data_points"), "-K", "\t"],
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
        timeout=60,
    )
    with running(setup) as service:
        service.wait_until_done(len(lines))
    (letter,) = _consume(broker.bootstrap_servers, topics.name("dead_letters"), "%k|%s|%h\\n")
    key, value, headers = letter.split("|")
    assert (key, value) == ("pump-9", "this is no data point")
    assert "x-reason=not_json" in headers
    assert "x-in-offset=1" in headers
    anomalies = [
        json.loads(line) for line in _consume(broker.bootstrap_servers, topics.name("anomalies"), "%s\\n")
    ]
    assert anomalies
    assert all(anomaly["explanation"] for anomaly in anomalies)
    results = _consume(broker.bootstrap_servers, topics.name("detection_results"), "%k\\n")
    assert results == [key for key, _ in points]
