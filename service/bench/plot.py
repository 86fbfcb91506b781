"""One picture of a run: what a point costs, where the time goes, how long it takes (`anomalyd[plot]`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.bench.child import BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, FLOOR = "#2b6cb0", "#b8c4d0"
_STAGES = ("#1b4965", "#5fa8d3", "#f2a65a", "#8d6a9f", "#6b9080", "#d1495b", "#c9b458", "#95a3b3")
_RATES = ("#2b6cb0", "#e07a3f", "#6b9080", "#8d6a9f")
_QUANTILES = (("p50_ms", "p50", "o"), ("p99_ms", "p99", "D"), ("p999_ms", "p99.9", "s"))


def available() -> None:
    """Say before a long run that it could not be drawn.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise BenchError("--plot needs matplotlib: pip install 'anomalyd[plot]'") from None


def draw(found: Mapping[str, Any], file: Path) -> None:
    """Write the picture of a document of `report.document`."""
    available()
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cases = found["cases"]
    with plt.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    ):
        tall = 1.6 + 0.85 * len(cases)
        figure, (cost, stages, latency) = plt.subplots(
            1, 3, figsize=(14.0, max(tall, 3.4)), layout="constrained"
        )
        _cost(cost, cases)
        _stages(stages, cases)
        _latency(latency, cases)
        for axes in (stages, latency):
            axes.tick_params(labelleft=False)
        machine = found["machine"]
        figure.suptitle(
            f"anomalyd {found['settings']['anomalyd']}, Kafka to Kafka, full ensemble, exactly once\n"
            f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
            f"librdkafka {machine['librdkafka']}, {machine['date'][:10]}",
            fontsize=10,
            x=0.01,
            ha="left",
        )
        try:
            figure.savefig(file, dpi=150)
        except (OSError, ValueError) as error:
            raise BenchError(f"{file}: {error}") from error
        finally:
            plt.close(figure)


def _rows(axes: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    """One row a case, the first on top."""
    axes.set_yticks(range(len(cases)), [f"{case['sources']:,} x {case['values']}" for case in cases])
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes, columns: int) -> None:
    """Below the axis by the same distance at any height of the picture."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = figure.get_size_inches()[1]
    axes.legend(
        loc="upper left", bbox_to_anchor=(0.0, -0.42 / (inches - 1.3)), ncols=columns, frameon=False,
        handlelength=1.2, columnspacing=1.2, borderaxespad=0.0,
    )  # fmt: skip


def _cost(axes: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    _rows(axes, cases)
    rows = range(len(cases))
    ours = [case["cpu_s_per_million"] for case in cases]
    floor = [case["passthrough_cpu_s_per_million"] for case in cases]
    axes.barh([row - 0.19 for row in rows], ours, 0.34, color=OURS, label="anomalyd")
    axes.barh([row + 0.19 for row in rows], floor, 0.34, color=FLOOR, label="passthrough (decode, produce)")
    for row, case in enumerate(cases):
        share = f"{case['cpu_s_per_million']:.1f}   share {case['share_of_passthrough']:.2f}"
        axes.annotate(share, (ours[row], row - 0.19), (4, 0), textcoords="offset points", va="center")
        axes.annotate(
            f"{floor[row]:.1f}", (floor[row], row + 0.19), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, 1.35 * max(ours + floor))
    axes.set_ylabel("sources x values")
    axes.set_title("CPU-seconds per million points", loc="left")
    _legend(axes, 2)


def _stages(axes: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    _rows(axes, cases)
    names = list(dict.fromkeys(name for case in cases for name in case["stages"]))
    left = [0.0] * len(cases)
    for i, name in enumerate(names):
        seconds = [case["stages"].get(name, 0.0) for case in cases]
        axes.barh(
            range(len(cases)), seconds, 0.5, left, color=_STAGES[i % len(_STAGES)], label=name,
            edgecolor="white", linewidth=0.8,
        )  # fmt: skip
        left = [before + more for before, more in zip(left, seconds, strict=True)]
    axes.set_title("Seconds per million points in each stage of the loop", loc="left")
    _legend(axes, min(len(names), 4))


def _latency(axes: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    _rows(axes, cases)
    rates = sorted({one["rate"] for case in cases for one in case["latency"]})
    axes.set_title("Latency, stamped to readable, ms", loc="left")
    if not rates:
        return
    axes.set_xscale("log")
    offset = {rate: 0.36 * ((i + 0.5) / len(rates) - 0.5) * 2 for i, rate in enumerate(rates)}
    for row, case in enumerate(cases):
        for one in case["latency"]:
            if one["p50_ms"] is None:
                continue
            _quantiles(axes, one, row + offset[one["rate"]], _RATES[rates.index(one["rate"]) % len(_RATES)])
    for i, rate in enumerate(rates):
        axes.plot([], [], color=_RATES[i % len(_RATES)], linewidth=3, label=f"{rate:,} points/s")
    for _, name, marker in _QUANTILES:
        axes.plot([], [], linestyle="", marker=marker, color="#444444", label=name)
    axes.plot([], [], "o", color="#444444", markerfacecolor="white", label="rate not kept")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    _legend(axes, 3)


def _quantiles(axes: Axes, one: Mapping[str, Any], y: float, colour: str) -> None:
    """A line from p50 to p99.9, with the numbers that people compare."""
    points = [one[name] for name, _, _ in _QUANTILES]
    axes.plot([points[0], points[-1]], [y, y], color=colour, linewidth=1.6, alpha=0.6)
    for value, (_, _, marker) in zip(points, _QUANTILES, strict=True):
        face = colour if one["valid"] else "white"
        axes.plot(value, y, marker, color=colour, markerfacecolor=face, markersize=5, markeredgewidth=1.2)
    numbers = " / ".join(f"{value:,.0f}" for value in points)
    axes.annotate(numbers, (points[-1], y), (7, 0), textcoords="offset points", va="center", fontsize=8)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, points[0] / 2), max(high, points[-1] * 9))
