"""One picture of a document: what is found beside the peers, and whether the budget is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.quality.bench import OURS
from tests.benchmarks.quality.budget import FACTOR
from tests.benchmarks.quality.data import LABELLED
from tests.benchmarks.quality.faults import NINE
from tests.benchmarks.quality.report import FIGURES, best_peer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _PEER, _GOOD = "#2b6cb0", "#b8c4d0", "#dcebdd"
_BOOKS = {"points": "#2b6cb0", "incidents": "#e07a3f"}
_LEAST, _MOST = 0.1, 10.0  # ratios beyond are drawn at the edge


def draw(found: Mapping[str, Any], file: Path) -> None:
    """Write the picture of the parts that ran."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [panel for part, panel in _PANELS.items() if part in found]
    with plt.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    ):
        rows = max(1, (len(panels) + 1) // 2)
        figure, grid = plt.subplots(rows, 2, figsize=(13.0, 3.9 * rows), layout="constrained", squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            panel(axes, found)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.suptitle(f"anomalyd {found['anomalyd']}, one configuration for everything", x=0.01, ha="left")
        figure.savefig(file, dpi=130)
        plt.close(figure)


def _bars(axes: Axes, names: list[str], values: list[float], ours: set[str], form: str) -> None:
    """Horizontal bars, the first on top."""
    rows = range(len(names))
    axes.barh(rows, values, 0.68, color=[_OURS if name in ours else _PEER for name in names])
    for row, value in zip(rows, values, strict=True):
        axes.annotate(form.format(value), (value, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.15 * max(*values, 1e-9))


def _nab(axes: Axes, found: Mapping[str, Any]) -> None:
    nab = found["nab"]
    ours = f"{OURS}, incidents"
    scores = {ours: nab[OURS]["profiles"]["standard"]["score"]}
    scores |= {name: one["standard"] for name, one in nab.get("peers", {}).items()}
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    _bars(axes, [name for name, _ in ordered], [score for _, score in ordered], {ours}, "{:.1f}")
    axes.set_title("NAB, standard profile", loc="left")


def _sets(axes: Axes, found: Mapping[str, Any]) -> None:
    """Ours beside the best peer of each set, which is another one each time."""
    shown = [name for name in LABELLED if name in found["sets"]]
    for i, name in enumerate(shown):
        figures = found["sets"][name]
        peer = best_peer(figures)
        for j, key in enumerate(FIGURES):
            x = i + 0.44 * (j - 0.5)
            pairs = [(x - 0.09, figures[OURS][key], _OURS)]
            if peer is not None:
                pairs.append((x + 0.09, peer[key], _PEER))
            for at, height, colour in pairs:
                axes.bar(at, height, 0.17, color=colour, hatch="//" if j else None, edgecolor="white")
                axes.annotate(f"{height:.2f}", (at, height), (0, 2), textcoords="offset points", ha="center",
                              fontsize=7)  # fmt: skip
    axes.set_xticks(range(len(shown)), shown)
    axes.set_ylim(0, 1)
    for label, colour, hatch in (
        ("anomalyd, average precision", _OURS, None), ("anomalyd, event F1", _OURS, "//"),
        ("best peer, average precision", _PEER, None), ("best peer, event F1", _PEER, "//"),
    ):  # fmt: skip
        axes.bar(0, 0, color=colour, hatch=hatch, edgecolor="white", label=label)
    axes.legend(ncols=2, frameon=False, fontsize=8, loc="upper left")
    axes.set_title("Labelled sets, each at its best threshold", loc="left")


def _budget(axes: Axes, found: Mapping[str, Any]) -> None:
    """A dot a source."""
    axes.axvspan(1.0 / FACTOR, FACTOR, color=_GOOD, zorder=0)
    axes.axvline(1.0, color="white", linewidth=1.5, zorder=1)
    labels: list[str] = []
    for place, budgets in found["budget"].items():
        for budget, books in budgets.items():
            if not books["points"]["sources"]:
                continue
            row = len(labels)
            labels.append(f"{place}, {budget}")
            for book, y in (("points", row - 0.17), ("incidents", row + 0.17)):
                shown = [min(max(r, _LEAST), _MOST) for r in books[book]["sources"].values()]
                axes.plot(shown, [y] * len(shown), "o", markersize=4.5, alpha=0.55, color=_BOOKS[book],
                          markeredgewidth=0)  # fmt: skip
                axes.annotate(f"{books[book]['within']:.0%}", (_MOST, y), (8, 0), textcoords="offset points",
                              va="center", color=_BOOKS[book], fontsize=8, annotation_clip=False)  # fmt: skip
    for book, colour in _BOOKS.items():
        axes.plot([], [], "o", color=colour, markeredgewidth=0, label=f"as {book}")
    axes.set_xscale("log")
    axes.set_xlim(_LEAST / 1.1, _MOST * 1.1)
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["≤0.1", "0.2", "0.5", "1", "2", "5", "≥10"])
    axes.minorticks_off()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2, bbox_to_anchor=(0, -0.08))
    axes.set_title("Alarms for each one allowed (right: share within a factor of two)", loc="left")


def _faults(axes: Axes, found: Mapping[str, Any]) -> None:
    shapes = found["faults"]["shapes"]
    names = [name for name in NINE if name in shapes]
    _bars(axes, names, [shapes[name]["found"] for name in names], set(names), "{:.2f}")
    axes.set_xlim(0, 1.1)
    axes.set_title("Planted faults found within 10 points of becoming visible", loc="left")


def _discords(axes: Axes, found: Mapping[str, Any]) -> None:
    shares = {name: one["accuracy"] for name, one in found["discords"].items()}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    _bars(axes, [name for name, _ in ordered], [share for _, share in ordered], {OURS}, "{:.2f}")
    axes.set_title("Discords: highest score at the changed cycle", loc="left")


_PANELS = {"nab": _nab, "sets": _sets, "budget": _budget, "faults": _faults, "discords": _discords}
