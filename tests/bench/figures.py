"""Made-up figures of cases, as the benchmark would have them."""

from __future__ import annotations

from typing import Any

from service.bench.statistics import Figures, case_figures


def a_round(cpu: float = 10.0, passthrough_cpu: float = 5.0, **service: Any) -> Figures:
    return {
        "service": {
            "points_per_second": 1e6 / cpu,
            "cpu_s_per_million": cpu,
            "state_bytes_per_source": 2_500.0,
            "peak_rss_bytes": 400_000_000,
            "stages": {"decode": 1.0, "score": cpu / 2, "commit": 2.0},
            "scored_share": 1.0,
            **service,
        },
        "passthrough": {"points_per_second": 1e6 / passthrough_cpu, "cpu_s_per_million": passthrough_cpu},
    }


def a_case(sources: int = 1_000, values: int = 1, cpu: float = 10.0) -> Figures:
    latency = {
        "rate": 5_000, "p50_ms": 20.0, "p99_ms": 60.0, "p999_ms": 80.0,
        "achieved_rate": 5_000.0, "valid": True,
    }  # fmt: skip
    queue = {**latency, "rate": 50_000, "achieved_rate": 20_000.0, "valid": False}
    rounds = [a_round(cpu) for _ in range(3)]
    model = {"cpu_s_per_million": 9.0, "state_bytes_per_source": 2_400, "peak_rss_bytes": 390e6}
    return {
        "sources": sources,
        "values": values,
        **case_figures(rounds),
        "rounds": rounds,
        "latency": [latency, queue],
        "model": model,
    }
