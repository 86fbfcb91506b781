"""The image's recipe and the composition around it, as far as they can be seen without a container engine."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service import cli
from service.http.server import HttpServer, make_app
from service.pipeline import DetectionPipeline, Record
from service.settings import load
from service.stream.kafka_jars import kafka_version
from service.wire.data_point import DataPoint
from service.wire.decode import decode
from tests.deploy.files import DEPLOY, ROOT, document


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction of the Dockerfile, lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def the(word: str) -> str:
    """The last instruction of this word."""
    return [rest for name, rest in instructions() if name == word][-1]


def environment() -> dict[str, str]:
    """What the final stage's ENV sets."""
    return dict(part.split("=", 1) for part in shlex.split(the("ENV")))


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document(ROOT / "docker-compose.yml")["services"]
    return found


class _Health:
    def __init__(self, trouble: str | None) -> None:
        self._trouble = trouble

    def unhealthy(self) -> str | None:
        return self._trouble

    def unready(self) -> str | None:
        return self._trouble


@pytest.mark.parametrize(("trouble", "code"), [(None, 0), ("stuck", 1)])
def test_the_health_check_says_what_the_service_says(trouble: str | None, code: int) -> None:
    command = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    server = HttpServer(make_app(CollectorRegistry(), _Health(trouble)), "127.0.0.1", 0)
    server.start()
    try:
        done = subprocess.run(
            [sys.executable, *command[1:]],
            env={**os.environ, "ANOMALYD_HTTP__PORT": str(server.port), "http_proxy": "http://127.0.0.1:9"},
            check=False,
        )
    finally:
        server.stop()

    assert command[0] == "python"
    assert done.returncode == code


def test_the_health_check_fails_where_nothing_listens() -> None:
    command = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    variables = {**os.environ, "ANOMALYD_HTTP__PORT": "1"}
    done = subprocess.run(
        [sys.executable, *command[1:]], env=variables, stderr=subprocess.DEVNULL, check=False
    )

    assert done.returncode == 1


def test_the_image_runs_the_service_as_nobody() -> None:
    uid, _, gid = the("USER").partition(":")

    assert int(uid) == int(gid) == 65532
    assert json.loads(the("ENTRYPOINT")) == ["anomalyd"]
    assert json.loads(the("CMD")) == ["run"]


def test_every_download_is_verified() -> None:
    runs = [step for word, rest in instructions() if word == "RUN" for step in rest.split("&&")]
    installs = [step for step in runs if "pip install" in step]

    assert len(installs) == 3
    for step in installs:
        assert "--require-hashes" in step or "--no-index" in step
    assert all("--no-build-isolation" in step for step in runs if "pip wheel" in step)


def test_the_build_backend_is_found_in_the_lock() -> None:
    """As the Dockerfile's awk finds it: from its line to the first that does not go on."""
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith("setuptools=="))
    end = next(i for i in range(start, len(lines)) if not lines[i].endswith("\\"))

    assert end > start
    assert all("--hash=sha256:" in line for line in lines[start + 1 : end + 1])


def test_everything_that_is_copied_is_there_and_reaches_the_builder() -> None:
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists()
                assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed)


def test_what_warms_the_kernels_up_can_be_imported() -> None:
    (warming,) = (rest for word, rest in instructions() if word == "RUN" and "warm" in rest)
    tree = ast.parse(shlex.split(warming)[-1])
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert imports
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names)


def test_kernels_are_compiled_for_the_processor_that_they_are_looked_up_for() -> None:
    build, final = ([dict(p.split("=", 1) for p in shlex.split(r)) for w, r in instructions() if w == "ENV"])[
        1:
    ]
    for name in ("ANOMALYD_CACHE", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        assert build[name] == final[name]
    copied = [rest.split() for word, rest in instructions() if word == "COPY" and "--from=build" in rest]
    assert ["/opt/anomalyd", "/opt/anomalyd"] in [parts[-2:] for parts in copied]
    assert [final["ANOMALYD_CACHE"]] * 2 in [parts[-2:] for parts in copied]


def test_the_image_says_what_it_is() -> None:
    labels = the("LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert environment()["PYTHONDONTWRITEBYTECODE"] == "1"
    assert load(ROOT / "config" / "service.yaml", environment=environment()).http.host == "0.0.0.0"


# docker-compose.yml


def test_compose_refers_only_to_what_there_is() -> None:
    whole = document(ROOT / "docker-compose.yml")
    for service in services().values():
        assert set(service.get("depends_on", {})) <= set(services())
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists()
            else:
                assert source in whole["volumes"]


def test_compose_lets_nobody_in_from_outside() -> None:
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_images_of_compose_have_their_version() -> None:
    for service in services().values():
        name, _, tag = service["image"].rpartition(":")
        assert name
        assert tag not in ("", "latest")


def test_compose_has_the_kafka_that_everything_else_is_tried_on() -> None:
    assert services()["kafka"]["image"] == f"apache/kafka:{kafka_version()}"


def test_commands_of_compose_exist() -> None:
    known = set(cli._COMMANDS)

    assert services()["topics"]["command"] == ["topics", "create"]
    assert services()["anomalyd"]["command"][0] in known
    (script,) = services()["fleet"]["command"]
    assert set(re.findall(r"anomalyd (\w+) ", script)) <= known


def test_the_service_of_compose_finds_kafka_and_the_mail_catcher() -> None:
    settings = load(DEPLOY / "compose" / "service.yaml", environment={})
    host, _, port = settings.kafka.bootstrap_servers.partition(":")
    kafka = services()["kafka"]["environment"]

    assert f"PLAINTEXT://{host}:{port}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert settings.topics.replication_factor == 1
    (mail,) = settings.alerting.channels.values()
    assert mail.type == "email"
    assert mail.host in services()
    assert mail.port == 1025
    assert ":/etc/anomalyd/compose.yaml:ro" in services()["anomalyd"]["volumes"][0]


def fleet_points() -> list[bytes]:
    path = DEPLOY / "compose" / "fleet.py"
    done = subprocess.run([sys.executable, path], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
                          stdout=subprocess.PIPE, check=True)  # fmt: skip
    return done.stdout.splitlines()


def test_the_fleet_of_compose_breaks_and_is_noticed(tmp_path: Path) -> None:
    lines = fleet_points()
    settings = load(DEPLOY / "compose" / "service.yaml", environment={})
    pipeline = DetectionPipeline(settings.detection)
    records = []
    for offset, line in enumerate(lines[: len(lines) // 2]):
        time_ms = offset * 1000 // 400
        point = decode(line, None, None, time_ms, settings.input)
        assert isinstance(point, DataPoint)
        records.append(Record(point, offset, time_ms))

    opened = [o.source_id for o in pipeline.process_batch(records) if o.incident == "opened"]

    assert lines[:20] == lines[-20:], "it ends where it begins, so that it can be played again"
    assert len(set(opened)) >= 8
    assert len(opened) <= 30
