"""The command of the quality benchmark: its parts, its tables, its picture, choosing among candidates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from service.errors import ConfigurationError
from tests.benchmarks.quality import choosing, peers, plot
from tests.benchmarks.quality.__main__ import main
from tests.benchmarks.quality.report import BEST_PEER, best_peer, by_peer, markdown, tables
from tests.benchmarks.quality.running import Configuration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of two series with one value, and one of one with two values."""
    rng = np.random.default_rng(5)
    for name, files, values in (("mscloud", 2, 1), ("asd", 1, 2)):
        (tmp_path / name).mkdir()
        for number in range(files):
            x = rng.normal(size=(600, values)).round(3)
            x[500:503] += 30.0
            rows = [
                f"{1_600_000_000_000 + i * 60_000},{','.join(map(str, row))},{int(500 <= i < 503)}"
                for i, row in enumerate(x.tolist())
            ]
            header = ",".join(["timestamp", *(f"value_{i}" for i in range(values)), "label"])
            (tmp_path / name / f"{number}.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    (tmp_path / "asd" / "evaluate_from.json").write_text('{"0": 300}', encoding="utf-8")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["--jobs", "1", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_run_prints_a_table_and_writes_every_figure_and_a_picture(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, picture = folder / "found.json", folder / "found.png"
    told = printed(
        capsys, "--data", folder, "--only", "asd,mscloud", "--peers", "--json", document, "--plot", picture
    )
    assert "river SAD" in told
    assert BEST_PEER in told
    found = json.loads(document.read_text(encoding="utf-8"))
    assert found["sets"]["mscloud"]["anomalyd"]["event_f1"] == 1.0
    assert found["sets"]["mscloud"]["anomalyd"]["events"] == 2
    assert "river SAD, max" in found["sets"]["asd"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_settings_and_the_configuration_file_change_what_is_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = folder / "lean.yaml"
    overlay.write_text("detection: {threshold: 0.9}\n", encoding="utf-8")
    versions = set()
    for words in ((), ("--config", overlay), ("--set", "detection.false_alarms=0.01")):
        document = folder / "found.json"
        printed(capsys, "--data", folder, "--only", "asd", "--json", document, *words)
        versions.add(json.loads(document.read_text(encoding="utf-8"))["model_version"])
    assert len(versions) == 3


def test_leave_one_out_chooses_on_the_other_sets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = folder / "found.json"
    told = printed(
        capsys, "--data", folder, "--only", "asd,mscloud", "--leave-one-out", "--json", document,
        "--candidate", "default", "--candidate", "blind=detection.false_alarms=0.0000001",
    )  # fmt: skip
    assert "chosen" in told
    found = json.loads(document.read_text(encoding="utf-8"))
    assert set(found["candidates"]) == {"default", "blind"}
    assert set(found["left_out"]) == {"asd", "mscloud"}


@pytest.mark.parametrize(
    "words", [("--set", "detection.nothing=1"), ("--leave-one-out",), ("--only", "skab")]
)
def test_what_cannot_be_run_is_said_in_one_line(
    words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--jobs", "1", "--data", str(folder), "--only", "asd", *words]) == 1
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(SystemExit, match="no such part: moon"):
        main(["--only", "moon"])


def test_a_candidate_is_a_file_settings_or_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("detection: {threshold: 0.9}\n", encoding="utf-8")
    one = Configuration(file)
    assert choosing.candidate(f"a={file}") == ("a", one)
    assert one.settings().detection.threshold == 0.9
    two = Configuration(overrides=("detection.threshold=0.7", "detection.false_alarms=0.01"))
    assert choosing.candidate("b=detection.threshold=0.7,detection.false_alarms=0.01") == ("b", two)
    assert choosing.candidate("c") == ("c", Configuration())
    with pytest.raises(ConfigurationError):
        choosing.candidate("d=detection.unknown=1")


def test_the_candidate_that_is_best_on_the_others_is_chosen() -> None:
    found = {
        "a": {"x": {"f": 0.9}, "y": {"f": 0.1}, "z": {"f": 0.2}},
        "b": {"x": {"f": 0.3}, "y": {"f": 0.8}, "z": {"f": 0.7}},
    }
    left_out = choosing.left_out(found)
    assert {name: one["chosen"] for name, one in left_out.items()} == {"x": "b", "y": "b", "z": "b"}
    assert left_out["x"]["figures"] == {"f": 0.3}
    assert left_out["x"]["best"] == "a"
    assert left_out["x"]["lead"] == pytest.approx((1.0 - 0.125 + 1.0 - 2 / 7) / 2)


def test_candidates_may_be_what_runs_have_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name, ap in (("a", 0.5), ("b", 0.4)):
        for part in ("asd", "smd"):
            file = tmp_path / f"{name}-{part}.json"
            file.write_text(json.dumps({"sets": {part: {"anomalyd": {"ap": ap, "event_f1": ap}}}}))
            files.append(str(file))
    words = ["--leave-one-out", "--only", "asd,smd", "--candidate", f"a={files[0]},{files[1]}"]
    assert main([*words, "--candidate", f"b={files[2]},{files[3]}"]) == 0
    assert "0.5 / 0.5 *" in capsys.readouterr().out
    assert main([*words, "--candidate", f"b={files[2]}"]) == 1
    assert "a candidate's run has no figures of smd" in capsys.readouterr().err


def a_document() -> dict[str, Any]:
    """Every part, with figures that are made up."""
    profiles = ("standard", "low_fp", "low_fn")
    one = {"score": 70.0, "budget": 1e-3, "held_out": 68.0, "with_threshold": 71.0}
    shares = {"accuracy": 0.5, "accuracy_from_probation": 0.4, "by_change": {"smaller": 0.5}}
    book = {"sources": {"a": 0.05, "b": 30.0}, "pooled": 1.0, "within": 0.5, "median": 1.0, "worst": 30.0}
    faults = {"found": 1.0, "cases": 2, "by_kind": {"white": 1.0}}
    return {
        "anomalyd": "1",
        "nab": {
            "anomalyd": {
                "budgets": [1e-4], "incidents": [71], "profiles": dict.fromkeys(profiles, one),
                "points": dict.fromkeys(profiles, 50.0),
            },
            "peers": {"ARTime, published": dict.fromkeys(profiles, 74.9)},
        },
        "sets": {
            "skab": {
                "anomalyd": {"ap": 0.5, "event_f1": 0.6},
                "river SAD, max": {"ap": 0.4, "event_f1": 0.3},
                "river SAD, mean": {"ap": 0.2, "event_f1": 0.7},
            }
        },
        "discords": {"anomalyd": shares, "|difference|": shares},
        "budget": {"synthetic": {"0.001": {"points": book, "incidents": book}}},
        "faults": {"shapes": {"spike": faults}, "chance": 0.01, "least": 1.0, "mean": 1.0},
    }  # fmt: skip


def test_every_part_has_a_heading_and_a_table(tmp_path: Path) -> None:
    console = Console(width=200, record=True)
    headings = []
    for heading, table in tables(a_document()):
        headings.append(heading)
        console.print(table)
    told = console.export_text()
    assert len(headings) == 5
    assert "ARTime, published" in told
    assert "0.500 / 0.600" in told
    assert "0.400 / 0.700" in told  # the best peer, each figure its own
    plot.draw(a_document(), tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 20_000


def test_a_page_has_the_same_tables() -> None:
    page = markdown(a_document())
    assert "| ARTime, published | 74.9 | 74.9 | 74.9 | points, best threshold |" in page
    assert "| \\|difference\\| | 0.50 |" in page
    assert page.count("**") == 10


def test_of_the_ways_to_join_values_the_better_is_shown() -> None:
    found = a_document()["sets"]["skab"]
    assert by_peer(found)["river SAD"][0] == "mean"
    assert best_peer(found) == {"ap": 0.4, "event_f1": 0.7}
    assert best_peer({"anomalyd": {"ap": 1.0, "event_f1": 1.0}}) is None


# The peers


def naive(x: list[float], window: int, ddof: int) -> list[float]:
    found = []
    for t, value in enumerate(x):
        past = np.array(x[max(0, t - window) : t])
        if len(past) <= max(ddof, 1):
            found.append(0.0)
        else:
            found.append(abs(value - past.mean()) / (past.std(ddof=ddof) + 1e-10))
    return found


def test_peers_are_what_their_formulas_say() -> None:
    x = np.random.default_rng(2).normal(size=400).cumsum() + 1e4
    np.testing.assert_allclose(peers.windowed_gaussian(x, 50), naive(x.tolist(), 50, 0), rtol=1e-5)
    sad = peers.standard_absolute_deviation(x)
    np.testing.assert_allclose(sad[2:], naive(x.tolist(), 400, 1)[2:], rtol=1e-5)
    robust = peers.robust_z(x, 60)
    for t in (5, 59, 60, 399):
        past = x[max(0, t - 60) : t]
        spread = 1.4826 * np.median(np.abs(past - np.median(past)))
        assert robust[t] == pytest.approx(abs(x[t] - np.median(past)) / spread)
    tied = peers.robust_z(np.array([1.0, 1.0, 1.0, 1.0, 3.0, 2.0]), untie=True)
    assert tied[5] == pytest.approx(1.0 / (1.2533 * 2.0 / 5.0))
    gaussian = peers.gaussian_scorer(x, 50, 20)
    assert (gaussian[:20] == 0).all()
    assert ((gaussian >= 0) & (gaussian <= 1)).all()


def test_no_peer_looks_ahead() -> None:
    x = np.random.default_rng(4).normal(size=(3_000, 2))
    x[100:120, 0] = np.nan
    whole, part = peers.scores(x), peers.scores(x[:1_500])
    for name in whole:
        np.testing.assert_allclose(whole[name][:1_500], part[name], rtol=1e-9, err_msg=name)


def test_a_value_that_never_changes_is_never_odd() -> None:
    for name, score in peers.scores(np.full((500, 1), 3.7)).items():
        assert not score[1:].any(), name  # to river even the first point can be odd
