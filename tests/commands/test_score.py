"""`anomalyd score` as a process: lines in, lines out."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from service.commands.score import read_lines
from service.pipeline import DetectionPipeline
from tests.commands.command_line import score

ONE_PARTITION = ("--set", "topics.partitions=1")


def line(i: int, x: float = 0.0, **members: Any) -> bytes:
    point = {"sourceId": "pump-7", "timestamp": 1_767_225_600_000 + i * 1000, "values": {"x": x}, **members}
    return json.dumps(point).encode()


def results_of(ran: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert ran.returncode == 0, ran.stderr
    return [json.loads(result) for result in ran.stdout.splitlines()]


def test_each_line_gives_one_result_in_order_and_bad_ones_go_to_stderr_with_number_and_reason() -> None:
    lines = [line(i, i % 7, id=str(i), sourceId=f"pump-{i % 3}") for i in range(120)]
    lines[3:3] = [b"{", b"", b"   ", b'{"sourceId":"a","values":[1e400]}', b"\xff", line(0, 1.0, sourceId="")]
    ran = score(b"\n".join(lines))
    results = results_of(ran)
    assert [result["id"] for result in results] == [str(i) for i in range(120)]
    assert [result["sourceId"] for result in results] == [f"pump-{i % 3}" for i in range(120)]
    assert {result["status"] for result in results} == {"skipped", "scored"}
    said = [text.split(": ")[:2] for text in ran.stderr.decode().splitlines()]
    assert said == [
        ["line 4", "not_json"],
        ["line 7", "non_finite_number"],
        ["line 8", "not_utf8"],
        ["line 9", "bad_source_id"],
        ["4 of 126 lines were no data points"],
    ]


def test_a_spike_is_found_and_the_results_are_those_of_the_library() -> None:
    values = [float(i * 7919 % 13) for i in range(200)]
    values[150] = 500.0
    lines = [line(i, x) for i, x in enumerate(values)]
    results = results_of(score(b"\n".join(lines), *ONE_PARTITION))
    pipeline = DetectionPipeline()
    assert results == [pipeline.process(json.loads(given)) for given in lines]
    assert results[150]["isAnomaly"] is True
    assert results[150]["explanation"].startswith("x 500")


def test_results_appear_while_the_pipe_stays_open() -> None:
    command = [sys.executable, "-m", "service", "score"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for i in range(3):
            process.stdin.write(line(i, id=str(i)) + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == str(i)
        process.stdin.write(line(3, id="3"))  # no line break at the end
        process.stdin.close()
        assert json.loads(process.stdout.readline())["id"] == "3"
        assert process.wait(30) == 0


def test_a_huge_line_is_refused_by_itself_and_costs_no_other_line() -> None:
    huge = b'{"sourceId":"' + b"a" * 50_000_000 + b'"}'
    ran = score(b"\n".join([line(0, id="0"), huge, line(1, id="1")]))
    assert [result["id"] for result in results_of(ran)] == ["0", "1"]
    first, last = ran.stderr.decode().splitlines()
    assert first.startswith("line 2: too_large: ")
    assert len(first) < 300
    assert last == "1 of 3 lines were no data points"


def test_empty_input_gives_nothing() -> None:
    ran = score(b"")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


class Pipe:
    """The reading end of a pipe, written to as the test goes on."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self.stream = io.FileIO(reading)
        self._batches: Iterator[list[bytes]] = read_lines(self.stream)

    def write(self, data: bytes) -> None:
        os.write(self._writing, data)

    def close(self) -> None:
        os.close(self._writing)

    def read(self) -> list[bytes]:
        return next(self._batches)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()


def test_lines_come_in_batches_of_what_is_there(pipe: Pipe) -> None:
    pipe.write(b"a\nb\n")
    assert pipe.read() == [b"a", b"b"]
    pipe.write(b"c\n\nd")
    assert pipe.read() == [b"c", b""]
    pipe.write(b"e\r\nf")
    assert pipe.read() == [b"de\r"]
    pipe.close()
    assert pipe.read() == [b"f"]
    with pytest.raises(StopIteration):
        pipe.read()


def test_a_last_line_break_makes_no_empty_line(pipe: Pipe) -> None:
    pipe.write(b"a\n")
    pipe.close()
    assert pipe.read() == [b"a"]
    with pytest.raises(StopIteration):
        pipe.read()
