from __future__ import annotations

import json

from tests.commands.command_line import Command


def test_sizing_says_what_a_load_needs(anomalyd: Command) -> None:
    ran = anomalyd("sizing", "--sources", 100_000, "--rate", 20_000, "--values", 4)
    assert ran.code == 0
    assert all(word in ran.out for word in ("workers", "cores", "partitions", "memory", "network out"))


def test_sizing_for_machines(anomalyd: Command) -> None:
    ran = anomalyd("sizing", "--sources", 1_000, "--rate", 100, "--json")
    needed = json.loads(ran.out)
    assert needed["workers"] == 1
    assert needed["state_bytes"] == 1_000 * needed["state_bytes_per_source"]


def test_a_shorter_window_needs_less(anomalyd: Command) -> None:
    load = ("sizing", "--sources", 1_000, "--rate", 100, "--json", "--window")
    short, usual = (json.loads(anomalyd(*load, window).out) for window in (32, 128))
    assert short["state_bytes"] < usual["state_bytes"]


def test_a_window_that_cannot_be_is_refused(anomalyd: Command) -> None:
    ran = anomalyd("sizing", "--sources", 1, "--rate", 1, "--window", 10)
    assert ran.code == 2
    assert "min_history_points" in ran.err
