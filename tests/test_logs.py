from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest
import structlog

from service import logs
from service.settings import load


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    said = capsys.readouterr()
    assert said.out == ""
    return [json.loads(line) for line in said.err.splitlines()]


def test_a_line_is_one_json_object_with_part_level_and_utc_time(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    logs.logger("stream").info("partitions assigned", partitions=[1, 2])
    (line,) = lines_of(capsys)
    assert datetime.fromisoformat(str(line.pop("timestamp"))).utcoffset() is not None
    assert line == {
        "event": "partitions assigned",
        "level": "info",
        "part": "stream",
        "partitions": [1, 2],
    }


def test_libraries_that_log_the_usual_way_come_out_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    logging.getLogger("some.library").warning("%d of %d", 1, 2)
    (line,) = lines_of(capsys)
    assert (line["event"], line["level"]) == ("1 of 2", "warning")


def test_fields_stand_in_every_line_whichever_thread_or_library_it_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(json=True, fields={"worker": 3})
    speaker = threading.Thread(target=logs.logger("stream").info, args=("ours",))
    speaker.start()
    speaker.join()
    logging.getLogger("some.library").warning("theirs")
    assert [(line["event"], line["worker"]) for line in lines_of(capsys)] == [("ours", 3), ("theirs", 3)]


def test_an_exception_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    try:
        raise ValueError("why\nand how")
    except ValueError:
        logs.logger("app").exception("failed")
    (line,) = lines_of(capsys)
    assert "why\nand how" in str(line["exception"])


def test_line_breaks_from_outside_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    logs.logger("app").info("bad", source='x"}\n{"event": "forged"}')
    assert [line["event"] for line in lines_of(capsys)] == ["bad"]


def test_what_lies_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", json=True)
    logs.logger("app").info("unheard")
    logging.getLogger("some.library").info("unheard")
    logs.logger("app").warning("heard")
    assert [line["event"] for line in lines_of(capsys)] == ["heard"]


def test_chatty_libraries_speak_only_of_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    for name in ("httpx", "uvicorn.error", "uvicorn.access", "numba.core", "librdkafka"):
        logging.getLogger(name).info("chatter")
    assert lines_of(capsys) == []


def test_without_a_terminal_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.logger("app").info("hello")
    assert lines_of(capsys)[0]["event"] == "hello"


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=False)
    logs.logger("app").info("hello", port=7)
    said = capsys.readouterr().err
    assert "hello" in said
    assert not said.startswith("{")


def test_settings_in_a_log_line_show_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(
        environment={"ANOMALYD_KAFKA__SASL_PASSWORD": "hunter2"},
        overrides=["kafka.properties={ssl.key.pem: hunter2}"],
    )
    logs.configure(json=True)
    logs.logger("app").warning("settings", settings=settings, kafka=settings.kafka.model_dump(mode="json"))
    said = capsys.readouterr().err
    assert "localhost:9092" in said
    assert "hunter2" not in said
